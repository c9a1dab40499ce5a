package rp

import (
	"context"
	"time"

	"kong-openid-connect/internal/token"
)

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
