package matrix

import (
	"encoding/json"
	"slices"
	"testing"

	"kong-openid-connect/internal/testproviders"
)

// clientRow is a client authentication method and the client that uses it.
type clientRow struct {
	name   string
	method string
	client func(p *idp) string
	key    string // of client-keys.json
	alg    string
	// elsewhere is a method that the provider refuses this client at its
	// revocation endpoint.
	elsewhere string
	// unasked are providers that answer no introspection to such a client.
	unasked []string
}

func named(id string) func(*idp) string { return func(*idp) string { return id } }

var clientTable = []clientRow{
	{name: "client_secret_basic", method: "client_secret_basic", client: live, elsewhere: "none"},
	{name: "client_secret_post", method: "client_secret_post", client: named("post"), elsewhere: "none"},
	{name: "client_secret_jwt", method: "client_secret_jwt", client: named("secret-jwt"), elsewhere: "none"},
	{name: "private_key_jwt-RS256", method: "private_key_jwt", client: named("key-jwt"), key: "client-rsa", elsewhere: "none"},
	{name: "private_key_jwt-ES256", method: "private_key_jwt", client: named("key-jwt"), key: "client-ec", alg: "ES256", elsewhere: "none"},
	{name: "none", method: "none", client: named("public"), elsewhere: "client_secret_basic", unasked: []string{"keycloak"}},
}

// clientJWK returns a private key as client_jwk takes it, under another key id
// if one is given.
func clientJWK(kid, as string) []any {
	raw, err := testproviders.ClientKeys()
	if err != nil {
		panic(err) // the file is part of the repository
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		panic(err)
	}
	for _, k := range set.Keys {
		if k["kid"] == kid {
			if as != "" {
				k["kid"], k["use"] = as, "sig"
				delete(k, "alg")
			}
			return []any{k}
		}
	}
	panic("no key " + kid)
}

func clientRoutes(p *idp) []route {
	var out []route
	for _, r := range clientTable {
		path := "/clients/" + p.name + "/" + r.name
		// The cookie is the session's alone, so the methods do not meet.
		c := p.std(r.client(p), "client"+r.name, "session", "introspection", "password").with(config{
			"client_auth": []string{r.method}, "cache_introspection": false, "disable_session": []string{"introspection"},
			"logout_uri_suffix": "/logout", "logout_methods": []string{"POST"}, "logout_revoke": true,
		})
		bad := c.with(config{"client_secret": []string{"wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong"}, "cache_tokens_salt": "wrong" + p.name + r.name})
		if p.clients[r.client(p)].Secret == "" {
			delete(c, "client_secret")
			delete(bad, "client_secret")
		}
		if r.key != "" {
			c["client_jwk"], bad["client_jwk"] = clientJWK(r.key, ""), clientJWK(r.key+"-enc", r.key)
		}
		if r.alg != "" {
			c["client_alg"], bad["client_alg"] = []string{r.alg}, []string{r.alg}
		}
		if r.method == "none" {
			bad["client_id"] = []string{"nobody"}
		}
		out = append(out, route{path, c}, route{path + "-wrong", bad},
			route{path + "-elsewhere", c.with(config{"revocation_endpoint_auth_method": r.elsewhere, "cache_tokens_salt": "elsewhere" + p.name + r.name})})
	}
	return out
}

// TestClientAuthentication: each method at the token, the introspection and the
// revocation endpoint. Each client of the real providers is registered for the
// one method, so that a success is that method's.
func TestClientAuthentication(t *testing.T) {
	for _, r := range clientTable {
		t.Run(r.name, func(t *testing.T) {
			at(t, func(t *testing.T, w *world, p *idp) { w.clientAuthentication(t, p, r) })
		})
	}
}

func (w *world) clientAuthentication(t *testing.T, p *idp, r clientRow) {
	path := "/clients/" + p.name + "/" + r.name
	b := w.browser(t)
	access := ""
	t.Run("token", func(t *testing.T) {
		a := b.Get(path, basic("alex", "doe")...).Want(200)
		access = a.Echo().Bearer()
		if a.SetsCookie("session") == nil {
			t.Fatal("no session")
		}
		w.browser(t).Get(path, basic("alex", "wrong")...).Want(401)
		w.browser(t).Get(path+"-wrong", basic("alex", "doe")...).Want(401)
	})
	if access == "" {
		return
	}
	asks := !slices.Contains(r.unasked, p.name)
	t.Run("introspection", func(t *testing.T) {
		if !asks {
			// Keycloak answers introspection to confidential clients only.
			w.browser(t).Get(path, bearer(access)...).Want(500)
			return
		}
		w.browser(t).Get(path, bearer(access)...).Want(200)
		w.browser(t).Get(path+"-wrong", bearer(access)...).Want(500)
	})
	t.Run("revocation", func(t *testing.T) {
		p.reset()
		b.Do("POST", path+"/logout", nil).Want(302)
		// The access and the refresh token.
		if n := p.count(revocation); n != 2 {
			t.Errorf("%d revocations", n)
		}
		if asks {
			w.browser(t).Get(path, bearer(access)...).Want(401)
		}
		b.Get(path).Want(401)
	})
	t.Run("revocation refused", func(t *testing.T) {
		b := w.browser(t)
		access := b.Get(path+"-elsewhere", basic("alex", "doe")...).Want(200).Echo().Bearer()
		b.Do("POST", path+"-elsewhere/logout", nil).Want(302)
		b.Get(path + "-elsewhere").Want(401)
		if asks {
			w.browser(t).Get(path, bearer(access)...).Want(200)
		}
	})
}
