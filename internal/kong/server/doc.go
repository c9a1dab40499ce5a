// Package server serves Kong's plugin-server protocol on a Unix socket: it
// describes the plugin, keeps its instances and hands each request to one.
//
// The protocol has no error field, and Kong repeats what is answered by a
// closed connection, without end. So every event is answered, by 500 when all
// else fails, and a connection is closed for one reason only: an instance id
// that this process does not know, upon which Kong starts the instance anew.
// Imported by cmd; imports kong/pdkio, kong/wire and rp.
package server
