package rp

import (
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// Identity is what a method has learned of the caller.
type Identity struct {
	Method Method // the method that authenticated this request
	Origin Method // the method that authenticated first; differs for sessions
	Client int    // index of the client in use

	AccessToken  token.Opaque
	IDToken      token.Opaque
	RefreshToken token.Opaque
	TokenType    string
	Scope        string    // the token endpoint's scope, where it gave one
	Expiry       time.Time // of the access token; zero: unknown

	Access        *token.Token  // the access token where it is a JWT
	ID            *token.Token  // the ID token
	Introspection claims.Object // introspection result
	UserInfo      claims.Object // userinfo result, where it counts as a claim source

	IntrospectionJWT token.Opaque
	UserInfoJWT      token.Opaque
	TokenResponse    claims.Object // the whole answer of the token endpoint, for login_tokens

	Session        *Session
	Kong           *KongToken // of the kong_oauth2 method
	replay         []Field    // token_headers_replay
	userInfoSource bool       // userinfo counts as a claim source

	// Claims that the ID token and userinfo only point to, where that is followed.
	idExtra, userInfoExtra claims.Object
	followed               bool
}

// ownDPoP reports whether the access token is bound to this program's own DPoP
// key: the token endpoint said so. That of a caller is a Bearer token here, for
// the caller has the key.
func (id *Identity) ownDPoP() bool { return strings.EqualFold(id.TokenType, "DPoP") }

// Find looks a claim path up in the claim sources, in their one order: access
// token, introspection, ID token, userinfo (behaviour.md 10.1.2, U61).
func (id *Identity) Find(p claims.Path) (any, bool) {
	v, _, ok := id.find(p)
	return v, ok
}

// find also returns the claims of the source, whose issuer vouches for the value.
func (id *Identity) find(p claims.Path) (v any, source claims.Object, ok bool) {
	if id.Access != nil {
		if v, ok := claims.Lookup(id.Access.Claims, p); ok {
			return v, id.Access.Claims, true
		}
	}
	if id.Introspection != nil {
		if v, ok := claims.Lookup(id.Introspection, p); ok {
			return v, id.Introspection, true
		}
	}
	if id.ID != nil {
		if v, ok := claims.Lookup(id.ID.Claims, p); ok {
			return v, id.ID.Claims, true
		}
		if v, ok := claims.Lookup(id.idExtra, p); ok {
			return v, id.ID.Claims, true
		}
	}
	if id.UserInfo != nil && id.userInfoSource {
		if v, ok := claims.Lookup(id.UserInfo, p); ok {
			return v, id.UserInfo, true
		}
		if v, ok := claims.Lookup(id.userInfoExtra, p); ok {
			return v, id.UserInfo, true
		}
	}
	return nil, nil, false
}

// Subject returns the subject of the caller, or "".
func (id *Identity) Subject() string {
	if v, ok := id.Find(claims.Path{"sub"}); ok {
		if s, ok := v.(string); ok {
			return s
		}
	}
	return ""
}
