package token

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
)

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock { c := &clock{}; c.at.Store(now.UnixNano()); return c }

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

func TestCacheUntilExpiry(t *testing.T) {
	c := newClock()
	cache := NewCache(CacheOptions{Bytes: 1 << 20, MaxAge: time.Hour, Now: c.Now})
	key := func(s string) CacheKey { return NewCacheKey(s, [sha256.Size]byte{}, 0) }
	cache.Put(key("minute"), &Token{Raw: "minute", Expiry: now.Add(time.Minute)})
	cache.Put(key("day"), &Token{Raw: "day", Expiry: now.Add(24 * time.Hour)})
	cache.Put(key("endless"), &Token{Raw: "endless"})
	cache.Put(key("expired"), &Token{Raw: "expired", Expiry: now})
	has := func(s string) bool { tok, ok := cache.Get(key(s)); return ok && string(tok.Raw) == s }
	if !has("minute") || !has("day") || !has("endless") || has("expired") {
		t.Error("fresh entries are wrong")
	}
	c.Advance(time.Minute - 1)
	if !has("minute") {
		t.Error("dropped before exp")
	}
	c.Advance(1)
	if has("minute") {
		t.Error("served at exp")
	}
	c.Advance(time.Hour - time.Minute)
	if has("day") || has("endless") {
		t.Error("served beyond the maximal age")
	}
}

func TestCacheKeyIsScoped(t *testing.T) {
	one, two := [sha256.Size]byte{1}, [sha256.Size]byte{2}
	seen := map[CacheKey]string{}
	for name, k := range map[string]CacheKey{
		"token": NewCacheKey("a", one, 1), "other token": NewCacheKey("b", one, 1), "other policy": NewCacheKey("a", two, 1),
		"other keys": NewCacheKey("a", one, 2), "long": NewCacheKey(strings.Repeat("a", 10000), one, 1),
	} {
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s share a key", name, other)
		}
		seen[k] = name
	}
	if NewCacheKey("a", one, 1) != NewCacheKey("a", one, 1) {
		t.Error("keys are not stable")
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	c := newClock()
	const limit = 1 << 20
	cache := NewCache(CacheOptions{Bytes: limit, MaxAge: time.Hour, Now: c.Now})
	pad := strings.Repeat("x", 1000)
	for i := range 5000 {
		raw := fmt.Sprint(i, pad)
		cache.Put(NewCacheKey(raw, [sha256.Size]byte{}, 0), &Token{Raw: Opaque(raw)})
	}
	cache.entries.CleanUp()
	if w := cache.Weight(); w > limit {
		t.Errorf("weighs %d", w)
	}
	if cache.Len() == 0 {
		t.Error("keeps nothing")
	}
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	cache := NewCache(CacheOptions{Bytes: 1 << 20, MaxAge: time.Hour, Now: newClock().Now})
	raw := strings.Repeat("x", 1500)
	scope := [sha256.Size]byte{1}
	cache.Put(NewCacheKey(raw, scope, 1), &Token{Raw: Opaque(raw)})
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := cache.Get(NewCacheKey(raw, scope, 1)); !ok {
			t.Fatal("missed")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	cache := NewCache(CacheOptions{Bytes: 1 << 20, MaxAge: time.Hour, Now: time.Now})
	raw := sign(b, "RS256", private(b, "rsa"), head{"kid": "k"}, someClaims)
	cache.Put(NewCacheKey(raw, [sha256.Size]byte{}, 1), &Token{Raw: Opaque(raw)})
	b.ReportAllocs()
	for b.Loop() {
		cache.Get(NewCacheKey(raw, [sha256.Size]byte{}, 1))
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct{ alg, key string }{{"RS256", "rsa"}, {"ES256", "p256"}, {"EdDSA", "ed25519"}} {
		b.Run(c.alg, func(b *testing.B) {
			v := Verifier{Keys: keys(public(b, c.key, "k", ""))}
			raw := sign(b, c.alg, private(b, c.key), head{"kid": "k"}, someClaims)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), raw, UseAccess); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestATokenWeighsWhatItsClaimsTake: claims of a few bytes each take hundreds in memory.
func TestATokenWeighsWhatItsClaimsTake(t *testing.T) {
	c, err := claims.Decode([]byte(`{"a":[` + strings.Repeat(`{"":1},`, 500) + `1]}`))
	if err != nil {
		t.Fatal(err)
	}
	cache := NewCache(CacheOptions{Bytes: 1 << 20, MaxAge: time.Hour, Now: newClock().Now})
	cache.Put(NewCacheKey("x", [sha256.Size]byte{}, 1), &Token{Raw: Opaque(strings.Repeat("x", 4000)), Claims: c})
	if w := cache.Weight(); w < uint64(c.Weight()) {
		t.Errorf("weighs %d, its claims %d", w, c.Weight())
	}
}
