// Package pdkio turns what Kong's PDK says into an rp.Request, and an
// rp.Decision into PDK calls. It owns the decoding of Kong's messages, which
// hold whatever bytes a client sent, and the cleaning of what goes out.
// Imported by kong/server; imports kong/wire, rp and go-pdk.
package pdkio
