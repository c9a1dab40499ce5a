package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// companion calls an endpoint of the plugin under the Admin API.
func companion(t *testing.T, method, path string, status int) (map[string]any, http.Header) {
	t.Helper()
	text, header := harness.Companion(t, env.Admin, method, path, status)
	var out map[string]any
	if text != "" {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return out, header
}

func TestDiscoveryCacheEndpoints(t *testing.T) {
	b := newBrowser(t)
	token := "Bearer " + mint(t, provider.TokenRequest{})
	b.get("/bearer", "Authorization", token).want(t, 200)
	var object map[string]any
	for _, alias := range []string{"discovery-cache", "issuers"} {
		all, header := companion(t, "GET", alias, 200)
		if next, ok := all["next"]; !ok || next != nil {
			t.Errorf("%s: next is %v", alias, next)
		}
		if got := header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", alias, got)
		}
		object = nil
		for _, o := range all["data"].([]any) {
			if o := o.(map[string]any); o["issuer"] == env.Issuer && o["configuration"] != nil {
				object = o
			}
		}
		if object == nil {
			t.Fatalf("%s: the issuer is not there: %v", alias, all)
		}
		if object["id"] == "" || object["created_at"] == nil || len(object["keys"].([]any)) == 0 || object["configuration"].(map[string]any)["token_endpoint"] == nil {
			t.Errorf("%s: %v", alias, object)
		}
	}
	companion(t, "GET", "issuers/"+object["id"].(string), 200)
	companion(t, "GET", "issuers/"+url.PathEscape(env.Issuer), 200)
	if body, _ := companion(t, "GET", "issuers/no-such-issuer", 404); body["message"] != "Not found" {
		t.Errorf("404 body %v", body)
	}
	companion(t, "POST", "issuers", 405)
	companion(t, "GET", "issuers?size=0", 400)
	env.provider.ResetRecords()
	b.get("/bearer", "Authorization", token).want(t, 200)
	if n := env.provider.Count(provider.EndpointDiscovery); n != 0 {
		t.Errorf("%d discoveries though it is known", n)
	}
	companion(t, "DELETE", "discovery-cache/"+url.PathEscape(env.Issuer), 204)
	companion(t, "DELETE", "discovery-cache/"+url.PathEscape(env.Issuer), 404)
	b.get("/bearer", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
	if n := env.provider.Count(provider.EndpointDiscovery); n == 0 {
		t.Error("nothing was forgotten")
	}
	companion(t, "DELETE", "issuers", 204)
	b.get("/bearer", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
}

// waitForOwnKeys waits for the pairs that are made in the background.
func waitForOwnKeys(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r, err := http.Get(env.Admin + "/openid-connect/jwks")
		if err != nil {
			t.Fatal(err)
		}
		var set struct{ Keys []any }
		json.NewDecoder(r.Body).Decode(&set)
		r.Body.Close()
		if len(set.Keys) >= 10 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d own keys after 30 s", len(set.Keys))
		}
	}
}

func TestOwnKeysEndpoints(t *testing.T) {
	kids := func() map[string]string {
		out := map[string]string{}
		set, header := companion(t, "GET", "jwks", 200)
		if got := header.Get("Content-Type"); !strings.HasPrefix(got, "application/jwk-set+json") {
			t.Errorf("Content-Type %q", got)
		}
		for _, k := range set["keys"].([]any) {
			k := k.(map[string]any)
			out[k["kid"].(string)] = k["alg"].(string)
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k"} {
				if _, ok := k[private]; ok {
					t.Errorf("case 63: member %s is published", private)
				}
			}
		}
		return out
	}
	waitForOwnKeys(t)
	first := kids()
	one := ""
	for kid, alg := range first {
		if alg == "ES256" {
			one = kid
		}
	}
	if k, _ := companion(t, "GET", "jwks/"+one, 200); k["kid"] != one || k["d"] != nil {
		t.Errorf("one key: %v", k)
	}
	companion(t, "GET", "jwks/unknown", 404)
	companion(t, "DELETE", "jwks/"+one, 204)
	companion(t, "DELETE", "jwks/"+one, 404)
	companion(t, "DELETE", "jwks", 204)
	second := kids()
	fresh := 0
	for kid := range second {
		if _, old := first[kid]; !old {
			fresh++
		}
	}
	if fresh < 10 {
		t.Errorf("%d new keys after the rotation, of %d", fresh, len(second))
	}
	for kid := range first {
		if _, there := second[kid]; !there && kid != one {
			t.Errorf("the previous key %s is not published any more", kid)
		}
	}
}

func TestCompanionShowsNoSecret(t *testing.T) {
	newBrowser(t).get("/bearer", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 200)
	waitForOwnKeys(t)
	paths := []string{"discovery-cache", "issuers", "jwks", "health", "metrics", "issuers/" + url.PathEscape(env.Issuer)}
	objects, _ := companion(t, "GET", "issuers", 200)
	for _, o := range objects["data"].([]any) {
		paths = append(paths, "discovery-cache/"+o.(map[string]any)["id"].(string))
	}
	keys, _ := companion(t, "GET", "jwks", 200)
	for _, k := range keys["keys"].([]any) {
		paths = append(paths, "jwks/"+k.(map[string]any)["kid"].(string))
	}
	for _, path := range paths {
		r, err := http.Get(env.Admin + "/openid-connect/" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode != 200 || len(text) == 0 {
			t.Errorf("%s: status %d", path, r.StatusCode)
		}
		for _, word := range []string{`"secret"`, "session_secret", `"d":`, `"p":`, `"q":`, `"dp":`, `"dq":`, `"qi":`, `"k":`, kongSecret} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s shows %s", path, word)
			}
		}
	}
	if r, err := http.Get(fmt.Sprintf("%s/openid-connect/jwks", env.Proxy)); err == nil {
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if strings.Contains(string(text), `"keys"`) {
			t.Error("the endpoints answer on the proxy port")
		}
	}
}
