package token

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache keeps verified tokens until they expire, bounded in bytes. It holds
// what one policy accepted under one state of the trusted keys: the scope of
// the key says which. It is safe for concurrent use.
type Cache struct {
	entries *otter.Cache[CacheKey, entry]
	now     func() time.Time
	maxAge  time.Duration
	hits    atomic.Uint64
	misses  atomic.Uint64
}

// CacheKey names a verification: the token, the policy that made it and the
// generation of the keys that it trusted.
type CacheKey [sha256.Size]byte

type entry struct {
	token *Token
	until time.Time
}

// CacheOptions sets a Cache up.
type CacheOptions struct {
	// Bytes bounds what the entries weigh, by an estimate of their size in memory.
	Bytes uint64
	// MaxAge bounds how long an entry lives whatever its token says, and is the
	// lifetime of tokens without `exp`.
	MaxAge time.Duration
	// Now is the clock.
	Now func() time.Time
}

// NewCache returns an empty cache. It panics for options that are not set:
// they are constants of the program.
func NewCache(o CacheOptions) *Cache {
	if o.Bytes == 0 || o.MaxAge <= 0 || o.Now == nil {
		panic("token: cache options are not set")
	}
	c := &Cache{now: o.Now, maxAge: o.MaxAge}
	c.entries = otter.Must(&otter.Options[CacheKey, entry]{
		MaximumWeight: o.Bytes,
		Weigher:       weigh,
		// Bookkeeping is done by whoever is there: a goroutine for it, woken every
		// few reads, costs more than it does.
		Executor: func(f func()) { f() },
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[CacheKey, entry]) time.Duration {
			// Memory is given back in time; whether an entry is still good is
			// decided by Get, with the injected clock.
			return max(e.Value.until.Sub(c.now()), time.Nanosecond)
		}),
	})
	return c
}

// NewCacheKey hashes a token together with scope, which names the policy, and
// the generation of its keys. The token itself is not kept.
func NewCacheKey(raw string, scope [sha256.Size]byte, generation uint64) CacheKey {
	// Tokens of usual size are hashed without an allocation.
	var stack [4096]byte
	b := append(stack[:0], scope[:]...)
	for i := range 8 {
		b = append(b, byte(generation>>(8*i)))
	}
	b = append(b, raw...)
	return sha256.Sum256(b)
}

// Get returns the token that was put under key and has not expired since. The
// token is shared: it must not be changed.
func (c *Cache) Get(key CacheKey) (*Token, bool) {
	e, ok := c.entries.GetIfPresent(key)
	if !ok || !c.now().Before(e.until) {
		c.misses.Add(1)
		return nil, false
	}
	c.hits.Add(1)
	return e.token, true
}

// Counts returns how often Get found a token, and how often not.
func (c *Cache) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

// Put keeps t until it expires, but no longer than the cache's MaxAge. A token
// that has expired is not kept.
func (c *Cache) Put(key CacheKey, t *Token) {
	now := c.now()
	until := now.Add(c.maxAge)
	if !t.Expiry.IsZero() && t.Expiry.Before(until) {
		until = t.Expiry
	}
	if !now.Before(until) {
		return
	}
	c.entries.Set(key, entry{t, until})
}

// Clear forgets everything.
func (c *Cache) Clear() { c.entries.InvalidateAll() }

// Len returns roughly how many tokens are kept.
func (c *Cache) Len() int { return c.entries.EstimatedSize() }

// Weight returns roughly how many bytes the tokens take.
func (c *Cache) Weight() uint64 { return c.entries.WeightedSize() }

// weigh estimates what an entry takes: the raw token, its decoded claims, which
// take a few times the size of their JSON, and the bookkeeping.
func weigh(_ CacheKey, e entry) uint32 {
	raw := min(len(e.token.Raw), 1<<24)
	return uint32(512 + max(6*raw, 2*raw+min(e.token.Claims.Weight(), 1<<30)))
}
