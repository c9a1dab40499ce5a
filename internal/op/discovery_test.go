package op

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMetadataURLs(t *testing.T) {
	for _, c := range []struct {
		issuer, normal string
		urls           []string
	}{
		{"https://i.example", "https://i.example", []string{
			"https://i.example/.well-known/openid-configuration", "https://i.example/.well-known/oauth-authorization-server"}},
		{"https://i.example/", "https://i.example", []string{
			"https://i.example/.well-known/openid-configuration", "https://i.example/.well-known/oauth-authorization-server"}},
		{"https://i.example/realms/x", "https://i.example/realms/x", []string{
			"https://i.example/realms/x/.well-known/openid-configuration",
			"https://i.example/.well-known/oauth-authorization-server/realms/x",
			"https://i.example/realms/x/.well-known/oauth-authorization-server"}},
		{"https://i.example/x/.well-known/openid-configuration", "https://i.example/x", []string{"https://i.example/x/.well-known/openid-configuration"}},
		{"https://i.example/.well-known/oauth-authorization-server", "https://i.example", []string{"https://i.example/.well-known/oauth-authorization-server"}},
		{"https://i.example/.well-known/oauth-authorization-server/x", "https://i.example/x", []string{"https://i.example/.well-known/oauth-authorization-server/x"}},
		{"https://i.example/v2.0/.well-known/openid-configuration?p=flow", "https://i.example/v2.0?p=flow", []string{"https://i.example/v2.0/.well-known/openid-configuration?p=flow"}},
	} {
		if got := NormaliseIssuer(c.issuer); got != c.normal {
			t.Errorf("%s: normalised to %s", c.issuer, got)
		}
		if got := metadataURLs(c.issuer); !slices.Equal(got, c.urls) {
			t.Errorf("%s: looked for at %q", c.issuer, got)
		}
	}
}

func TestDiscoveryFallsBackToRFC8414(t *testing.T) {
	i := newIDP(t)
	i.answer("/x"+discoveryPath, http.StatusNotFound, "")
	i.answer("/.well-known/oauth-authorization-server/x", http.StatusOK, `{"issuer":"`+i.URL+`/x","token_endpoint":"`+i.URL+`/t"}`)
	m, err := newWorld().provider(t, config(i.URL+"/x")).Metadata(t.Context())
	if err != nil || m.Endpoints.Token != i.URL+"/t" {
		t.Fatalf("got %+v, %v", m, err)
	}
}

func TestDiscoveryDoesNotLookElsewhereAfterAFault(t *testing.T) {
	i := newIDP(t)
	i.answer(discoveryPath, http.StatusInternalServerError, "")
	_, err := newWorld().provider(t, config(i.URL)).Metadata(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Unavailable || e.Status != 500 {
		t.Errorf("got %v", err)
	}
	if i.count("/.well-known/oauth-authorization-server") != 0 {
		t.Error("another location was asked")
	}
}

func TestOverridesOfTheConfiguration(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) {
		i.document["introspect_endpoint"] = i.URL + "/introspect"
		i.document["mtls_endpoint_aliases"] = map[string]any{"token_endpoint": i.URL + "/mtls"}
		i.document["userinfo_endpoint"] = "javascript:alert(1)"
		i.document["revocation_endpoint"] = 7
		i.document["code_challenge_methods_supported"] = []any{"S256", 1}
		i.document["authorization_response_iss_parameter_supported"] = true
	})
	c := config(i.URL)
	c.Endpoints.Token, c.JWKSURI = "https://other.example/token", i.URL+"/other-keys"
	i.answer("/other-keys", 200, `{"keys":[]}`)
	m, err := newWorld().provider(t, c).Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Endpoints.Token != "https://other.example/token" || m.JWKSURI != i.URL+"/other-keys" || m.Endpoints.Introspection != i.URL+"/introspect" ||
		m.Endpoints.MTLSToken != i.URL+"/mtls" || m.Endpoints.Userinfo != "" || m.Endpoints.Revocation != "" || !m.ResponseISS || !slices.Equal(m.PKCEMethods, []string{"S256"}) {
		t.Errorf("got %+v", m)
	}
	if i.count(keysPath) != 0 || i.count("/other-keys") != 1 {
		t.Error("keys were fetched from the wrong place")
	}
}

func TestPseudoIssuerIsNeverAsked(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	c := config(i.URL + "/pseudo")
	c.PseudoIssuer, c.JWKSURI = true, i.URL+keysPath
	c.Endpoints.Token = i.URL + tokenPath
	p := newWorld().provider(t, c)
	m, err := p.Metadata(t.Context())
	if err != nil || m.Issuer != i.URL+"/pseudo" {
		t.Fatalf("got %+v, %v", m, err)
	}
	if err := verify(t.Context(), p, k.sign(t, map[string]any{"iss": m.Issuer})); err != nil {
		t.Error(err)
	}
	if _, err := p.endpoint(t.Context(), "userinfo", func(e *Endpoints) string { return e.Userinfo }); err == nil {
		t.Error("an endpoint out of nowhere")
	}
	for path := range i.calls {
		if strings.Contains(path, "well-known") {
			t.Errorf("%s was asked", path)
		}
	}
}

func TestDiscoveryHeaders(t *testing.T) {
	i, other := newIDP(t), newIDP(t)
	c := config(i.URL)
	c.DiscoveryHeaders = []Field{{"X-Api-Key", "secret"}}
	c.ExtraJWKSURIs = []string{other.URL + keysPath, i.URL + "/extra"}
	i.answer("/extra", 200, `{"keys":[]}`)
	if _, err := newWorld().provider(t, c).Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{discoveryPath, keysPath, "/extra"} {
		if i.request(path).Header.Get("X-Api-Key") != "secret" {
			t.Errorf("not sent to %s", path)
		}
	}
	if other.request(keysPath).Header.Get("X-Api-Key") != "" {
		t.Error("sent to another host")
	}
}

// Case 58: a document of another issuer is warned about, and its value is
// expected; with verify_parameters it is refused.
func TestCase58DocumentOfAnotherIssuer(t *testing.T) {
	for _, c := range []struct {
		name, issuer string
		warned       bool
	}{{"other", "https://other.example", true}, {"trailing slash", "/", false}, {"same", "", false}, {"tenants", "https://login.example/{tenantid}/v2.0", false}} {
		t.Run(c.name, func(t *testing.T) {
			i := newIDP(t)
			issuer := c.issuer
			if len(issuer) < 2 {
				issuer = i.URL + issuer
			}
			i.set(func(i *idp) { i.document["issuer"] = issuer })
			w := newWorld()
			m, err := w.provider(t, config(i.URL)).Metadata(t.Context())
			if err != nil || m.Issuer != issuer {
				t.Fatalf("got %+v, %v", m, err)
			}
			if strings.Contains(w.log.String(), "another issuer") != c.warned {
				t.Errorf("logged %s", w.log)
			}
			strict := config(i.URL)
			strict.VerifyParameters = true
			_, err = w.provider(t, strict).Metadata(t.Context())
			if (err != nil) != c.warned {
				t.Errorf("verify_parameters: %v", err)
			}
		})
	}
}

func TestDocumentWithoutIssuer(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) { delete(i.document, "issuer") })
	m, err := newWorld().provider(t, config(i.URL+"/")).Metadata(t.Context())
	if err != nil || m.Issuer != i.URL {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestVerifyParameters(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) {
		i.document["response_types_supported"] = []any{"code", "id_token code"}
		i.document["scopes_supported"] = []any{"openid", "email"}
		i.document["token_endpoint_auth_methods_supported"] = []any{"client_secret_post"}
	})
	for _, c := range []struct {
		name string
		p    Parameters
		want string
	}{
		{"all listed", Parameters{"code id_token", "query", []string{"openid"}, []string{"client_secret_post"}}, ""},
		{"response type", Parameters{ResponseType: "token"}, "response_type"},
		{"scope", Parameters{Scopes: []string{"openid", "admin"}}, "admin"},
		{"client authentication", Parameters{AuthMethods: []string{"none"}}, "client_auth"},
		{"what is not listed is not judged", Parameters{ResponseMode: "form_post"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config(i.URL)
			conf.VerifyParameters, conf.Parameters = true, c.p
			_, err := newWorld().provider(t, conf).Metadata(t.Context())
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDocumentsThatAreNone(t *testing.T) {
	for name, body := range map[string]string{"HTML": "<html>", "array": "[]", "null": "null", "empty": "", "cut off": `{"issuer":"x`, "deep": strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)} {
		i := newIDP(t)
		i.answer(discoveryPath, 200, body)
		if _, err := newWorld().provider(t, config(i.URL)).Metadata(t.Context()); err == nil || IsRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMissingEndpointIsLookedForOnceMore(t *testing.T) {
	i := newIDP(t)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	revocation := func() (string, error) {
		return p.endpoint(t.Context(), "revocation endpoint", func(e *Endpoints) string { return e.Revocation })
	}
	if _, err := revocation(); err == nil || !strings.Contains(err.Error(), "neither configured nor discovered") {
		t.Fatal(err)
	}
	i.set(func(i *idp) { i.document["revocation_endpoint"] = i.URL + "/revoke" })
	if _, err := revocation(); err == nil {
		t.Fatal("the floor was not kept")
	}
	w.Advance(30 * time.Second)
	if got, err := revocation(); err != nil || got != i.URL+"/revoke" {
		t.Fatalf("got %s, %v", got, err)
	}
}

func TestIssuerMustBeAnAddress(t *testing.T) {
	for _, issuer := range []string{"", "accounts.example", "ftp://i.example", "/path", "https://"} {
		if _, err := newWorld().Provider(config(issuer)); err == nil {
			t.Errorf("%q is taken", issuer)
		}
	}
	pseudo := config("label")
	pseudo.PseudoIssuer = true
	if _, err := newWorld().Provider(pseudo); err != nil {
		t.Error(err)
	}
}

func TestAnswersOfOtherStatusAreNoDocument(t *testing.T) {
	for _, status := range []int{201, 204, 301, 302, 401, 403, 500} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
		}))
		if _, err := newWorld().provider(t, config(s.URL)).Metadata(t.Context()); err == nil {
			t.Errorf("status %d was taken", status)
		}
		s.Close()
	}
}
