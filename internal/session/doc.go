// Package session owns the life cycle of login sessions: their timers, their
// sealed form, their cookies and what a storage backend must do; beside them
// stand the sealed cookies and `state` values of pending logins.
//
// A session is a header and a payload. The header (id, times, tags of the
// identity configuration, audience, subject and binding) is sealed by
// gorilla/securecookie. The payload is sealed by AES-256-GCM under a key made
// for this one session by HKDF-SHA256 (RFC 5869) from the secret and the
// 32-byte random id; it lives in the cookie, or in a Store. Every id is
// drawn when a payload is sealed and never seals a second one.
//
// One cookie holds several sessions side by side, one for each audience and
// identity configuration ("segments"). An instance reads and replaces its
// own and hands on the others byte for byte.
//
//	cookie  = count segment *( "~" segment )   ; split over name, name2 ... name9
//	segment = header [ "." payload ]
//
// What a session was opened to is kept for its next requests (Openings), each of
// which is examined like the first.
//
// Imported by the adapter of package rp and by the wiring; imports nothing of
// this module. It is the only package that imports securecookie.
package session
