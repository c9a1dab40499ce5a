package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// TestKongOAuth2 is the how-to kong-oauth2: Kong's own OAuth2 plugin on the
// route issues tokens, this plugin on the service takes them. It needs a real
// Kong with a database, as that plugin does.
func TestKongOAuth2(t *testing.T) {
	if !harness.RealKong() || os.Getenv("E2E_DATABASE") != "postgres" {
		t.Log("left out: Kong's OAuth2 plugin needs a real Kong with a database")
		return
	}
	post := func(path string, body object) object { return api(t, "POST", path, body, 201) }
	post("/services", object{"name": "oauth2-echo", "url": serviceURL(t)})
	t.Cleanup(func() { api(t, "DELETE", "/services/oauth2-echo", nil, 204) })
	post("/services/oauth2-echo/routes", object{"name": "oauth2", "paths": []string{"/oauth2-howto"}})
	t.Cleanup(func() { api(t, "DELETE", "/routes/oauth2", nil, 204) })
	post("/routes/oauth2/plugins", object{"name": "oauth2", "config": object{
		"enable_client_credentials": true, "accept_http_if_already_terminated": true, "scopes": []string{"email"}, "global_credentials": true,
	}})
	post("/services/oauth2-echo/plugins", object{"name": "openid-connect", "config": object{
		"issuer": env.Issuer, "client_id": []string{"kong"}, "client_secret": []string{kongSecret}, "auth_methods": []string{"kong_oauth2"}, "bearer_token_param_type": []string{"header"},
	}})
	post("/consumers", object{"username": "app"})
	t.Cleanup(func() { api(t, "DELETE", "/consumers/app", nil, 204) })
	post("/consumers/app/oauth2", object{"name": "app", "client_id": "app-id", "client_secret": "app-secret", "redirect_uris": []string{"http://127.0.0.1/"}})
	b := newBrowser(t)
	proxy := newBrowser(t).from(trustedPeer) // Kong issues tokens over https only
	var issued struct {
		AccessToken string `json:"access_token"`
	}
	for deadline := time.Now().Add(20 * time.Second); issued.AccessToken == ""; {
		a := proxy.post("/oauth2-howto/oauth2/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"app-id"}, "client_secret": {"app-secret"}, "scope": {"email"}}, "X-Forwarded-Proto", "https")
		if a.StatusCode == 200 {
			if err := json.Unmarshal([]byte(a.body), &issued); err != nil {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("Kong issues no token: %d %s", a.StatusCode, a.body)
		}
	}
	// Every worker has the route, and both plugins.
	if err := harness.Settled(env.Proxy+"/oauth2-howto", http.Header{"Authorization": {"Bearer " + issued.AccessToken}}, func(r *http.Response, body string) bool {
		return r.StatusCode == 200 && strings.Contains(body, "X-Consumer-Username: app") && strings.Contains(body, "X-Authenticated-Scope: email")
	}); err != nil {
		t.Fatal(err)
	}
	e := b.get("/oauth2-howto", "Authorization", "Bearer "+issued.AccessToken).echo(t)
	if e.one(t, "X-Consumer-Username") != "app" || e.one(t, "X-Authenticated-Scope") != "email" {
		t.Errorf("the service saw %q", e.Headers)
	}
	b.get("/oauth2-howto", "Authorization", "Bearer unknown").want(t, 401)
	b.get("/oauth2-howto").want(t, 401)
}

// serviceURL is where the echo service listens: that of the service that the
// tests' routes belong to.
func serviceURL(t *testing.T) string {
	s := api(t, "GET", "/services/echo", nil, 200)
	host, _ := s["host"].(string)
	port, _ := s["port"].(float64)
	return fmt.Sprintf("http://%s:%.0f", host, port)
}

// TestBodies sends credentials in bodies that Kong keeps in memory, spills to
// disk, and gets in chunks.
func TestBodies(t *testing.T) {
	tok := mint(t, provider.TokenRequest{})
	for name, size := range map[string]int{"8 KB": 8 << 10, "200 KB": 200 << 10} {
		body := url.Values{"access_token": {tok}, "x": {strings.Repeat("z", size)}}.Encode()
		for _, chunked := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", chunked", false: ""}[chunked], func(t *testing.T) {
				var r io.Reader = strings.NewReader(body)
				if chunked {
					r = io.MultiReader(r) // hides the length
				}
				e := newBrowser(t).do("POST", "/places", r, "Content-Type", "application/x-www-form-urlencoded").echo(t)
				if len(e.Body) != size+2 || strings.Contains(e.Body, "access_token") {
					t.Errorf("the service saw a body of %d bytes", len(e.Body))
				}
			})
		}
		t.Run(name+" of JSON", func(t *testing.T) {
			e := newBrowser(t).do("POST", "/places", strings.NewReader(`{"access_token":"`+tok+`","x":"`+strings.Repeat("z", size)+`"}`), "Content-Type", "application/json").echo(t)
			if len(e.Body) != size+8 {
				t.Errorf("the service saw a body of %d bytes", len(e.Body))
			}
		})
	}
	t.Run("a JSON body of null", func(t *testing.T) {
		for _, path := range []string{"/places", "/all", "/clients"} {
			if a := newBrowser(t).do("POST", path, strings.NewReader("null"), "Content-Type", "application/json"); a.StatusCode >= 500 {
				t.Errorf("%s: status %d", path, a.StatusCode)
			}
		}
	})
}
