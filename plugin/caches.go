package plugin

import (
	"context"
	"errors"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// Caches are the answers of providers that all instances of a process share.
type Caches struct {
	Tokens        *cache.Cache[*rp.TokenResponse]
	Introspection *cache.Cache[*introspected]
	UserInfo      *cache.Cache[*rp.UserInfo]
	Claims        *cache.Cache[*collected]
	Principals    *cache.Cache[*rp.DirectoryEntry]
}

const (
	answerBytes = 32 << 20         // bound on each of the caches
	callBudget  = 25 * time.Second // of one call to the provider that others wait for
	keepForUse  = time.Hour        // how long an expired answer with a refresh token is kept
)

// NewCaches returns empty caches.
func NewCaches(now func() time.Time) *Caches {
	o := cache.Options{Bytes: answerBytes, Budget: callBudget, Now: now}
	return &Caches{cache.New[*rp.TokenResponse](o), cache.New[*introspected](o), cache.New[*rp.UserInfo](o), cache.New[*collected](o), cache.New[*rp.DirectoryEntry](o)}
}

// Count is what a cache has found and kept.
type Count struct {
	Name         string
	Hits, Misses uint64
	Entries      int
	Bytes        uint64 // an estimate
}

// Counts returns what each cache has found and keeps.
func (c *Caches) Counts() []Count {
	count := func(name string, of interface {
		Counts() (hits, misses uint64)
		Len() int
		Weight() uint64
	}) Count {
		h, m := of.Counts()
		return Count{name, h, m, of.Len(), of.Weight()}
	}
	return []Count{count("tokens", c.Tokens), count("introspection", c.Introspection), count("userinfo", c.UserInfo), count("claims", c.Claims), count("principals", c.Principals)}
}

// ttlOf is how long an answer that ends at expiry is kept; zero: it names no end.
func (p *relyingProvider) ttlOf(expiry time.Time) time.Duration {
	k := &p.calls
	return cache.TTL(expiry.Sub(p.now()), !expiry.IsZero(), k.ttl, k.low, k.high)
}

// once asks load, and a cache before it where answers are kept: then whoever
// asks for the same meanwhile waits for the one answer. For resurrect a kept
// answer stands in for a provider that is away.
func once[T any](ctx context.Context, keep bool, c *cache.Cache[T], key cache.Key, resurrect time.Duration, load func(context.Context) (cache.Loaded[T], error)) (T, error) {
	if !keep {
		l, err := load(ctx)
		return l.Value, err
	}
	v, _, err := c.Load(ctx, key, resurrect, outage, load)
	if err != nil {
		return v, callError(err)
	}
	return v, nil
}

// decodedWeight is about how much an answer weighs for each byte of its tokens:
// they are kept beside the claims that they were decoded to.
const decodedWeight = 4

// weight estimates what an answer takes that holds or was got for these tokens.
func weight(tokens ...token.Opaque) int {
	n := 0
	for _, t := range tokens {
		n += len(t)
	}
	return decodedWeight * n
}

// outage reports whether err is the provider's fault, so that a kept answer may
// stand in for it.
func outage(err error) bool {
	var e *rp.Error
	return !errors.Is(err, fault.ErrPanicked) && (!errors.As(err, &e) || e.Kind == rp.Unexpected || e.Kind == rp.Unavailable)
}
