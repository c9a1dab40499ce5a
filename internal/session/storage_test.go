package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
)

// plain hides the optional parts of a store.
type plain struct{ session.Store }

var errDown = errors.New("connection refused")

// broken is a store that can be switched off.
type broken struct {
	*memory.Store
	reads, writes bool // fail
}

func (b *broken) Get(ctx context.Context, key string) ([]byte, error) {
	if b.reads {
		return nil, errDown
	}
	return b.Store.Get(ctx, key)
}

func (b *broken) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if b.writes {
		return errDown
	}
	return b.Store.Set(ctx, key, value, ttl)
}

func (b *broken) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if b.writes {
		return false, errDown
	}
	return b.Store.Swap(ctx, key, old, value, ttl)
}

func (b *broken) Revoked(ctx context.Context, keys ...string) (bool, error) {
	if b.reads {
		return false, errDown
	}
	return b.Store.Revoked(ctx, keys...)
}

func (b *broken) Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	if b.reads {
		return false, errDown
	}
	return b.Store.Ended(ctx, began, subject, keys...)
}

func (b *broken) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if b.writes {
		return errDown
	}
	return b.Store.Revoke(ctx, key, from, until)
}

func (b *broken) GetEnded(ctx context.Context, key string, began time.Time, subject string, keys ...string) ([]byte, bool, error) {
	if b.reads {
		return nil, false, errDown
	}
	return b.Store.GetEnded(ctx, key, began, subject, keys...)
}

func isDown(t *testing.T, set []string, err error) {
	t.Helper()
	var storage *session.StorageError
	if !errors.As(err, &storage) || !errors.Is(err, errDown) {
		t.Fatalf("error %v, want a StorageError", err)
	}
	if len(set) != 0 {
		t.Fatalf("cookies claim success: %q", set)
	}
}

func TestCase46StorageDown(t *testing.T) {
	for _, kind := range []string{"store", "revocations"} {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			down := &broken{Store: c.store()}
			m := c.manager(t, func(o *session.Config) {
				if o.Revocations = down; kind == "store" {
					o.Revocations, o.Store = nil, down
				}
			})
			b := newBrowser(t)
			b.login(m, "alex", "data")
			s := b.has(m, "alex", "data")

			down.reads = true
			got, _, err := m.Open(t.Context(), b.input())
			if got != nil {
				t.Fatal("a session without its storage")
			}
			isDown(t, nil, err)
			down.reads, down.writes = false, true
			set, err := m.Renew(t.Context(), b.input(), s)
			isDown(t, set, err)
			set, err = m.Save(t.Context(), b.input(), session.New("alex", []byte("data")))
			isDown(t, set, err)
			set, err = m.Destroy(t.Context(), b.input(), s)
			isDown(t, nil, err)
			if len(set) != 1 {
				t.Fatalf("the browser keeps its cookie: %q", set)
			}
			down.writes = false
			b.has(m, "alex", "data")
		})
	}
}

func TestTwentyParallelRenewalsMakeOneSession(t *testing.T) {
	c := newClock()
	store := c.store()
	m := c.manager(t, func(o *session.Config) { o.Store, o.Timeouts.Idling = store, 0 })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	c.pass(45 * time.Minute)
	ids := make([]string, 20)
	ready := make(chan struct{})
	var opened, wg sync.WaitGroup
	opened.Add(len(ids))
	for i := range ids {
		own := b.copy()
		wg.Go(func() {
			s, why := own.open(m)
			opened.Done()
			<-ready
			if s == nil {
				t.Errorf("no session: %v", why)
				return
			}
			set, err := m.Touch(t.Context(), own.input(), s)
			if err != nil || len(set) != 1 {
				t.Errorf("%d cookies, %v", len(set), err)
				return
			}
			ids[i] = s.ID()
			own.take(set, err)
			own.has(m, "alex", "data")
		})
	}
	opened.Wait()
	close(ready)
	wg.Wait()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 1 {
		t.Fatalf("%d sessions made of one", n)
	}
	if store.Len() != 2 { // the new one, and the pointer to it
		t.Fatalf("%d records", store.Len())
	}
}

func TestLateRequestLearnsOfTheRenewal(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.Store = c.store() })
	b := newBrowser(t)
	s := b.login(m, "alex", "old")
	late := b.copy()
	s.Data = []byte("new") // tokens were refreshed
	set, err := m.Save(t.Context(), b.input(), s)
	b.take(set, err)
	c.pass(9 * time.Second)
	got := late.has(m, "alex", "new")
	set, err = m.Touch(t.Context(), late.input(), got)
	late.take(set, err)
	c.pass(time.Minute)
	late.has(m, "alex", "new")
}

func TestLogoutIsNotUndoneByALateRenewal(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		if !c.ends(in) {
			return
		}
		m := c.manager(t, in)
		b := newBrowser(t)
		b.login(m, "alex", "data")
		late := b.has(m, "alex", "data")
		copied := b.copy()
		set, err := m.Destroy(t.Context(), b.input(), b.has(m, "alex", "data"))
		b.take(set, err)
		if set, err := m.Renew(t.Context(), copied.input(), late); !errors.Is(err, session.ErrEnded) || set != nil {
			t.Fatalf("renewed after logout: %q, %v", set, err)
		}
		copied.hasNot(m)
	})
}

func TestLogoutEndsWhatItsSessionWasJustRenewedTo(t *testing.T) {
	c := newClock()
	store := c.store()
	m := c.manager(t, func(o *session.Config) { o.Store = store })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	renewed := b.copy()
	s := renewed.has(m, "alex", "data")
	set, err := m.Renew(t.Context(), renewed.input(), s)
	renewed.take(set, err)
	set, err = m.Destroy(t.Context(), b.input(), nil) // with the cookie from before
	b.take(set, err)
	renewed.hasNot(m, session.Revoked)
}

func TestCase52CopyOfTheCookieDiesAtLogout(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		if !c.ends(in) {
			return
		}
		m := c.manager(t, in, func(o *session.Config) { o.Timeouts.Idling, o.Timeouts.Rolling = 0, 0 })
		b := newBrowser(t)
		s := b.login(m, "alex", "data")
		copied := b.copy()
		set, err := m.Destroy(t.Context(), b.input(), s)
		b.take(set, err)
		if len(b.cookies) != 0 {
			t.Fatalf("left: %v", b.cookies)
		}
		for range 24 {
			copied.hasNot(m, session.Revoked, session.NotStored, session.AbsoluteTimeout)
			c.pass(time.Hour)
		}
	})
}

func TestCase26ANewLoginTakesANewIDAndEndsTheOldSession(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in)
		b := newBrowser(t)
		first := b.login(m, "mallory", "planted before the login")
		planted := b.copy()
		second := b.login(m, "alex", "data")
		if first.ID() == second.ID() {
			t.Fatal("the id outlived the login")
		}
		b.has(m, "alex", "data")
		if c.ends(in) {
			planted.hasNot(m, session.Revoked)
		}
	})
}

func TestStorageAloneGivesNothing(t *testing.T) {
	for _, hash := range []bool{false, true} {
		c := newClock()
		seen := &recorder{Store: c.store()}
		m := c.manager(t, func(o *session.Config) {
			o.Store, o.HashStorageKey, o.StoreMetadata, o.HashSubject = seen, hash, true, hash
		})
		b := newBrowser(t)
		s := b.login(m, "alex@example.com", "secret-token")
		b.has(m, "alex@example.com", "secret-token")
		all := strings.Join(seen.log, "\n")
		if strings.Contains(all, "secret-token") {
			t.Fatal("the payload is in clear")
		}
		if strings.Contains(all, s.ID()) == hash || strings.Contains(all, "alex@example.com") == hash {
			t.Fatalf("hashing %v: %q", hash, all)
		}
	}
}

type recorder struct {
	*memory.Store
	log []string
}

func (r *recorder) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	r.log = append(r.log, key, string(value))
	return r.Store.Set(ctx, key, value, ttl)
}

func (r *recorder) AddSession(ctx context.Context, audience, subject, key string, ttl time.Duration) error {
	r.log = append(r.log, audience, subject, key)
	return r.Store.AddSession(ctx, audience, subject, key, ttl)
}

func TestRecordsLiveAsLongAsTheirSession(t *testing.T) {
	c := newClock()
	ttls := &ttls{Store: c.store()}
	save := func(edit func(*session.Config)) time.Duration {
		b := newBrowser(t)
		b.login(c.manager(t, func(o *session.Config) { o.Store = ttls; edit(o) }), "alex", "data")
		return ttls.last
	}
	for want, edit := range map[time.Duration]func(*session.Config){
		time.Hour:            func(o *session.Config) {},
		24 * time.Hour:       func(o *session.Config) { o.Timeouts.Rolling = 0 },
		7 * 24 * time.Hour:   remembering,
		400 * 24 * time.Hour: func(o *session.Config) { o.Timeouts = session.Timeouts{} },
	} {
		if got := save(edit); got != want {
			t.Errorf("ttl %v, want %v", got, want)
		}
	}
}

type ttls struct {
	*memory.Store
	last time.Duration
}

func (r *ttls) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	r.last = ttl
	return r.Store.Set(ctx, key, value, ttl)
}

func TestEndSubject(t *testing.T) {
	for _, hash := range []bool{false, true} {
		c := newClock()
		store := c.store()
		m := c.manager(t, func(o *session.Config) { o.Store, o.StoreMetadata, o.HashSubject = store, true, hash })
		one, two, other := newBrowser(t), newBrowser(t), newBrowser(t)
		one.login(m, "alex", "1")
		s := two.login(m, "alex", "2")
		other.login(m, "doe", "3")
		set, err := m.Renew(t.Context(), two.input(), s)
		two.take(set, err)
		if n, err := m.EndSubject(t.Context(), "alex"); n != 2 || err != nil {
			t.Fatalf("%d sessions ended, %v", n, err)
		}
		one.hasNot(m, session.NotStored)
		two.hasNot(m, session.NotStored)
		other.has(m, "doe", "3")
		if n, err := m.EndSubject(t.Context(), "alex"); n != 0 || err != nil {
			t.Fatalf("%d sessions ended again, %v", n, err)
		}
	}
}

func TestSealedSessionIsHandedOver(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in)
		winner := newBrowser(t)
		s := winner.login(m, "alex", "old")
		loser := winner.copy()
		s.Data = []byte("new")
		set, err := m.Save(t.Context(), winner.input(), s)
		winner.take(set, err)
		got, why, err := m.OpenSealed(t.Context(), loser.input(), s.Sealed())
		if got == nil || err != nil {
			t.Fatal(why, err)
		}
		set, err = m.Touch(t.Context(), loser.input(), got)
		loser.take(set, err)
		loser.has(m, "alex", "new")
		if set, err = m.Touch(t.Context(), loser.input(), got); m.Due(got) || len(set) != 0 || err != nil {
			t.Fatalf("handed over twice: %q, %v", set, err)
		}
		for _, bad := range []string{"", "~", s.Sealed() + "~" + s.Sealed(), s.Sealed()[1:]} {
			if got, _, err := m.OpenSealed(t.Context(), loser.input(), bad); got != nil || err != nil {
				t.Fatalf("opened %.20q, %v", bad, err)
			}
		}
	})
}
