package session_test

import (
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

func remembering(o *session.Config) { o.Remember = true }

func TestRememberCookieRecreatesTheSession(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, remembering)
		b := newBrowser(t)
		first := b.login(m, "alex", "data")
		if b.last["session"].MaxAge != 0 || b.last["remember"].MaxAge != 604800 {
			t.Fatalf("session Max-Age %d, remember Max-Age %d", b.last["session"].MaxAge, b.last["remember"].MaxAge)
		}
		delete(b.cookies, "session") // the browser was closed
		c.pass(3 * 24 * time.Hour)

		s := b.has(m, "alex", "data")
		if n := b.touch(m); n != 2 || b.last["session"] == nil {
			t.Fatalf("%d cookies: %v", n, b.last)
		}
		s = b.has(m, "alex", "data")
		if left := m.Remaining(s); s.ID() == first.ID() || left.Rolling != time.Hour {
			t.Fatalf("recreated under the old id, or with the old time: %+v", left)
		}
		if b.last["remember"].MaxAge != 604800 {
			t.Fatalf("remember Max-Age %d", b.last["remember"].MaxAge)
		}
	})
}

func TestRememberTimers(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, remembering)
		b := newBrowser(t)
		b.login(m, "alex", "data")
		const day = 24 * time.Hour
		for range 4 { // each use renews it; 30 days from the login it ends all the same
			c.pass(7*day - time.Second)
			delete(b.cookies, "session")
			b.touch(m)
		}
		if got := b.last["remember"].MaxAge; got != 2*86400+4 {
			t.Fatalf("remember Max-Age %d, want what is left of 30 days", got)
		}
		delete(b.cookies, "session")
		c.pass(2*day + 3*time.Second)
		b.has(m, "alex", "data")
		c.pass(time.Second)
		b.hasNot(m)
	})
}

func TestRememberRollingTimeout(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, remembering)
		b := newBrowser(t)
		b.login(m, "alex", "data")
		delete(b.cookies, "session")
		c.pass(604799 * time.Second)
		b.has(m, "alex", "data")
		c.pass(time.Second)
		b.hasNot(m)
	})
}

func TestRememberCookieIsNoSessionCookie(t *testing.T) {
	c := newClock()
	m := c.manager(t, remembering)
	b := newBrowser(t)
	b.login(m, "alex", "data")
	b.cookies["session"] = b.cookies["remember"] // it has no idling timeout
	delete(b.cookies, "remember")
	b.hasNot(m, session.NotAuthentic)
}

func TestRememberIsOffUnlessConfigured(t *testing.T) {
	c := newClock()
	m := c.manager(t, remembering)
	b := newBrowser(t)
	b.login(m, "alex", "data")
	delete(b.cookies, "session")
	b.hasNot(c.manager(t), session.NoCookie)
}

func TestLogoutRemovesRememberCookieToo(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, remembering)
		b := newBrowser(t)
		b.login(m, "alex", noise(1200))
		copied := b.copy()
		s := b.has(m, "alex", noise(1200))
		set, err := m.Destroy(t.Context(), b.input(), s)
		b.take(set, err)
		if len(b.cookies) != 0 {
			t.Fatalf("left over: %v", b.cookies)
		}
		if c.ends(in) {
			copied.hasNot(m, session.Revoked, session.NotStored)
			delete(copied.cookies, "session")
			copied.hasNot(m)
		}
	})
}

func TestRememberFollowsAParallelRenewal(t *testing.T) {
	c := newClock()
	store := c.store()
	m := c.manager(t, remembering, func(o *session.Config) { o.Store = store })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	delete(b.cookies, "session")
	other := b.copy()
	b.touch(m)
	c.pass(time.Second)
	if n := other.touch(m); n != 2 {
		t.Fatalf("%d cookies", n)
	}
	one, two := b.has(m, "alex", "data"), other.has(m, "alex", "data")
	if one.ID() != two.ID() || store.Len() != 2 {
		t.Fatalf("two sessions were made of one; %d records", store.Len())
	}
	delete(other.cookies, "session")
	c.pass(24 * time.Hour)
	other.has(m, "alex", "data")
}

func TestRememberKeepsTheFirstLoginWhenTheSessionIsRenewed(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, remembering, func(o *session.Config) { o.Timeouts.Idling = 0; o.RememberTimeouts.Rolling = 0 })
		b := newBrowser(t)
		b.login(m, "alex", "data")
		delete(b.cookies, "session")
		c.pass(10 * 24 * time.Hour)
		b.touch(m) // a new session, of an old login
		c.pass(45 * time.Minute)
		b.touch(m)
		if got, want := b.last["remember"].MaxAge, 20*86400-45*60; got != want {
			t.Fatalf("remember Max-Age %d, want %d", got, want)
		}
	})
}

func TestRememberHasNoIdlingTimeout(t *testing.T) {
	c := newClock()
	m := c.manager(t, remembering, func(o *session.Config) { o.RememberTimeouts.Idling = time.Minute })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	delete(b.cookies, "session")
	c.pass(time.Hour)
	b.has(m, "alex", "data")
}
