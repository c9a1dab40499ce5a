// Package protocol is Kong's side of the plugin-server protocol on the wire:
// frames, and the messages as Kong's Lua encodes and decodes them.
//
// Kong does not check that a proto3 string is UTF-8 and has rules of its own
// for null, false and empty tables, so the messages of the PDK are written
// and read here field by field; the generated types serve for what has no
// text of a client in it. Imported by the sandbox's gateway only.
package protocol
