// Package certcheck judges the certificate of a client that a proxy in front of
// the gateway has seen: it reads it from a header, builds its chain to
// configured authorities (RFC 5280 section 6) and asks whether it was revoked
// (OCSP: RFC 6960; CRL: RFC 5280 section 5). It says nothing about who may set
// the header. Imported by plugin; imports nothing of ours. It owns
// golang.org/x/crypto/ocsp.
package certcheck
