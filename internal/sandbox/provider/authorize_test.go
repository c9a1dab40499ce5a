package provider

import (
	"crypto/sha256"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCodeFlow(t *testing.T) {
	f := start(t)
	exchange := func(cb *Callback, more ...string) reply {
		return f.post("/token", append([]string{"grant_type", "authorization_code", "code", cb.Params.Get("code"), "redirect_uri", redirect}, more...)...)
	}
	for _, mode := range []string{"query", "fragment", "form_post"} {
		t.Run(mode, func(t *testing.T) {
			cb := f.authorize("response_mode", mode)
			u := *cb.URL
			u.RawQuery, u.Fragment, u.RawFragment = "", "", ""
			if u.String() != redirect || cb.Params.Get("state") != "the-state" || cb.Params.Get("iss") != f.Issuer() || cb.Post != (mode == "form_post") {
				t.Fatalf("callback %+v", cb)
			}
			if (mode == "query") != (cb.URL.RawQuery != "") || (mode == "fragment") != (cb.URL.Fragment != "") {
				t.Errorf("arguments are in the wrong place: %s", cb.URL)
			}
			r := exchange(cb)
			if r.status != 200 {
				t.Fatalf("exchange: %d %s", r.status, r.body)
			}
			_, id := open(t, r.json["id_token"])
			_, at := open(t, r.json["access_token"])
			if id["nonce"] != "the-nonce" || id["aud"] != "kong" || id["auth_time"] == nil || id["sid"] != at["sid"] || id["at_hash"] != leftHash(RS256, r.json["access_token"].(string)) {
				t.Errorf("ID token %v", id)
			}
		})
	}
	t.Run("redirect URI with a query", func(t *testing.T) {
		cb := f.authorize("redirect_uri", redirect+"?a=b")
		if cb.Params.Get("a") != "b" || cb.Params.Get("code") == "" {
			t.Errorf("callback %s", cb.URL)
		}
	})
	t.Run("another redirect_uri", func(t *testing.T) {
		wantError(t, f.post("/token", "grant_type", "authorization_code", "code", f.authorize().Params.Get("code"), "redirect_uri", redirect+"x"), 400, "invalid_grant")
	})
	t.Run("another client's code", func(t *testing.T) {
		wantError(t, exchange(f.authorize(), "client_id", "public"), 400, "invalid_grant")
	})
	t.Run("expired code", func(t *testing.T) {
		cb := f.authorize()
		f.clock.Add(time.Minute)
		wantError(t, exchange(cb), 400, "invalid_grant")
	})
	t.Run("a code twice revokes what came of it", func(t *testing.T) {
		cb := f.authorize()
		token := exchange(cb).json["access_token"].(string)
		wantError(t, exchange(cb), 400, "invalid_grant")
		if f.userinfo(token).status != 401 {
			t.Error("the token lives")
		}
	})
	t.Run("hybrid", func(t *testing.T) {
		cb := f.authorize("response_type", "code id_token token")
		_, id := open(t, cb.Params.Get("id_token"))
		if id["c_hash"] != leftHash(RS256, cb.Params.Get("code")) || id["at_hash"] != leftHash(RS256, cb.Params.Get("access_token")) || cb.URL.Fragment == "" {
			t.Errorf("ID token %v", id)
		}
		if _, id := open(t, exchange(cb).json["id_token"]); id["c_hash"] != leftHash(RS256, cb.Params.Get("code")) {
			t.Errorf("second ID token %v", id)
		}
	})
}

func TestPKCE(t *testing.T) {
	f := start(t)
	verifier := strings.Repeat("v", 50)
	sum := sha256.Sum256([]byte(verifier))
	for _, c := range []struct {
		name, challenge, method, verifier string
		status                            int
	}{
		{"S256", b64(sum[:]), "S256", verifier, 200},
		{"plain", verifier, "plain", verifier, 200},
		{"plain by default", verifier, "", verifier, 200},
		{"wrong verifier", b64(sum[:]), "S256", verifier + "x", 400},
		{"no verifier", b64(sum[:]), "S256", "", 400},
		{"S256 challenge sent as verifier", b64(sum[:]), "S256", b64(sum[:]), 400},
		{"verifier without a challenge", "", "", verifier, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := f.authorize("code_challenge", c.challenge, "code_challenge_method", c.method).Params.Get("code")
			r := f.post("/token", "grant_type", "authorization_code", "code", code, "redirect_uri", redirect, "code_verifier", c.verifier)
			if r.status != c.status {
				t.Errorf("answer %d %s, want %d", r.status, r.body, c.status)
			}
		})
	}
}

func TestAuthorizationRefusals(t *testing.T) {
	f := start(t, Client{ID: "listed", Secret: "listed-secret-0123456789abcdef0", RedirectURIs: []string{"https://app.example.test/cb"}, Scopes: []string{"openid"}, RequirePKCE: true})
	for _, c := range []struct {
		name  string
		pairs []string
		want  string
	}{
		{"response_type", []string{"response_type", "id_token"}, "unsupported_response_type"},
		{"no response_type", []string{"response_type", ""}, "unsupported_response_type"},
		{"response_mode", []string{"response_mode", "smoke"}, "invalid_request"},
		{"tokens in the query", []string{"response_type", "code token", "response_mode", "query"}, "invalid_request"},
		{"hybrid without nonce", []string{"response_type", "code id_token", "nonce", ""}, "invalid_request"},
		{"max_age", []string{"max_age", "-1"}, "invalid_request"},
		{"public client without PKCE", []string{"client_id", "public"}, "invalid_request"},
		{"challenge method", []string{"code_challenge", strings.Repeat("a", 43), "code_challenge_method", "S512"}, "invalid_request"},
		{"short challenge", []string{"code_challenge", "a"}, "invalid_request"},
		{"scope", []string{"client_id", "listed", "redirect_uri", "https://app.example.test/cb", "scope", "openid admin"}, "invalid_scope"},
		{"required PKCE", []string{"client_id", "listed", "redirect_uri", "https://app.example.test/cb"}, "invalid_request"},
		{"prompt=none without a login", []string{"prompt", "none"}, "login_required"},
		{"prompt=none and more", []string{"prompt", "none login"}, "invalid_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cb := f.authorize(c.pairs...)
			if cb.Params.Get("error") != c.want || cb.Params.Get("state") != "the-state" || cb.Params.Has("code") {
				t.Errorf("callback %v, want error %s", cb.Params, c.want)
			}
		})
	}
	for name, query := range map[string]string{
		"unknown client":         "client_id=nobody&redirect_uri=" + url.QueryEscape(redirect),
		"foreign redirect_uri":   "client_id=kong&redirect_uri=https://evil.example.test/",
		"loopback not allowed":   "client_id=listed&redirect_uri=" + url.QueryEscape(redirect),
		"user info":              "client_id=kong&redirect_uri=" + url.QueryEscape("http://127.0.0.1@evil.test/"),
		"loopback as a prefix":   "client_id=kong&redirect_uri=" + url.QueryEscape("http://localhost.evil.test/"),
		"no redirect_uri":        "client_id=kong",
		"client_id stands twice": "client_id=kong&client_id=kong&redirect_uri=" + url.QueryEscape(redirect),
	} {
		t.Run(name, func(t *testing.T) {
			r := f.get("/authorize?response_type=code&" + query)
			if r.status != 400 || r.header.Get("Location") != "" || !strings.Contains(string(r.body), "<h1>") {
				t.Errorf("answer %d to %q, want an error page", r.status, r.header.Get("Location"))
			}
		})
	}
}

func TestSingleSignOn(t *testing.T) {
	f := start(t)
	pages := func() int { return f.Count(EndpointLogin) }
	first := f.authorize()
	f.authorize("client_id", "second", "prompt", "none")
	if pages() != 1 || first.Params.Get("code") == "" {
		t.Fatalf("%d logins, want the second application to need none", pages())
	}
	f.authorize("prompt", "login")
	if pages() != 2 {
		t.Error("prompt=login asks nobody")
	}
	f.clock.Add(11 * time.Second)
	f.authorize("max_age", "11")
	if pages() != 2 {
		t.Error("a login that is just young enough is asked for again")
	}
	f.authorize("max_age", "10")
	if pages() != 3 {
		t.Error("max_age is not held")
	}
	f.clock.Add(8 * time.Hour)
	f.authorize()
	if pages() != 4 {
		t.Error("a login lives for ever")
	}
	f.RevokeSessions("alex")
	if cb := f.authorize("prompt", "none"); cb.Params.Get("error") != "login_required" {
		t.Errorf("after RevokeSessions: %v", cb.Params)
	}
}

func TestLoginPage(t *testing.T) {
	f := start(t)
	_, err := SignIn(t.Context(), f.http, f.URL+"/authorize?response_type=code&client_id=kong&redirect_uri="+url.QueryEscape(redirect), "alex", "wrong")
	if err == nil || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	r := f.post("/login", "client_id", "kong", "login", "unknown", "username", "alex", "password", "doe")
	if r.status != 400 {
		t.Errorf("a login page never served: %d", r.status)
	}
	r = f.get("/authorize?response_type=code&client_id=kong&redirect_uri=" + url.QueryEscape(redirect))
	id := hidden(string(r.body)).Get("login")
	f.clock.Add(pageTTL)
	if r := f.post("/login", "client_id", "kong", "login", id, "username", "alex", "password", "doe"); r.status != 400 {
		t.Errorf("an old login page: %d", r.status)
	}
	for name, value := range map[string]string{"Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"} {
		if r.header.Get(name) != value {
			t.Errorf("%s is %q", name, r.header.Get(name))
		}
	}
	if csp := r.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
}

func TestLoginCookie(t *testing.T) {
	f := start(t)
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	page := f.get("/authorize?response_type=code&client_id=kong&redirect_uri=" + url.QueryEscape(redirect))
	r := f.post("/login", "client_id", "kong", "login", hidden(string(page.body)).Get("login"), "username", "alex", "password", "doe")
	c := r.header.Get("Set-Cookie")
	if r.status != 303 || !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") || strings.Contains(c, "Secure") {
		t.Errorf("answer %d, cookie %q", r.status, c)
	}
}

func TestPagesGolden(t *testing.T) {
	hostile := `"><script>alert(1)</script>`
	for name, data := range map[string]any{
		"login":    loginPage{Action: "http://127.0.0.1:8080/login", Client: "Kong " + hostile, Login: "id", Username: hostile, Wrong: true},
		"formpost": formPost{Action: "http://127.0.0.1:8000/cb?a=b", Client: "Kong", Fields: []field{{"code", hostile}, {"state", "s"}}},
		"message":  message{"Unknown application", hostile},
	} {
		var b strings.Builder
		if err := pages.ExecuteTemplate(&b, name, data); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("page %s differs from %s (go test -update writes it):\n%s", name, golden, b.String())
		}
		if strings.Contains(b.String(), hostile) {
			t.Errorf("page %s does not escape", name)
		}
		if name == "formpost" && !strings.Contains(b.String(), "<script>"+submitScript+"</script>") {
			t.Error("the policy's hash is of another script")
		}
	}
}

func TestLogout(t *testing.T) {
	f := start(t)
	signIn := func() map[string]any {
		cb := f.authorize()
		return f.post("/token", "grant_type", "authorization_code", "code", cb.Params.Get("code"), "redirect_uri", redirect).json
	}
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	loggedIn := func() bool { return f.authorize("prompt", "none").Params.Get("error") == "" }
	back := url.QueryEscape("http://127.0.0.1:8000/bye?x=y")

	t.Run("with hint, return address and state", func(t *testing.T) {
		got := signIn()
		r := f.get("/logout?id_token_hint=" + got["id_token"].(string) + "&post_logout_redirect_uri=" + back + "&state=s+1")
		if r.status != 303 || r.header.Get("Location") != "http://127.0.0.1:8000/bye?state=s+1&x=y" {
			t.Errorf("answer %d to %q", r.status, r.header.Get("Location"))
		}
		if loggedIn() {
			t.Error("still logged in")
		}
		if i := f.post("/introspect", "token", got["access_token"].(string)); i.json["active"] != false {
			t.Error("the session's token lives")
		}
	})
	t.Run("an expired hint is still one", func(t *testing.T) {
		got := signIn()
		f.clock.Add(time.Hour)
		if r := f.get("/logout?id_token_hint=" + got["id_token"].(string) + "&post_logout_redirect_uri=" + back); r.status != 303 {
			t.Errorf("answer %d", r.status)
		}
	})
	t.Run("with client_id alone", func(t *testing.T) {
		signIn()
		if r := f.get("/logout?client_id=kong&post_logout_redirect_uri=" + back); r.status != 303 || loggedIn() {
			t.Errorf("answer %d", r.status)
		}
	})
	t.Run("by form, nowhere to return to", func(t *testing.T) {
		signIn()
		if r := f.post("/logout", "client_id", "kong"); r.status != 200 || loggedIn() {
			t.Errorf("answer %d", r.status)
		}
	})
	t.Run("refused", func(t *testing.T) {
		got := signIn()
		hint := got["id_token"].(string)
		for name, query := range map[string]string{
			"forged hint":            "id_token_hint=" + turnBit(hint),
			"other client than hint": "id_token_hint=" + hint + "&client_id=second",
			"foreign return address": "client_id=kong&post_logout_redirect_uri=https://evil.example.test",
			"unknown client":         "post_logout_redirect_uri=" + back,
		} {
			if r := f.get("/logout?" + query); r.status != 400 || r.header.Get("Location") != "" || !loggedIn() {
				t.Errorf("%s: answer %d to %q", name, r.status, r.header.Get("Location"))
			}
		}
	})
}

func TestBackchannelLogout(t *testing.T) {
	f := start(t)
	got := make(chan string, 1)
	client := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.FormValue("logout_token") }))
	defer client.Close()
	c := *f.client("kong")
	c.BackchannelLogoutURI = client.URL
	f.SetClient(c)
	f.set(Fault{Name: "alg-none", Token: TokenLogout, Times: 1})
	for i, wantErr := range []bool{true, false} {
		f.authorize()
		f.get("/logout")
		token := <-got
		h, claims := open(t, token)
		if (f.verify(token) != nil) != wantErr || h["typ"] != "logout+jwt" || claims["sid"] == nil || claims["nonce"] != nil || claims["events"] == nil {
			t.Errorf("logout token %d: %v %v", i, h, claims)
		}
	}
}
