// Package jwks keeps the key sets of providers: it parses them key by key,
// binds each to the issuer that it speaks for, chooses the keys that may have
// signed a token, and paces how often a provider is asked again. It performs
// no I/O of its own. Imported by op, admin and store; imports token.
package jwks
