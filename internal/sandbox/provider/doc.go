// Package provider is an OpenID Provider for one machine and for tests: it
// speaks the protocol correctly until it is told to misbehave.
//
// It owns the other side of every conversation that the relying party has:
// discovery, keys, the login page, the token endpoint, introspection,
// revocation, userinfo and logout. Everything lives in memory, secrets are
// fixed test values, and the control interface below /sandbox/ answers to
// loopback only. It must never face a network.
//
// Imported by cmd/sandbox and by tests. It imports nothing of the plugin: a
// mistake made on both sides would hide itself.
package provider
