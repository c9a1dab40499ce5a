package entities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/fault"
)

// counting is Lookups that count and answer what they are told.
type counting struct {
	None
	mu    sync.Mutex
	calls int
	err   error
	wait  chan struct{}
	token *OAuth2Token
	group bool
}

func (c *counting) count() error {
	c.mu.Lock()
	c.calls++
	err, wait := c.err, c.wait
	c.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return err
}

func (c *counting) ConsumerByUsername(_ context.Context, ws, name string, ignoreCase bool) (*Consumer, error) {
	if err := c.count(); err != nil {
		return nil, err
	}
	return &Consumer{ID: "id of " + name, Username: name, CustomID: fmt.Sprint(ws, ignoreCase)}, nil
}

func (c *counting) OAuth2Token(context.Context, string, string) (*OAuth2Token, error) {
	return c.token, c.count()
}

func (c *counting) KnowsGroups(context.Context) (bool, error) { return c.group, c.count() }

func TestCache(t *testing.T) {
	now := time.Unix(1000, 0)
	next := &counting{}
	c := NewCache(next, 0, func() time.Time { return now })
	ask := func(ws, name string, ignoreCase bool) (*Consumer, error) {
		return c.ConsumerByUsername(t.Context(), ws, name, ignoreCase)
	}
	step := func(what string, calls int, f func() error, want error) {
		t.Helper()
		before := next.calls
		if err := f(); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if next.calls-before != calls {
			t.Errorf("%s: asked %d times, want %d", what, next.calls-before, calls)
		}
	}
	bob := func() error { _, err := ask("ws", "bob", false); return err }
	step("first", 1, bob, nil)
	step("again", 0, bob, nil)
	step("in another workspace", 1, func() error { _, err := ask("ws2", "bob", false); return err }, nil)
	step("ignoring case", 1, func() error { _, err := ask("ws", "bob", true); return err }, nil)
	now = now.Add(DefaultTTL)
	step("after its time", 1, bob, nil)

	next.err = ErrNotFound
	alice := func() error { _, err := ask("ws", "alice", false); return err }
	step("unknown", 1, alice, ErrNotFound)
	next.err = nil
	step("unknown is kept", 0, alice, ErrNotFound)
	now = now.Add(DefaultTTL)
	step("unknown no more", 1, alice, nil)

	away := &LookupError{"x", errors.New("away")}
	next.err = away
	carol := func() error { _, err := ask("ws", "carol", false); return err }
	step("a failure", 1, carol, away)
	step("a failure is not kept", 1, carol, away)
	if errors.Is(away, ErrNotFound) {
		t.Error("a failure passes for not found")
	}
	next.err = nil
	step("after the failure", 1, carol, nil)
	step("too long", 0, func() error { _, err := ask("ws", strings.Repeat("x", MaxName+1), false); return err }, ErrNotFound)
	step("empty", 0, func() error { _, err := ask("ws", "", false); return err }, ErrNotFound)

	step("false is kept", 1, func() error {
		for range 3 {
			if ok, err := c.KnowsGroups(t.Context()); ok || err != nil {
				return errors.Join(err, errors.New("wrong"))
			}
		}
		return nil
	}, nil)
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	next := &counting{}
	c := NewCache(next, time.Minute, func() time.Time { return now })
	for i := range MaxEntries + 100 {
		if _, err := c.ConsumerByUsername(t.Context(), "", fmt.Sprint(i), false); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.entries) > MaxEntries || len(c.order) != len(c.entries) {
		t.Errorf("%d entries, %d in order", len(c.entries), len(c.order))
	}
	now = now.Add(time.Minute)
	if _, err := c.ConsumerByUsername(t.Context(), "", "x", false); err != nil || len(c.entries) != 1 {
		t.Errorf("%d entries are left after their time, %v", len(c.entries), err)
	}
}

func TestOneLookupForManyRequests(t *testing.T) {
	next := &counting{wait: make(chan struct{})}
	c := NewCache(next, 0, nil)
	gone, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := c.ConsumerByUsername(gone, "", "bob", false); first <- err }()
	for {
		next.mu.Lock()
		n := next.calls
		next.mu.Unlock()
		if n == 1 {
			break
		}
		<-time.After(time.Millisecond)
	}
	cancel() // the one who began gives up
	var failed *LookupError
	if err := <-first; !errors.As(err, &failed) || errors.Is(err, ErrNotFound) {
		t.Errorf("who gave up: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := c.ConsumerByUsername(context.Background(), "", "bob", false); err != nil || v.Username != "bob" {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	close(next.wait)
	wg.Wait()
	if next.calls != 1 {
		t.Errorf("asked %d times", next.calls)
	}
}

func TestExpiredTokenIsNotServedFromTheCache(t *testing.T) {
	now := time.Unix(1000, 0)
	next := &counting{token: &OAuth2Token{ID: "t", CreatedAt: now, ExpiresIn: 3}}
	c := NewCache(next, 0, func() time.Time { return now })
	if _, err := c.OAuth2Token(t.Context(), "", "x"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(3 * time.Second)
	if _, err := c.OAuth2Token(t.Context(), "", "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
	next.token = &OAuth2Token{ID: "u", CreatedAt: now}
	now = now.Add(100 * time.Hour)
	if _, err := c.OAuth2Token(t.Context(), "", "x"); err != nil {
		t.Errorf("one that never expires: %v", err)
	}
}

type pdk struct {
	answer *Consumer
	err    error
	calls  []string
}

func (p *pdk) LoadConsumer(_ context.Context, id string, byUsername bool) (*Consumer, error) {
	p.calls = append(p.calls, fmt.Sprint(id, " ", byUsername))
	return p.answer, p.err
}

func TestPDK(t *testing.T) {
	const id = "00000000-0000-4000-8000-000000000001"
	bob := &Consumer{ID: id, Username: "bob"}
	away := errors.New("away")
	for _, c := range []struct {
		name  string
		pdk   pdk
		ask   func(Lookups) (*Consumer, error)
		want  error
		calls int
	}{
		{"by id", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByID(t.Context(), "", id) }, nil, 1},
		{"by name", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByUsername(t.Context(), "", "bob", false) }, nil, 1},
		{"none", pdk{}, func(l Lookups) (*Consumer, error) { return l.ConsumerByUsername(t.Context(), "", "bob", false) }, ErrNotFound, 1},
		{"an empty one", pdk{answer: &Consumer{}}, func(l Lookups) (*Consumer, error) { return l.ConsumerByID(t.Context(), "", id) }, ErrNotFound, 1},
		{"another one", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByUsername(t.Context(), "", id, false) }, ErrNotFound, 1},
		{"a name as id", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByID(t.Context(), "", "bob") }, ErrNotFound, 0},
		{"a failure", pdk{err: away}, func(l Lookups) (*Consumer, error) { return l.ConsumerByID(t.Context(), "", id) }, away, 1},
		{"ignoring case", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByUsername(t.Context(), "", "bob", true) }, ErrNoSource, 0},
		{"by custom_id", pdk{answer: bob}, func(l Lookups) (*Consumer, error) { return l.ConsumerByCustomID(t.Context(), "", "bob", false) }, ErrNoSource, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := NewCache(None{}, 0, nil).For(&c.pdk)
			for range 2 {
				v, err := c.ask(l)
				if !errors.Is(err, c.want) || err == nil && v.ID != id {
					t.Errorf("%v, %v", v, err)
				}
			}
			calls := c.calls
			if c.want == away {
				calls = 2 // failures are not kept
			}
			if len(c.pdk.calls) != calls {
				t.Errorf("the PDK was asked %v", c.pdk.calls)
			}
		})
	}
}

func TestPick(t *testing.T) {
	name := func(c *Consumer) string { return c.Username }
	all := []Consumer{{ID: "1", Username: "BOB"}, {ID: "2", Username: "bob"}}
	if c, err := Pick(all, "bob", "username", name); err != nil || c.ID != "2" {
		t.Errorf("exact: %v, %v", c, err)
	}
	if c, err := Pick(all[:1], "bob", "username", name); err != nil || c.ID != "1" {
		t.Errorf("the only one: %v, %v", c, err)
	}
	var ambiguous *AmbiguousError
	if _, err := Pick(all, "Bob", "username", name); !errors.As(err, &ambiguous) {
		t.Errorf("two: %v", err)
	}
	if _, err := Pick(nil, "Bob", "username", name); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v", err)
	}
}

func TestPEMNeverPrints(t *testing.T) {
	c := Certificate{ID: "1", Key: NewPEM("hush")}
	if text := fmt.Sprintf("%v %+v %#v %s", c, c, &c, c.Key); strings.Contains(text, "hush") {
		t.Error(text)
	}
}

func BenchmarkCached(b *testing.B) {
	c := NewCache(&counting{}, time.Hour, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.ConsumerByUsername(b.Context(), "ws", "bob", false); err != nil {
			b.Fatal(err)
		}
	}
}

// broken is Lookups that panic while they are.
type broken struct {
	counting
	now bool
}

func (b *broken) OAuth2Token(ctx context.Context, ws, value string) (*OAuth2Token, error) {
	if b.now {
		panic("secret")
	}
	return b.counting.OAuth2Token(ctx, ws, value)
}

// Case 65: a fault while an entity is looked up ends that request alone. It is
// no answer: neither a token nor that there is none.
func TestCase65PanicInALookup(t *testing.T) {
	next := &broken{counting: counting{token: &OAuth2Token{ID: "t", CreatedAt: time.Unix(1000, 0)}}, now: true}
	c := NewCache(next, 0, func() time.Time { return time.Unix(1000, 0) })
	if v, err := c.OAuth2Token(t.Context(), "", "x"); v != nil || !errors.Is(err, fault.ErrPanicked) || errors.Is(err, ErrNotFound) {
		t.Fatalf("%v, %v", v, err)
	}
	next.now = false
	if v, err := c.OAuth2Token(t.Context(), "", "x"); err != nil || v.ID != "t" {
		t.Errorf("afterwards: %v, %v", v, err)
	}
}
