package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/fault"
)

var errDown = errors.New("down")

func always(error) bool { return true }

// clock is moved by hand.
type clock struct{ at time.Time }

func (k *clock) now() time.Time { return k.at }

func TestLoad(t *testing.T) {
	k := &clock{time.Unix(1e9, 0)}
	c := New[string](Options{Bytes: 1 << 20, Budget: time.Second, Now: k.now})
	loads := 0
	var fail error
	get := func() (string, bool, error) {
		return c.Load(t.Context(), NewKey("k"), 30*time.Second, always, func(context.Context) (Loaded[string], error) {
			loads++
			return Loaded[string]{Value: "v", TTL: 10 * time.Second}, fail
		})
	}
	if v, hit, err := get(); v != "v" || hit || err != nil {
		t.Fatal(v, hit, err)
	}
	k.at = k.at.Add(10*time.Second - time.Nanosecond)
	if _, hit, _ := get(); !hit || loads != 1 {
		t.Fatal("not kept until its expiry", loads)
	}
	k.at = k.at.Add(time.Nanosecond)
	fail = errDown
	if v, hit, err := get(); v != "v" || !hit || err != nil {
		t.Fatal("a stale value does not stand in", err)
	}
	k.at = k.at.Add(30 * time.Second)
	if _, _, err := get(); !errors.Is(err, errDown) {
		t.Fatal("a value stands in for ever", err)
	}
	fail = nil
	if _, hit, err := get(); hit || err != nil {
		t.Fatal(hit, err)
	}
	c.Forget(NewKey("k"))
	if _, hit, _ := get(); hit {
		t.Fatal("forgotten and still there")
	}
}

func TestRefusalIsNotStale(t *testing.T) {
	k := &clock{time.Unix(1e9, 0)}
	c := New[string](Options{Bytes: 1 << 20, Budget: time.Second, Now: k.now})
	load := func(err error) func(context.Context) (Loaded[string], error) {
		return func(context.Context) (Loaded[string], error) {
			return Loaded[string]{Value: "v", TTL: time.Second}, err
		}
	}
	c.Load(t.Context(), NewKey("k"), time.Minute, always, load(nil))
	k.at = k.at.Add(time.Second)
	if _, _, err := c.Load(t.Context(), NewKey("k"), time.Minute, func(error) bool { return false }, load(errDown)); err == nil {
		t.Fatal("a refusal is answered by the old value")
	}
}

func TestTwentyParallelLoadsAreOne(t *testing.T) {
	c := New[int](Options{Bytes: 1 << 20, Budget: time.Minute, Now: time.Now})
	var loads atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	load := func(ctx context.Context) (Loaded[int], error) {
		if loads.Add(1) == 1 {
			close(begun)
		}
		<-release
		return Loaded[int]{Value: 7, TTL: time.Minute}, ctx.Err()
	}
	// The first caller goes away; the others are served by its load.
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := c.Load(ctx, NewKey("k"), 0, always, load); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-begun
	for range 20 {
		wg.Go(func() {
			if v, _, err := c.Load(t.Context(), NewKey("k"), 0, always, load); v != 7 || err != nil {
				t.Error(v, err)
			}
		})
	}
	leave()
	close(release)
	wg.Wait()
	if n := loads.Load(); n != 1 {
		t.Errorf("%d loads", n)
	}
}

func TestTTL(t *testing.T) {
	s := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	for _, c := range []struct {
		name      string
		own       time.Duration
		known     bool
		low, high *time.Duration
		want      time.Duration
	}{
		{"its own", 100 * time.Second, true, nil, nil, 100 * time.Second},
		{"fallback", 0, false, nil, nil, time.Hour},
		{"case 61: zero is never kept", 0, true, s(60), nil, 0},
		{"case 61: below zero is never kept", -time.Second, true, s(60), nil, 0},
		{"high", 100 * time.Second, true, nil, s(40), 40 * time.Second},
		{"low", 10 * time.Second, true, s(40), nil, 40 * time.Second},
		{"low wins", 10 * time.Second, true, s(40), s(20), 40 * time.Second},
	} {
		if got := TTL(c.own, c.known, time.Hour, c.low, c.high); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestPanicInALoadIsAnError(t *testing.T) {
	c := New[string](Options{Bytes: 1 << 20, Budget: time.Second, Now: time.Now})
	_, _, err := c.Load(t.Context(), NewKey("k"), 0, always, func(context.Context) (Loaded[string], error) { panic("secret") })
	if !errors.Is(err, fault.ErrPanicked) || strings.Contains(err.Error(), "secret") {
		t.Fatal(err)
	}
	if _, _, err = c.Load(t.Context(), NewKey("k"), 0, always, func(context.Context) (Loaded[string], error) {
		return Loaded[string]{Value: "v"}, nil
	}); err != nil {
		t.Fatal("the next load:", err)
	}
}
