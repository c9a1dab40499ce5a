// Package cache keeps answers that were paid for: bounded in bytes, each with
// an expiry of its own, one load at a time for a key. It owns otter together
// with packages token and session. Imported by plugin; imports nothing of ours.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/fault"
)

// Key names an entry. It is a hash, so that no credential is kept as a key.
type Key [sha256.Size]byte

// Loaded is what a load returns.
type Loaded[V any] struct {
	Value V
	TTL   time.Duration // not kept when 0 or less
	Bytes int           // roughly what the value takes in memory
}

// Options set a cache up.
type Options struct {
	Bytes  uint64        // bound on what the entries take
	Budget time.Duration // of one load, which goes on for others when its first caller is gone
	Now    func() time.Time
}

// Cache keeps values of one kind. It is safe for concurrent use.
type Cache[V any] struct {
	entries *otter.Cache[Key, entry[V]]
	flight  singleflight.Group
	budget  time.Duration
	now     func() time.Time
	hits    atomic.Uint64
	misses  atomic.Uint64
}

type entry[V any] struct {
	value  V
	until  time.Time // fresh before
	usable time.Time // may stand in for a failed load before
	bytes  int
}

// New returns an empty cache. It panics for options that are not set: they are
// constants of the program.
func New[V any](o Options) *Cache[V] {
	if o.Bytes == 0 || o.Budget <= 0 || o.Now == nil {
		panic("cache: options are not set")
	}
	c := &Cache[V]{budget: o.Budget, now: o.Now}
	c.entries = otter.Must(&otter.Options[Key, entry[V]]{
		MaximumWeight: o.Bytes,
		Weigher: func(_ Key, e entry[V]) uint32 {
			return uint32(256 + min(max(e.bytes, 0), 1<<28))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[Key, entry[V]]) time.Duration {
			return max(e.Value.usable.Sub(c.now()), time.Nanosecond)
		}),
	})
	return c
}

// Load returns the value of key: a fresh one from the cache, else what load
// returns. Parallel callers share one load. Where load fails and the kept value
// is no older than its expiry and resurrect, and stale says so of the error,
// that value stands in. hit tells a kept value from a loaded one.
func (c *Cache[V]) Load(ctx context.Context, key Key, resurrect time.Duration, stale func(error) bool, load func(context.Context) (Loaded[V], error)) (v V, hit bool, err error) {
	if e, ok := c.entries.GetIfPresent(key); ok && c.now().Before(e.until) {
		c.hits.Add(1)
		return e.value, true, nil
	}
	c.misses.Add(1)
	done := c.flight.DoChan(string(key[:]), func() (v any, err error) {
		defer fault.Recover(&err)
		if e, ok := c.entries.GetIfPresent(key); ok && c.now().Before(e.until) {
			return e.value, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.budget)
		defer cancel()
		l, err := load(ctx)
		if err != nil {
			return nil, err
		}
		if l.TTL > 0 {
			until := c.now().Add(l.TTL)
			c.entries.Set(key, entry[V]{l.Value, until, until.Add(max(resurrect, 0)), l.Bytes})
		} else {
			c.entries.Invalidate(key)
		}
		return l.Value, nil
	})
	var zero V
	select {
	case <-ctx.Done():
		return zero, false, ctx.Err()
	case r := <-done:
		if r.Err == nil {
			return r.Val.(V), false, nil
		}
		if e, ok := c.entries.GetIfPresent(key); ok && resurrect > 0 && stale(r.Err) && c.now().Before(e.usable) {
			return e.value, true, nil
		}
		return zero, false, r.Err
	}
}

// Fresh returns a kept value that has not expired.
func (c *Cache[V]) Fresh(key Key) (V, bool) {
	if e, ok := c.entries.GetIfPresent(key); ok && c.now().Before(e.until) {
		c.hits.Add(1)
		return e.value, true
	}
	var zero V
	return zero, false
}

// Counts returns how often a fresh value was found, and how often one had to be loaded.
func (c *Cache[V]) Counts() (hits, misses uint64) { return c.hits.Load(), c.misses.Load() }

// Peek returns what is kept, fresh or not.
func (c *Cache[V]) Peek(key Key) (V, bool) {
	e, ok := c.entries.GetIfPresent(key)
	return e.value, ok
}

// Expire makes the next Load ask anew; until then Peek still finds the value.
func (c *Cache[V]) Expire(key Key) {
	c.entries.ComputeIfPresent(key, func(e entry[V]) (entry[V], otter.ComputeOp) {
		e.until = time.Time{}
		return e, otter.WriteOp
	})
}

// Forget drops an entry.
func (c *Cache[V]) Forget(key Key) { c.entries.Invalidate(key) }

// Len returns roughly how many entries are kept.
func (c *Cache[V]) Len() int { return c.entries.EstimatedSize() }

// Weight returns roughly how many bytes the entries take.
func (c *Cache[V]) Weight() uint64 { return c.entries.WeightedSize() }

// TTL is how long an answer is kept (behaviour.md 25.3): its own lifetime, else
// fallback, within low and high where these are set. 0 or less: not at all.
func TTL(own time.Duration, known bool, fallback time.Duration, low, high *time.Duration) time.Duration {
	ttl := fallback
	if known {
		ttl = own
	}
	if ttl <= 0 {
		return 0
	}
	if high != nil {
		ttl = min(ttl, *high)
	}
	if low != nil {
		ttl = max(ttl, *low)
	}
	return ttl
}

// NewKey hashes parts, each with its length, so that no two lists run together.
func NewKey(parts ...string) Key {
	// Lists of usual size are hashed without an allocation.
	var stack [4096]byte
	b := stack[:0]
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return sha256.Sum256(b)
}
