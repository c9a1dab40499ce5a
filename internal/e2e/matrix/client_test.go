package matrix

import (
	"encoding/json"
	"slices"
	"strings"
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
	// certificate is the client's, of package testproviders; other is one that
	// the provider does not take from it.
	certificate, other string
	// elsewhere is a method that the provider refuses this client at its
	// revocation endpoint.
	elsewhere string
	// unasked are providers that answer no introspection to such a client.
	unasked []string
	// notAt are providers that do not know the method.
	notAt []string
}

func (r *clientRow) known(p *idp) bool { return !slices.Contains(r.notAt, p.name) }

func named(id string) func(*idp) string { return func(*idp) string { return id } }

var clientTable = []clientRow{
	{name: "client_secret_basic", method: "client_secret_basic", client: live, elsewhere: "none"},
	{name: "client_secret_post", method: "client_secret_post", client: named("post"), elsewhere: "none"},
	{name: "client_secret_jwt", method: "client_secret_jwt", client: named("secret-jwt"), elsewhere: "none"},
	{name: "private_key_jwt-RS256", method: "private_key_jwt", client: named("key-jwt"), key: "client-rsa", elsewhere: "none"},
	{name: "private_key_jwt-ES256", method: "private_key_jwt", client: named("key-jwt"), key: "client-ec", alg: "ES256", elsewhere: "none"},
	{name: "none", method: "none", client: named("public"), elsewhere: "client_secret_basic", unasked: []string{"keycloak"}},
	{name: "tls_client_auth", method: "tls_client_auth", client: named("tls"), certificate: "tls", other: "other", elsewhere: "none", notAt: []string{"sandbox"}},
	{
		name: "self_signed_tls_client_auth", method: "self_signed_tls_client_auth", client: named("self-signed"), certificate: "self-signed", other: "untrusted",
		elsewhere: "none", notAt: []string{"sandbox", "keycloak"},
	},
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

// as is the configuration of a client with the method, the key and the
// certificate that it is registered with.
func (p *idp) as(id, salt string, methods ...string) config {
	client := p.clients[id]
	c := p.std(id, salt, methods...).with(config{"client_auth": []string{client.Auth}})
	if client.Secret == "" {
		delete(c, "client_secret")
	}
	if n := len(client.KeyIDs); n > 0 {
		kid := client.KeyIDs[n-1]
		c["client_jwk"] = clientJWK(kid, "")
		if kid == "client-ec" {
			c["client_alg"] = []string{"ES256"}
		}
	}
	if client.Certificate != "" {
		c["issuer"], c["tls_client_auth_cert_id"] = p.tlsIssuer, p.certificate[client.Certificate]
	}
	return c
}

func clientRoutes(p *idp) []route {
	var out []route
	for _, r := range clientTable {
		if !r.known(p) {
			continue
		}
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
		if r.certificate != "" {
			c["issuer"], bad["issuer"] = p.tlsIssuer, p.tlsIssuer
			c["tls_client_auth_cert_id"], bad["tls_client_auth_cert_id"] = p.certificate[r.certificate], p.certificate[r.other]
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
			at(t, func(t *testing.T, w *world, p *idp) {
				if r.known(p) {
					w.clientAuthentication(t, p, r)
				}
			})
		})
	}
}

func (w *world) clientAuthentication(t *testing.T, p *idp, r clientRow) {
	path := "/clients/" + p.name + "/" + r.name
	b := w.browser(t)
	access := ""
	t.Run("token", func(t *testing.T) {
		a := b.On(t).Get(path, basic("alex", "doe")...).Want(200)
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
		b := b.On(t)
		b.Do("POST", path+"/logout", nil).Want(302)
		// The access and the refresh token. The first is asked for again where the
		// provider knows no audience but its token endpoint's.
		if n := p.count(revocation); p.tlsIssuer != p.issuer && r.certificate != "" {
			// What comes over TLS is not counted there.
		} else if n != 2 && (n != 3 && n != 4 || p.name != "keycloak" || !strings.HasSuffix(r.method, "_jwt") && r.key == "") {
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
