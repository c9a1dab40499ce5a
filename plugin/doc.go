// Package plugin is the contract with Kong: the parameters and their schema
// (config_*.go, enums.go, schema.go), the rules between them (rules*.go), the
// check of a file without Kong (check.go), and what a configuration is compiled
// to (compile_*.go): an rp.Policy, whose ports it implements by the packages op,
// token, session and kong/entities.
//
// Equal configurations share one policy. Nothing here does I/O before a request
// needs it, Diagnose aside. Imported by the wiring; it may import everything but
// that and the sandbox.
package plugin
