package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// vendor is a provider with the discovery document and the token shapes of one
// of those in docs/providers. The documents are of our own making.
type vendor struct {
	metadata func(url string) map[string]any // laid over the sandbox's; nil removes
	routes   func(url string) map[string]object
	asks     func(t *testing.T, v *vendorWorld)
}

type vendorWorld struct {
	*provider.Server
	proxy string
	path  string // of the vendor; routes are below it
}

func (v *vendorWorld) get(t *testing.T, route string, claims object, faults ...string) *harness.Answer {
	t.Helper()
	raw, err := v.Mint(provider.TokenRequest{Faults: faults, Claims: claims})
	if err != nil {
		t.Fatal(err)
	}
	return harness.NewBrowser(t, v.proxy).Get(v.path+route, "Authorization", "Bearer "+raw)
}

// logsOut checks that a logout ends the session though the provider has no
// logout of its own.
func (v *vendorWorld) logsOut(t *testing.T) {
	t.Helper()
	b := harness.NewBrowser(t, v.proxy)
	b.Get(v.path+"/login", "Authorization", harness.Basic("alex", "doe")).Want(200)
	b.Get(v.path + "/login").Want(200)
	if to := b.Do("POST", v.path+"/login/logout", nil).Want(302).To(); to.String() != "https://app.example.com/bye" {
		t.Errorf("sent to %s", to)
	}
	b.Get(v.path + "/login").Want(401)
}

func bearerOf(url string, more object) object {
	c := object{"issuer": url, "auth_methods": []string{"bearer"}}
	for k, v := range more {
		c[k] = v
	}
	return c
}

func loginOf(url string) object {
	return object{
		"issuer": url, "client_id": []string{"kong"}, "client_secret": []string{kongSecret}, "auth_methods": []string{"password", "session"},
		"logout_uri_suffix": "/logout", "logout_methods": []string{"POST"}, "logout_revoke": true, "logout_redirect_uri": []string{"https://app.example.com/bye"},
	}
}

var vendors = map[string]vendor{
	"okta": {
		routes: func(url string) map[string]object {
			return map[string]object{"/scp": bearerOf(url, object{"scopes_claim": []string{"scp"}, "scopes_required": []string{"orders"}})}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			v.get(t, "/scp", object{"scp": []string{"openid", "orders"}, "cid": "0oa1"}).Want(200)
			v.get(t, "/scp", object{"scp": []string{"openid"}, "scope": "orders"}).Want(403)
			// The org server signs access tokens with keys that it does not publish.
			v.get(t, "/scp", object{"scp": []string{"orders"}}, "foreign-key").Want(401)
		},
	},
	"auth0": {
		metadata: func(url string) map[string]any { return map[string]any{"issuer": url + "/"} },
		routes: func(url string) map[string]object {
			audience := object{"audience_required": []string{"https://api.example.com"}}
			return map[string]object{"/plain": bearerOf(url, audience), "/slash": bearerOf(url+"/", audience)}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			for _, route := range []string{"/plain", "/slash"} {
				token := object{"iss": v.URL + "/", "aud": []string{"https://api.example.com", v.URL + "/userinfo"}}
				v.get(t, route, token).Want(200)
				v.get(t, route, object{"iss": v.URL + "/", "aud": v.URL + "/userinfo"}).Want(403)
				harness.NewBrowser(t, v.proxy).Get(v.path+route, "Authorization", "Bearer opaque-as-without-an-audience").Want(401)
			}
		},
	},
	"entra-id": {
		metadata: func(url string) map[string]any { return map[string]any{"issuer": url + "/{tenantid}/v2.0"} },
		routes: func(url string) map[string]object {
			return map[string]object{
				"/any": bearerOf(url, nil),
				"/v1":  bearerOf(url, object{"issuers_allowed": []string{"https://sts.windows.net/tenant-1/"}}),
			}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			v.get(t, "/any", object{"iss": v.URL + "/tenant-1/v2.0", "tid": "tenant-1"}).Want(200)
			v.get(t, "/any", object{"iss": v.URL + "/tenant-1/v2.0", "tid": "tenant-2"}).Want(401)
			v.get(t, "/any", object{"iss": v.URL + "/tenant-1/v2.0"}).Want(401)
			v.get(t, "/any", object{"iss": "https://sts.windows.net/tenant-1/", "tid": "tenant-1"}).Want(401)
			v.get(t, "/v1", object{"iss": "https://sts.windows.net/tenant-1/", "tid": "tenant-1"}).Want(200)
		},
	},
	"google": {
		metadata: func(string) map[string]any {
			return map[string]any{"introspection_endpoint": nil, "end_session_endpoint": nil}
		},
		routes: func(url string) map[string]object {
			return map[string]object{
				"/id":       bearerOf(url, nil),
				"/old":      bearerOf(url, object{"issuers_allowed": []string{url, "accounts.google.com"}}),
				"/domain":   bearerOf(url, object{"domains": []string{"example.test"}}),
				"/userinfo": {"issuer": url, "auth_methods": []string{"userinfo"}, "bearer_token_param_type": []string{"header"}},
				"/login":    loginOf(url),
			}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			v.get(t, "/id", object{"iss": "accounts.google.com"}).Want(401)
			v.get(t, "/old", object{"iss": "accounts.google.com"}).Want(200)
			v.get(t, "/old", nil).Want(200)
			v.get(t, "/userinfo", nil).Want(200)
			harness.NewBrowser(t, v.proxy).Get(v.path+"/userinfo", "Authorization", "Bearer ya29.unknown").Want(401)
			v.logsOut(t)
		},
	},
	"cognito": {
		metadata: func(string) map[string]any {
			return map[string]any{"revocation_endpoint": nil, "end_session_endpoint": nil, "introspection_endpoint": nil}
		},
		routes: func(url string) map[string]object {
			return map[string]object{
				"/any":    bearerOf(url, nil),
				"/client": bearerOf(url, object{"audience_claim": []string{"client_id"}, "audience_required": []string{"kong"}}),
				"/aud":    bearerOf(url, object{"audience_required": []string{"kong"}}),
				"/groups": bearerOf(url, object{"groups_claim": []string{"cognito:groups"}, "groups_required": []string{"staff"}}),
				"/login":  loginOf(url),
			}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			v.get(t, "/any", nil, "missing-aud").Want(200)
			v.get(t, "/client", object{"client_id": "kong"}, "missing-aud").Want(200)
			v.get(t, "/client", object{"client_id": "other"}, "missing-aud").Want(403)
			v.get(t, "/aud", object{"client_id": "kong"}, "missing-aud").Want(403)
			v.get(t, "/groups", object{"cognito:groups": []string{"staff"}}).Want(200)
			v.get(t, "/groups", object{"cognito:groups": []string{"guests"}}).Want(403)
			v.logsOut(t)
		},
	},
	"dex": {
		metadata: func(string) map[string]any {
			return map[string]any{"revocation_endpoint": nil, "end_session_endpoint": nil}
		},
		routes: func(url string) map[string]object {
			return map[string]object{"/any": bearerOf(url, object{"audience_required": []string{"kong"}}), "/login": loginOf(url)}
		},
		asks: func(t *testing.T, v *vendorWorld) {
			// Dex's access token is the ID token: its audience is the client.
			v.get(t, "/any", object{"aud": "kong"}).Want(200)
			v.get(t, "/any", object{"aud": "other"}).Want(403)
			v.logsOut(t)
		},
	},
}

// TestProviderQuirks holds what docs/providers says about the providers that no
// machine can run. Keycloak is run itself, in the matrix.
func TestProviderQuirks(t *testing.T) {
	dir := t.TempDir()
	up, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	keys, err := provider.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	worlds := map[string]*vendorWorld{}
	var routes []object
	for name, v := range vendors {
		p, err := provider.Start("127.0.0.1:0", provider.Options{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		url := p.URL
		if v.metadata != nil {
			p.Close()
			if p, err = provider.Start(url[len("http://"):], provider.Options{Keys: keys, Metadata: v.metadata(url)}); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { p.Close() })
		worlds[name] = &vendorWorld{Server: p, path: "/" + name}
		for path, config := range v.routes(url) {
			config["cache_tokens_salt"] = name + path
			routes = append(routes, object{"name": name + "-" + path[1:], "paths": []string{"/" + name + path}, "plugins": []any{object{"name": "openid-connect", "config": config}}})
		}
	}
	// With a database routes are made one by one: the last is there when all are.
	routes = append(routes, object{"name": "last", "paths": []string{"/last"}, "plugins": []any{object{"name": "openid-connect", "config": bearerOf(env.Issuer, nil)}}})
	raw, err := yaml.Marshal(object{"_format_version": "3.0", "services": []any{object{"name": "echo", "url": "http://" + up.Addr(), "routes": routes}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := harness.Start(harness.Options{Dir: dir, Plugin: env.binary, Config: file, Workers: 1, Await: "/last"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	pages, err := filepath.Glob("../../docs/providers/*.md")
	if err != nil || len(pages) != len(vendors)+1 {
		t.Errorf("docs/providers has %d pages, %d providers are tested", len(pages), len(vendors)+1)
	}
	for name, v := range vendors {
		t.Run(name, func(t *testing.T) {
			w := worlds[name]
			w.proxy = g.Proxy
			v.asks(t, w)
		})
	}
}
