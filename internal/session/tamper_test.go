package session_test

import (
	"fmt"
	"strings"
	"testing"

	"kong-openid-connect/internal/session"
)

func TestCase43EveryTamperedCharacterIsRefused(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in)
		b := newBrowser(t)
		b.login(m, "alex", noise(40))
		text := b.cookies["session"]
		for i := range len(text) {
			for bit := range 8 {
				flipped := []byte(text)
				flipped[i] ^= 1 << bit
				b.cookies["session"] = string(flipped)
				if s, _ := b.open(m); s != nil {
					t.Fatalf("bit %d of character %d of %d flipped, still a session", bit, i, len(text))
				}
			}
			b.cookies["session"] = text[:i]
			b.hasNot(m)
			b.cookies["session"] = text[:i] + text[i+1:]
			b.hasNot(m)
			b.cookies["session"] = text[:i] + "A" + text[i:]
			b.hasNot(m)
		}
		b.cookies["session"] = text
		b.has(m, "alex", noise(40))
	})
}

func TestCompressedPayloadTampered(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	b := newBrowser(t)
	b.login(m, "alex", strings.Repeat("compress me ", 300))
	if n := len(b.cookies["session"]); n > 600 {
		t.Fatalf("3600 repetitive bytes make a cookie of %d", n)
	}
	b.has(m, "alex", strings.Repeat("compress me ", 300))
	text := b.cookies["session"]
	for i := range len(text) {
		flipped := []byte(text)
		flipped[i] ^= 1
		b.cookies["session"] = string(flipped)
		b.hasNot(m)
	}
}

func TestHeaderOfOneSessionWithPayloadOfAnother(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	one, two := newBrowser(t), newBrowser(t)
	one.login(m, "alex", "data")
	two.login(m, "doe", "data")
	head, _, _ := strings.Cut(one.cookies["session"], ".")
	_, body, _ := strings.Cut(two.cookies["session"], ".")
	one.cookies["session"] = head + "." + body
	one.hasNot(m, session.BadPayload)
	one.cookies["session"] = head
	one.hasNot(m, session.BadPayload)
}

func TestCase44WhoseSessionIsTaken(t *testing.T) {
	made := func(*session.Config) {}
	cases := []struct {
		name string
		by   func(*session.Config)
		want session.Reason
	}{
		{"equal configuration on another route", made, session.OK},
		{"another secret", func(o *session.Config) { o.Secret = []byte("0123456789abcdef0123456789abcdeX") }, session.NotAuthentic},
		{"a secret with a zero byte more", func(o *session.Config) { o.Secret = append([]byte(string(o.Secret)), 0) }, session.NotAuthentic},
		{"another audience", func(o *session.Config) { o.Audience = "other" }, session.OtherAudience},
		{"another identity configuration", func(o *session.Config) { o.Digest[31]++ }, session.BadPayload},
		{"another identity configuration, seen in the tag", func(o *session.Config) { o.Digest[0]++ }, session.OtherConfiguration},
		{"one that binds", func(o *session.Config) { o.Bind = []session.Bind{session.BindIP} }, session.Unbound},
		{"one that stores elsewhere", func(o *session.Config) { o.Store = newClock().store() }, session.NotStored},
		{"longer timers", func(o *session.Config) { o.Timeouts.Idling *= 2 }, session.OK},
		{"secret kept as a previous one", func(o *session.Config) {
			o.PreviousSecrets, o.Secret = [][]byte{[]byte("x"), o.Secret}, []byte("new")
		}, session.OK},
	}
	c := newClock()
	b := newBrowser(t)
	b.login(c.manager(t), "alex", "data")
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			if _, why := b.open(c.manager(t, tc.by)); why != tc.want {
				t.Fatalf("%q, want %q", why, tc.want)
			}
		})
	}
	t.Run("another cookie name", func(t *testing.T) {
		b := b.copy()
		b.cookies["other"] = b.cookies["session"]
		b.hasNot(c.manager(t, func(o *session.Config) { o.Cookie.Name = "other" }), session.NotAuthentic)
	})
}

func TestSessionsMoveToANewSecret(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		b := newBrowser(t)
		b.login(c.manager(t, in), "alex", "data")
		rotated := c.manager(t, in, func(o *session.Config) { o.PreviousSecrets, o.Secret = [][]byte{o.Secret}, []byte("the new one") })
		if n := b.touch(rotated); n != 1 {
			t.Fatalf("%d cookies", n)
		}
		b.has(c.manager(t, in, func(o *session.Config) { o.Secret = []byte("the new one") }), "alex", "data")
	})
}

func TestCase45Binding(t *testing.T) {
	all := []session.Bind{session.BindIP, session.BindScheme, session.BindUserAgent}
	cases := []struct {
		name   string
		bind   []session.Bind
		change func(*browser)
		want   session.Reason
	}{
		{"nothing changed", all, func(b *browser) {}, session.OK},
		{"address changed", all, func(b *browser) { b.ip = "192.0.2.2" }, session.Unbound},
		{"scheme changed", all, func(b *browser) { b.scheme = "http" }, session.Unbound},
		{"user agent changed", all, func(b *browser) { b.agent = "test/2" }, session.Unbound},
		{"user agent gone", all, func(b *browser) { b.agent = "" }, session.Unbound},
		{"address changed, bound to the rest", all[1:], func(b *browser) { b.ip = "192.0.2.2" }, session.OK},
		{"agent changed, bound to the rest", all[:2], func(b *browser) { b.agent = "test/2" }, session.OK},
		{"address in its other spelling", all, func(b *browser) { b.ip = "::ffff:192.0.2.1" }, session.OK},
		{"no address", all, func(b *browser) { b.ip = "" }, session.Unbound},
		{"values that run together", all[:2], func(b *browser) { b.ip, b.scheme = "192.0.2.1https", "" }, session.Unbound},
		{"bound to less than it was made for", all[:1], func(b *browser) {}, session.OK},
	}
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				m := c.manager(t, in, func(o *session.Config) { o.Bind = tc.bind })
				b := newBrowser(t)
				b.login(m, "alex", "data")
				tc.change(b)
				if _, why := b.open(m); why != tc.want {
					t.Fatalf("%q, want %q", why, tc.want)
				}
			})
		}
	})
	t.Run("a configuration that binds otherwise", func(t *testing.T) {
		c, b := newClock(), newBrowser(t)
		b.login(c.manager(t, func(o *session.Config) { o.Bind = all }), "alex", "data")
		b.hasNot(c.manager(t, func(o *session.Config) { o.Bind = all[:2] }), session.Unbound)
		b.hasNot(c.manager(t), session.Unbound)
	})
	t.Run("order does not matter", func(t *testing.T) {
		c, b := newClock(), newBrowser(t)
		b.login(c.manager(t, func(o *session.Config) { o.Bind = all }), "alex", "data")
		b.has(c.manager(t, func(o *session.Config) { o.Bind = []session.Bind{all[2], all[0], all[1]} }), "alex", "data")
	})
	t.Run("nothing to bind to", func(t *testing.T) {
		c, b := newClock(), newBrowser(t)
		b.ip = "unix:"
		m := c.manager(t, func(o *session.Config) { o.Bind = all })
		if set, err := m.Save(t.Context(), b.input(), session.New("alex", nil)); err == nil {
			t.Fatalf("saved: %q", set)
		}
	})
}

func TestIDsAndSealedTextsNeverRepeat(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	seen := map[string]bool{}
	for range 200 {
		b := newBrowser(t)
		s := b.login(m, "alex", "data")
		if len(s.ID()) != 43 || seen[s.ID()] || seen[s.Sealed()] {
			t.Fatalf("id %q repeats or is not 32 bytes in base64url", s.ID())
		}
		seen[s.ID()], seen[s.Sealed()] = true, true
	}
}

func TestNothingPrintsASession(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	b := newBrowser(t)
	s := b.login(m, "alex", "secret-data")
	l := session.Login{Nonce: "secret-data", CodeVerifier: "secret-data"}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprint(l), fmt.Sprintf("%+v", &l), fmt.Sprintf("%#v", l)} {
		if strings.Contains(text, "secret") || strings.Contains(text, "alex") || strings.Contains(text, s.ID()) {
			t.Fatal(text)
		}
	}
}

func TestNewSessionHasNoID(t *testing.T) {
	s := session.New("alex", nil)
	if s.ID() != "" {
		t.Fatalf("a session that was never saved has the id %q", s.ID())
	}
	if _, err := newClock().manager(t).Touch(t.Context(), session.Input{}, s); err == nil {
		t.Fatal("touched a session that was never saved")
	}
}
