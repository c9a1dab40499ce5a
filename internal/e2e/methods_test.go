package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

func basic(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}

const (
	kongSecret   = "kong-secret-0123456789abcdef0123456789abcdef"
	secondSecret = "second-secret-0123456789abcdef0123456789abcde"
)

func TestPassword(t *testing.T) {
	b := newBrowser(t)
	env.provider.ResetRecords()
	a := b.get("/password", "Authorization", basic("alex", "doe"))
	e := a.echo(t)
	if !strings.HasPrefix(e.one(t, "Authorization"), "Bearer ") || e.one(t, "X-Authenticated-User") != "alex" {
		t.Errorf("the service saw %q", e.Headers)
	}
	if got := a.Header.Get("Tokens-Cache-Control"); got != "no-store" {
		t.Errorf("replayed header %q", got)
	}
	r := env.provider.Records(provider.EndpointToken)
	if len(r) != 1 || r[0].AuthMethod != "client_secret_post" || r[0].GrantType != "password" || r[0].Form.Get("scope") != "openid profile" || r[0].Form.Has("redirect_uri") {
		t.Fatalf("token requests: %+v", r)
	}
	b.get("/password", "Authorization", basic("alex", "doe")).want(t, 200)
	if n := count(provider.EndpointToken); n != 1 {
		t.Errorf("the second request asked the provider: %d", n)
	}
	b.get("/password?username=alex&password=doe").want(t, 200)
	if e := b.post("/password", url.Values{"username": {"blake"}, "password": {"doe"}, "x": {"y"}}).echo(t); e.Body != "x=y" || e.one(t, "X-Authenticated-User") != "blake" {
		t.Errorf("the service saw %q, user %q", e.Body, e.get("X-Authenticated-User"))
	}
	b.get("/password", "Authorization", basic("alex", "wrong")).want(t, 401)
	b.get("/password", "Authorization", basic("", "doe")).want(t, 401)
	b.get("/password").want(t, 401)
	t.Run("twenty at once ask once", func(t *testing.T) {
		env.provider.ResetRecords()
		faults(t, provider.Fault{Name: "slow", Endpoint: provider.EndpointToken, Delay: provider.Duration(200 * time.Millisecond)})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { newBrowser(t).get("/password", "Authorization", basic("casey", "doe")).want(t, 200) })
		}
		wg.Wait()
		if n := count(provider.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("the provider is down", func(t *testing.T) {
		faults(t, provider.Fault{Name: "connection-reset", Endpoint: provider.EndpointToken})
		b.get("/password", "Authorization", basic("mallory", "doe")).want(t, 500)
		b.get("/password", "Authorization", basic("alex", "doe")).want(t, 200)
	})
	t.Run("case 61: expires_in of zero", func(t *testing.T) {
		faults(t, provider.Fault{Name: "expires-in-zero"})
		for range 2 {
			b.get("/password?n=1", "Authorization", basic("mallory", "doe")).want(t, 401)
		}
	})
	t.Run("our own secret is wrong", func(t *testing.T) {
		b.get("/wrong-secret", "Authorization", basic("alex", "doe")).want(t, 401)
		b.get("/wrong-secret", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 500)
	})
}

func TestClientCredentials(t *testing.T) {
	b := newBrowser(t)
	env.provider.ResetRecords()
	e := b.get("/credentials", "Authorization", basic("second", secondSecret)).echo(t)
	if e.one(t, "X-Tier") != "silver" {
		t.Errorf("tier %q", e.get("X-Tier"))
	}
	b.get("/credentials", "Authorization", basic("second", secondSecret)).want(t, 200)
	if n := count(provider.EndpointToken); n != 1 {
		t.Errorf("%d token requests", n)
	}
	b.get("/credentials", "Authorization", basic("second", "wrong")).want(t, 401)
	if e := b.get("/credentials?client_id=kong&client_secret=" + kongSecret + "&x=y").echo(t); e.Query != "x=y" || e.one(t, "X-Tier") != "gold" {
		t.Errorf("query %q", e.Query)
	}
	b.get("/credentials?client_id=kong").want(t, 401)
}

func TestBasicForBothGrants(t *testing.T) {
	b := newBrowser(t)
	env.provider.ResetRecords()
	b.get("/either", "Authorization", basic("alex", "doe")).want(t, 200)
	b.get("/either", "Authorization", basic("alex", "doe")).want(t, 200)
	if n := count(provider.EndpointToken); n != 1 {
		t.Errorf("a user's pair: %d token requests", n)
	}
	env.provider.ResetRecords()
	for range 2 {
		b.get("/either", "Authorization", basic("second", secondSecret)).want(t, 200)
	}
	if n := count(provider.EndpointToken); n != 4 {
		t.Errorf("a client's pair: %d token requests, want a refused password grant and an uncached one each time", n)
	}
	b.get("/either", "Authorization", basic("alex", "wrong")).want(t, 401)
}

func TestIntrospection(t *testing.T) {
	b := newBrowser(t)
	tok := mint(t, provider.TokenRequest{Client: "opaque"})
	env.provider.ResetRecords()
	e := b.get("/introspection", "Authorization", "Bearer "+tok).echo(t)
	var claims map[string]any
	raw, err := base64.StdEncoding.DecodeString(e.one(t, "X-Introspection"))
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims["active"] != true {
		t.Errorf("introspection header %q", e.get("X-Introspection"))
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { newBrowser(t).get("/introspection", "Authorization", "Bearer "+tok).want(t, 200) })
	}
	wg.Wait()
	if n := count(provider.EndpointIntrospection); n != 1 {
		t.Errorf("%d introspections", n)
	}
	t.Run("an inactive token is kept for cache_ttl_neg", func(t *testing.T) {
		env.provider.ResetRecords()
		for range 2 {
			b.get("/introspection", "Authorization", "Bearer unknown").want(t, 401)
		}
		if n := count(provider.EndpointIntrospection); n != 1 {
			t.Errorf("%d introspections", n)
		}
	})
	for _, f := range []struct {
		provider.Fault
		status int
	}{
		{provider.Fault{Name: "status", Endpoint: provider.EndpointIntrospection, Status: 500}, 500},
		{provider.Fault{Name: "status", Endpoint: provider.EndpointIntrospection, Status: 404}, 500},
		{provider.Fault{Name: "html", Endpoint: provider.EndpointIntrospection}, 500},
		{provider.Fault{Name: "introspection-no-active"}, 401},
		{provider.Fault{Name: "introspection-active-string"}, 401},
		{provider.Fault{Name: "body", Endpoint: provider.EndpointIntrospection, Value: `{"active":true,"iss":"https://foreign.example.test"}`}, 401},
		{provider.Fault{Name: "body", Endpoint: provider.EndpointIntrospection, Value: `{"active":"false"}`}, 401},
		{provider.Fault{Name: "body", Endpoint: provider.EndpointIntrospection, Value: `{"active":true,"exp":1}`}, 401},
	} {
		t.Run("case 38: "+f.Name+f.Value, func(t *testing.T) {
			faults(t, f.Fault)
			b.get("/introspection-fresh", "Authorization", "Bearer "+tok).want(t, f.status)
		})
	}
	t.Run("case 39: revoked, without the cache", func(t *testing.T) {
		fresh := mint(t, provider.TokenRequest{Client: "kong"})
		b.get("/introspection-fresh", "Authorization", "Bearer "+fresh).want(t, 200)
		b.get("/introspected", "Authorization", "Bearer "+fresh).want(t, 200)
		resp, err := http.PostForm(env.Issuer+"/revoke", url.Values{"token": {fresh}, "client_id": {"kong"}, "client_secret": {kongSecret}})
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(err, resp)
		}
		resp.Body.Close()
		b.get("/introspection-fresh", "Authorization", "Bearer "+fresh).want(t, 401)
		b.get("/introspected", "Authorization", "Bearer "+fresh).want(t, 401)
		b.get("/bearer", "Authorization", "Bearer "+fresh).want(t, 200)
	})
}

func TestUserInfo(t *testing.T) {
	b := newBrowser(t)
	tok := mint(t, provider.TokenRequest{})
	env.provider.ResetRecords()
	e := b.get("/userinfo", "Authorization", "Bearer "+tok).echo(t)
	if raw, err := base64.StdEncoding.DecodeString(e.one(t, "X-Userinfo")); err != nil || !strings.Contains(string(raw), `"alex`) {
		t.Errorf("userinfo %s", raw)
	}
	b.get("/userinfo", "Authorization", "Bearer "+tok).want(t, 200)
	if n := count(provider.EndpointUserinfo); n != 1 {
		t.Errorf("%d calls", n)
	}
	b.get("/userinfo", "Authorization", "Bearer wrong").want(t, 401)
	for _, f := range []provider.Fault{{Name: "userinfo-array"}, {Name: "status", Endpoint: provider.EndpointUserinfo, Status: 503}, {Name: "html", Endpoint: provider.EndpointUserinfo}} {
		t.Run("case 18: "+f.Name, func(t *testing.T) {
			faults(t, f)
			a := b.get("/userinfo", "Authorization", "Bearer "+mint(t, provider.TokenRequest{}))
			if a.StatusCode != 500 && a.StatusCode != 401 {
				t.Errorf("status %d", a.StatusCode)
			}
		})
	}
	t.Run("search_user_info", func(t *testing.T) {
		tok := mint(t, provider.TokenRequest{Claims: map[string]any{"email": nil}, Scopes: []string{"openid", "email", "profile"}})
		if got := b.get("/searched", "Authorization", "Bearer "+tok).echo(t).one(t, "X-Email"); got != "alex@example.test" {
			t.Errorf("email %q", got)
		}
		faults(t, provider.Fault{Name: "connection-reset", Endpoint: provider.EndpointUserinfo})
		b.get("/searched", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
	})
}

func TestRefreshToken(t *testing.T) {
	b := newBrowser(t)
	rt := b.get("/refresh", "Authorization", basic("alex", "doe")).echo(t).one(t, "Refresh-Token")
	e := b.get("/refresh", "Refresh-Token", rt).echo(t)
	if !strings.HasPrefix(e.one(t, "Authorization"), "Bearer ") || e.one(t, "Refresh-Token") == "" {
		t.Error("no tokens at the service")
	}
	// The provider rotates; the same token again is answered from the cache.
	b.get("/refresh", "Refresh-Token", "Bearer "+rt).want(t, 200)
	b.get("/refresh", "refresh_token", rt).want(t, 200)
	b.get("/refresh", "Refresh-Token", "wrong").want(t, 401)
}

func TestAllMethodsOnOneRoute(t *testing.T) {
	b := newBrowser(t)
	b.get("/all").want(t, 302)
	newBrowser(t).get("/all", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
	newBrowser(t).get("/all", "Authorization", basic("alex", "doe")).want(t, 200)
	newBrowser(t).get("/all", "Authorization", basic("second", secondSecret)).want(t, 200)
	newBrowser(t).get("/all", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"expired"}})).want(t, 401)
	newBrowser(t).get("/all", "Authorization", "Bearer opaque-and-unknown").want(t, 401)
	newBrowser(t).get("/all", "Authorization", basic("nobody", "x")).want(t, 401)
}

func TestClientSelection(t *testing.T) {
	b := newBrowser(t)
	for _, c := range []struct {
		name   string
		target string
		header []string
		want   string
	}{
		{"default", "/clients", nil, "kong"},
		{"query by name", "/clients?client_id=second", nil, "second"},
		{"query by index", "/clients?client_id=2", nil, "second"},
		{"header", "/clients", []string{"Client-ID", "second"}, "second"},
		{"X header first", "/clients?client_id=kong", []string{"X-Client-Id", "second"}, "second"},
		{"unknown", "/clients?client_id=nobody", nil, "kong"},
		{"index out of range", "/clients?client_id=3", nil, "kong"},
		{"index that overflows", "/clients?client_id=99999999999999999999", nil, "kong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := b.get(c.target, append([]string{"Authorization", basic("alex", "doe")}, c.header...)...).echo(t)
			if got := e.one(t, "X-Client"); got != c.want {
				t.Errorf("client %s, want %s", got, c.want)
			}
			if got := newBrowser(t).get(c.target, c.header...).want(t, 302).location(t).Query().Get("client_id"); got != c.want {
				t.Errorf("login of client %s, want %s", got, c.want)
			}
		})
	}
}

func TestClientAssertion(t *testing.T) {
	env.provider.ResetRecords()
	newBrowser(t).get("/secret-jwt", "Authorization", basic("alex", "doe")).want(t, 200)
	if r := env.provider.Records(provider.EndpointToken); len(r) != 1 || r[0].AuthMethod != "client_secret_jwt" || r[0].Form.Has("client_id") {
		t.Errorf("token requests: %+v", r)
	}
}

func TestLogout(t *testing.T) {
	b := newBrowser(t)
	a := b.get("/logout", "Authorization", basic("alex", "doe")).want(t, 200)
	if a.setCookies()["lo"] == nil {
		t.Fatal("no session")
	}
	copied := "lo=" + a.setCookies()["lo"].Value
	b.get("/logout").want(t, 200)
	t.Run("case 52: GET is not enabled", func(t *testing.T) {
		b.get("/logout/out").want(t, 200)
		b.get("/logout?bye").want(t, 200)
	})
	env.provider.ResetRecords()
	out := b.do("POST", "/logout/out?x=y", nil).want(t, 302)
	to := out.location(t)
	if !strings.HasPrefix(to.String(), env.Issuer+"/logout") || to.Query().Get("id_token_hint") == "" || to.Query().Get("client_id") != "kong" || to.Query().Get("post_logout_redirect_uri") == "" {
		t.Errorf("sent to %s", to)
	}
	if got := out.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	var hints []string
	for _, r := range env.provider.Records(provider.EndpointRevocation) {
		hints = append(hints, r.Form.Get("token_type_hint"))
	}
	if strings.Join(hints, " ") != "access_token refresh_token" {
		t.Errorf("revoked %q", hints)
	}
	b.get("/logout").want(t, 401)
	t.Run("case 52: a copy of the cookie is dead", func(t *testing.T) {
		newBrowser(t).get("/logout", "Cookie", copied).want(t, 401)
	})
	t.Run("without a session", func(t *testing.T) {
		to := newBrowser(t).do("POST", "/logout/x?bye=", nil).want(t, 302).location(t)
		if to.Query().Get("client_id") != "kong" || to.Query().Has("id_token_hint") {
			t.Errorf("sent to %s", to)
		}
	})
	t.Run("case 31: the request names no target", func(t *testing.T) {
		to := newBrowser(t).do("POST", "/logout/out?post_logout_redirect_uri=https://evil.example.test&redirect_uri=https://evil.example.test", nil).want(t, 302).location(t)
		if strings.Contains(to.String(), "evil") {
			t.Errorf("sent to %s", to)
		}
	})
}

func TestLoginActionResponse(t *testing.T) {
	a := newBrowser(t).get("/response", "Authorization", basic("alex", "doe")).want(t, 200)
	var tokens map[string]any
	if err := json.Unmarshal([]byte(a.body), &tokens); err != nil || tokens["access_token"] == nil || tokens["token_type"] == nil {
		t.Errorf("body %s", a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}
