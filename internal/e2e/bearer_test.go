package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

func TestBearer(t *testing.T) {
	b := newBrowser(t)
	good := mint(t, provider.TokenRequest{})

	t.Run("no token is 401 with a bare challenge", func(t *testing.T) {
		a := b.get("/bearer").want(t, 401)
		if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="127.0.0.1"` {
			t.Errorf("challenge %q", got)
		}
		if got := a.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q", got)
		}
		if got := a.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
			t.Errorf("Content-Type %q", got)
		}
		if a.body != `{"message":"Unauthorized"}` {
			t.Errorf("body %s", a.body)
		}
	})
	t.Run("a token brings its claims to the service", func(t *testing.T) {
		e := b.get("/bearer/x?y=1", "Authorization", "Bearer "+good).echo(t)
		if got := e.one(t, "X-Authenticated-User"); got != "alex" {
			t.Errorf("user %q", got)
		}
		if got := e.one(t, "X-Groups"); got != "employees, marketing" {
			t.Errorf("groups %q", got)
		}
		if got := e.one(t, "Authorization"); got != "Bearer "+good {
			t.Error("the token does not reach the service")
		}
		if e.one(t, "X-Credential-Identifier") == "" {
			t.Error("no credential")
		}
	})
	for _, c := range []struct {
		name   string
		q      provider.TokenRequest
		reason string
	}{
		{"expired", provider.TokenRequest{Faults: []string{"expired"}}, "expired"},
		{"case 1: wrong issuer", provider.TokenRequest{Faults: []string{"wrong-iss"}}, "iss"},
		{"case 5: nbf in the future", provider.TokenRequest{Faults: []string{"nbf-future"}}, "nbf"},
		{"case 5: iat in the future", provider.TokenRequest{Faults: []string{"iat-future"}}, "iat"},
		{"case 6: exp a string", provider.TokenRequest{Faults: []string{"exp-string"}}, "exp"},
		{"case 6: exp 1e300", provider.TokenRequest{Faults: []string{"exp-huge"}}, "exp"},
		{"case 6: exp negative", provider.TokenRequest{Faults: []string{"exp-negative"}}, "exp"},
		{"case 6: exp an object", provider.TokenRequest{Faults: []string{"exp-object"}}, "exp"},
		{"case 7: alg none", provider.TokenRequest{Faults: []string{"alg-none"}}, "alg"},
		{"case 7: alg missing", provider.TokenRequest{Faults: []string{"alg-missing"}}, "alg"},
		{"case 8: HMAC with the public key", provider.TokenRequest{Faults: []string{"alg-hs256-with-public-key"}}, "alg"},
		{"case 9: HMAC while it is off", provider.TokenRequest{Faults: []string{"alg-hs256-with-secret"}}, "alg"},
		{"case 9: HMAC with an empty key", provider.TokenRequest{Faults: []string{"alg-hs256-with-empty-key"}}, "alg"},
		{"case 10: algorithm and key differ", provider.TokenRequest{Faults: []string{"alg-mismatch"}}, "alg"},
		{"case 11: key in the header", provider.TokenRequest{Faults: []string{"header-jwk"}}, "jwk"},
		{"case 11: jku", provider.TokenRequest{Faults: []string{"header-jku"}}, "jku"},
		{"case 11: x5u", provider.TokenRequest{Faults: []string{"header-x5u"}}, "x5u"},
		{"case 11: x5c", provider.TokenRequest{Faults: []string{"header-x5c"}}, "x5c"},
		{"case 12: unknown crit", provider.TokenRequest{Faults: []string{"crit"}}, "crit"},
		{"bad signature", provider.TokenRequest{Faults: []string{"bad-signature"}}, "signature"},
		{"missing signature", provider.TokenRequest{Faults: []string{"missing-signature"}}, "signature"},
		{"foreign key", provider.TokenRequest{Faults: []string{"foreign-key"}}, "signature"},
		{"type of another use", provider.TokenRequest{Faults: []string{"typ"}}, "typ"},
		{"not a JWT", provider.TokenRequest{Faults: []string{"not-jwt"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			env.provider.ResetRecords()
			a := b.get("/bearer", "Authorization", "Bearer "+mint(t, c.q)).want(t, 401)
			if got := a.Header.Get("WWW-Authenticate"); !strings.Contains(got, `error="invalid_token"`) {
				t.Errorf("challenge %q", got)
			}
			for _, r := range env.provider.Records("") {
				if r.Endpoint != provider.EndpointJWKS && r.Endpoint != provider.EndpointDiscovery {
					t.Errorf("the provider was asked at %s", r.Endpoint)
				}
			}
		})
	}
	for _, c := range []struct {
		name string
		q    provider.TokenRequest
	}{
		{"case 6: exp a numeric string", provider.TokenRequest{Faults: []string{"exp-numeric-string"}}},
		{"exp with a fraction", provider.TokenRequest{Faults: []string{"exp-float"}}},
		{"case 13: no kid, several keys", provider.TokenRequest{Faults: []string{"kid-absent"}}},
		{"case 3: azp says nothing about access tokens", provider.TokenRequest{Faults: []string{"bad-azp"}}},
		{"ES256", provider.TokenRequest{Alg: "ES256"}},
		{"PS256", provider.TokenRequest{Alg: "PS256"}},
		{"EdDSA", provider.TokenRequest{Alg: "EdDSA"}},
		{"without iss", provider.TokenRequest{Faults: []string{"missing-iss"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.get("/bearer", "Authorization", "Bearer "+mint(t, c.q)).want(t, 200)
		})
	}
}

func TestBearerPlaces(t *testing.T) {
	b := newBrowser(t)
	good := mint(t, provider.TokenRequest{})
	t.Run("query, hidden from the service", func(t *testing.T) {
		e := b.get("/places?a=%20b&access_token=" + good + "&c=d").echo(t)
		if e.Query != "a=%20b&c=d" {
			t.Errorf("query %q", e.Query)
		}
	})
	t.Run("form body, hidden", func(t *testing.T) {
		e := b.post("/places", url.Values{"access_token": {good}, "x": {"y z"}}).echo(t)
		if e.Body != "x=y+z" {
			t.Errorf("body %q", e.Body)
		}
		if got := e.one(t, "Content-Length"); got != "5" {
			t.Errorf("Content-Length %s", got)
		}
	})
	t.Run("JSON body, hidden", func(t *testing.T) {
		e := b.do("POST", "/places", strings.NewReader(`{"access_token":"`+good+`","n":1}`), "Content-Type", "application/json").echo(t)
		if e.Body != `{"n":1}` {
			t.Errorf("body %q", e.Body)
		}
	})
	t.Run("a JSON body of null", func(t *testing.T) {
		b.do("POST", "/places", strings.NewReader(`null`), "Content-Type", "application/json").want(t, 401)
	})
	t.Run("a body of 200 KB", func(t *testing.T) {
		e := b.post("/places", url.Values{"access_token": {good}, "x": {strings.Repeat("z", 200<<10)}}).echo(t)
		if len(e.Body) != 200<<10+2 {
			t.Errorf("body of %d bytes", len(e.Body))
		}
	})
	t.Run("cookie, hidden among others", func(t *testing.T) {
		e := b.get("/places", "Cookie", "a=1; token="+good+"; b=2").echo(t)
		if got := e.one(t, "Cookie"); got != "a=1; b=2" {
			t.Errorf("cookies %q", got)
		}
	})
	t.Run("Access-Token", func(t *testing.T) {
		e := b.get("/places", "Access-Token", good).echo(t)
		if v := e.get("Access-Token"); len(v) != 0 {
			t.Error("the credential reaches the service")
		}
	})
	t.Run("hide_credentials off keeps it", func(t *testing.T) {
		a := b.get("/keep", "Authorization", "Bearer "+good)
		e := a.echo(t)
		if e.one(t, "Authorization") != "Bearer "+good || e.one(t, "X-Token") != good {
			t.Error("the credential or its copy is missing")
		}
		if got := a.Header.Get("X-Who"); got != "alex" {
			t.Errorf("downstream header %q", got)
		}
	})
	t.Run("only the configured places", func(t *testing.T) {
		b.get("/bearer?access_token="+good).want(t, 401)
	})
}

func TestScopes(t *testing.T) {
	b := newBrowser(t)
	b.get("/scoped", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Scopes: []string{"profile", "email"}})).want(t, 200)
	b.get("/scoped", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "admin"}})).want(t, 200)
	a := b.get("/scoped", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "profile"}})).want(t, 403)
	if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="127.0.0.1", error="insufficient_scope", scope="profile email"` {
		t.Errorf("challenge %q", got)
	}
	if a.body != `{"message":"Forbidden"}` {
		t.Errorf("body %s", a.body)
	}
}

func TestVerifyClaimsOff(t *testing.T) {
	b := newBrowser(t)
	b.get("/noclaims", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"wrong-iss"}})).want(t, 200)
	b.get("/noclaims", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"expired"}})).want(t, 401)
	b.get("/noclaims", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}})).want(t, 401)
}

func TestIssuersAllowedReplacesTheDefault(t *testing.T) {
	b := newBrowser(t)
	b.get("/allowed", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"iss": "https://allowed.example.test/"}})).want(t, 200)
	b.get("/allowed", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 401)
}

func TestCase9HMACNeedsTheSwitchAndTheSecret(t *testing.T) {
	b := newBrowser(t)
	b.get("/hs", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"alg-hs256-with-secret"}})).want(t, 200)
	b.get("/hs", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"alg-hs256-with-empty-key"}})).want(t, 401)
	b.get("/hs", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"alg-hs256-with-public-key"}})).want(t, 401)
}

func TestCase16HugeToken(t *testing.T) {
	// nginx takes no header line of that size, so the body carries it.
	huge := mint(t, provider.TokenRequest{Faults: []string{"huge"}})
	newBrowser(t).post("/places", url.Values{"access_token": {huge[:900<<10]}}).want(t, 401)
}

func TestCase35InvalidBearerIsNoAuthentication(t *testing.T) {
	b := newBrowser(t)
	b.get("/both", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}})).want(t, 401)
}

func TestCases32And33SpoofedHeaders(t *testing.T) {
	b := newBrowser(t)
	tok := mint(t, provider.TokenRequest{Claims: map[string]any{"preferred_username": nil, "groups": nil, "sub": nil}})
	spoof := []string{"X-Authenticated-User", "admin", "X_Authenticated_User", "admin", "x-Authenticated_uSER", "admin", "X-Groups", "admin", "X_GROUPS", "admin",
		"X-Consumer-ID", "1", "X_Consumer-Username", "root", "X-Credential-Identifier", "spoof", "X-Anonymous-Consumer", "true", "X-AUTHENTICATED-GROUPS", "admin", "X-Consumer-Groups", "admin"}
	check := func(t *testing.T, e echo, allowed string) {
		t.Helper()
		for i := 0; i < len(spoof); i += 2 {
			for _, v := range e.get(spoof[i]) {
				if v != allowed {
					t.Errorf("%s: %q reaches the service", spoof[i], v)
				}
			}
		}
	}
	t.Run("on success", func(t *testing.T) {
		check(t, b.get("/bearer", append([]string{"Authorization", "Bearer " + tok}, spoof...)...).echo(t), "")
	})
	t.Run("on preflight", func(t *testing.T) {
		check(t, b.do("OPTIONS", "/preflight", nil, spoof...).echo(t), "")
	})
	t.Run("not on a route without the plugin", func(t *testing.T) {
		if len(b.get("/open", spoof...).echo(t).get("X-Groups")) == 0 {
			t.Error("the test proves nothing: the gateway itself strips the header")
		}
	})
}

func TestErrors(t *testing.T) {
	b := newBrowser(t)
	good := mint(t, provider.TokenRequest{})
	t.Run("messages", func(t *testing.T) {
		a := b.get("/errors", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}})).want(t, 401)
		if a.body != `{"message":"No entry","error":"invalid signature"}` {
			t.Errorf("body %s", a.body)
		}
		if a := b.get("/quiet", "Authorization", "Bearer "+good).want(t, 403); a.body != `{"message":"Not you"}` || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("body %s, challenge %q", a.body, a.Header.Get("WWW-Authenticate"))
		}
		if a := b.get("/quiet", "Authorization", "Bearer x.y.z").want(t, 401); a.Header.Get("WWW-Authenticate") != `Bearer realm="127.0.0.1"` {
			t.Errorf("challenge %q", a.Header.Get("WWW-Authenticate"))
		}
	})
	t.Run("redirects", func(t *testing.T) {
		for token, want := range map[string]string{"x.y.z": "https://www.example.test/unauthorized", good: "https://www.example.test/forbidden"} {
			a := b.get("/redirects", "Authorization", "Bearer "+token).want(t, 302)
			if a.location(t).String() != want {
				t.Errorf("location %s, want %s", a.location(t), want)
			}
		}
	})
	t.Run("case 40: provider down is 500, not 401", func(t *testing.T) {
		a := b.get("/gone", "Authorization", "Bearer "+good).want(t, 500)
		if a.body != `{"message":"An unexpected error occurred"}` {
			t.Errorf("body %s", a.body)
		}
	})
	t.Run("an unresolved vault reference is 500", func(t *testing.T) {
		b.get("/unresolved", "Authorization", "Bearer "+good).want(t, 500)
	})
}

func TestCase37ManyHeaders(t *testing.T) {
	b := newBrowser(t)
	var h []string
	for i := range 150 {
		h = append(h, "X-Filler-"+string(rune('a'+i%26))+string(rune('a'+i/26)), "v")
	}
	h = append(h, "Authorization", "Bearer "+mint(t, provider.TokenRequest{}))
	b.get("/bearer", h...).want(t, 200)
	h = nil
	for i := range 1100 {
		h = append(h, "X-F-"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)), "")
	}
	h = append(h, "Authorization", "Bearer "+mint(t, provider.TokenRequest{}), "X-Authenticated-User", "admin")
	if a := b.get("/bearer", h...); a.StatusCode == http.StatusOK {
		for _, v := range a.echo(t).get("X-Authenticated-User") {
			if v != "alex" {
				t.Errorf("a spoofed header goes through: %q", v)
			}
		}
	} else if a.StatusCode != 400 && a.StatusCode != 431 && a.StatusCode != 494 {
		t.Errorf("status %d", a.StatusCode)
	}
}

func TestCase62NoTokenInTheLog(t *testing.T) {
	b := newBrowser(t)
	good := mint(t, provider.TokenRequest{})
	b.get("/bearer", "Authorization", "Bearer "+good).want(t, 200)
	bad := mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}})
	b.get("/bearer", "Authorization", "Bearer "+bad).want(t, 401)
	log := env.log()
	for _, secret := range []string{good, bad, good[strings.LastIndexByte(good, '.')+1:], "kong-secret-0123456789abcdef0123456789abcdef"} {
		if strings.Contains(log, secret) {
			t.Fatal("a token or a secret stands in the log")
		}
	}
	if !strings.Contains(log, "openid-connect") {
		t.Error("the log does not name the plugin")
	}
}
