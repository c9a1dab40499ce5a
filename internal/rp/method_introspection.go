package rp

import (
	"context"
	"errors"
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
