package replays_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/replays"
	"kong-openid-connect/internal/session/redis"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/storetest"
	"kong-openid-connect/internal/testservers"
	"kong-openid-connect/internal/token"
)

func id(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

func memory() *token.MemoryReplays { return token.NewMemoryReplays(10, time.Now) }

func connect(t *testing.T, r *testservers.Redis) *redisconn.Client {
	t.Helper()
	c, err := redisconn.New(redisconn.Options{
		Address: redisconn.Address{Host: r.Host, Port: r.Port}, ConnectTimeout: time.Second, SendTimeout: time.Second, ReadTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func inRedis(c *redisconn.Client, prefix string) *replays.Shared {
	return replays.New(memory(), redis.NewLocks(c, prefix, nil), time.Now)
}

// Case 53: a jti that was used on another node which shares the store.
func TestRedisIsShared(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	until := time.Now().Add(time.Minute)
	a := inRedis(connect(t, r), "oidc-cache")
	b := inRedis(connect(t, r), "oidc-cache")
	for i, step := range []struct {
		node  *replays.Shared
		id    string
		fresh bool
	}{{a, "one", true}, {b, "one", false}, {a, "one", false}, {b, "two", true}, {a, "two", false}} {
		fresh, err := step.node.Remember(t.Context(), "key", id(step.id), until)
		if err != nil || fresh != step.fresh {
			t.Errorf("step %d: fresh is %t, %v", i+1, fresh, err)
		}
	}
	other := inRedis(connect(t, r), "another")
	if fresh, err := other.Remember(t.Context(), "key", id("one"), until); err != nil || !fresh {
		t.Errorf("another prefix: %t, %v", fresh, err)
	}
	for key := range strings.FieldsSeq(r.MustDo("KEYS", "*")) {
		var ms int
		if _, err := fmt.Sscan(r.MustDo("PTTL", key), &ms); err != nil || ms < 60_000 || ms > 90_000 {
			t.Errorf("%s lives %d ms more, %v", key, ms, err)
		}
		if !strings.Contains(key, ":lock:dpop-") {
			t.Errorf("key %q", key)
		}
	}
}

func TestOneOfManyIsFirst(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	var nodes []*replays.Shared
	for range 8 {
		nodes = append(nodes, inRedis(connect(t, r), "p"))
	}
	storetest.FirstOfMany(t, 8, func(i int) (bool, error) {
		return nodes[i].Remember(context.Background(), "key", id("one"), time.Now().Add(time.Minute))
	})
}

func TestRedisAwayAcceptsNothing(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	n := inRedis(connect(t, r), "p")
	r.Kill()
	if fresh, err := n.Remember(t.Context(), "key", id("one"), time.Now().Add(time.Minute)); err == nil || fresh {
		t.Errorf("fresh is %t, %v", fresh, err)
	}
	r.Start()
	if fresh, err := n.Remember(t.Context(), "key", id("one"), time.Now().Add(time.Minute)); err != nil || fresh {
		t.Errorf("a proof that was refused for want of Redis is accepted later: %t, %v", fresh, err)
	}
	if fresh, err := n.Remember(t.Context(), "key", id("two"), time.Now().Add(time.Minute)); err != nil || !fresh {
		t.Errorf("Redis is back: %t, %v", fresh, err)
	}
}

// A server without room answers with an error and evicts nothing.
func TestRedisFullAcceptsNothing(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	n := inRedis(connect(t, r), "p")
	r.MustDo("CONFIG", "SET", "maxmemory", "1")
	if fresh, err := n.Remember(t.Context(), "key", id("one"), time.Now().Add(time.Minute)); err == nil || fresh {
		t.Errorf("fresh is %t, %v", fresh, err)
	}
}

// proofs is a store.Claims that counts.
type proofs struct {
	calls int
	keep  time.Duration
	fresh bool
	err   error
}

func (p *proofs) Claim(_ context.Context, _ string, keep time.Duration) (bool, error) {
	p.calls++
	p.keep = keep
	return p.fresh, p.err
}

func TestMemoryStandsInFront(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	there := &proofs{fresh: true}
	s := replays.New(token.NewMemoryReplays(4, clock), there, clock)
	remember := func(text string) (bool, error) {
		return s.Remember(t.Context(), text, id(text), now.Add(time.Minute))
	}
	if fresh, err := remember("a"); err != nil || !fresh || there.keep != time.Minute+10*time.Second {
		t.Errorf("fresh is %t, kept %v, %v", fresh, there.keep, err)
	}
	if fresh, err := remember("a"); err != nil || fresh || there.calls != 1 {
		t.Errorf("a replay at the same node: fresh is %t after %d calls, %v", fresh, there.calls, err)
	}
	there.fresh = false
	if fresh, err := remember("b"); err != nil || fresh {
		t.Errorf("a replay from another node: fresh is %t, %v", fresh, err)
	}
	there.fresh, there.err = true, &store.Unavailable{Op: "claim", Err: errors.New("away")}
	if fresh, err := remember("c"); !errors.Is(err, there.err) || fresh {
		t.Errorf("store away: fresh is %t, %v", fresh, err)
	}
	there.err = nil
	if fresh, err := remember("d"); err != nil || !fresh {
		t.Errorf("fresh is %t, %v", fresh, err)
	}
	calls := there.calls
	if fresh, err := remember("e"); err == nil || fresh || there.calls != calls {
		t.Errorf("a full memory: fresh is %t after %d calls, %v", fresh, there.calls-calls, err)
	}
}
