package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"kong-openid-connect/internal/sandbox/provider"
)

func TestScriptsGet401(t *testing.T) {
	b := newBrowser(t)
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"fetch()", []string{"Sec-Fetch-Mode", "cors", "Accept", "*/*"}, 401},
		{"XMLHttpRequest", []string{"X-Requested-With", "XMLHttpRequest", "Accept", "text/html"}, 401},
		{"an API client", []string{"Accept", "application/json"}, 401},
		{"a navigation is first asked for its fragment", []string{"Sec-Fetch-Mode", "navigate", "Accept", "text/html"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.get("/scripts/page", c.header...).want(t, c.status)
			if c.status == 401 && (a.Header.Get("Location") != "" || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer realm=")) {
				t.Errorf("%v", a.Header)
			}
			if c.status == 200 && (!strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'sha256-") || a.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("%v", a.Header)
			}
		})
	}
	// Without the extension each is sent to the login.
	b.get("/app", "Accept", "application/json").want(t, 302)
}

// The fragment of a page lasts over a login, in a real browser.
func TestBrowserKeepsTheFragment(t *testing.T) {
	ctx := chromium(t)
	for _, fragment := range []string{"", "#/section?a=b&c", "#<script>alert(1)</script>", "#//evil.example"} {
		t.Run(fragment, func(t *testing.T) {
			page := env.Proxy + "/scripts/page?hello=world&n=" + strings.Trim(fragment, "#/<>()?&=")
			var url string
			steps(t, ctx, network.ClearBrowserCookies(), chromedp.Navigate("about:blank"), chromedp.Navigate(page+fragment), enter("alex"), chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Location(&url))
			got, at, _ := strings.Cut(url, "#")
			want := strings.TrimPrefix(fragment, "#")
			if !strings.HasPrefix(got, env.Proxy+"/scripts/page?hello=world&n=") || strings.Contains(got, "openid_fragment") {
				t.Errorf("landed on %s", got)
			}
			if at = strings.NewReplacer("%3C", "<", "%3E", ">").Replace(at); at != want {
				t.Errorf("fragment %q, want %q", at, want)
			}
		})
	}
}

func TestProtectedResourceMetadata(t *testing.T) {
	b := newBrowser(t)
	const document = "/.well-known/oauth-protected-resource/mcp"
	challenge := b.get("/mcp").want(t, 401).Header.Get("WWW-Authenticate")
	if challenge != `Bearer realm="127.0.0.1", resource_metadata="https://api.example.test`+document+`"` {
		t.Errorf("challenge %q", challenge)
	}
	a := b.get("/mcp", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 403)
	if got := a.Header.Get("WWW-Authenticate"); !strings.Contains(got, `resource_metadata="https://api.example.test`+document+`"`) || !strings.Contains(got, `error="insufficient_scope", scope="mcp"`) {
		t.Errorf("challenge %q", got)
	}
	b.get("/mcp", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "mcp"}})).want(t, 200)
	a = b.get(document).want(t, 200)
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Methods  []string `json:"bearer_methods_supported"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || doc.Resource != "https://api.example.test/mcp" || len(doc.Servers) != 1 || doc.Servers[0] != env.Issuer || len(doc.Methods) == 0 {
		t.Errorf("%v: %s", err, a.body)
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v", a.Header)
	}
	b.do("OPTIONS", document, nil, "Origin", "https://client.example.test", "Access-Control-Request-Method", "GET").want(t, 204)
	b.do("POST", document, nil).want(t, 405)
	b.get("/.well-known/oauth-protected-resource/mcp/other").want(t, 401)
}

func TestStepUpChallenge(t *testing.T) {
	b := newBrowser(t)
	ask := func(claims map[string]any) *answer {
		return b.get("/step-up", as(t, claims)...)
	}
	ask(map[string]any{"acr": "gold"}).want(t, 200)
	for name, claims := range map[string]map[string]any{
		"another class": {"acr": "bronze"}, "no class": {"acr": nil}, "too long ago": {"acr": "gold", "auth_time": 1000000000}, "no time": {"acr": "gold", "auth_time": nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(claims).want(t, 401)
			if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="127.0.0.1", error="insufficient_user_authentication", acr_values="gold", max_age="300"` {
				t.Errorf("challenge %q", got)
			}
		})
	}
	t.Run("a browser with a session of another route is sent to a better login", func(t *testing.T) {
		b := newBrowser(t)
		b.login("/app", "alex").want(t, 302)
		to := b.get("/step-up-app").want(t, 302).location(t)
		if !strings.HasPrefix(to.String(), env.Issuer) || to.Query().Get("acr_values") != "gold" {
			t.Fatalf("sent to %s", to)
		}
		back := b.back(b.atProvider(to, "alex"))
		if acr := back.StatusCode; acr != 302 && acr != 401 {
			t.Errorf("after the login: %d %s", acr, back.body)
		}
	})
}
