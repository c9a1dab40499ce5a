// Package storetest is the suite that every storage of sessions passes.
// Imported by tests only.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

// Backend is a storage under test.
type Backend struct {
	Store session.Store
	// Pass lets a duration go by: it moves an injected clock, or waits for a real server. TTLs of the suite are whole seconds.
	Pass func(time.Duration)
	// Now is the clock that the backend goes by.
	Now func() time.Time
	// Prefix makes keys that no other run has used.
	Prefix string
}

// Run runs the suite on a fresh backend for each case. Parts that the store
// does not implement (Index, Revocations) are left out only where needs says so.
func Run(t *testing.T, open func(t *testing.T) Backend, needs Needs) {
	t.Helper()
	cases := []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"a missing key is ErrNotFound", missing},
		{"what was set is read", setGet},
		{"values are any bytes and copied", anyBytes},
		{"set replaces value and ttl", replaced},
		{"a value is forgotten after its ttl", expires},
		{"delete forgets, also twice", deletes},
		{"swap needs the old value", swaps},
		{"swap sets the ttl", swapTTL},
		{"of parallel swaps one wins", swapRace},
		{"a dead context is an error, not a missing session", deadContext},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
	if needs.Index {
		t.Run("index lists live sessions by subject", func(t *testing.T) { index(t, open(t)) })
		t.Run("index forgets with time", func(t *testing.T) { indexExpires(t, open(t)) })
	}
	if needs.Revocations {
		t.Run("revoked from its time to its end", func(t *testing.T) { revocations(t, open(t)) })
		t.Run("a second revocation never shortens", func(t *testing.T) { revokedTwice(t, open(t)) })
		t.Run("a subject's revocation ends what began before it", func(t *testing.T) { ended(t, open(t)) })
	}
}

// Needs says which optional parts a backend must have.
type Needs struct{ Index, Revocations bool }

func missing(t *testing.T, b Backend) {
	if _, err := b.Store.Get(t.Context(), b.Prefix+"none"); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Get = %v, want ErrNotFound", err)
	}
}

func setGet(t *testing.T, b Backend) {
	set(t, b, "a", "one", time.Minute)
	set(t, b, "b", "two", time.Minute)
	want(t, b, "a", "one")
	want(t, b, "b", "two")
}

func anyBytes(t *testing.T, b Backend) {
	for _, size := range []int{0, 1, 255, 4096, 300_000} {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(i * 7)
		}
		set(t, b, "bytes", string(value), time.Minute)
		got, err := b.Store.Get(t.Context(), b.Prefix+"bytes")
		if err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%d bytes: got %d bytes, %v", size, len(got), err)
		}
		for i := range got {
			got[i] = 0
		}
		want(t, b, "bytes", string(value))
	}
}

func replaced(t *testing.T, b Backend) {
	set(t, b, "a", "one", 2*time.Second)
	set(t, b, "a", "two", time.Minute)
	b.Pass(3 * time.Second)
	want(t, b, "a", "two")
}

func expires(t *testing.T, b Backend) {
	set(t, b, "a", "one", 2*time.Second)
	want(t, b, "a", "one")
	b.Pass(3 * time.Second)
	gone(t, b, "a")
	if ok, err := b.Store.Swap(t.Context(), b.Prefix+"a", []byte("one"), []byte("two"), time.Minute); ok || err != nil {
		t.Fatalf("Swap of an expired value = %v, %v", ok, err)
	}
}

func deletes(t *testing.T, b Backend) {
	set(t, b, "a", "one", time.Minute)
	for range 2 {
		if err := b.Store.Delete(t.Context(), b.Prefix+"a"); err != nil {
			t.Fatal(err)
		}
		gone(t, b, "a")
	}
}

func swaps(t *testing.T, b Backend) {
	ctx, key := t.Context(), b.Prefix+"a"
	try := func(old, value string, want bool) {
		t.Helper()
		if ok, err := b.Store.Swap(ctx, key, []byte(old), []byte(value), time.Minute); ok != want || err != nil {
			t.Fatalf("Swap(%q, %q) = %v, %v, want %v", old, value, ok, err, want)
		}
	}
	try("", "made of nothing", false)
	gone(t, b, "a")
	set(t, b, "a", "one", time.Minute)
	try("other", "two", false)
	want(t, b, "a", "one")
	try("one", "two", true)
	want(t, b, "a", "two")
	try("one", "three", false)
	want(t, b, "a", "two")
}

func swapTTL(t *testing.T, b Backend) {
	set(t, b, "a", "one", time.Minute)
	if ok, err := b.Store.Swap(t.Context(), b.Prefix+"a", []byte("one"), []byte("two"), 2*time.Second); !ok || err != nil {
		t.Fatal(ok, err)
	}
	b.Pass(3 * time.Second)
	gone(t, b, "a")
}

func swapRace(t *testing.T, b Backend) {
	set(t, b, "a", "one", time.Minute)
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ok, err := b.Store.Swap(t.Context(), b.Prefix+"a", []byte("one"), fmt.Appendf(nil, "winner %d", i), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 16 swaps won, want 1", won.Load())
	}
}

func deadContext(t *testing.T, b Backend) {
	set(t, b, "a", "one", time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Store.Get(ctx, b.Prefix+"a"); err == nil || errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Get = %v, want a failure", err)
	}
	if err := b.Store.Set(ctx, b.Prefix+"a", []byte("two"), time.Minute); err == nil {
		t.Fatal("Set succeeded")
	}
	want(t, b, "a", "one")
}

func index(t *testing.T, b Backend) {
	ix, ctx := b.Store.(session.Index), t.Context()
	add := func(audience, subject, key string) {
		t.Helper()
		if err := ix.AddSession(ctx, b.Prefix+audience, subject, key, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	list := func(audience, subject string, want ...string) {
		t.Helper()
		got, err := ix.Sessions(ctx, b.Prefix+audience, subject)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("Sessions(%s, %s) = %q, %v, want %q", audience, subject, got, err, want)
		}
	}
	list("app", "alex")
	add("app", "alex", "1")
	add("app", "alex", "2")
	add("app", "doe", "3")
	add("other", "alex", "4")
	add("app:alex", "x", "5") // the parts of a name never run together
	list("app", "alex", "1", "2")
	list("app", "doe", "3")
	list("other", "alex", "4")
	list("app", "alex:x")
	for range 2 {
		if err := ix.RemoveSession(ctx, b.Prefix+"app", "alex", "1"); err != nil {
			t.Fatal(err)
		}
		list("app", "alex", "2")
	}
}

func indexExpires(t *testing.T, b Backend) {
	ix, ctx := b.Store.(session.Index), t.Context()
	for key, ttl := range map[string]time.Duration{"short": 2 * time.Second, "long": time.Minute} {
		if err := ix.AddSession(ctx, b.Prefix+"app", "alex", key, ttl); err != nil {
			t.Fatal(err)
		}
	}
	b.Pass(3 * time.Second)
	got, err := ix.Sessions(ctx, b.Prefix+"app", "alex")
	if err != nil || !slices.Equal(got, []string{"long"}) {
		t.Fatalf("Sessions = %q, %v", got, err)
	}
}

func revocations(t *testing.T, b Backend) {
	r, ctx := b.Store.(session.Revocations), t.Context()
	now := b.Now()
	check := func(want bool, keys ...string) {
		t.Helper()
		for i := range keys {
			keys[i] = b.Prefix + keys[i]
		}
		if got, err := r.Revoked(ctx, keys...); got != want || err != nil {
			t.Fatalf("Revoked(%q) = %v, %v, want %v", keys, got, err, want)
		}
	}
	check(false)
	check(false, "a")
	if err := r.Revoke(ctx, b.Prefix+"a", now, now.Add(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := r.Revoke(ctx, b.Prefix+"later", now.Add(2*time.Second), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	check(true, "a")
	check(true, "other", "a")
	check(false, "other", "later")
	b.Pass(3 * time.Second)
	check(true, "later")
	check(true, "a")
}

func revokedTwice(t *testing.T, b Backend) {
	r, ctx := b.Store.(session.Revocations), t.Context()
	now := b.Now()
	for _, w := range [][2]time.Duration{{0, time.Minute}, {10 * time.Second, 2 * time.Second}} {
		if err := r.Revoke(ctx, b.Prefix+"a", now.Add(w[0]), now.Add(w[1])); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got, err := r.Revoked(ctx, b.Prefix+"a"); !got || err != nil {
			t.Fatalf("Revoked = %v, %v", got, err)
		}
		b.Pass(3 * time.Second)
	}
}

func ended(t *testing.T, b Backend) {
	r, ctx := b.Store.(session.Revocations), t.Context()
	check := func(want bool, began time.Time, subject string, keys ...string) {
		t.Helper()
		for i := range keys {
			keys[i] = b.Prefix + keys[i]
		}
		if got, err := r.Ended(ctx, began, b.Prefix+subject, keys...); got != want || err != nil {
			t.Fatalf("Ended(%v, %s, %q) = %v, %v, want %v", began, subject, keys, got, err, want)
		}
		j, ok := b.Store.(session.Joint)
		if !ok {
			return
		}
		if value, got, err := j.GetEnded(ctx, b.Prefix+"kept", began, b.Prefix+subject, keys...); got != want || err != nil || string(value) != "one" {
			t.Fatalf("GetEnded(%v, %s, %q) = %q, %v, %v, want %v", began, subject, keys, value, got, err, want)
		}
		if value, _, err := j.GetEnded(ctx, b.Prefix+"none", began, b.Prefix+subject, keys...); !errors.Is(err, session.ErrNotFound) || value != nil {
			t.Fatalf("GetEnded of a missing key = %q, %v", value, err)
		}
	}
	set(t, b, "kept", "one", time.Minute)
	now := b.Now().Truncate(time.Millisecond)
	check(false, now, "sub", "a")
	for _, from := range []time.Time{now, now.Add(-time.Hour), now.Add(time.Hour)} {
		if err := r.Revoke(ctx, b.Prefix+"sub", from, now.Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// The one that is still to come hides the latest of those that hold.
	check(true, now.Add(-time.Hour), "sub")
	check(true, now.Add(-2*time.Hour), "sub", "a")
	check(false, now.Add(time.Millisecond), "sub", "a")
	check(false, now, "other", "a")
	if err := r.Revoke(ctx, b.Prefix+"a", now, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	check(true, now.Add(time.Millisecond), "sub", "b", "a")
	check(false, now.Add(time.Millisecond), "sub", "b")
	for _, from := range []time.Time{now, now.Add(-time.Hour)} {
		if err := r.Revoke(ctx, b.Prefix+"twice", from, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	check(true, now, "twice")
	check(false, now.Add(time.Millisecond), "twice")
}

func set(t *testing.T, b Backend, key, value string, ttl time.Duration) {
	t.Helper()
	if err := b.Store.Set(t.Context(), b.Prefix+key, []byte(value), ttl); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, b Backend, key, value string) {
	t.Helper()
	got, err := b.Store.Get(t.Context(), b.Prefix+key)
	if err != nil || string(got) != value {
		t.Fatalf("Get(%s) = %d bytes, %v, want %d bytes", key, len(got), err, len(value))
	}
}

func gone(t *testing.T, b Backend, key string) {
	t.Helper()
	if _, err := b.Store.Get(t.Context(), b.Prefix+key); !errors.Is(err, session.ErrNotFound) {
		t.Fatalf("Get(%s) = %v, want ErrNotFound", key, err)
	}
}
