// Package token verifies JSON Web Tokens (RFC 7515, 7519, 8725) and applies
// the claim rules of OpenID Connect Core 3.1.3.7 and RFC 9068. It owns
// go-jose together with package jwks. It performs no I/O of its own: keys come
// through the Keys interface.
package token
