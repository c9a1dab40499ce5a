package rp

import (
	"context"
	"crypto/subtle"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// bearerMethod authenticates by a JWT access token (behaviour.md 6.2).
type bearerMethod struct{}

func (bearerMethod) name() Method { return MethodBearer }

func (bearerMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	c, err := x.findBearer(ctx)
	if c == nil || err != nil {
		return nil, err
	}
	// What is not a JWT is left to a method that takes opaque tokens. The look
	// costs as much as the rest of a request whose token is cached.
	if x.Policy.Methods.HasAny(MethodKongOAuth2, MethodIntrospection, MethodUserInfo) && !token.LooksJWS(c.Token.Reveal()) {
		return nil, nil
	}
	return c, nil
}

func (bearerMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	p := x.Policy
	raw, expiry, kind := c.Token, time.Time{}, "Bearer"
	exchanged, err := p.Provider.Exchange(ctx, x.Client, raw)
	if err != nil {
		return nil, err
	}
	if exchanged != nil {
		raw, expiry, kind = exchanged.AccessToken, exchanged.Expiry, exchanged.TokenType
		x.exchanged = true
	}
	at, err := p.Provider.VerifyAccessToken(ctx, x.Client, raw, MethodBearer)
	if err != nil {
		if !token.LooksJWS(c.Token.Reveal()) {
			return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the bearer token is not a JWT", Reason: "opaque_token", Err: err}
		}
		return nil, err
	}
	if err := x.sessionCookieFits(at); err != nil {
		return nil, err
	}
	id := &Identity{Client: x.Client, AccessToken: raw, TokenType: kind, Access: at, Expiry: at.Expiry}
	if id.Expiry.IsZero() {
		id.Expiry = expiry
	}
	if err := x.accompanyingIDToken(ctx, id); err != nil {
		return nil, err
	}
	if p.IntrospectJWT {
		in, err := p.Provider.Introspect(ctx, x.Client, raw, x.forwardIntrospection(ctx))
		if err != nil {
			return nil, asError(err)
		}
		id.Introspection, id.IntrospectionJWT = in.Claims, in.JWT
	}
	return id, nil
}

// sessionCookieFits compares jwt_session_cookie with the token's claim
// (behaviour.md 8.6).
func (x *Exchange) sessionCookieFits(at *token.Token) error {
	p := &x.Policy.Bearer
	if p.SessionCookie == "" {
		return nil
	}
	v, _ := claims.Lookup(at.Claims, claims.Path{p.SessionClaim})
	want, _ := v.(string)
	have := cookie(x.Request.Header, p.SessionCookie)
	if want == "" || subtle.ConstantTimeCompare([]byte(want), []byte(have)) != 1 {
		return &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the session cookie does not fit the access token", Reason: "jwt_session_cookie"}
	}
	return nil
}

// accompanyingIDToken verifies the ID token that a client sent along. It
// never authenticates by itself.
func (x *Exchange) accompanyingIDToken(ctx context.Context, id *Identity) error {
	p, r := &x.Policy.Bearer, x.Request
	if p.IDTokenName == "" {
		return nil
	}
	raw := ""
	if p.IDToken.Header {
		_, raw = fold(r.Header, Canonical(p.IDTokenName))
	}
	if raw == "" {
		v, _, err := r.arg(ctx, p.IDToken, p.IDTokenName)
		if err != nil {
			return err
		}
		raw = v
	}
	if raw == "" {
		return nil
	}
	if t, ok := scheme(raw, "bearer"); ok {
		raw = t
	}
	t, err := x.Policy.Provider.VerifyIDToken(ctx, token.Opaque(raw), IDTokenExpectation{Client: id.Client, AccessToken: id.AccessToken, Method: id.Method})
	if err != nil {
		return err
	}
	if !aboutCaller(id, t.Claims) {
		return &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the ID token is about another subject than the access token", Reason: "id_token_subject"}
	}
	id.IDToken, id.ID = t.Raw, t
	return nil
}

// aboutCaller reports whether an ID token that came along is of the login that
// the access token is of: whoever has a token of his own must not add claims of
// somebody else's. An at_hash says so, and was verified; a subject does, and so
// does Entra's object id, where the subjects are pairwise. Where the access token
// names no subject there is nothing to compare.
func aboutCaller(id *Identity, idToken claims.Object) bool {
	source := id.Introspection
	if id.Access != nil {
		source = id.Access.Claims
	}
	text := func(o claims.Object, name string) string { s, _ := o[name].(string); return s }
	same := func(name string) bool { return text(source, name) == text(idToken, name) }
	switch {
	case text(source, "sub") == "" || text(idToken, "at_hash") != "":
		return true
	case same("sub") && (text(source, "iss") == "" || claims.SameIssuer(text(source, "iss"), text(idToken, "iss"))):
		return true
	}
	return text(idToken, "oid") != "" && same("oid") && same("tid")
}
