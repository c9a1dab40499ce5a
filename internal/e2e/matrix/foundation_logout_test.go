package matrix

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// logoutRoutes are the application of the Logout plan's modules, whose session
// is in a cookie; one that logs out of all; and one that the provider, which is
// of the same site here, tells by a frame.
func logoutRoutes(path string, c config) []route {
	out := c.with(config{
		"logout_uri_suffix": "/out", "logout_methods": []string{"GET"}, "logout_redirect_uri": []string{"http://127.0.0.1:9" + path + "/bye"},
		"backchannel_logout_uri_suffix": "/backchannel", "display_errors": true,
	})
	return []route{
		{path + "-app", out},
		{path + "-all", out.with(config{"logout_all_sessions": true})},
		{path + "-framed", out.with(config{"frontchannel_logout_uri_suffix": "/frontchannel", "session_cookie_name": "framed"})},
	}
}

// person is somebody with one login at the provider, and browsers at the gateway.
type person struct {
	*party
	at *http.Client // the provider's cookies
}

func (p *party) person() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return &person{p, &http.Client{Jar: jar}}
}

// browser logs the person in at the gateway and returns the browser.
func (p *person) browser() *harness.Browser {
	p.t.Helper()
	b := p.w.browser(p.t)
	to := b.Get(p.path).Want(302).To()
	cb, err := provider.SignIn(p.t.Context(), p.at, to.String(), "alex", "doe")
	if err != nil {
		p.t.Fatal(err)
	}
	b.Get(cb.URL.String()).Want(302)
	b.Get(p.path).Want(200)
	return b
}

// visit opens a page of the provider's, without following where it leads.
func (p *person) visit(to string) (*http.Response, string) {
	p.t.Helper()
	a := (&harness.Browser{HTTP: &http.Client{Jar: p.at.Jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}).On(p.t).Get(to)
	return a.Response, a.Text
}

// told registers the gateway's paths at the provider.
func (p *party) told() {
	p.t.Helper()
	c := provider.Client{
		ID: "kong", Secret: "kong-secret-0123456789abcdef0123456789abcdef", AuthMethods: []string{provider.AuthBasic}, LoopbackRedirects: true,
		BackchannelLogoutURI: p.w.gateway.Proxy + p.path + "/backchannel",
	}
	if strings.HasSuffix(p.path, "-framed") {
		c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "", p.w.gateway.Proxy+p.path+"/frontchannel"
	}
	if err := p.op.SetClient(c); err != nil {
		p.t.Fatal(err)
	}
}

// ended fails the test unless the browser's session is over.
func (p *party) ended(b *harness.Browser) {
	p.t.Helper()
	if to := b.Get(p.path).Want(302).To(); to.Path != "/authorize" {
		p.t.Errorf("sent to %s", to)
	}
}

// rpInitLogout is a logout from which the browser comes back to a page of the
// route, with the state or the path given.
func rpInitLogout(state string) func(*party) {
	return func(p *party) {
		p.told()
		b := p.person()
		one := b.browser()
		copied := cookieOf(one, p.w.gateway.Proxy)
		to := one.Get(p.path + "/out").Want(302)
		q := to.To().Query()
		if to.Header.Get("Cache-Control") != "no-store" || to.To().Path != "/logout" || q.Get("id_token_hint") == "" || q.Get("client_id") != "kong" || q.Get("post_logout_redirect_uri") == "" || q.Has("state") {
			p.t.Errorf("sent to %s", to.To())
		}
		resp, _ := b.visit(to.To().String())
		if l := resp.Header.Get("Location"); resp.StatusCode != 303 || l != q.Get("post_logout_redirect_uri") {
			p.t.Fatalf("the provider answers %d to %s", resp.StatusCode, l)
		}
		p.ended(one)
		// Whatever state the browser comes back with makes it no callback of a login.
		if a := one.Get(p.path + state); a.Want(302).To().Path != "/authorize" {
			p.t.Errorf("sent to %s", a.To())
		}
		if a := p.w.browser(p.t).Get(p.path, "Cookie", copied); a.StatusCode != 302 {
			p.t.Errorf("case 52: a copy of the cookie: %d", a.StatusCode)
		}
	}
}

// cookieOf returns the Cookie header of a browser.
func cookieOf(b *harness.Browser, site string) string {
	u, _ := url.Parse(site)
	var parts []string
	for _, c := range b.HTTP.Jar.Cookies(u) {
		parts = append(parts, c.Name+"="+c.Value)
	}
	return strings.Join(parts, "; ")
}

// backChannel is a logout that the provider tells by a token with faults: by
// one without, the person's other browser is logged out.
func backChannel(good bool, faults ...provider.Fault) func(*party) {
	return func(p *party) {
		p.told()
		me := p.person()
		one, two := me.browser(), me.browser()
		for _, f := range faults {
			f.Token = provider.TokenLogout
			if err := p.op.Faults().Set(f); err != nil {
				p.t.Fatal(err)
			}
		}
		me.visit(one.Get(p.path + "/out").Want(302).To().String())
		p.op.Faults().Clear()
		sent := p.op.Notices()
		if len(sent) == 0 {
			p.t.Fatal("no logout token was sent")
		}
		n := sent[len(sent)-1]
		if n.Header.Get("Cache-Control") != "no-store" {
			p.t.Errorf("Cache-Control %q", n.Header.Get("Cache-Control"))
		}
		p.ended(one)
		if good {
			if n.Status != 200 {
				p.t.Errorf("the logout token is answered %d %s", n.Status, n.Body)
			}
			p.ended(two)
			a := p.w.browser(p.t).Post(p.path+"/backchannel", url.Values{"logout_token": {n.Token}})
			if a.StatusCode != 400 || !strings.Contains(a.Text, "invalid_request") {
				p.t.Errorf("case 50: replayed: %d %s", a.StatusCode, a.Text)
			}
			return
		}
		if n.Status != 400 || !strings.Contains(n.Body, `"invalid_request"`) || n.Header.Get("Content-Type") == "" {
			p.t.Errorf("the logout token is answered %d %s", n.Status, n.Body)
		}
		two.Get(p.path).Want(200)
	}
}

const backchannelEvent = "http://schemas.openid.net/event/backchannel-logout"

var logoutModules = []module{
	{"rp-init-logout", logouts + "-app", rpInitLogout("")},
	{"rp-init-logout-other-state", logouts + "-app", rpInitLogout("?state=other")},
	{"rp-init-logout-no-state", logouts + "-app", rpInitLogout("/no/state")},
	{"rp-backchannel-rpinitlogout", logouts + "-app", backChannel(true)},
	{"rp-backchannel-rpinitlogout-alg-none", logouts + "-app", backChannel(false, fault("alg-none"))},
	{"rp-backchannel-rpinitlogout-no-event", logouts + "-app", backChannel(false, provider.Fault{Name: "claims", Claims: map[string]any{"events": nil}})},
	{"rp-backchannel-rpinitlogout-with-nonce", logouts + "-app", backChannel(false, fault("wrong-nonce"))},
	{"rp-backchannel-rpinitlogout-wrong-alg", logouts + "-app", func(p *party) {
		for _, alg := range []string{"alg-es256", "alg-hs256-with-secret", "alg-hs256-with-public-key", "alg-mismatch"} {
			backChannel(false, fault(alg))(p)
		}
	}},
	{"rp-backchannel-rpinitlogout-wrong-aud", logouts + "-app", backChannel(false, fault("wrong-aud"))},
	{"rp-backchannel-rpinitlogout-wrong-event", logouts + "-app", backChannel(false, provider.Fault{Name: "claims", Claims: map[string]any{"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}}})},
	{"rp-backchannel-rpinitlogout-wrong-iss", logouts + "-app", backChannel(false, fault("wrong-iss"))},
	{"case 50: no iat", logouts + "-app", backChannel(false, fault("missing-iat"))},
	{"case 50: no jti", logouts + "-app", backChannel(false, fault("missing-jti"))},
	{"case 50: invalid signature", logouts + "-app", backChannel(false, fault("bad-signature"))},
	{"case 50: another's key", logouts + "-app", backChannel(false, fault("foreign-key"))},
	{"case 50: the event is no object", logouts + "-app", backChannel(false, provider.Fault{Name: "claims", Claims: map[string]any{"events": map[string]any{backchannelEvent: 1}}})},
	{"a token that Kong keeps in a file", logouts + "-app", backChannel(true, provider.Fault{Name: "huge", Size: 20_000})},
	{"case 51: a token with only sub", logouts + "-app", func(p *party) {
		p.told()
		one, two := p.person().browser(), p.person().browser() // of two logins at the provider
		token, err := p.op.Mint(provider.TokenRequest{Kind: provider.TokenLogout, Claims: map[string]any{"sid": nil}})
		if err != nil {
			p.t.Fatal(err)
		}
		p.w.browser(p.t).Post(p.path+"/backchannel", url.Values{"logout_token": {token}}).Want(200)
		p.ended(one)
		p.ended(two)
		later := p.person().browser() // who logs in again is in
		p.w.browser(p.t).Post(p.path+"/backchannel", url.Values{"logout_token": {token}}).Want(400)
		later.Get(p.path).Want(200)
	}},
	{"only a form by POST brings a logout token", logouts + "-app", func(p *party) {
		p.told()
		one := p.person().browser()
		token, err := p.op.Mint(provider.TokenRequest{Kind: provider.TokenLogout, Claims: map[string]any{"sid": nil}})
		if err != nil {
			p.t.Fatal(err)
		}
		b, at := p.w.browser(p.t), p.path+"/backchannel"
		if a := b.Get(at + "?logout_token=" + token); a.StatusCode != 405 || a.Header.Get("Allow") != "POST" {
			p.t.Errorf("GET: %d", a.StatusCode)
		}
		b.Do("POST", at+"?logout_token="+token, nil).Want(400)
		b.Do("POST", at, strings.NewReader(`{"logout_token":"`+token+`"}`), "Content-Type", "application/json").Want(400)
		b.Post(at, url.Values{"logout_token": {token, token}}).Want(400)
		b.Post(at, url.Values{"logout_token": {""}}).Want(400)
		b.Post(at, url.Values{"logout_token": {"x"}, "padding": {strings.Repeat("x", 2<<20)}}).Want(400)
		b.Do("OPTIONS", at, nil).Want(405)
		one.Get(p.path).Want(200)
		one.Post(p.path+"/./x/..//%62ackchannel", url.Values{"logout_token": {token}}).Want(200)
		p.ended(one)
	}},
	{"logout_all_sessions", logouts + "-all", func(p *party) {
		one, two, other := p.person().browser(), p.person().browser(), p.variant("")
		other.path = strings.TrimSuffix(p.path, "-all") + "-app"
		elsewhere := other.person().browser()
		one.Get(p.path + "/out").Want(302)
		p.ended(one)
		p.ended(two)
		other.ended(elsewhere) // another route, whose sessions are the same
		p.person().browser().Get(p.path).Want(200)
	}},
	{"case 52: GET logout while GET is not enabled", plain, func(p *party) {
		b := p.person().browser()
		b.Get(p.path + "/out").Want(200)
		b.Get(p.path).Want(200)
	}},
	{"rp-frontchannel-rpinitlogout", logouts + "-framed", func(p *party) {
		p.told()
		me := p.person()
		one, two := me.browser(), me.browser()
		cookies := cookieOf(two, p.w.gateway.Proxy)
		resp, page := me.visit(one.Get(p.path + "/out").Want(302).To().String())
		m := regexp.MustCompile(`<iframe src="([^"]+)"`).FindStringSubmatch(page)
		if resp.StatusCode != 200 || m == nil {
			p.t.Fatalf("the provider's page: %d %s", resp.StatusCode, page)
		}
		frame, err := url.Parse(html.UnescapeString(m[1]))
		if err != nil {
			p.t.Fatal(err)
		}
		with := func(edit func(url.Values)) string {
			u, q := *frame, frame.Query()
			edit(q)
			u.RawQuery = q.Encode()
			return u.String()
		}
		alive := func(status int) {
			p.t.Helper()
			if a := p.w.browser(p.t).Get(p.path, "Cookie", cookies); a.StatusCode != status {
				p.t.Fatalf("the session: %d, want %d", a.StatusCode, status)
			}
		}
		for name, to := range map[string]string{
			"another sid": with(func(q url.Values) { q.Set("sid", "other") }), "another iss": with(func(q url.Values) { q.Set("iss", foreign) }),
			"no sid": with(func(q url.Values) { q.Del("sid") }), "no iss": with(func(q url.Values) { q.Del("iss") }),
			"twice": frame.String() + "&sid=x&iss=y", "empty": with(func(q url.Values) { q.Set("sid", ""); q.Set("iss", "") }),
		} {
			if a := p.w.browser(p.t).Get(to, "Cookie", cookies); a.StatusCode != 400 {
				p.t.Errorf("%s: %d", name, a.StatusCode)
			}
			alive(200)
		}
		p.w.browser(p.t).Get(frame.String()).Want(200) // without the cookie nothing is known, and nothing ends
		p.w.browser(p.t).Do("POST", frame.String(), nil, "Cookie", cookies).Want(405)
		alive(200)
		a := p.w.browser(p.t).Get(frame.String(), "Cookie", cookies).Want(200)
		csp := a.Header.Get("Content-Security-Policy")
		if a.Header.Get("Cache-Control") != "no-store" || !strings.Contains(csp, "frame-ancestors "+p.op.URL) || !strings.Contains(csp, "default-src 'none'") || a.Header.Get("X-Frame-Options") != "" {
			p.t.Errorf("headers %v", a.Header)
		}
		alive(302)
	}},
	{"a frame without iss and sid", logouts + "-framed", func(p *party) {
		b := p.person().browser()
		cookies := cookieOf(b, p.w.gateway.Proxy)
		p.w.browser(p.t).Get(p.path+"/frontchannel", "Cookie", cookies).Want(200)
		p.w.browser(p.t).Get(p.path, "Cookie", cookies).Want(302)
	}},
}

func TestFoundationLogout(t *testing.T) {
	w := env(t)
	for _, m := range logoutModules {
		t.Run(m.name, func(t *testing.T) {
			use, _, _ := strings.Cut(m.use, "-")
			op := w.keys.by["query"][use]
			t.Cleanup(op.Faults().Clear)
			m.run(&party{t, w, op, "/foundation/query/" + m.use})
		})
	}
}
