package session_test

import (
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

// TestLogoutHoldsForAsLongAsTheCopyWould: the configuration that logs out may
// give sessions less time than the one that made them.
func TestLogoutHoldsForAsLongAsTheCopyWould(t *testing.T) {
	for _, c := range []struct {
		name   string
		digest byte // of the configuration that logs out
		after  time.Duration
	}{
		{"the same identity", 1, 30 * time.Minute},
		{"another configuration's session in the same cookie", 2, 2 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newClock()
			list := k.store()
			with := func(digest byte, absolute time.Duration) *session.Manager {
				return k.manager(t, func(o *session.Config) {
					o.Revocations, o.Timeouts, o.Digest = list, session.Timeouts{Absolute: absolute}, [32]byte{digest}
				})
			}
			long, short := with(1, 24*time.Hour), with(c.digest, time.Hour)
			b := newBrowser(t)
			b.login(long, "alex", "data")
			k.pass(c.after)
			copied := b.copy()
			var s *session.Session
			if c.digest == 1 {
				s = b.has(short, "alex", "data")
			}
			set, err := short.Destroy(t.Context(), b.input(), s)
			b.take(set, err)
			for _, later := range []time.Duration{0, 2 * time.Second, 31 * time.Minute, 10 * time.Hour} {
				k.pass(later)
				if got, why := copied.open(long); got != nil {
					t.Errorf("%v after the logout the copy is good: %v", later, why)
				}
			}
		})
	}
}

func TestLogoutHoldsWhereTheClockIsBehind(t *testing.T) {
	behind := newClock()
	list := behind.store()
	ahead := &clock{behind.t.Add(30 * time.Second)}
	with := func(now func() time.Time) *session.Manager {
		return behind.manager(t, func(o *session.Config) { o.Revocations, o.Now = list, now })
	}
	a, late := with(ahead.now), with(behind.now)
	b := newBrowser(t)
	b.login(a, "alex", "data")
	copied := b.copy()
	set, err := a.Destroy(t.Context(), b.input(), b.has(a, "alex", "data"))
	b.take(set, err)
	if got, _ := copied.open(late); got != nil {
		t.Error("the copy is good on the node whose clock is behind")
	}
}

func TestSubjectsOfTwoProvidersAreApart(t *testing.T) {
	c := newClock()
	s := c.store()
	with := func(digest byte) *session.Manager {
		return c.manager(t, func(o *session.Config) {
			o.Store, o.Revocations, o.StoreMetadata, o.Digest = s, s, true, [32]byte{digest}
		})
	}
	first, second := with(1), with(2)
	x, y := newBrowser(t), newBrowser(t)
	x.as(first, "1", "https://a.example", "")
	y.as(second, "1", "https://b.example", "")
	if n, err := first.EndSubject(t.Context(), "1"); n != 1 || err != nil {
		t.Errorf("%d sessions ended: %v", n, err)
	}
	if got, why := y.open(second); got == nil {
		t.Errorf("the session of another provider's subject of that name has ended: %v", why)
	}
}
