package rp

import (
	"context"
	"errors"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// introspectionMethod authenticates a bearer token by RFC 7662 (behaviour.md 6.3).
type introspectionMethod struct{}

func (introspectionMethod) name() Method { return MethodIntrospection }

func (introspectionMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	return x.findBearer(ctx)
}

func (introspectionMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	in, err := x.Policy.Provider.Introspect(ctx, x.Client, c.Token, x.forwardIntrospection(ctx))
	if errors.Is(err, ErrNoEndpoint) {
		x.Policy.warn(ctx, "method introspection has no endpoint: set introspection_endpoint, or take it out of auth_methods")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	id := &Identity{Client: x.Client, AccessToken: c.Token, TokenType: "Bearer", Introspection: in.Claims, IntrospectionJWT: in.JWT, Expiry: in.Expiry}
	if err := x.accompanyingIDToken(ctx, id); err != nil {
		return nil, err
	}
	return id, nil
}

// userInfoMethod authenticates a bearer token by the userinfo endpoint
// (behaviour.md 6.5). What the token itself says is not trusted (U31).
type userInfoMethod struct{}

func (userInfoMethod) name() Method { return MethodUserInfo }

func (userInfoMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	return x.findBearer(ctx)
}

func (userInfoMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	id := &Identity{Client: x.Client, AccessToken: c.Token, TokenType: "Bearer", userInfoSource: true}
	if err := x.accompanyingIDToken(ctx, id); err != nil {
		return nil, err
	}
	ui, err := x.Policy.Provider.UserInfo(ctx, c.Token, idSubject(id), id.Expiry, x.forwardUserInfo(ctx))
	if errors.Is(err, ErrNoEndpoint) {
		x.Policy.warn(ctx, "method userinfo has no endpoint: set userinfo_endpoint, or take it out of auth_methods")
		return nil, nil
	}
	var e *Error
	if errors.As(err, &e) && e.Kind == Unauthorized && e.Code == "" {
		refusal := *e
		refusal.Code = "invalid_token"
		return nil, &refusal
	}
	if err != nil {
		return nil, err
	}
	if !x.Policy.namesSomebody(ui.Claims) {
		return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the provider's userinfo names nobody", Reason: "userinfo_subject"}
	}
	id.UserInfo, id.UserInfoJWT = ui.Claims, ui.JWT
	return id, nil
}

// namesSomebody reports whether userinfo is about a person: it has a `sub`
// (OpenID Connect Core 5.3.2), or, at endpoints that are no OpenID Connect, what
// the configuration takes for the caller's name. Some providers refuse a token
// with status 200 and an error in the object.
func (p *Policy) namesSomebody(ui claims.Object) bool {
	for _, path := range append([]claims.Path{{"sub"}, p.Credential}, p.Consumer.Claims...) {
		if v, ok := claims.Lookup(ui, path); ok && len(path) > 0 {
			if text, ok := claims.Text(v); ok && text != "" {
				return true
			}
		}
	}
	return false
}

// idSubject is the subject of the ID token, which userinfo must be about
// (OpenID Connect Core 5.3.2).
func idSubject(id *Identity) string {
	if id.ID == nil {
		return ""
	}
	s, _ := id.ID.Claims["sub"].(string)
	return s
}

// learn fetches userinfo where it is a claim source or goes into a header
// (behaviour.md 18). Without an answer the request goes on (U99).
func (x *Exchange) learn(ctx context.Context, id *Identity) error {
	p := x.Policy
	id.userInfoSource = id.userInfoSource || p.UserInfoClaims || id.Origin == MethodUserInfo
	if !p.SearchUserInfo || id.UserInfo != nil || id.AccessToken == "" {
		return nil
	}
	f := x.forwardUserInfo(ctx)
	f.Bound = id.ownDPoP()
	ui, err := p.Provider.UserInfo(ctx, id.AccessToken, idSubject(id), id.Expiry, f)
	if err != nil && len(p.Claims.Forbidden) > 0 && id.Access == nil && id.Introspection == nil && !errors.Is(err, ErrNoEndpoint) {
		return asError(err) // what is forbidden may stand there
	}
	if err != nil {
		p.warn(ctx, "userinfo could not be had; the request goes on without it", "error", err)
		return nil
	}
	id.UserInfo, id.UserInfoJWT = ui.Claims, ui.JWT
	return nil
}

// kongOAuth2Method authenticates by a token of Kong's own OAuth2 plugin
// (behaviour.md 6.4).
type kongOAuth2Method struct{}

func (kongOAuth2Method) name() Method { return MethodKongOAuth2 }

func (kongOAuth2Method) find(ctx context.Context, x *Exchange) (*Credential, error) {
	if x.Policy.KongTokens == nil {
		return nil, nil
	}
	return x.findBearer(ctx)
}

func (kongOAuth2Method) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	t, err := x.Policy.KongTokens.KongToken(ctx, x.Request, c.Token)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Description: "Kong's OAuth2 tokens could not be read", Reason: "kong_oauth2", Err: err}
	}
	if t == nil {
		return nil, nil
	}
	if !t.Expiry.IsZero() && !x.Policy.Now().Before(t.Expiry) {
		return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the token has expired", Reason: "expired"}
	}
	claims := map[string]any{"client_id": t.ClientID}
	if t.Scope != "" {
		claims["scope"] = t.Scope
	}
	if t.UserID != "" {
		claims["authenticated_userid"] = t.UserID
	}
	return &Identity{Client: x.Client, AccessToken: c.Token, TokenType: "Bearer", Introspection: claims, Expiry: t.Expiry, Kong: t}, nil
}

// KongToken is a token of Kong's OAuth2 plugin with its credential and consumer.
type KongToken struct {
	ClientID     string
	CredentialID string
	UserID       string // authenticated_userid
	Scope        string
	Expiry       time.Time // zero: never
	Consumer     Consumer
}

// KongTokens looks tokens of Kong's OAuth2 plugin up.
type KongTokens interface {
	// KongToken returns a token; nil when Kong knows none of this value.
	KongToken(ctx context.Context, r *Request, value token.Opaque) (*KongToken, error)
}
