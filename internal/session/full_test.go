package session_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/store"
)

// fullList has no room for single sessions.
type fullList struct{ session.Revocations }

func (l fullList) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if strings.HasPrefix(key, store.SingleSession) {
		return store.ErrFull
	}
	return l.Revocations.Revoke(ctx, key, from, until)
}

// TestAFullListEndsNoSession: a refresh whose old id cannot be listed must not
// lose what the provider has just rotated, and a logout reaches every copy.
func TestAFullListEndsNoSession(t *testing.T) {
	c := newClock()
	unlisted, list := 0, fullList{c.store()}
	with := func(told func()) *session.Manager {
		return c.manager(t, func(o *session.Config) { o.Revocations, o.Unlisted = list, told })
	}
	silent := with(nil)
	b := newBrowser(t)
	b.login(silent, "alex", "data")
	if _, err := silent.Renew(t.Context(), b.input(), b.has(silent, "alex", "data")); err == nil {
		t.Error("nobody is told that the replaced session is not listed")
	}
	m := with(func() { unlisted++ })
	b.login(m, "alex", "data") // in place of the session that the browser has
	before := b.copy()
	set, err := m.Renew(t.Context(), b.input(), b.has(m, "alex", "data"))
	b.take(set, err)
	if unlisted != 2 {
		t.Errorf("told %d times", unlisted)
	}
	c.pass(time.Minute)
	s := b.has(m, "alex", "data")
	before.has(m, "alex", "data") // until its own timers end
	set, err = m.Destroy(t.Context(), b.input(), s)
	b.take(set, err)
	before.hasNot(m, session.Revoked)
}

// TestSingleSessionsAreTold: lists know the names of single sessions by their beginning.
func TestSingleSessionsAreTold(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	b := newBrowser(t)
	id := b.login(m, "alex", "data").ID()
	if key := session.IDKey(id); !strings.HasPrefix(key, store.SingleSession) {
		t.Errorf("%s does not begin with %s", key, store.SingleSession)
	}
	for _, key := range []string{session.LoginKey(idp, "s"), session.SubjectKey(idp, "alex"), session.LogoutTokenKey(idp, "j")} {
		if strings.HasPrefix(key, store.SingleSession) {
			t.Errorf("%s names no single session", key)
		}
	}
}
