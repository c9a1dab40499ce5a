package plugin

import (
	"context"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// collected is what a claims source had, or why nothing could be had of it.
type collected struct {
	claims claims.Object
	err    error
}

// sourceFailureTTL is how long a claims source that failed is left alone.
const sourceFailureTTL = 10 * time.Second

// collectedBytes is about what the claims of a source weigh.
const collectedBytes = 4 << 10

// DistributedClaims implements rp.Provider.
func (p *relyingProvider) DistributedClaims(ctx context.Context, s rp.ClaimsSource) (claims.Object, error) {
	k := &p.calls
	key := cache.NewKey("claims", k.salt, string(p.scope[:]), strconv.Itoa(s.Client), s.JWT.Reveal(), s.Endpoint, s.AccessToken.Reveal(), s.Current.Reveal(), strings.Join(s.Names, " "))
	c, _, err := k.caches.Claims.Load(ctx, key, 0, nil, func(ctx context.Context) (cache.Loaded[*collected], error) {
		got, err := p.collect(ctx, s)
		if err != nil {
			return cache.Loaded[*collected]{Value: &collected{err: err}, TTL: sourceFailureTTL}, nil
		}
		return cache.Loaded[*collected]{Value: &collected{claims: got}, TTL: p.ttlOf(s.Expiry), Bytes: weight(s.JWT, s.Current) + collectedBytes}, nil
	})
	if err != nil {
		return nil, callError(err)
	}
	return c.claims, c.err
}

func (p *relyingProvider) collect(ctx context.Context, s rp.ClaimsSource) (claims.Object, error) {
	issuers, err := p.expected(ctx)
	if err != nil {
		return nil, err
	}
	return p.provider.DistributedClaims(ctx, op.ClaimsSource{
		Names: s.Names, JWT: s.JWT, Endpoint: s.Endpoint, AccessToken: s.AccessToken, Current: s.Current, Now: p.now(), Issuers: issuers,
		Verifier: &token.Verifier{Keys: p.keys, SkipSignature: p.skipAll},
	})
}
