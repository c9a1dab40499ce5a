package session_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

func (c *clock) logins(t testing.TB, edit ...func(*session.LoginConfig)) *session.Logins {
	t.Helper()
	config := session.LoginConfig{
		Secret:  []byte("0123456789abcdef0123456789abcdef"),
		Cookie:  session.Cookie{HTTPOnly: true},
		Timeout: 600 * time.Second,
		Digest:  [32]byte{1, 2, 3},
		Now:     c.now,
	}
	for _, e := range edit {
		e(&config)
	}
	l, err := session.NewLogins(config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var aLogin = session.Login{
	Nonce: "nonce-123", CodeVerifier: "verifier-456", RedirectURI: "https://gw.example/cb", Client: 2,
	ReturnTo: "https://gw.example/deep/link?q=1&r=\xff", Method: "GET", Extra: "more",
}

// begin begins a login and returns its state.
func (b *browser) begin(l *session.Logins, login session.Login) string {
	b.t.Helper()
	state, set, err := l.Begin(login, b.input())
	b.take(set, err)
	return state
}

func (b *browser) resumes(l *session.Logins, state string, want session.Outcome) session.Login {
	b.t.Helper()
	login, got := l.Resume(state, b.input())
	if got != want {
		b.t.Fatalf("%v, want %v", got, want)
	}
	return login
}

func TestLoginFromBeginToFinish(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	_, set, err := l.Begin(aLogin, b.input())
	if err != nil || len(set) != 1 || !strings.HasPrefix(set[0], "authorization=") || !strings.HasSuffix(set[0], "; Path=/; Secure; HttpOnly") {
		t.Fatalf("%q, %v", set, err)
	}
	state := b.begin(l, aLogin)
	c.pass(599 * time.Second)
	login := b.resumes(l, state, session.Resumed)
	if login.ID() == "" {
		t.Fatal("a resumed login has no id")
	}
	want := aLogin
	if login.Nonce != want.Nonce || login.CodeVerifier != want.CodeVerifier || login.RedirectURI != want.RedirectURI ||
		login.Client != want.Client || login.ReturnTo != want.ReturnTo || login.Method != want.Method || login.Extra != want.Extra {
		t.Fatal("the login is not what was begun")
	}
	set = l.Finish(state, b.input())
	if len(set) != 1 || set[0] != "authorization=; Max-Age=0; Path=/; Secure; HttpOnly" {
		t.Fatalf("%q", set)
	}
	b.take(set, nil)
	if again := b.resumes(l, state, session.Stale); again.ReturnTo != want.ReturnTo || again.Nonce != "" || again.CodeVerifier != "" || again.ID() != "" {
		t.Fatal("a stale login holds more than its return address, or not even that")
	}
}

func TestStateIsSafeAndBounded(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	for _, n := range []int{0, 1, 100, 1000, 1024, 1025, 2048, 100_000} {
		b := newBrowser(t)
		login := aLogin
		login.ReturnTo = "https://gw.example/p?" + strings.Repeat("a", n)
		state := b.begin(l, login)
		if len(state) > session.MaxState || strings.Trim(state, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%d bytes of query: state of %d: %q", n, len(state), state)
		}
		got := b.resumes(l, state, session.Resumed).ReturnTo
		if want := login.ReturnTo; len(want) <= 2048 && got != want || len(want) > 2048 && got != "https://gw.example/p" {
			t.Fatalf("%d bytes of query: returns to %.60q", n, got)
		}
		b.cookies = map[string]string{}
		got = b.resumes(l, state, session.Stale).ReturnTo
		if want := login.ReturnTo; len(want) <= 1024 && got != want || len(want) > 1024 && got != "https://gw.example/p" {
			t.Fatalf("%d bytes of query: a stale tab lands on %.60q", n, got)
		}
	}
	b := newBrowser(t)
	for address, want := range map[string]string{
		"https://gw.example/" + strings.Repeat("a", 5000): "https://gw.example/",
		"/" + strings.Repeat("a", 5000):                   "/",
		"https://" + strings.Repeat("a", 5000):            "/",
	} {
		state := b.begin(l, session.Login{ReturnTo: address})
		if got := b.resumes(l, state, session.Resumed).ReturnTo; got != want {
			t.Fatalf("%.20q becomes %.40q", address, got)
		}
	}
}

func TestLoginIsBoundToItsBrowser(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	attacker, victim := newBrowser(t), newBrowser(t)
	state := attacker.begin(l, session.Login{ReturnTo: "/attacker"})
	victim.begin(l, session.Login{ReturnTo: "/victim"})
	victim.resumes(l, state, session.Stale)
	victim.cookies = map[string]string{}
	if got := victim.resumes(l, state, session.Stale); got.ReturnTo != "/attacker" || got.Attempt != 1 {
		t.Fatalf("%q, attempt %d", got.ReturnTo, got.Attempt)
	}
}

func TestWhichCallbackIsTaken(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	type kase struct {
		name string
		by   *session.Logins
		pass time.Duration
		edit func(b *browser, state *string)
		want session.Outcome
	}
	none := func(*browser, *string) {}
	cases := []kase{
		{"as it was begun", l, 0, none, session.Resumed},
		{"a second before the timeout", l, 599 * time.Second, none, session.Resumed},
		{"at the timeout", l, 600 * time.Second, none, session.Stale},
		{"a day later", l, 24 * time.Hour, none, session.Stale},
		{"no timeout, a day later", c.logins(t, func(o *session.LoginConfig) { o.Timeout = 0 }), 24 * time.Hour, none, session.Resumed},
		{"equal configuration on another route", c.logins(t), 0, none, session.Resumed},
		{"secret kept as a previous one", c.logins(t, func(o *session.LoginConfig) { o.PreviousSecrets, o.Secret = [][]byte{o.Secret}, []byte("new") }), 0, none, session.Resumed},
		{"another secret", c.logins(t, func(o *session.LoginConfig) { o.Secret = []byte("other") }), 0, none, session.Rejected},
		{"another identity configuration", c.logins(t, func(o *session.LoginConfig) { o.Digest[0]++ }), 0, none, session.Stale},
		{"another cookie name", c.logins(t, func(o *session.LoginConfig) { o.Cookie.Name = "auth" }), 0, none, session.Stale},
		{"no state", l, 0, func(_ *browser, s *string) { *s = "" }, session.Rejected},
		{"a state of someone else's making", l, 0, func(_ *browser, s *string) { *s = strings.Repeat("A", 100) }, session.Rejected},
		{"a state too long", l, 0, func(_ *browser, s *string) { *s += strings.Repeat("A", 10000) }, session.Rejected},
		{"a state with a line break", l, 0, func(_ *browser, s *string) { *s += "\n" }, session.Rejected},
		{"a state in padded base64", l, 0, func(_ *browser, s *string) { *s += "=" }, session.Rejected},
		{"no cookie", l, 0, func(b *browser, _ *string) { clear(b.cookies) }, session.Stale},
		{"an empty cookie", l, 0, func(b *browser, _ *string) { b.cookies["authorization"] = "" }, session.Stale},
		{"a truncated cookie", l, 0, func(b *browser, _ *string) { b.cookies["authorization"] = b.cookies["authorization"][:80] }, session.Stale},
		{"the cookie under another name", l, 0, func(b *browser, _ *string) {
			b.cookies["authorization_AAAAAAAAAAAA"] = b.cookies["authorization"]
			delete(b.cookies, "authorization")
		}, session.Stale},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			start := c.t
			defer func() { c.t = start }()
			b := newBrowser(t)
			state := b.begin(l, aLogin)
			c.pass(tc.pass)
			tc.edit(b, &state)
			login := b.resumes(tc.by, state, tc.want)
			if tc.want != session.Resumed && login.CodeVerifier+login.Nonce+login.RedirectURI != "" {
				t.Fatal("a refused callback learns of the login")
			}
			if tc.want == session.Stale && login.ReturnTo != aLogin.ReturnTo {
				t.Fatalf("lands on %q", login.ReturnTo)
			}
		})
	}
}

func TestEveryTamperedStateAndLoginCookieIsRefused(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	state := b.begin(l, aLogin)
	for i := range len(state) {
		for bit := range 8 {
			flipped := []byte(state)
			flipped[i] ^= 1 << bit
			b.resumes(l, string(flipped), session.Rejected)
		}
		b.resumes(l, state[:i], session.Rejected)
	}
	text := b.cookies["authorization"]
	for i := range len(text) {
		for bit := range 8 {
			flipped := []byte(text)
			flipped[i] ^= 1 << bit
			b.cookies["authorization"] = string(flipped)
			b.resumes(l, state, session.Stale)
		}
	}
	b.cookies["authorization"] = text
	b.resumes(l, state, session.Resumed)
}

func TestARestartedLoginDoesNotLoop(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t) // keeps no cookies
	state, _, _ := l.Begin(aLogin, b.input())
	again := b.resumes(l, state, session.Stale)
	state, _, _ = l.Begin(again, b.input())
	if last := b.resumes(l, state, session.Rejected); last.ReturnTo != aLogin.ReturnTo {
		t.Fatalf("rejected without its address: %q", last.ReturnTo)
	}
	b.begin(l, again)
	state = b.begin(l, again)
	b.resumes(l, state, session.Resumed) // a browser that does gets through at the second attempt
}

func TestFiftyTabs(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	states := make([]string, 50)
	for i := range states {
		states[i] = b.begin(l, session.Login{ReturnTo: fmt.Sprint("/tab/", i)})
		if len(b.cookies) > session.MaxPendingLogins {
			t.Fatalf("%d cookies after %d tabs", len(b.cookies), i+1)
		}
		c.pass(time.Second)
	}
	if _, ok := b.cookies["authorization"]; ok && len(b.cookies) != session.MaxPendingLogins {
		t.Fatalf("%v", slices.Collect(maps.Keys(b.cookies)))
	}
	resumed := 0
	for i, state := range states {
		login, outcome := l.Resume(state, b.input())
		if login.ReturnTo != fmt.Sprint("/tab/", i) {
			t.Fatalf("tab %d lands on %q", i, login.ReturnTo)
		}
		if outcome == session.Resumed {
			resumed++
			if i < 45 {
				t.Fatalf("tab %d is kept before newer ones", i)
			}
		}
	}
	if resumed != session.MaxPendingLogins {
		t.Fatalf("%d logins pending", resumed)
	}
	evicted := b.resumes(l, states[3], session.Stale)
	state := b.begin(l, evicted)
	if got := b.resumes(l, state, session.Resumed); got.ReturnTo != "/tab/3" {
		t.Fatalf("lands on %q", got.ReturnTo)
	}
}

func TestFiftyTabsAtOnce(t *testing.T) {
	l := newClock().logins(t)
	b := newBrowser(t)
	empty := b.input()
	for range 50 { // all requests leave before the first answer is back
		_, set, err := l.Begin(aLogin, empty)
		b.take(set, err)
	}
	if len(b.cookies) > session.MaxPendingLogins {
		t.Fatalf("%d cookies", len(b.cookies))
	}
}

func TestTwoTabsBothFinish(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	one := b.begin(l, session.Login{ReturnTo: "/one", Nonce: "1"})
	two := b.begin(l, session.Login{ReturnTo: "/two", Nonce: "2"})
	if got := slices.Sorted(maps.Keys(b.cookies)); len(got) != 2 || got[0] != "authorization" || !strings.HasPrefix(got[1], "authorization_") {
		t.Fatalf("cookies %q", got)
	}
	for _, tab := range []struct{ state, nonce string }{{two, "2"}, {one, "1"}} {
		if got := b.resumes(l, tab.state, session.Resumed); got.Nonce != tab.nonce {
			t.Fatalf("nonce %q", got.Nonce)
		}
		b.take(l.Finish(tab.state, b.input()), nil)
	}
	if len(b.cookies) != 0 {
		t.Fatalf("left: %v", b.cookies)
	}
}

func TestLoginsOfAnotherIssuerStay(t *testing.T) {
	c := newClock()
	l, other := c.logins(t), c.logins(t, func(o *session.LoginConfig) { o.Secret = []byte("of another issuer") })
	b := newBrowser(t)
	one := b.begin(l, session.Login{ReturnTo: "/one"})
	two := b.begin(other, session.Login{ReturnTo: "/two"})
	b.resumes(l, one, session.Resumed)
	b.resumes(other, two, session.Resumed)
	b.take(l.Finish(one, b.input()), nil)
	b.resumes(other, two, session.Resumed)
	for range 9 {
		b.begin(l, session.Login{ReturnTo: "/more"})
		c.pass(time.Second)
	}
	if len(b.cookies) > session.MaxPendingLogins {
		t.Fatalf("%d cookies", len(b.cookies))
	}
}

func TestOldLoginsAreRemoved(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	for range 4 {
		b.begin(l, aLogin)
	}
	c.pass(600 * time.Second)
	b.begin(l, aLogin)
	if len(b.cookies) != 1 || b.cookies["authorization"] == "" {
		t.Fatalf("cookies: %v", slices.Collect(maps.Keys(b.cookies)))
	}
}

func TestFinishRemovesOldLoginsToo(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	b.begin(l, aLogin)
	c.pass(590 * time.Second)
	state := b.begin(l, aLogin)
	c.pass(10 * time.Second)
	b.take(l.Finish(state, b.input()), nil)
	if len(b.cookies) != 0 {
		t.Fatalf("left: %v", slices.Collect(maps.Keys(b.cookies)))
	}
	b.begin(l, aLogin)
	b.take(l.Finish("", b.input()), nil)
	if len(b.cookies) != 1 {
		t.Fatal("a pending login was removed without its state")
	}
}

func TestLoginsGiveWayToTheHeaderLine(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	b.cookies["theirs"] = strings.Repeat("x", 5000)
	for range 5 {
		b.begin(l, session.Login{ReturnTo: "/" + strings.Repeat("a", 1000)})
		if line := len("Cookie: \r\n") + len(b.input().Cookies[0]); line > 8192 {
			t.Fatalf("a line of %d bytes", line)
		}
	}
	if _, _, err := l.Begin(session.Login{RedirectURI: strings.Repeat("x", 4000)}, b.input()); err == nil {
		t.Fatal("a login that no browser keeps was begun")
	}
}

func TestALoginIsUsedOnce(t *testing.T) {
	c := newClock()
	l := c.logins(t)
	b := newBrowser(t)
	login := b.resumes(l, b.begin(l, aLogin), session.Resumed)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if l.Claim(login.ID()) {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("used %d times", won.Load())
	}
	c.pass(599 * time.Second)
	if l.Claim(login.ID()) {
		t.Fatal("used again within its time")
	}
	if l.Claim("") {
		t.Fatal("a login without an id was used")
	}
	for i := range 200_000 { // bounded
		l.Claim(fmt.Sprint(i))
	}
}

func TestInstancesShareUsedLogins(t *testing.T) {
	c := newClock()
	used := session.NewUsed(c.now)
	share := func(o *session.LoginConfig) { o.Used = used }
	if !c.logins(t, share).Claim("id") || c.logins(t, share).Claim("id") {
		t.Fatal("each instance used the login")
	}
}

func TestLoginAndSessionKeysDiffer(t *testing.T) {
	c := newClock()
	m := c.manager(t, func(o *session.Config) { o.Cookie.Name = "authorization" })
	l := c.logins(t)
	b := newBrowser(t)
	b.begin(l, aLogin)
	b.cookies["authorization"] = "1" + b.cookies["authorization"]
	b.hasNot(m)
	b = newBrowser(t)
	s := b.login(m, "alex", "data")
	for _, text := range []string{b.cookies["authorization"], s.ID(), s.Sealed()} {
		b.resumes(l, text, session.Rejected)
	}
}

func TestLoginConfigurationsThatAreRefused(t *testing.T) {
	for name, o := range map[string]session.LoginConfig{
		"no secret":        {},
		"name":             {Secret: []byte("x"), Cookie: session.Cookie{Name: "a;b"}},
		"short timeout":    {Secret: []byte("x"), Timeout: time.Millisecond},
		"negative timeout": {Secret: []byte("x"), Timeout: -time.Second},
	} {
		if _, err := session.NewLogins(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOwnedCookies(t *testing.T) {
	c := newClock()
	m, l := c.manager(t, remembering), c.logins(t)
	for name, want := range map[string]string{
		"session": "session", "session2": "session", "session9": "session", "remember": "session", "remember3": "session",
		"authorization": "login", "authorization_AAAAAAAAAAAA": "login",
		"session1": "", "session0": "", "session10": "", "sessions": "", "Session": "", "": "", "authorization_": "",
		"authorization_AAAA": "", "authorization2": "", "authorization-AAAAAAAAAAAA": "",
	} {
		if m.Owns(name) != (want == "session") || l.Owns(name) != (want == "login") {
			t.Errorf("%q: session %v, login %v", name, m.Owns(name), l.Owns(name))
		}
	}
	if c.manager(t).Owns("remember") || c.manager(t).Binds(session.BindIP) {
		t.Error("what is not configured is owned, or bound")
	}
}
