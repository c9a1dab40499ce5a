package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
)

// TestEveryTimerAtItsBoundary holds each timer against the real clock: what
// holds a nanosecond before its end does not hold at it, nor a second later.
func TestEveryTimerAtItsBoundary(t *testing.T) {
	const day = 24 * time.Hour
	login := func(b *browser, m *session.Manager) *browser {
		b.login(m, "alex", "data")
		return b
	}
	opens := func(b *browser, m *session.Manager) bool {
		s, _ := b.open(m)
		return s != nil
	}
	notDue := func(b *browser, m *session.Manager) bool {
		s, why := b.open(m)
		if s == nil {
			b.t.Fatalf("no session: %v", why)
		}
		return !m.Due(s)
	}
	forgets := func(b *browser, m *session.Manager) *browser {
		login(b, m)
		delete(b.cookies, "session")
		return b
	}
	only := func(timeouts session.Timeouts) func(*session.Config) {
		return func(o *session.Config) { o.Timeouts = timeouts }
	}
	for _, c := range []struct {
		name  string
		edit  func(*session.Config)
		begin func(*browser, *session.Manager) *browser
		at    time.Duration
		holds func(*browser, *session.Manager) bool
		ends  bool // needs storage that can end a session
	}{
		{"idling", only(session.Timeouts{Idling: 900 * second}), login, 900 * second, opens, false},
		{"rolling", only(session.Timeouts{Rolling: 3600 * second}), login, 3600 * second, opens, false},
		{"absolute", only(session.Timeouts{Absolute: day}), login, day, opens, false},
		{"idling is the first of three", only(session.Timeouts{Idling: 900 * second, Rolling: 3600 * second, Absolute: day}), login, 900 * second, opens, false},
		{"remember, rolling", remembering, forgets, 7 * day, opens, false},
		{"remember, absolute", func(o *session.Config) { remembering(o); o.RememberTimeouts.Rolling = 0 }, forgets, 30 * day, opens, false},
		{"renewal at three quarters", only(session.Timeouts{Rolling: 3600 * second, Absolute: day}), login, 2700 * second, notDue, false},
		{"renewal at three quarters of eight seconds", only(session.Timeouts{Rolling: 8 * second}), login, 6 * second, notDue, false},
		{"touch once a minute", only(session.Timeouts{Idling: 900 * second}), login, time.Minute, notDue, false},
		{"touch at a quarter of a short idling timeout", only(session.Timeouts{Idling: 20 * second}), login, 5 * second, notDue, false},
		{"touch once a minute after a touch", only(session.Timeouts{Idling: 900 * second}), func(b *browser, m *session.Manager) *browser {
			login(b, m)
			time.Sleep(100 * second)
			b.touch(m)
			return b
		}, time.Minute, notDue, false},
		{"idling begins anew with a touch", only(session.Timeouts{Idling: 900 * second}), func(b *browser, m *session.Manager) *browser {
			login(b, m)
			time.Sleep(600 * second)
			b.touch(m)
			return b
		}, 900 * second, opens, false},
		{"a replaced id for ten seconds", only(session.Timeouts{Rolling: 3600 * second}), func(b *browser, m *session.Manager) *browser {
			s := b.login(m, "alex", "data")
			old := b.copy()
			set, err := m.Renew(b.t.Context(), b.input(), s)
			b.take(set, err)
			return old
		}, 10 * second, opens, true},
	} {
		for kind, in := range map[string]func(*session.Config){
			"cookie":             func(*session.Config) {},
			"cookie, revocation": func(o *session.Config) { o.Revocations = memory.New(0, time.Now) },
			"store": func(o *session.Config) {
				s := memory.New(0, time.Now)
				o.Store, o.Revocations = s, s
			},
		} {
			if c.ends && kind == "cookie" {
				continue
			}
			t.Run(c.name+", "+kind, func(t *testing.T) {
				for _, off := range []time.Duration{-time.Nanosecond, 0, second} {
					synctest.Test(t, func(t *testing.T) {
						m := newClock().manager(t, c.edit, in, func(o *session.Config) { o.Now = nil })
						b := c.begin(newBrowser(t), m)
						time.Sleep(c.at + off)
						if got := c.holds(b, m); got != (off < 0) {
							t.Errorf("%v after its boundary: holds %v", off, got)
						}
					})
				}
			})
		}
	}
}
