package claims

import "strings"

// BareIssuer returns an issuer in the form in which issuers are compared and
// kept: without its trailing slash, which some providers write in one place and
// leave out in another.
func BareIssuer(iss string) string { return strings.TrimSuffix(iss, "/") }

// SameIssuer reports whether a and b, which may both be empty, are one issuer.
func SameIssuer(a, b string) bool { return BareIssuer(a) == BareIssuer(b) }
