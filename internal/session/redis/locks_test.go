package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/session/redis"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/storetest"
	"kong-openid-connect/internal/testservers"
)

// twoNodes are the locks of two nodes that share a Redis.
func twoNodes(t *testing.T) (a, b *redis.Locks, s *testservers.Redis) {
	t.Helper()
	s = testservers.StartRedis(t, testservers.RedisOptions{})
	o := redisconn.Options{Address: at(s), ConnectTimeout: 300 * time.Millisecond, SendTimeout: 300 * time.Millisecond, ReadTimeout: 300 * time.Millisecond}
	return redis.NewLocks(connect(t, o), "", nil), redis.NewLocks(connect(t, o), "", nil), s
}

func returns(text string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(text), nil }
}

func never(t *testing.T) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { t.Error("a second one ran"); return nil, nil }
}

// TestCase48OneRefreshOnTwoNodes is case 48, as far as the lock goes, a hundred times.
func TestCase48OneRefreshOnTwoNodes(t *testing.T) {
	a, b, _ := twoNodes(t)
	for round := range 100 {
		storetest.OneRun(t, 20, fmt.Sprint("refresh", round), func() { wait(5 * time.Millisecond) }, a, b)
	}
}

// hold takes the lock on one node until release is called with what it comes to.
func hold(t *testing.T, l *redis.Locks, key string, lease time.Duration) (release func([]byte, error) error) {
	t.Helper()
	type outcome struct {
		v   []byte
		err error
	}
	begun, end, over := make(chan struct{}), make(chan outcome), make(chan error, 1)
	go func() {
		_, err := l.Once(context.Background(), key, lease, time.Minute, func(context.Context) ([]byte, error) {
			close(begun)
			o := <-end
			return o.v, o.err
		})
		over <- err
	}()
	<-begun
	return func(v []byte, err error) error { end <- outcome{v, err}; return <-over }
}

func TestWaitersAndFailure(t *testing.T) {
	a, b, _ := twoNodes(t)
	mine := errors.New("mine")
	release := hold(t, a, "k", time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	var unavailable *store.Unavailable
	if _, err := b.Once(ctx, "k", time.Minute, time.Minute, never(t)); !errors.As(err, &unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting caller whose time ends: %v", err)
	}
	if v, err := b.Once(t.Context(), "other", time.Minute, time.Minute, returns("o")); err != nil || string(v) != "o" {
		t.Errorf("another key: %q, %v", v, err)
	}
	lost := make(chan error)
	go func() {
		_, err := b.Once(context.Background(), "k", time.Minute, time.Minute, never(t))
		lost <- err
	}()
	wait(30 * time.Millisecond) // it waits by now; if not, it runs and the test says so
	if err := release(nil, mine); !errors.Is(err, mine) {
		t.Errorf("own caller: %v", err)
	}
	if err := <-lost; !errors.Is(err, store.ErrLost) {
		t.Errorf("waiting caller: %v", err)
	}
	if v, err := b.Once(t.Context(), "k", time.Minute, time.Minute, returns("next")); err != nil || string(v) != "next" {
		t.Errorf("next caller: %q, %v", v, err)
	}
}

func TestResultIsForgotten(t *testing.T) {
	a, b, s := twoNodes(t)
	once := func(l *redis.Locks, text string) string {
		t.Helper()
		v, err := l.Once(t.Context(), "k", time.Minute, 300*time.Millisecond, returns(text))
		if err != nil {
			t.Fatal(err)
		}
		return string(v)
	}
	if got := once(a, "one") + once(b, "two"); got != "oneone" {
		t.Errorf("within its time: %s", got)
	}
	wait(400 * time.Millisecond)
	if got := s.MustDo("KEYS", "*"); got != "" {
		t.Errorf("left: %q", got)
	}
	if got := once(b, "three"); got != "three" {
		t.Errorf("after its time: %s", got)
	}
}

func TestDeadNodeHoldsNobodyUp(t *testing.T) {
	a, b, _ := twoNodes(t)
	release := hold(t, a, "k", 300*time.Millisecond) // a hangs and outlives its lease
	if _, err := b.Once(t.Context(), "k", time.Minute, time.Minute, never(t)); !errors.Is(err, store.ErrLost) {
		t.Errorf("waiting caller: %v", err)
	}
	if v, err := b.Once(t.Context(), "k", time.Minute, time.Minute, returns("b")); err != nil || string(v) != "b" {
		t.Errorf("next caller: %q, %v", v, err)
	}
	_ = release([]byte("late"), nil)
	if v, err := b.Once(t.Context(), "k", time.Minute, time.Minute, never(t)); err != nil || string(v) != "b" {
		t.Errorf("a late result displaced the newer one: %q, %v", v, err)
	}
	_, err := a.Once(t.Context(), "slow", 50*time.Millisecond, time.Minute, func(ctx context.Context) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the work is not bounded by the lease: %v", err)
	}
}

// TestNextAttemptIsAnotherOne: whoever waited for an attempt that failed is
// told so, though the next one holds the lock before it looks again.
func TestNextAttemptIsAnotherOne(t *testing.T) {
	a, b, _ := twoNodes(t)
	release := hold(t, a, "k", time.Minute)
	lost := make(chan error, 1)
	go func() {
		_, err := b.Once(context.Background(), "k", time.Minute, time.Minute, never(t))
		lost <- err
	}()
	wait(500 * time.Millisecond) // it looks every 150 ms by now
	_ = release(nil, errors.New("failed"))
	release = hold(t, a, "k", time.Minute)
	select {
	case err := <-lost:
		if !errors.Is(err, store.ErrLost) {
			t.Errorf("waiting caller: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for another attempt")
	}
	_ = release(nil, nil)
}

func TestPanicFreesTheLock(t *testing.T) {
	a, b, _ := twoNodes(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was hidden")
			}
		}()
		_, _ = a.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { panic("x") })
	}()
	if v, err := b.Once(t.Context(), "k", time.Minute, time.Minute, returns("v")); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
}

func TestRedisDown(t *testing.T) {
	a, b, s := twoNodes(t)
	if v, err := a.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) {
		s.Kill() // in the middle of the work
		return []byte("v"), nil
	}); err != nil || string(v) != "v" {
		t.Errorf("the caller loses its result: %q, %v", v, err)
	}
	var unavailable *store.Unavailable
	if _, err := b.Once(t.Context(), "k", time.Minute, time.Minute, never(t)); !errors.As(err, &unavailable) {
		t.Errorf("without Redis: %v", err)
	}
}

func TestLockLimits(t *testing.T) {
	a, _, s := twoNodes(t)
	for _, key := range []string{"", strings.Repeat("x", store.MaxKey+1), "\x00", "\xff"} {
		if _, err := a.Once(t.Context(), key, time.Minute, time.Minute, never(t)); err == nil {
			t.Errorf("key %.8q was taken", key)
		}
	}
	large := func(context.Context) ([]byte, error) { return make([]byte, store.MaxResult+1), nil }
	if _, err := a.Once(t.Context(), "k", time.Minute, time.Minute, large); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
	if v, err := a.Once(t.Context(), "empty", time.Minute, time.Minute, returns("")); err != nil || len(v) != 0 {
		t.Error(v, err)
	}
	if v, err := a.Once(t.Context(), "empty", time.Minute, time.Minute, never(t)); err != nil || len(v) != 0 {
		t.Error(v, err)
	}
	s.MustDo("SET", "sessions:lock:foreign", "x")
	if _, err := a.Once(t.Context(), "foreign", time.Minute, time.Minute, never(t)); !errors.Is(err, store.ErrLost) {
		t.Errorf("a foreign value: %v", err)
	}
}

func TestAClaimIsMadeOnceOnTwoNodes(t *testing.T) {
	a, b, s := twoNodes(t)
	for round := range 20 {
		storetest.FirstOfMany(t, 10, func(i int) (bool, error) {
			return []*redis.Locks{a, b}[i%2].Claim(t.Context(), fmt.Sprint("login", round), time.Minute)
		})
	}
	if ttl := s.MustDo("TTL", "sessions:lock:login0"); ttl != "60" && ttl != "59" {
		t.Errorf("kept for %s s", ttl)
	}
	s.MustDo("SET", "sessions:lock:ended", "x", "PX", "1")
	for {
		if ok, err := b.Claim(t.Context(), "ended", time.Minute); err != nil {
			t.Fatal(err)
		} else if ok {
			break
		}
	}
	if _, err := a.Claim(t.Context(), strings.Repeat("x", store.MaxKey+1), time.Minute); err == nil {
		t.Error("a key too long was taken")
	}
	s.Kill()
	if ok, err := a.Claim(t.Context(), "down", time.Minute); ok || !errors.As(err, new(*store.Unavailable)) {
		t.Errorf("Redis is down: %v, %v", ok, err)
	}
}
