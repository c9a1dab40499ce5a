package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
)

func newOpenings() *session.Openings {
	return session.NewOpenings(session.OpeningsOptions{Bytes: 1 << 20, MaxAge: time.Hour})
}

// with gives a configuration openings of its own.
func with(o *session.Openings) func(*session.Config) {
	return func(c *session.Config) { c.Openings = o }
}

// found fails unless do finds the opening of a session this many times.
func found(t *testing.T, o *session.Openings, want uint64, do func()) {
	t.Helper()
	before, _ := o.Counts()
	do()
	if after, _ := o.Counts(); after-before != want {
		t.Fatalf("%d openings were found, want %d", after-before, want)
	}
}

// TestWhatIsKeptIsExaminedEachTime: a session that was opened a moment ago is
// refused as soon as one that was not would be.
func TestWhatIsKeptIsExaminedEachTime(t *testing.T) {
	type then = func(t *testing.T, c *clock, m *session.Manager, b *browser, r session.Revocations)
	pass := func(d time.Duration) then {
		return func(_ *testing.T, c *clock, _ *session.Manager, _ *browser, _ session.Revocations) { c.pass(d) }
	}
	for name, c := range map[string]struct {
		edit func(*session.Config)
		then then
		want session.Reason
	}{
		"idling timeout":   {then: pass(900 * time.Second), want: session.IdlingTimeout},
		"from the future":  {then: pass(-6 * time.Minute), want: session.FromFuture},
		"rolling timeout":  {edit: func(o *session.Config) { o.Timeouts.Idling = 0 }, then: pass(time.Hour), want: session.RollingTimeout},
		"absolute timeout": {edit: func(o *session.Config) { o.Timeouts.Idling, o.Timeouts.Rolling = 0, 0 }, then: pass(24 * time.Hour), want: session.AbsoluteTimeout},
		"another address": {edit: func(o *session.Config) { o.Bind = []session.Bind{session.BindIP} }, want: session.Unbound,
			then: func(_ *testing.T, _ *clock, _ *session.Manager, b *browser, _ session.Revocations) {
				b.ip = "192.0.2.2"
			}},
		"logout of a copy": {want: session.Revoked, then: func(t *testing.T, _ *clock, m *session.Manager, b *browser, _ session.Revocations) {
			if _, err := m.Destroy(t.Context(), b.input(), b.has(m, "alex", "data")); err != nil {
				t.Fatal(err)
			}
		}},
		"logout of a copy that was not opened": {want: session.Revoked, then: func(t *testing.T, _ *clock, m *session.Manager, b *browser, _ session.Revocations) {
			if _, err := m.Destroy(t.Context(), b.input(), nil); err != nil {
				t.Fatal(err)
			}
		}},
		"by its id": {want: session.Revoked, then: func(t *testing.T, c *clock, m *session.Manager, b *browser, r session.Revocations) {
			revoke(t, c, r, session.IDKey(b.has(m, "alex", "data").ID()))
		}},
		"the provider's login": {want: session.Revoked, then: func(t *testing.T, c *clock, _ *session.Manager, _ *browser, r session.Revocations) {
			revoke(t, c, r, session.LoginKey(idp, "one"))
		}},
		"all of the subject": {want: session.Revoked, then: func(t *testing.T, c *clock, _ *session.Manager, _ *browser, r session.Revocations) {
			revoke(t, c, r, session.SubjectKey(idp, "alex"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			lists(t, func(t *testing.T, clk *clock, r session.Revocations, in func(*session.Config)) {
				o := newOpenings()
				edit := c.edit
				if edit == nil {
					edit = func(*session.Config) {}
				}
				m := clk.manager(t, in, edit, with(o))
				b := newBrowser(t)
				b.as(m, "alex", idp, "one")
				b.has(m, "alex", "data")
				found(t, o, 1, func() { b.has(m, "alex", "data") })
				copied := b.copy()
				c.then(t, clk, m, copied, r)
				for range 2 {
					b.ip = copied.ip
					b.hasNot(m, c.want, session.NotStored)
				}
			})
		})
	}
}

func revoke(t *testing.T, c *clock, r session.Revocations, key string) {
	t.Helper()
	if err := r.Revoke(t.Context(), key, c.now(), c.now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsKeptIsBoundToTheWholeBinding(t *testing.T) {
	o := newOpenings()
	c := newClock()
	m := c.manager(t, with(o), func(c *session.Config) { c.Bind = []session.Bind{session.BindIP, session.BindUserAgent} })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	b.has(m, "alex", "data")
	thief := b.copy()
	thief.agent = "other"
	thief.hasNot(m, session.Unbound)
	found(t, o, 1, func() { b.has(m, "alex", "data") })
}

// TestNoOtherTextFindsWhatIsKept changes every character of a cookie that is kept.
func TestNoOtherTextFindsWhatIsKept(t *testing.T) {
	for _, kind := range []string{"cookie", "store"} {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			m := c.manager(t, with(newOpenings()), func(o *session.Config) {
				if kind == "store" {
					s := c.store()
					o.Store, o.Revocations = s, s
				}
			})
			b := newBrowser(t)
			b.login(m, "alex", "data")
			b.has(m, "alex", "data")
			good := b.cookies["session"]
			for i := range good {
				bad := []byte(good)
				if bad[i]++; bad[i] == good[i] {
					t.Fatal("nothing changed")
				}
				b.cookies["session"] = string(bad)
				b.hasNot(m)
			}
			for _, text := range []string{good + "A", good + ".", good + ".AAAA", good[:len(good)-1]} {
				b.cookies["session"] = text
				if s, _ := b.open(m); s != nil && (kind == "cookie" || text != good+".") {
					t.Errorf("...%q opens", text[len(text)-5:])
				}
			}
			b.cookies["session"] = good
			b.has(m, "alex", "data")
		})
	}
}

// TestManagersShareNothingThatIsKept holds one store of openings under several configurations.
func TestManagersShareNothingThatIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*session.Config)
		want session.Reason
	}{
		"secret":   {func(o *session.Config) { o.Secret = []byte("another secret of the same kind.") }, session.NotAuthentic},
		"audience": {func(o *session.Config) { o.Audience = "other" }, session.OtherAudience},
		"digest":   {func(o *session.Config) { o.Digest[0]++ }, session.OtherConfiguration},
		// All of whose digest that is not in the header is in the key of the payload.
		"end of the digest": {func(o *session.Config) { o.Digest[31]++ }, session.BadPayload},
		"binding":           {func(o *session.Config) { o.Bind = []session.Bind{session.BindIP} }, session.Unbound},
		"idling timeout":    {func(o *session.Config) { o.Timeouts.Idling = time.Second }, session.IdlingTimeout},
		"storage":           {func(o *session.Config) { o.Store = memory.New(0, o.Now) }, session.NotStored},
		"what it decodes to": {func(o *session.Config) {
			o.Decode = func([]byte) (any, error) { return nil, errors.New("of another version") }
		}, session.BadPayload},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOpenings()
			clk := newClock()
			m, other := clk.manager(t, with(o)), clk.manager(t, with(o), c.edit)
			b := newBrowser(t)
			b.login(m, "alex", "data")
			b.has(m, "alex", "data")
			clk.pass(2 * time.Second)
			found(t, o, 0, func() { b.hasNot(other, c.want) })
			found(t, o, 1, func() { b.has(m, "alex", "data") })
		})
	}
}

func TestARotatedSecretOpensAnew(t *testing.T) {
	o := newOpenings()
	c := newClock()
	old := c.manager(t, with(o))
	b := newBrowser(t)
	b.login(old, "alex", "data")
	b.has(old, "alex", "data")
	rotated := c.manager(t, with(o), func(o *session.Config) {
		o.PreviousSecrets, o.Secret = [][]byte{o.Secret}, []byte("the next secret, of thirty-two b")
	})
	for range 2 { // kept or not, it moves to the current secret at its next use
		if s := b.has(rotated, "alex", "data"); !rotated.Due(s) {
			t.Fatal("a session under a previous secret is not renewed")
		}
	}
	if b.touch(rotated) == 0 {
		t.Fatal("no cookie")
	}
	found(t, o, 0, func() { b.hasNot(old, session.NotAuthentic) })
}

// TestTheRecordIsReadEachTime holds that a session in a Store is what the Store says.
func TestTheRecordIsReadEachTime(t *testing.T) {
	for _, joint := range []bool{false, true} {
		t.Run(fmt.Sprintf("joint %v", joint), func(t *testing.T) {
			c := newClock()
			store := c.store()
			m := c.manager(t, with(newOpenings()), func(o *session.Config) {
				if o.Store = store; joint {
					o.Revocations = store
				}
			})
			b, other := newBrowser(t), newBrowser(t)
			s, foreign := b.login(m, "alex", "data"), other.login(m, "mallory", "other data")
			b.has(m, "alex", "data")
			record, err := store.Get(t.Context(), s.ID())
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := store.Get(t.Context(), foreign.ID())
			if err != nil {
				t.Fatal(err)
			}
			flipped := bytes.Clone(record)
			flipped[len(flipped)-1] ^= 1
			for name, value := range map[string][]byte{"another session's": theirs, "a bit of it changed": flipped, "ended": {3}, "empty": {}} {
				set := func(value []byte) {
					if err := store.Set(t.Context(), s.ID(), value, time.Hour); err != nil {
						t.Fatal(err)
					}
				}
				set(value)
				if got, _ := b.open(m); got != nil {
					t.Errorf("a session with a record that is %s", name)
				}
				set(record)
				b.has(m, "alex", "data")
			}
			if err := store.Delete(t.Context(), s.ID()); err != nil {
				t.Fatal(err)
			}
			b.hasNot(m, session.NotStored)
		})
	}
}

func TestAnOutageIsNotHiddenByWhatIsKept(t *testing.T) {
	for _, kind := range []string{"store", "revocations", "both"} {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			down := &broken{Store: c.store()}
			m := c.manager(t, with(newOpenings()), func(o *session.Config) {
				if kind != "revocations" {
					o.Store = down
				}
				if kind != "store" {
					o.Revocations = down
				}
			})
			b := newBrowser(t)
			b.login(m, "alex", "data")
			b.has(m, "alex", "data")
			down.reads = true
			got, _, err := m.Open(t.Context(), b.input())
			if got != nil {
				t.Fatal("a session without its storage")
			}
			isDown(t, nil, err)
		})
	}
}

// counting counts what a Store is asked for.
type counting struct {
	*memory.Store
	gets, lists, joint int
}

func (s *counting) Get(ctx context.Context, key string) ([]byte, error) {
	s.gets++
	return s.Store.Get(ctx, key)
}

func (s *counting) Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	s.lists++
	return s.Store.Ended(ctx, began, subject, keys...)
}

func (s *counting) GetEnded(ctx context.Context, key string, began time.Time, subject string, keys ...string) ([]byte, bool, error) {
	s.joint++
	return s.Store.GetEnded(ctx, key, began, subject, keys...)
}

// TestAKnownSessionIsOneRoundTrip counts what each request asks for.
func TestAKnownSessionIsOneRoundTrip(t *testing.T) {
	c := newClock()
	store := &counting{Store: c.store()}
	m := c.manager(t, with(newOpenings()), func(o *session.Config) { o.Store, o.Revocations = store, store })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	asked := func(want counting, do func()) {
		t.Helper()
		store.gets, store.lists, store.joint = 0, 0, 0
		if do(); store.gets != want.gets || store.lists != want.lists || store.joint != want.joint {
			t.Fatalf("asked for %d sessions, %d lists and %d of both, want %d, %d, %d",
				store.gets, store.lists, store.joint, want.gets, want.lists, want.joint)
		}
	}
	open := func() { b.has(m, "alex", "data") }
	asked(counting{gets: 1, lists: 1}, open) // the names to ask the list for are in the record
	for range 3 {
		asked(counting{joint: 1}, open)
	}
	c.pass(2 * time.Minute)
	asked(counting{joint: 1}, func() {
		if b.touch(m) == 0 {
			t.Fatal("no touch")
		}
	})
	asked(counting{joint: 1}, open) // under the header that the touch made
}

// TestASessionsTextIsNoRememberCookie, whose timers are longer, though it is kept.
func TestASessionsTextIsNoRememberCookie(t *testing.T) {
	c := newClock()
	m := c.manager(t, remembering, with(newOpenings()))
	b := newBrowser(t)
	b.login(m, "alex", "data")
	b.has(m, "alex", "data")
	b.cookies["remember"] = b.cookies["session"]
	delete(b.cookies, "session")
	b.hasNot(m)
	c.pass(2 * time.Hour)
	b.hasNot(m)
}

// TestAReplacedCookieGoesOnNoLongerThoughItIsKept: its grace is ten seconds, and a
// touch of the one that the browser has is none of a copy's.
func TestAReplacedCookieGoesOnNoLongerThoughItIsKept(t *testing.T) {
	lists(t, func(t *testing.T, c *clock, r session.Revocations, in func(*session.Config)) {
		m := c.manager(t, in, with(newOpenings()))
		b := newBrowser(t)
		b.login(m, "alex", "data")
		b.has(m, "alex", "data")
		untouched := b.copy()
		c.pass(10 * time.Minute)
		if b.touch(m) == 0 {
			t.Fatal("no touch")
		}
		b.has(m, "alex", "data")
		c.pass(5 * time.Minute) // fifteen since the copy was used
		untouched.hasNot(m, session.IdlingTimeout)
		s := b.has(m, "alex", "data")
		replaced := b.copy()
		replaced.has(m, "alex", "data")
		s.Data = []byte("refreshed")
		set, err := m.Save(t.Context(), b.input(), s)
		b.take(set, err)
		c.pass(9 * time.Second)
		if s, why := replaced.open(m); s == nil {
			t.Fatalf("no grace: %v", why)
		}
		c.pass(2 * time.Second)
		replaced.hasNot(m, session.Revoked, session.NotStored)
		b.has(m, "alex", "refreshed")
	})
}
