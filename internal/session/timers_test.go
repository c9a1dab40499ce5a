package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/session"
)

const second = time.Second

func TestTimersAtTheirBoundaries(t *testing.T) {
	cases := []struct {
		name     string
		timeouts session.Timeouts
		after    time.Duration
		want     session.Reason
	}{
		{"fresh", session.Timeouts{Idling: 900 * second, Rolling: 3600 * second, Absolute: 86400 * second}, 0, session.OK},
		{"idling, a second before", session.Timeouts{Idling: 900 * second}, 899 * second, session.OK},
		{"idling, at its second", session.Timeouts{Idling: 900 * second}, 900 * second, session.IdlingTimeout},
		{"rolling, a second before", session.Timeouts{Rolling: 3600 * second}, 3599 * second, session.OK},
		{"rolling, at its second", session.Timeouts{Rolling: 3600 * second}, 3600 * second, session.RollingTimeout},
		{"absolute, a second before", session.Timeouts{Absolute: 86400 * second}, 86399 * second, session.OK},
		{"absolute, at its second", session.Timeouts{Absolute: 86400 * second}, 86400 * second, session.AbsoluteTimeout},
		{"all off", session.Timeouts{}, 300 * 24 * time.Hour, session.OK},
		{"one second", session.Timeouts{Idling: second}, second, session.IdlingTimeout},
	}
	stores(t, func(t *testing.T, _ *clock, in func(*session.Config)) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				clock := newClock()
				m := clock.manager(t, func(o *session.Config) {
					in(o)
					if o.Store != nil {
						o.Store = clock.store()
					}
					if o.Revocations != nil {
						o.Revocations = clock.store()
					}
					o.Timeouts = c.timeouts
				})
				b := newBrowser(t)
				b.login(m, "alex", "data")
				clock.pass(c.after)
				_, why := b.open(m)
				if why != c.want && !(why == session.NotStored && c.want != session.OK) {
					t.Fatalf("reason %q, want %q", why, c.want)
				}
			})
		}
	})
}

func TestTimersWithTheRealClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newClock().manager(t, func(o *session.Config) { o.Now = nil })
		b := newBrowser(t)
		b.login(m, "alex", "data")
		time.Sleep(899 * second)
		b.has(m, "alex", "data")
		time.Sleep(second)
		b.hasNot(m, session.IdlingTimeout)
	})
}

func TestTouch(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in)
		b := newBrowser(t)
		id := b.login(m, "alex", "data").ID()

		c.pass(59 * second)
		if n := b.touch(m); n != 0 {
			t.Fatalf("%d cookies before a minute has passed", n)
		}
		c.pass(second)
		if n := b.touch(m); n != 1 {
			t.Fatalf("%d cookies after a minute, want 1", n)
		}
		if n := b.touch(m); n != 0 {
			t.Fatalf("%d cookies at once after a touch", n)
		}
		c.pass(899 * second)
		s := b.has(m, "alex", "data")
		if s.ID() != id {
			t.Fatal("a touch changed the id")
		}
		if r := m.Remaining(s); r.Idling != second || r.Timeout != second {
			t.Fatalf("remaining %+v", r)
		}
		c.pass(second)
		b.hasNot(m, session.IdlingTimeout)
	})
}

func TestTouchSendsTheChangedPieceOnly(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	b := newBrowser(t)
	b.login(m, "alex", noise(4000))
	if len(b.cookies) < 2 {
		t.Fatalf("%d pieces", len(b.cookies))
	}
	c.pass(time.Minute)
	if n := b.touch(m); n != 1 || b.last["session"] == nil {
		t.Fatalf("%d cookies set: %v", n, b.last)
	}
	b.has(m, "alex", noise(4000))
}

func TestShortIdlingTimeoutIsTouchedMoreOften(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.Timeouts.Idling = 20 * second })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	for range 20 {
		c.pass(15 * second) // in use, never idle
		b.touch(m)
	}
}

func TestIdlingOffNeverTouches(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.Timeouts = session.Timeouts{Absolute: time.Hour} })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	c.pass(59 * time.Minute)
	if n := b.touch(m); n != 0 {
		t.Fatalf("%d cookies", n)
	}
}

func TestRenewalAtThreeQuarters(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, func(o *session.Config) { o.Timeouts.Idling = 0 })
		b := newBrowser(t)
		first := b.login(m, "alex", "data")

		c.pass(2699 * second)
		if n := b.touch(m); n != 0 {
			t.Fatalf("renewed a second early: %d cookies", n)
		}
		c.pass(second)
		old := b.copy()
		if n := b.touch(m); n != 1 {
			t.Fatalf("%d cookies at three quarters", n)
		}
		s := b.has(m, "alex", "data")
		if s.ID() == first.ID() {
			t.Fatal("renewed without a new id")
		}
		if r := m.Remaining(s); r.Rolling != time.Hour || r.Absolute != 86400*second-2700*second {
			t.Fatalf("remaining %+v", r)
		}
		c.pass(9 * second)
		old.has(m, "alex", "data")
	})
}

func TestReplacedIDDiesAfterItsGrace(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		if !c.ends(in) {
			return // cookies alone cannot be taken back
		}
		m := c.manager(t, in)
		b := newBrowser(t)
		s := b.login(m, "alex", "data")
		old := b.copy()
		set, err := m.Renew(t.Context(), b.input(), s)
		b.take(set, err)
		c.pass(9 * second)
		old.has(m, "alex", "data")
		c.pass(second)
		old.hasNot(m, session.Revoked, session.NotStored)
		b.has(m, "alex", "data")
	})
}

func TestAbsoluteTimeoutIsNeverExtended(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, func(o *session.Config) { o.Timeouts.Idling = 0; o.Timeouts.Absolute = 10000 * second })
		b := newBrowser(t)
		b.login(m, "alex", "0")
		for range 3 {
			c.pass(3000 * second)
			s, _ := b.open(m)
			s.Data = append(s.Data, '+')
			set, err := m.Save(t.Context(), b.input(), s)
			b.take(set, err)
		}
		c.pass(999 * second)
		s := b.has(m, "alex", "0+++")
		if r := m.Remaining(s); r.Absolute != second || r.Timeout != second {
			t.Fatalf("remaining %+v", r)
		}
		c.pass(second)
		b.hasNot(m, session.AbsoluteTimeout, session.NotStored)
	})
}

func TestClockFarAheadIsNotBelieved(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	b := newBrowser(t)
	b.login(m, "alex", "data")
	c.pass(-5 * time.Minute)
	b.has(m, "alex", "data")
	c.pass(-second)
	b.hasNot(m, session.FromFuture)
}

func TestRemainingOfTimersThatAreOff(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.Timeouts = session.Timeouts{Rolling: time.Hour} })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	c.pass(time.Minute)
	if r := m.Remaining(b.has(m, "alex", "data")); r != (session.Remaining{Rolling: 59 * time.Minute, Timeout: 59 * time.Minute}) {
		t.Fatalf("remaining %+v", r)
	}
}
