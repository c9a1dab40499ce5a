package hazards

import (
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// Case 62. Every process of these tests logs at debug, and is looked at when it
// ends (launch). This test adds what the hazards have not: good and bad
// credentials in every place, logins that fail at each step, and a provider
// that answers with faults.
func TestCase62NoSecretInALog(t *testing.T) {
	p := run(t)
	routes := map[string]*hosttest.Worker{
		"bearer": p.worker(bearer(t, nil)),
		"places": p.worker(bearer(t, fromkong.Config{"bearer_token_param_type": []string{"header", "query", "body", "cookie"}, "bearer_token_cookie_name": "token", "display_errors": true})),
		"login":  p.worker(login(t, nil)),
		"form":   p.worker(login(t, fromkong.Config{"response_mode": "form_post", "display_errors": true})),
		"strict": p.worker(bearer(t, fromkong.Config{"scopes_required": []string{"admin"}})),
		"broken": p.worker([]byte(setMember(t, string(login(t, nil)), "auth_methods", []string{"magic"}))),
		"hmac":   p.worker(bearer(t, fromkong.Config{"enable_hs_signatures": true})),
	}
	tokens := []string{mint(t, provider.TokenRequest{})}
	for _, f := range []string{"expired", "wrong-iss", "bad-signature", "foreign-key", "alg-none", "alg-hs256-with-secret", "unknown-kid", "crit", "typ", "not-jwt", "exp-string", "exp-object", "nbf-future", "huge"} {
		tokens = append(tokens, mint(t, provider.TokenRequest{Faults: []string{f}}))
	}
	session := browse(t, routes["login"])
	for _, w := range routes {
		for _, token := range tokens {
			do(t, w, with(token).Answers())
			do(t, w, hosttest.Request{Target: "/x?a=1&access_token=" + token, Headers: map[string][]string{"cookie": {"token=" + token + "; session=" + token}}}.Answers())
			do(t, w, hosttest.Request{Method: "POST", Headers: map[string][]string{"content-type": {"application/x-www-form-urlencoded"}}, Body: []byte("access_token=" + token)}.Answers())
			do(t, w, hosttest.Request{Headers: map[string][]string{"authorization": {"Basic " + token}, "cookie": {session + "x"}}}.Answers())
		}
		do(t, w, hosttest.Request{Headers: map[string][]string{"cookie": {session}}}.Answers())
	}
	// Logins that fail behind the callback.
	for _, f := range []provider.Fault{{Name: "wrong-iss"}, {Name: "bad-signature"}, {Name: "wrong-nonce"}, {Name: "status", Endpoint: provider.EndpointToken, Status: 500},
		{Name: "status", Endpoint: provider.EndpointToken, Status: 400}, {Name: "body", Endpoint: provider.EndpointToken, Value: "client_secret=" + clientSecret}} {
		pending, callback := begin(t, routes["login"])
		if err := idp.Faults().Set(f); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the code is used twice
			out := do(t, routes["login"], hosttest.Request{Target: callback, Headers: map[string][]string{"cookie": {pending}}}.Answers())
			if out.Passed {
				t.Errorf("%s: let through", f.Name)
			}
		}
		idp.Faults().Clear()
	}
	for _, kept := range []string{"request denied", "level=ERROR", "level=INFO"} {
		if !strings.Contains(p.log.String(), kept) {
			t.Errorf("the log does not hold %q: what was looked at?", kept)
		}
	}
}

// begin begins a login over w, signs alex in, and returns the login's cookie
// and the callback's target.
func begin(t testing.TB, w *hosttest.Worker) (cookie, target string) {
	t.Helper()
	out := do(t, w, hosttest.Request{Target: "/app"}.Answers())
	wantExit(t, out, 302)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := provider.SignIn(t.Context(), &http.Client{Jar: jar, Timeout: patience}, out.Exit.Headers["Location"][0], "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	spoken.add(cb.Params.Get("code"), cb.Params.Get("state"))
	return cookies(out.Exit.Headers["Set-Cookie"]), cb.URL.RequestURI()
}

// The search itself: it finds a token whole, by its parts, and among others.
func TestLeaksAreFound(t *testing.T) {
	var s secrets
	s.add("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGV4In0.c2lnbmF0dXJlLW9mLWl0", "short", "a-client-secret")
	for text, want := range map[string]bool{
		"level=INFO msg=fine": false, "error=\"bad token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGV4In0.c2lnbmF0dXJlLW9mLWl0\"": true,
		"payload eyJzdWIiOiJhbGV4In0 seen": true, "c2lnbmF0dXJlLW9mLWl0": true, "header eyJhbGciOiJSUzI1NiJ9": false, "secret=a-client-secret": true, "short": false,
	} {
		if got := s.in(text) != ""; got != want {
			t.Errorf("%s: found %v", text, got)
		}
	}
}
