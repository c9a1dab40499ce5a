package session_test

import (
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
)

// openings are those of all tests, as of all policies of a process. It stands
// outside of the bubbles of synctest, for it has a goroutine.
var openings = session.NewOpenings(session.OpeningsOptions{Bytes: 8 << 20, MaxAge: time.Hour})

// A clock is moved by hand.
type clock struct{ t time.Time }

func newClock() *clock                { return &clock{time.Unix(1_750_000_000, 0)} }
func (c *clock) now() time.Time       { return c.t }
func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }
func (c *clock) store() *memory.Store { return memory.New(0, c.now) }
func (c *clock) config() session.Config {
	return session.Config{
		Secret: []byte("0123456789abcdef0123456789abcdef"),
		Cookie: session.Cookie{Name: "session", HTTPOnly: true, SameSite: session.SameSiteLax},
		Timeouts: session.Timeouts{
			Idling: 900 * time.Second, Rolling: 3600 * time.Second, Absolute: 86400 * time.Second,
		},
		RememberTimeouts: session.Timeouts{Rolling: 604800 * time.Second, Absolute: 2592000 * time.Second},
		Audience:         "default",
		Digest:           [32]byte{1, 2, 3},
		Now:              c.now,
		Openings:         openings,
	}
}

// manager makes a Manager of the usual configuration, as edit changes it.
func (c *clock) manager(t testing.TB, edit ...func(*session.Config)) *session.Manager {
	t.Helper()
	config := c.config()
	for _, e := range edit {
		e(&config)
	}
	m, err := session.NewManager(config)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A browser keeps cookies by name, as one site sees them.
type browser struct {
	t       testing.TB
	cookies map[string]string
	last    map[string]*http.Cookie // of the last answer
	ip      string
	scheme  string
	agent   string
}

func newBrowser(t testing.TB) *browser {
	return &browser{t: t, cookies: map[string]string{}, ip: "192.0.2.1", scheme: "https", agent: "test/1"}
}

// copy is the browser's cookies in the hands of someone else.
func (b *browser) copy() *browser {
	c := *b
	c.cookies = maps.Clone(b.cookies)
	return &c
}

func (b *browser) input() session.Input {
	in := session.Input{ClientIP: b.ip, Scheme: b.scheme, UserAgent: b.agent}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(b.cookies)) {
		list = append(list, name+"="+b.cookies[name])
	}
	if len(list) > 0 {
		in.Cookies = []string{strings.Join(list, "; ")}
	}
	return in
}

// take stores Set-Cookie values as a browser does, and fails on what none would take.
func (b *browser) take(set []string, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	b.last = map[string]*http.Cookie{}
	for _, line := range set {
		c, err := http.ParseSetCookie(line)
		if err != nil || len(line) > 4096 {
			b.t.Fatalf("Set-Cookie of %d bytes: %v", len(line), err)
		}
		if b.last[c.Name] != nil {
			b.t.Fatalf("cookie %s is set twice in one answer", c.Name)
		}
		b.last[c.Name] = c
		if c.MaxAge < 0 { // net/http's spelling of Max-Age=0
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
}

// login saves a new session.
func (b *browser) login(m *session.Manager, subject, data string) *session.Session {
	b.t.Helper()
	s := session.New(subject, []byte(data))
	set, err := m.Save(b.t.Context(), b.input(), s)
	b.take(set, err)
	return s
}

// open returns the session that the browser has for m, and the reason if it has none.
func (b *browser) open(m *session.Manager) (*session.Session, session.Reason) {
	b.t.Helper()
	s, why, err := m.Open(b.t.Context(), b.input())
	if err != nil {
		b.t.Fatal(err)
	}
	if (s == nil) == (why == session.OK) {
		b.t.Fatalf("session %v with reason %q", s, why)
	}
	return s, why
}

// has fails unless the browser's session is of this subject and data.
func (b *browser) has(m *session.Manager, subject, data string) *session.Session {
	b.t.Helper()
	s, why := b.open(m)
	if s == nil {
		b.t.Fatalf("no session: %v", why)
	}
	if s.Subject != subject || !bytes.Equal(s.Data, []byte(data)) {
		b.t.Fatalf("session of %q with %d bytes, want %q with %d", s.Subject, len(s.Data), subject, len(data))
	}
	return s
}

// hasNot fails unless there is no session, for one of the reasons.
func (b *browser) hasNot(m *session.Manager, reasons ...session.Reason) {
	b.t.Helper()
	s, why := b.open(m)
	if s != nil {
		b.t.Fatal("there is a session")
	}
	if len(reasons) > 0 && !slices.Contains(reasons, why) {
		b.t.Fatalf("reason %q, want %v", why, reasons)
	}
}

// touch opens and touches, and returns how many cookies were set.
func (b *browser) touch(m *session.Manager) int {
	b.t.Helper()
	s, why := b.open(m)
	if s == nil {
		b.t.Fatalf("no session to touch: %v", why)
	}
	due := m.Due(s)
	set, err := m.Touch(b.t.Context(), b.input(), s)
	b.take(set, err)
	if due != (len(set) > 0) {
		b.t.Fatalf("Due says %v, Touch sets %d cookies", due, len(set))
	}
	return len(set)
}

// noise is text that no compression makes smaller than three quarters, like tokens.
func noise(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = alphabet[x>>58]
	}
	return string(b)
}

// ends says whether sessions of this configuration can be ended for copies of their cookie.
func (c *clock) ends(in func(*session.Config)) bool {
	config := c.config()
	in(&config)
	return config.Store != nil || config.Revocations != nil
}

// stores runs a test for every kind of storage.
func stores(t *testing.T, run func(t *testing.T, c *clock, in func(*session.Config))) {
	t.Run("cookie", func(t *testing.T) { run(t, newClock(), func(*session.Config) {}) })
	t.Run("cookie with revocations", func(t *testing.T) {
		c := newClock()
		s := c.store()
		run(t, c, func(o *session.Config) { o.Revocations = s })
	})
	t.Run("store", func(t *testing.T) {
		c := newClock()
		s := c.store()
		run(t, c, func(o *session.Config) { o.Store = s })
	})
	t.Run("store with revocations", func(t *testing.T) {
		c := newClock()
		s := c.store()
		run(t, c, func(o *session.Config) { o.Store, o.Revocations = s, s })
	})
}
