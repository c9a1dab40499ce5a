package e2e

import (
	"net/http"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// TestRootConfiguration starts a gateway of its own with the kong.yml that
// ships at the root.
func TestRootConfiguration(t *testing.T) {
	own, err := startTarget(t.TempDir(), "../../kong.yml", "/bearer", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer own.stop()
	raw, err := own.provider.Mint(provider.TokenRequest{Scopes: []string{"profile", "email"}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/open": 200, "/bearer": 200, "/scoped": 200, "/both": 200} {
		r, err := http.NewRequest("GET", own.Proxy+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+raw)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
		}
	}
	if to := newBrowser(t).get(own.Proxy+"/app/x?y=z").want(t, 302).location(t); to.Host != httpHost(own.Issuer) {
		t.Errorf("sent to %s", to)
	}
}

func httpHost(url string) string { return url[len("http://"):] }
