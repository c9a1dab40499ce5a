package session_test

import (
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

const idp = "https://idp.example.com"

// as logs in as a subject of the provider, in a login of the given sid.
func (b *browser) as(m *session.Manager, subject, issuer, sid string) *session.Session {
	b.t.Helper()
	s := session.New(subject, []byte("data"))
	s.Issuer, s.SID = issuer, sid
	set, err := m.Save(b.t.Context(), b.input(), s)
	b.take(set, err)
	return s
}

// lists runs a test for every kind of storage that has a list of revocations.
func lists(t *testing.T, run func(t *testing.T, c *clock, r session.Revocations, in func(*session.Config))) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		config := c.config()
		if in(&config); config.Revocations != nil {
			run(t, c, config.Revocations, in)
		}
	})
}

func TestTheIDFromBeforeARenewalDiesAtLogout(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		if !c.ends(in) {
			return
		}
		m := c.manager(t, in)
		b := newBrowser(t)
		b.login(m, "alex", "data")
		before := b.copy()
		s := b.has(m, "alex", "data")
		set, err := m.Renew(t.Context(), b.input(), s)
		b.take(set, err)
		c.pass(time.Second)
		before.has(m, "alex", "data") // requests in flight
		set, err = m.Destroy(t.Context(), b.input(), b.has(m, "alex", "data"))
		b.take(set, err)
		before.hasNot(m, session.Revoked)
	})
}

func TestALoginOfTheProviderEnds(t *testing.T) {
	lists(t, func(t *testing.T, c *clock, r session.Revocations, in func(*session.Config)) {
		m := c.manager(t, in)
		laptop, phone, other, nameless, elsewhere := newBrowser(t), newBrowser(t), newBrowser(t), newBrowser(t), newBrowser(t)
		laptop.as(m, "alex", idp, "one")
		phone.as(m, "alex", idp+"/", "one") // a trailing slash makes no other issuer
		other.as(m, "alex", idp, "two")
		nameless.as(m, "alex", idp, "")
		elsewhere.as(m, "alex", "https://other.example.com", "one")
		s := laptop.has(m, "alex", "data")
		set, err := m.Renew(t.Context(), laptop.input(), s)
		laptop.take(set, err)
		if err := r.Revoke(t.Context(), session.LoginKey(idp, "one"), c.now(), c.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		laptop.hasNot(m, session.Revoked)
		phone.hasNot(m, session.Revoked)
		other.has(m, "alex", "data")
		nameless.has(m, "alex", "data")
		elsewhere.has(m, "alex", "data")
		if _, err := m.Renew(t.Context(), laptop.input(), s); err == nil {
			t.Error("a renewal brings the session back")
		}
	})
}

func TestAllSessionsOfASubjectEnd(t *testing.T) {
	lists(t, func(t *testing.T, c *clock, r session.Revocations, in func(*session.Config)) {
		m := c.manager(t, in, func(o *session.Config) { o.Remember = true })
		laptop, phone, blake, later := newBrowser(t), newBrowser(t), newBrowser(t), newBrowser(t)
		laptop.as(m, "alex", idp, "one")
		phone.as(m, "alex", idp, "")
		blake.as(m, "blake", idp, "two")
		c.pass(time.Minute)
		if err := r.Revoke(t.Context(), session.SubjectKey(idp, "alex"), c.now(), c.now().Add(m.MaxLife())); err != nil {
			t.Fatal(err)
		}
		laptop.hasNot(m, session.Revoked)
		phone.hasNot(m, session.Revoked)
		blake.has(m, "blake", "data")
		c.pass(time.Millisecond)
		later.as(m, "alex", idp, "three")
		later.has(m, "alex", "data")
		// The remember cookie makes no new session of an old login.
		c.pass(2 * time.Hour)
		laptop.hasNot(m, session.Revoked, session.RollingTimeout, session.IdlingTimeout)
		later.has(m, "alex", "data")
	})
}

func TestASessionEndsByItsID(t *testing.T) {
	lists(t, func(t *testing.T, c *clock, r session.Revocations, in func(*session.Config)) {
		m := c.manager(t, in)
		b, other := newBrowser(t), newBrowser(t)
		s := b.login(m, "alex", "data")
		other.login(m, "alex", "data")
		if err := r.Revoke(t.Context(), session.IDKey(s.ID()), c.now(), c.now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.hasNot(m, session.Revoked)
		other.has(m, "alex", "data")
	})
	for _, bad := range []string{"", "x", "====", "AAAA"} {
		if session.IDKey(bad) != "" {
			t.Errorf("%q is an id", bad)
		}
	}
}

func TestMaxLife(t *testing.T) {
	const day = 24 * time.Hour
	for name, k := range map[string]struct {
		absolute, remember time.Duration
		on                 bool
		want               time.Duration
	}{
		"absolute":           {day, 30 * day, false, day},
		"remembered":         {day, 30 * day, true, 30 * day},
		"remembered shorter": {day, time.Hour, true, day},
		"no end":             {0, 30 * day, true, 400 * day},
		"remembered, no end": {day, 0, true, 400 * day},
	} {
		c := newClock()
		m := c.manager(t, func(o *session.Config) {
			o.Timeouts.Absolute, o.Remember, o.RememberTimeouts.Absolute = k.absolute, k.on, k.remember
		})
		if got := m.MaxLife(); got != k.want {
			t.Errorf("%s: %v, want %v", name, got, k.want)
		}
	}
}
