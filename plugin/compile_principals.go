package plugin

import (
	"context"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
)

// withoutDirectory refuses what needs a directory of principals where there is
// none: an authentication step must not be left out in silence.
func withoutDirectory(c *Config) param.Findings {
	if !c.Principals.Enabled {
		return nil
	}
	return param.Findings{{
		Severity: param.Error, Path: "principals.enabled", Message: "needs a directory of principals, and this program has none: Kong's own (Kong Identity) can be asked from Konnect only",
		Do: "set it to false, or map claims by consumer_claims",
	}}
}

func principalPolicy(c *Config, env *Environment) rp.PrincipalPolicy {
	q := &c.Principals
	if !q.Enabled {
		return rp.PrincipalPolicy{}
	}
	p := rp.PrincipalPolicy{
		Directory: &keptDirectory{
			directory: env.Directory, cache: env.Caches.Principals, ttl: seconds(c.CacheTTL),
			low: optionalSeconds(c.CacheTTLMin), high: optionalSeconds(c.CacheTTLMax), negative: optionalSeconds(c.CacheTTLNeg),
		},
		Name: q.Directory, By: q.PrincipalBy, Claim: path(q.PrincipalClaim), Optional: !q.ErrorOnMiss, MatchConsumer: q.MatchConsumer, MatchGroups: q.MatchConsumerGroups,
	}
	if p.Claim == nil {
		p.Claim = claims.Path{"sub"}
	}
	return p
}

// keptDirectory keeps what a directory answered (behaviour.md 19).
type keptDirectory struct {
	directory           rp.Directory
	cache               *cache.Cache[*rp.DirectoryEntry]
	ttl                 time.Duration
	low, high, negative *time.Duration
}

// entryBytes is about what an entry weighs without its groups.
const entryBytes = 256

// Entry implements rp.Directory.
func (k *keptDirectory) Entry(ctx context.Context, q rp.DirectoryQuery) (*rp.DirectoryEntry, error) {
	key := cache.NewKey("principal", q.Directory, q.Issuer, q.By, q.Value)
	e, _, err := k.cache.Load(ctx, key, 0, outage, func(ctx context.Context) (cache.Loaded[*rp.DirectoryEntry], error) {
		e, err := k.directory.Entry(ctx, q)
		if err != nil {
			return cache.Loaded[*rp.DirectoryEntry]{}, err
		}
		l := cache.Loaded[*rp.DirectoryEntry]{Value: e, TTL: cache.TTL(0, false, k.ttl, k.low, k.high), Bytes: entryBytes}
		if e == nil {
			l.TTL = 0
			if k.negative != nil {
				l.TTL = *k.negative
			}
		} else {
			for _, g := range e.Groups {
				l.Bytes += len(g)
			}
		}
		return l, nil
	})
	return e, err
}
