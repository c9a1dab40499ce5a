// Package rp is the relying party: it turns a request into a decision.
//
//	Request -> Credential -> Identity -> verified -> authorized -> Decision
//
// It knows neither Kong nor sockets. What it needs of the world it declares as
// small interfaces (ports.go); op, session and kong/entities implement them.
// Imported by plugin, kong/pdkio, op, session; imports claims and token only.
package rp
