package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// TestIssuerKeys: keys that are bound to a second issuer verify its tokens and
// nobody else's, and nobody else's verify its.
func TestIssuerKeys(t *testing.T) {
	other, err := provider.Start("127.0.0.1:0", provider.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	dir := t.TempDir()
	config := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `_format_version: "3.0"
services:
- name: echo
  url: %s
  routes:
  - name: two
    paths: [/two]
    plugins:
    - name: openid-connect
      config:
        issuer: "%[2]s"
        auth_methods: [bearer]
        issuers_allowed: ["%[2]s", "%[3]s"]
        issuer_keys: [{issuer: "%[3]s", jwks_uris: ["%[3]s/jwks"]}]
`, serviceURL(t), env.Issuer, other.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := harness.Start(harness.Options{Dir: dir, Plugin: env.binary, Config: config, Workers: 1, Await: "/two"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	by := func(p interface {
		Mint(provider.TokenRequest) (string, error)
	}, iss string) string {
		t.Helper()
		q := provider.TokenRequest{}
		if iss != "" {
			q.Claims = map[string]any{"iss": iss}
		}
		token, err := p.Mint(q)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for _, c := range []struct {
		name, token string
		status      int
	}{
		{"of the provider", mint(t, provider.TokenRequest{}), 200},
		{"of the other issuer", by(other, ""), 200},
		{"of the other issuer, signed by the provider", mint(t, provider.TokenRequest{Claims: map[string]any{"iss": other.URL}}), 401},
		{"of the provider, signed by the other issuer", by(other, env.Issuer), 401},
		{"of a third, signed by the other issuer", by(other, "https://third.example.com"), 401},
	} {
		if a := harness.NewBrowser(t, g.Proxy).Get("/two", "Authorization", "Bearer "+c.token); a.StatusCode != c.status {
			t.Errorf("%s: %d, not %d", c.name, a.StatusCode, c.status)
		}
	}
}
