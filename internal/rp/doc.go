// Package rp is the relying party: it turns a request into a decision.
//
//	Request -> Credential -> Identity -> verified -> authorized -> Decision
//
// It knows neither Kong nor sockets. What it needs of the world it declares as
// small interfaces (ports.go); package plugin implements them by op, session and
// kong/entities. Imported by plugin, kong/pdkio and kong/server; of this module it
// imports claims and token only.
package rp
