package session_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

// wide accepts more than one request line holds by default.
func wide(o *session.Config) { o.MaxHeaderLine = 60 << 10 }

func TestLargeSessionIsSplitAndShrinks(t *testing.T) {
	c := newClock()
	m := c.manager(t, wide)
	b := newBrowser(t)
	s := b.login(m, "alex", noise(14000))
	want := []string{"session", "session2", "session3", "session4"}
	if got := slices.Sorted(maps.Keys(b.cookies)); !slices.Equal(got, want) {
		t.Fatalf("cookies %q, want %q", got, want)
	}
	for name, cookie := range b.last {
		if cookie.Path != "/" || !cookie.HttpOnly || !cookie.Secure {
			t.Fatalf("%s: %v", name, cookie)
		}
	}
	b.has(m, "alex", noise(14000))
	s.Data = []byte("small")
	set, err := m.Save(t.Context(), b.input(), s)
	b.take(set, err)
	if got := slices.Sorted(maps.Keys(b.cookies)); !slices.Equal(got, want[:1]) || len(set) != 4 {
		t.Fatalf("cookies %q after it shrank, by %d Set-Cookie", got, len(set))
	}
	b.has(m, "alex", "small")
}

func TestCase41PiecesOutOfPlace(t *testing.T) {
	c := newClock()
	m := c.manager(t, wide)
	data := noise(14000)
	whole := newBrowser(t)
	whole.login(m, "alex", data)
	other := newBrowser(t)
	other.login(m, "alex", data)
	get := func(b *browser, name string) string { return b.cookies[name] }
	cases := []struct {
		name   string
		change func(b *browser)
	}{
		{"first missing", func(b *browser) { delete(b.cookies, "session") }},
		{"second missing", func(b *browser) { delete(b.cookies, "session2") }},
		{"last missing", func(b *browser) { delete(b.cookies, "session4") }},
		{"reordered", func(b *browser) {
			b.cookies["session2"], b.cookies["session3"] = get(b, "session3"), get(b, "session2")
		}},
		{"one twice in place of another", func(b *browser) { b.cookies["session3"] = get(b, "session2") }},
		{"one empty", func(b *browser) { b.cookies["session2"] = "" }},
		{"one truncated", func(b *browser) { b.cookies["session3"] = get(b, "session3")[:100] }},
		{"one of another session", func(b *browser) { b.cookies["session4"] = get(other, "session4") }},
		{"a smaller count", func(b *browser) { b.cookies["session"] = "3" + get(b, "session")[1:] }},
		{"a larger count", func(b *browser) { b.cookies["session"] = "5" + get(b, "session")[1:] }},
		{"a larger count, with a piece", func(b *browser) {
			b.cookies["session"], b.cookies["session5"] = "5"+get(b, "session")[1:], "AAAA"
		}},
		{"a count of zero", func(b *browser) { b.cookies["session"] = "0" + get(b, "session")[1:] }},
		{"a count of 2^31", func(b *browser) { b.cookies["session"] = "2147483648" + get(b, "session")[1:] }},
		{"no count", func(b *browser) { b.cookies["session"] = get(b, "session")[1:] }},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := whole.copy()
			tc.change(b)
			b.hasNot(m)
		})
	}
	t.Run("a piece too many is not looked at", func(t *testing.T) {
		b := whole.copy()
		b.cookies["session5"] = "left over"
		b.has(m, "alex", data)
	})
}

func TestCase42UselessCookies(t *testing.T) {
	m := newClock().manager(t)
	for _, line := range []string{
		"", " ", ";", "=", ";;;;", "session", "session=", "session= ", "session=\t", "session=1", "session=9", "session=0",
		"session=\x00\xff\xfe", `session=""`, "session=1.", "session=1~", "session=1~~~~.", "session=1....",
		"session=" + strings.Repeat("~", 60000), "session=1" + strings.Repeat("A", 256) + "." + strings.Repeat("A", 50000),
		strings.Repeat("session=1;", 6000), strings.Repeat("session2=A;", 6000), "session=2147483648", "session=-1",
		"Session=1abc", "session =1abc", "session=1" + strings.Repeat("é", 300), strings.Repeat(" ", 1<<20),
	} {
		in := session.Input{Cookies: []string{line, line}}
		s, why, err := m.Open(t.Context(), in)
		if s != nil || err != nil || why == session.OK {
			t.Fatalf("%.40q: %v, %v, %v", line, s, why, err)
		}
		set, err := m.Destroy(t.Context(), in, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range set {
			if !strings.HasPrefix(c, "session=; Max-Age=0;") && !strings.HasPrefix(c, "session2=; Max-Age=0;") {
				t.Fatalf("%.40q: %.80q", line, c)
			}
		}
	}
}

func TestTheSameCookieFromTwoPaths(t *testing.T) {
	c := newClock()
	m := c.manager(t, wide)
	b, old := newBrowser(t), newBrowser(t)
	old.login(m, "alex", noise(5000))
	c.pass(time.Minute)
	b.login(m, "alex", noise(6000))
	both := func(x, y *browser) session.Input {
		in := x.input()
		in.Cookies = append(in.Cookies, y.input().Cookies...)
		return in
	}
	open := func(in session.Input) (*session.Session, session.Reason) {
		s, why, err := m.Open(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return s, why
	}
	for _, in := range []session.Input{both(b, old), both(old, b)} {
		if s, why := open(in); s == nil || len(s.Data) != 6000 {
			t.Fatalf("the newer session of the same subject is not taken: %v", why)
		}
	}
	if s, why := open(both(b, b)); s == nil {
		t.Fatalf("a cookie sent twice is no session: %v", why)
	}
	junk := newBrowser(t)
	junk.cookies["session"] = "1planted"
	if s, why := open(both(junk, b)); s == nil {
		t.Fatalf("junk from another path ends the session: %v", why)
	}
	three := session.Input{Cookies: []string{"session=1x; session=1x; session=1x", b.input().Cookies[0]}, Scheme: "https"}
	if s, why := open(three); s == nil {
		t.Fatalf("one junk cookie sent three times ends the session: %v", why)
	}
	planted := newBrowser(t)
	planted.login(m, "mallory", "data")
	for _, in := range []session.Input{both(b, planted), both(planted, b)} {
		if s, why := open(in); s != nil || why != session.Ambiguous {
			t.Fatalf("sessions of two subjects: %v", why)
		}
	}
}

func TestLimitOfTheHeaderLine(t *testing.T) {
	c := newClock()
	m := c.manager(t)
	largest := 0
	for n := 4000; ; n += 10 {
		b := newBrowser(t)
		b.cookies["theirs"] = strings.Repeat("x", 500)
		set, err := m.Save(t.Context(), b.input(), session.New("alex", []byte(noise(n))))
		var large *session.TooLargeError
		if errors.As(err, &large) {
			if set != nil || large.Limit != 8192 || large.Size <= 8192 || !strings.Contains(err.Error(), "session_storage") {
				t.Fatalf("%d cookies with %v", len(set), err)
			}
			break
		}
		b.take(set, err)
		if line := len("Cookie: \r\n") + len(b.input().Cookies[0]); line > 8192 {
			t.Fatalf("%d bytes of data make a line of %d", n, line)
		}
		largest = n
	}
	if largest < 5000 {
		t.Fatalf("only %d bytes fit in a line of 8192", largest)
	}
	if _, err := c.manager(t, wide).Save(t.Context(), newBrowser(t).input(), session.New("alex", []byte(noise(100_000)))); err == nil {
		t.Fatal("more than nine pieces")
	}
	stored := c.manager(t, func(o *session.Config) { o.Store = c.store() })
	b := newBrowser(t)
	b.login(stored, "alex", noise(200_000))
	b.has(stored, "alex", noise(200_000))
	if n := len(b.cookies["session"]); n > 300 || len(b.cookies) != 1 {
		t.Fatalf("a stored session makes %d cookies, one of %d bytes", len(b.cookies), n)
	}
	if _, err := stored.Save(t.Context(), b.input(), session.New("alex", make([]byte, 1<<20+1))); err == nil {
		t.Fatal("no bound on a stored session")
	}
}

func TestLoginCookiesDoNotCountAgainstTheSession(t *testing.T) {
	m := newClock().manager(t, func(o *session.Config) { o.LoginCookie = "authorization" })
	b := newBrowser(t)
	b.cookies["authorization"] = strings.Repeat("x", 3000)
	b.cookies["authorization_AAAAAAAAAAAA"] = strings.Repeat("x", 3000)
	b.login(m, "alex", noise(4000))
	b.cookies["authorizations"] = strings.Repeat("x", 6000)
	if _, err := m.Save(t.Context(), b.input(), session.New("alex", []byte(noise(4000)))); err == nil {
		t.Fatal("a cookie of someone else was not counted")
	}
}

func TestAttributes(t *testing.T) {
	yes, no := true, false
	cases := []struct {
		name   string
		cookie session.Cookie
		scheme string
		want   string
	}{
		{"default over https", session.Cookie{HTTPOnly: true, SameSite: session.SameSiteLax}, "https", "; Path=/; SameSite=Lax; Secure; HttpOnly"},
		{"default over http", session.Cookie{HTTPOnly: true, SameSite: session.SameSiteLax}, "http", "; Path=/; SameSite=Lax; HttpOnly"},
		{"same site left out", session.Cookie{SameSite: session.SameSiteDefault}, "http", "; Path=/"},
		{"strict, path and domain", session.Cookie{SameSite: session.SameSiteStrict, Path: "/app", Domain: "example.com"}, "http", "; Path=/app; Domain=example.com; SameSite=Strict"},
		{"none brings secure", session.Cookie{SameSite: session.SameSiteNone}, "http", "; Path=/; SameSite=None; Secure"},
		{"secure set", session.Cookie{Secure: &yes}, "http", "; Path=/; Secure"},
		{"secure unset", session.Cookie{Secure: &no, HTTPOnly: true}, "https", "; Path=/; HttpOnly"},
		{"scheme in capitals", session.Cookie{}, "HTTPS", "; Path=/; Secure"},
		{"host prefix", session.Cookie{Name: "__Host-session"}, "http", "; Path=/; Secure"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			m := newClock().manager(t, func(o *session.Config) { o.Cookie = tc.cookie })
			b := newBrowser(t)
			b.scheme = tc.scheme
			set, err := m.Save(t.Context(), b.input(), session.New("alex", nil))
			if err != nil || len(set) != 1 {
				t.Fatal(set, err)
			}
			if _, got, _ := strings.Cut(set[0], "; "); "; "+got != tc.want {
				t.Fatalf("attributes %q, want %q", "; "+got, tc.want)
			}
			b.take(set, nil)
			set, err = m.Destroy(t.Context(), b.input(), nil)
			name := tc.cookie.Name
			if name == "" {
				name = "session"
			}
			if want := name + "=; Max-Age=0" + tc.want; err != nil || len(set) != 1 || set[0] != want {
				t.Fatalf("removal %q, want %q", set, want)
			}
		})
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	no := false
	many := make([][]byte, 8)
	for i := range many {
		many[i] = fmt.Append(nil, i)
	}
	cases := map[string]func(*session.Config){
		"no secret":              func(o *session.Config) { o.Secret = nil },
		"empty previous secret":  func(o *session.Config) { o.PreviousSecrets = [][]byte{{}} },
		"too many secrets":       func(o *session.Config) { o.PreviousSecrets = many },
		"name with a blank":      func(o *session.Config) { o.Cookie.Name = "a b" },
		"name with an equals":    func(o *session.Config) { o.Cookie.Name = "a=b" },
		"name with a newline":    func(o *session.Config) { o.Cookie.Name = "a\r\nSet-Cookie: b" },
		"name too long":          func(o *session.Config) { o.Cookie.Name = strings.Repeat("a", 65) },
		"path that injects":      func(o *session.Config) { o.Cookie.Path = "/;Domain=evil.example" },
		"relative path":          func(o *session.Config) { o.Cookie.Path = "app" },
		"domain that injects":    func(o *session.Config) { o.Cookie.Domain = "example.com;Secure" },
		"same site unknown":      func(o *session.Config) { o.Cookie.SameSite = "lax" },
		"none but not secure":    func(o *session.Config) { o.Cookie.SameSite, o.Cookie.Secure = session.SameSiteNone, &no },
		"host prefix and domain": func(o *session.Config) { o.Cookie.Name, o.Cookie.Domain = "__Host-s", "example.com" },
		"host prefix and path":   func(o *session.Config) { o.Cookie.Name, o.Cookie.Path = "__Host-s", "/app" },
		"prefix but not secure":  func(o *session.Config) { o.Cookie.Name, o.Cookie.Secure = "__Secure-s", &no },
		"unknown bind":           func(o *session.Config) { o.Bind = []session.Bind{"port"} },
		"negative timeout":       func(o *session.Config) { o.Timeouts.Idling = -1 },
		"timeout of 10 ms":       func(o *session.Config) { o.Timeouts.Rolling = 10 * time.Millisecond },
		"remember as session":    func(o *session.Config) { o.Remember, o.RememberCookie = true, "session" },
		"remember as a piece":    func(o *session.Config) { o.Remember, o.RememberCookie = true, "session2" },
		"tiny header line":       func(o *session.Config) { o.MaxHeaderLine = 100 },
		"metadata without index": func(o *session.Config) { o.StoreMetadata, o.Store = true, plain{newClock().store()} },
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			config := newClock().config()
			edit(&config)
			if _, err := session.NewManager(config); err == nil {
				t.Fatal("accepted")
			} else if len(err.Error()) < 20 {
				t.Fatalf("the error says too little: %v", err)
			}
		})
	}
}
