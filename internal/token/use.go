package token

import "strings"

// Use is what a token is presented as. A token of one use is never accepted
// as one of another (RFC 8725 section 3.11).
type Use uint8

const (
	// UseAccess is a JWT access token (RFC 9068, and the untyped ones before it).
	UseAccess Use = iota
	// UseID is an ID token.
	UseID
	// UseLogout is a logout token of back-channel logout.
	UseLogout
	// UseIntrospection is a JWT answer of an introspection endpoint (RFC 9701).
	UseIntrospection
	// UseUserinfo is a JWT answer of a userinfo endpoint.
	UseUserinfo
	// UseAuthorization is a JWT authorization response (JARM).
	UseAuthorization
)

// String names the token for messages.
func (u Use) String() string {
	switch u {
	case UseAccess:
		return "access token"
	case UseID:
		return "id token"
	case UseLogout:
		return "logout token"
	case UseIntrospection:
		return "introspection response"
	case UseUserinfo:
		return "userinfo response"
	case UseAuthorization:
		return "authorization response"
	}
	return "token"
}

// accepts reports whether a token with header typ may be presented for this
// use. Providers put all sorts of things there, so what is refused are the
// types that are known to mean something else.
func (u Use) accepts(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	switch typ {
	case "at+jwt":
		return u == UseAccess
	case "logout+jwt":
		return u == UseLogout
	case "token-introspection+jwt":
		return u == UseIntrospection
	case "dpop+jwt", "oauth-authz-req+jwt", "client-authentication+jwt", "secevent+jwt", "kb+jwt", "openid4vci-proof+jwt", "jwk-set+jwt", "entity-statement+jwt":
		return false
	}
	return true
}
