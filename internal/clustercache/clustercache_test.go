package clustercache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/testservers"
)

var (
	secret = []byte("a secret that all nodes share ..")
	other  = []byte("a secret of another installation")
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

// fake is a Redis that can be looked into, broken and slow.
type fake struct {
	values map[string][]byte
	err    error
	hang   bool
	calls  int
	ttl    time.Duration
}

func newFake() *fake { return &fake{values: map[string][]byte{}} }

func (f *fake) fail(ctx context.Context) error {
	f.calls++
	if f.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *fake) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	if err := f.fail(ctx); err != nil {
		return nil, err
	}
	if len(f.values[key]) > limit {
		return nil, redisconn.ErrTooLarge
	}
	return bytes.Clone(f.values[key]), nil
}

func (f *fake) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := f.fail(ctx); err != nil {
		return err
	}
	f.values[key], f.ttl = bytes.Clone(value), ttl
	return nil
}

func open(t testing.TB, conn Conn, change func(*Options)) *Cache {
	t.Helper()
	o := Options{Secret: secret, Purpose: "introspection"}
	if change != nil {
		change(&o)
	}
	c, err := New(conn, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func set(t *testing.T, c *Cache, key, value string, ttl time.Duration) {
	t.Helper()
	if err := c.Set(t.Context(), key, []byte(value), ttl); err != nil {
		t.Fatal(err)
	}
}

// get returns the value, "-" where there is none, or the error.
func get(t *testing.T, c *Cache, key string) string {
	t.Helper()
	v, end, err := c.Get(t.Context(), key)
	switch {
	case err != nil:
		return err.Error()
	case end.IsZero():
		return "-"
	}
	return string(v)
}

func TestOnRedis(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	conn, err := redisconn.New(redisconn.Options{Address: redisconn.Address{Host: s.Host, Port: s.Port}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	nodeA, nodeB := open(t, conn, nil), open(t, conn, nil)
	set(t, nodeA, "token-in-clear", "claims-in-clear", time.Minute)
	if got := get(t, nodeB, "token-in-clear"); got != "claims-in-clear" {
		t.Errorf("on the other node: %s", got)
	}
	for what, c := range map[string]*Cache{
		"another secret":  open(t, conn, func(o *Options) { o.Secret = other }),
		"another purpose": open(t, conn, func(o *Options) { o.Purpose = "tokens" }),
		"another prefix":  open(t, conn, func(o *Options) { o.Prefix = "x" }),
	} {
		if got := get(t, c, "token-in-clear"); got != "-" {
			t.Errorf("%s: %s", what, got)
		}
	}
	name := s.MustDo("KEYS", "*")
	if !strings.HasPrefix(name, "oidc-cache:") || strings.Contains(name, "clear") || strings.Contains(s.MustDo("GET", name), "clear") {
		t.Errorf("in Redis: %q", name)
	}
	if ttl := s.MustDo("TTL", name); ttl != "60" && ttl != "59" {
		t.Errorf("ttl %s", ttl)
	}
	s.Kill()
	began := time.Now()
	var failure *redisconn.Error
	if _, _, err := nodeA.Get(t.Context(), "k"); !errors.As(err, &failure) || time.Since(began) > time.Second {
		t.Errorf("down: %v after %v", err, time.Since(began))
	}
}

func TestEntriesEnd(t *testing.T) {
	c, f := &clock{time.Unix(1_800_000_000, 0)}, newFake()
	cache := open(t, f, func(o *Options) { o.Now = c.now })
	set(t, cache, "k", "v", time.Minute)
	c.at = c.at.Add(time.Minute - time.Millisecond)
	if got := get(t, cache, "k"); got != "v" {
		t.Errorf("before its end: %s", got)
	}
	c.at = c.at.Add(time.Millisecond)
	if got := get(t, cache, "k"); got != "-" { // though Redis, restored from a copy, still has it
		t.Errorf("at its end: %s", got)
	}
	f.values = map[string][]byte{}
	set(t, cache, "k", "v", 0)
	set(t, cache, "k", "v", -1)
	if len(f.values) != 0 {
		t.Error("an entry without time was kept")
	}
	set(t, cache, "k", "v", 1000*time.Hour)
	if f.ttl != maxTTL {
		t.Errorf("ttl %v", f.ttl)
	}
}

func TestTamperedEntries(t *testing.T) {
	f := newFake()
	cache := open(t, f, nil)
	set(t, cache, "a", "for a", time.Minute)
	set(t, cache, "b", "for b", time.Minute)
	a, b := "oidc-cache:"+cache.name("a"), "oidc-cache:"+cache.name("b")
	good := f.values[a]
	f.values[a] = f.values[b] // the answer to another token
	if got := get(t, cache, "a"); got != ErrUnreadable.Error() {
		t.Errorf("another entry's value: %s", got)
	}
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		f.values[a] = changed
		if got := get(t, cache, "a"); got != ErrUnreadable.Error() {
			t.Fatalf("byte %d changed: %s", i, got)
		}
	}
	for _, n := range []int{1, 10, overhead - 1, len(good) - 1} {
		f.values[a] = good[:n]
		if got := get(t, cache, "a"); got != ErrUnreadable.Error() {
			t.Errorf("cut to %d: %s", n, got)
		}
	}
	f.values[a] = make([]byte, 1<<20)
	if got := get(t, cache, "a"); got != ErrUnreadable.Error() {
		t.Errorf("too large: %s", got)
	}
	f.values[a] = good
	if got := get(t, cache, "a"); got != "for a" { // none of that is an outage
		t.Errorf("afterwards: %s", got)
	}
}

func TestValuesDifferEachTime(t *testing.T) {
	f := newFake()
	cache := open(t, f, nil)
	seen := map[string]bool{}
	for range 100 {
		set(t, cache, "k", "v", time.Minute)
		v := string(f.values["oidc-cache:"+cache.name("k")][:1+saltLen])
		if seen[v] {
			t.Fatal("a salt came twice")
		}
		seen[v] = true
	}
}

func TestBounds(t *testing.T) {
	f := newFake()
	cache := open(t, f, func(o *Options) { o.MaxValue = 10 })
	if err := cache.Set(t.Context(), "k", make([]byte, 11), time.Minute); !errors.Is(err, ErrTooLarge) || f.calls != 0 {
		t.Error(err)
	}
	set(t, cache, "k", "0123456789", time.Minute)
	if got := get(t, cache, "k"); got != "0123456789" {
		t.Error(got)
	}
	if _, err := New(f, Options{Secret: make([]byte, minSecret-1)}); err == nil {
		t.Error("a short secret was taken")
	}
}

// TestDownIsSkipped: one request pays for a failure, the others pass by.
func TestDownIsSkipped(t *testing.T) {
	c, f := &clock{time.Unix(1_800_000_000, 0)}, newFake()
	cache := open(t, f, func(o *Options) { o.Now, o.Timeout = c.now, 20*time.Millisecond })
	f.hang = true
	began := time.Now()
	if _, _, err := cache.Get(t.Context(), "k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	f.hang = false
	for range 10 {
		if _, _, err := cache.Get(t.Context(), "k"); !errors.Is(err, ErrPaused) {
			t.Errorf("within the pause: %v", err)
		}
		if err := cache.Set(t.Context(), "k", nil, time.Minute); !errors.Is(err, ErrPaused) {
			t.Errorf("within the pause: %v", err)
		}
	}
	if f.calls != 1 {
		t.Errorf("%d calls", f.calls)
	}
	c.at = c.at.Add(2 * time.Second)
	set(t, cache, "k", "v", time.Minute)
	if got := get(t, cache, "k"); got != "v" {
		t.Errorf("afterwards: %s", got)
	}
	f.hang = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := cache.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	f.hang = false
	if got := get(t, cache, "k"); got != "v" {
		t.Errorf("a caller that gave up is no outage: %s", got)
	}
}

func TestSilentRedisIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := redisconn.New(redisconn.Options{Address: redisconn.Address{Port: l.Addr().(*net.TCPAddr).Port}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cache := open(t, conn, func(o *Options) { o.Timeout = 50 * time.Millisecond })
	began := time.Now()
	if _, _, err := cache.Get(t.Context(), "k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func FuzzOpen(f *testing.F) {
	cache, err := New(newFake(), Options{Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	good, err := cache.seal("name", []byte("value"), time.Unix(1_800_000_000, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{version})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, _, err := cache.open("name", b); err == nil && string(v) != "value" {
			t.Errorf("opened %q as %q", b, v)
		}
	})
}

func BenchmarkCache(b *testing.B) {
	s := testservers.StartRedis(b, testservers.RedisOptions{})
	conn, err := redisconn.New(redisconn.Options{Address: redisconn.Address{Host: s.Host, Port: s.Port}})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	cache := open(b, conn, nil)
	value := []byte(fmt.Sprintf(`{"active":true,"sub":"%s"}`, strings.Repeat("x", 1000)))
	if err := cache.Set(b.Context(), "k", value, time.Hour); err != nil {
		b.Fatal(err)
	}
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, end, err := cache.Get(b.Context(), "k"); end.IsZero() || err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Set", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := cache.Set(b.Context(), "k", value, time.Hour); err != nil {
				b.Fatal(err)
			}
		}
	})
}
