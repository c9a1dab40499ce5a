// Package token verifies JSON Web Tokens (RFC 7515, 7519, 8725), opens
// encrypted ones (RFC 7516) and applies the claim rules of OpenID Connect Core
// 3.1.3.7, RFC 9068 and JARM. It judges proofs of possession (RFC 9449) and
// bindings to certificates (RFC 8705), and signs assertions, request objects
// and proofs. It owns go-jose together with package jwks. It performs no I/O of
// its own: keys, secrets and the memory of proofs come through interfaces.
package token
