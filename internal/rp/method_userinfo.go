package rp

import (
	"context"
	"errors"

	"kong-openid-connect/internal/claims"
)

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
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Unauthorized && e.Code == "" {
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
