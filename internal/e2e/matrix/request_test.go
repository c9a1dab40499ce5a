package matrix

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/testproviders"
)

// requestRow is a login whose request is pushed (RFC 9126) or signed (RFC
// 9101), or whose response is signed (JARM).
type requestRow struct {
	name   string
	client string
	more   config
	// wrong breaks the proof that the provider asks of the request.
	wrong func(p *idp) config
	// less is a configuration that leaves out what the provider demands.
	less  config
	notAt []string
}

var (
	push     = config{"require_pushed_authorization_requests": true}
	noPush   = config{"require_pushed_authorization_requests": false}
	sign     = config{"require_signed_request_object": true, "require_pushed_authorization_requests": false}
	noSign   = config{"require_signed_request_object": false}
	pushSign = sign.with(push)
	prove    = config{"client_dpop": "required"}
	noProof  = config{"client_dpop": "off"}
)

func wrongSecret(*idp) config {
	return config{"client_secret": []string{"wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong"}}
}
func wrongKey(*idp) config { return config{"client_jwk": clientJWK("client-ec-enc", "client-ec")} }

// wrongEncryption is another key under the name of the one that responses are
// encrypted for.
func wrongEncryption(kid string) func(*idp) config {
	return func(*idp) config { return config{"client_jwk": clientJWK(kid, kid+"-enc")} }
}

// certificate is a certificate of another client.
func certificate(name string) func(*idp) config {
	return func(p *idp) config { return config{"tls_client_auth_cert_id": p.certificate[name]} }
}

func mode(m string) config {
	return config{"response_mode": m, "require_pushed_authorization_requests": false}
}

var requestTable = []requestRow{
	{name: "PAR-client_secret_basic", client: "par", more: push, wrong: wrongSecret, less: noPush},
	{name: "PAR-client_secret_post", client: "post", more: push, wrong: wrongSecret},
	{name: "PAR-client_secret_jwt", client: "secret-jwt", more: push, wrong: wrongSecret},
	{name: "PAR-none", client: "public", more: push},
	{name: "PAR-private_key_jwt", client: "key-jwt", more: push, wrong: wrongKey},
	{name: "PAR-tls_client_auth", client: "tls", more: push, wrong: certificate("other")},
	{name: "PAR-self_signed_tls_client_auth", client: "self-signed", more: push, wrong: certificate("untrusted"), notAt: []string{"keycloak"}},
	{name: "JAR", client: "jar", more: sign, wrong: wrongKey, less: noSign.with(noPush)},
	{name: "JAR-in-PAR", client: "jar", more: pushSign, wrong: wrongKey, less: noSign.with(push)},
	{name: "JARM-query.jwt", client: "kong", more: mode("query.jwt")},
	{name: "JARM-form_post.jwt", client: "kong", more: mode("form_post.jwt")},
	{name: "JARM-jwt", client: "kong", more: mode("jwt")},
	{name: "JARM-encrypted-RSA-OAEP-256", client: "encrypted", more: mode("jwt"), wrong: wrongEncryption("client-rsa")},
	{name: "JARM-encrypted-ECDH-ES", client: "encrypted-ec", more: mode("form_post.jwt"), wrong: wrongEncryption("client-ec"), notAt: []string{"keycloak"}},
	{name: "code-id_token", client: "hybrid", more: config{"response_type": []string{"code id_token"}, "response_mode": "form_post", "require_pushed_authorization_requests": false}},
	{name: "FAPI2-private_key_jwt", client: "fapi-key", more: push, wrong: wrongKey, less: noPush},
	{name: "FAPI2-tls_client_auth", client: "fapi-tls", more: push, wrong: certificate("other"), less: noPush},
	{name: "FAPI2-DPoP", client: "fapi", more: push.with(prove), wrong: wrongKey, less: push.with(noProof)},
	{
		name: "FAPI2-DPoP-message-signing", client: "fapi-message", more: pushSign.with(prove).with(config{"response_mode": "jwt"}), wrong: wrongKey,
		less: pushSign.with(noProof), notAt: []string{"keycloak"},
	},
	{name: "FAPI2-message-signing", client: "fapi-signing", more: pushSign.with(config{"response_mode": "jwt"}), wrong: wrongKey, less: noSign.with(push).with(config{"response_mode": "jwt"})},
}

func (r *requestRow) known(p *idp) bool { return !slices.Contains(r.notAt, p.name) }
func (r *requestRow) pushed() bool      { return r.more["require_pushed_authorization_requests"] == true }
func (r *requestRow) signed() bool      { return r.more["require_signed_request_object"] == true }
func (r *requestRow) jarm() bool {
	m, _ := r.more["response_mode"].(string)
	return strings.HasSuffix(m, "jwt")
}

func requestRoutes(p *idp) []route {
	if p.real == nil {
		return nil // the sandbox's provider: package e2e and the foundation's modules
	}
	var out []route
	for _, r := range requestTable {
		if !r.known(p) {
			continue
		}
		path := "/requests/" + p.name + "/" + r.name
		c := p.as(r.client, "request"+r.name, "authorization_code", "session").with(config{
			"preserve_query_args": true, "login_action": "redirect", "login_tokens": []string{}, "scopes": []string{"openid", "profile", "email"},
			// One name a row: cookies know no paths here.
			"session_cookie_name": "s-" + r.name, "authorization_cookie_name": "a-" + r.name,
		}).with(r.more)
		out = append(out, route{path, c})
		if r.wrong != nil {
			out = append(out, route{path + "-wrong", c.with(r.wrong(p))})
		}
		if r.less != nil {
			out = append(out, route{path + "-less", c.with(r.less)})
		}
	}
	return out
}

// TestAuthorizationRequests: pushed and signed requests, signed and encrypted
// responses, and the FAPI 2.0 profile of the provider, which demands them.
func TestAuthorizationRequests(t *testing.T) {
	for _, r := range requestTable {
		t.Run(r.name, func(t *testing.T) {
			atReal(t, func(t *testing.T, w *world, p *idp) {
				if r.known(p) {
					w.authorizationRequest(t, p, &r)
				}
			})
		})
	}
}

func (w *world) authorizationRequest(t *testing.T, p *idp, r *requestRow) {
	path := "/requests/" + p.name + "/" + r.name
	refused := func(t *testing.T, a *harness.Answer, status int) {
		t.Helper()
		if a.Want(status).SetsCookie("s-"+r.name) != nil {
			t.Error("a session is issued")
		}
	}
	// begin starts a login and returns what the provider sends the browser back with.
	begin := func(t *testing.T) (*harness.Browser, *testproviders.Callback) {
		t.Helper()
		b := w.overTLS(t)
		return b, signInBy(t, p.real.Browser(), b.Get(path+"/page?hello=world").Want(302).To())
	}
	t.Run("success", func(t *testing.T) {
		b := w.overTLS(t)
		to := b.Get(path + "/page?hello=world").Want(302).To()
		r.check(t, to.Query())
		cb := signInBy(t, p.real.Browser(), to)
		if got := cb.Values(); r.jarm() && (got.Get("response") == "" || got.Has("code")) {
			t.Fatalf("the provider answers with %d parameters, response %t", len(got), got.Has("response"))
		}
		a := deliver(b, cb).Want(302)
		if got := a.To().String(); got != w.gateway.ProxyTLS+path+"/page?hello=world" || a.SetsCookie("s-"+r.name) == nil {
			t.Errorf("lands on %s", got)
		}
		jwt := b.Get(a.To().String()).Echo().Bearer()
		if strings.Count(jwt, ".") == 2 {
			claims := claimsOf(t, jwt)
			if claims["preferred_username"] != "alex" {
				t.Errorf("the token is of %v", claims["preferred_username"])
			}
			if cnf, _ := claims["cnf"].(map[string]any); r.client == "fapi-tls" && cnf["x5t#S256"] != harness.Thumbprint(p.real.Certificates["tls"]) {
				t.Errorf("the token is bound to %v", cnf)
			} else if r.more["client_dpop"] == "required" && cnf["jkt"] == nil {
				t.Error("the token is bound to no key")
			}
		}
	})
	if r.wrong != nil {
		t.Run("wrong proof", func(t *testing.T) {
			b := w.overTLS(t)
			start := b.Get(path + "-wrong/page")
			if r.pushed() {
				refused(t, start, 500)
				return
			}
			cb, err := p.real.Browser().Login(t.Context(), start.Want(302).To().String(), "alex", "doe")
			if err != nil {
				return // it shows an error of its own
			}
			if r.signed() {
				// It cannot know where the browser came from.
				if cb.Values().Has("code") || strings.HasPrefix(cb.URL, w.gateway.ProxyTLS) {
					t.Errorf("the provider takes a request that another key has signed: %s", cb.URL)
				}
				return
			}
			refused(t, deliver(b, cb), 401)
		})
	}
	if r.less != nil {
		t.Run("less than the provider demands", func(t *testing.T) {
			b := w.overTLS(t)
			start := b.Get(path + "-less/page")
			if start.StatusCode == 500 {
				return // it took no pushed request
			}
			cb, err := p.real.Browser().Login(t.Context(), start.Want(302).To().String(), "alex", "doe")
			if err != nil || !strings.HasPrefix(cb.URL, w.gateway.ProxyTLS) {
				return // it shows an error of its own
			}
			if a := deliver(b, cb); a.StatusCode != 401 || a.SetsCookie("s-"+r.name) != nil {
				t.Errorf("status %d: a success does not show that the provider asks for it", a.StatusCode)
			}
		})
	}
	if r.jarm() {
		for name, forge := range map[string]func(t *testing.T, b *harness.Browser, cb *testproviders.Callback){
			"a bad signature": func(t *testing.T, _ *harness.Browser, cb *testproviders.Callback) {
				change(t, cb, "response", damaged(cb.Values().Get("response")))
			},
			"alg none": func(t *testing.T, _ *harness.Browser, cb *testproviders.Callback) {
				payload := strings.Split(cb.Values().Get("response"), ".")[1]
				change(t, cb, "response", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))+"."+payload+".")
			},
			"the response of another login": func(t *testing.T, _ *harness.Browser, cb *testproviders.Callback) {
				_, other := begin(t)
				change(t, cb, "response", other.Values().Get("response"))
			},
			"no JWT": func(t *testing.T, _ *harness.Browser, cb *testproviders.Callback) { change(t, cb, "response", "x") },
		} {
			t.Run(name, func(t *testing.T) {
				b, cb := begin(t)
				forge(t, b, cb)
				p.reset()
				a := deliver(b, cb)
				if a.StatusCode == 200 || a.SetsCookie("s-"+r.name) != nil {
					t.Errorf("status %d, or a session", a.StatusCode)
				}
				if n := p.count(token); n != 0 {
					t.Errorf("%d token requests", n)
				}
			})
		}
		t.Run("plain parameters", func(t *testing.T) {
			b, cb := begin(t)
			if strings.Count(cb.Values().Get("response"), ".") != 2 {
				return // nobody can read an encrypted one
			}
			claims := claimsOf(t, cb.Values().Get("response"))
			plain := url.Values{}
			for _, n := range []string{"code", "state", "iss"} {
				v, _ := claims[n].(string)
				plain.Set(n, v)
			}
			if cb.Form != nil {
				cb.Form = plain
			} else {
				cb.URL, _, _ = strings.Cut(cb.URL, "?")
				cb.URL += "?" + plain.Encode()
			}
			p.reset()
			a := deliver(b, cb)
			if a.StatusCode == 200 || a.SetsCookie("s-"+r.name) != nil || p.count(token) != 0 {
				t.Errorf("status %d, %d token requests", a.StatusCode, p.count(token))
			}
		})
	}
	if r.name == "code-id_token" {
		t.Run("a bad signature in front", func(t *testing.T) {
			b, cb := begin(t)
			change(t, cb, "id_token", damaged(cb.Values().Get("id_token")))
			p.reset()
			refused(t, deliver(b, cb), 401)
			if n := p.count(token); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
		t.Run("the code of another login", func(t *testing.T) {
			_, other := begin(t)
			b, cb := begin(t)
			change(t, cb, "code", other.Values().Get("code"))
			p.reset()
			refused(t, deliver(b, cb), 401) // c_hash
			if n := p.count(token); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// check holds the request that the browser carries to what it may show.
func (r *requestRow) check(t *testing.T, q url.Values) {
	t.Helper()
	var want []string
	switch {
	case r.pushed():
		want = []string{"client_id", "request_uri"}
	case r.signed():
		want = []string{"client_id", "request", "response_type", "scope"}
	default:
		return
	}
	for name := range q {
		if !slices.Contains(want, name) {
			t.Errorf("the browser carries %s", name)
		}
	}
	if !q.Has(want[1]) {
		t.Errorf("the browser carries no %s", want[1])
	}
}
