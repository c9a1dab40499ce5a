package matrix

import (
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
)

// clientless takes the client out of std: these guides have none.
var clientless = config{"client_id": nil, "client_secret": nil, "client_auth": nil}

// boundHowTos are the documented guides and examples of proof of possession,
// token exchange and trust in several issuers (behaviour.md A.1, A.2).
var boundHowTos = []howTo{
	{
		name: "cert-bound-tokens",
		rows: func(p *idp) map[string]config {
			c := config{"issuer": p.tlsIssuer, "auth_methods": []string{"bearer"}, "proof_of_possession_mtls": "strict", "proof_of_possession_auth_methods_validation": true}
			return map[string]config{"": c.with(clientless), "-client": c}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			bound := p.bindToCertificate(t, "tls")
			for _, path := range []string{path, path + "-client"} {
				if got := w.overTLS(t).Showing(p.real.Certificates["tls"]).Get(path+"/anything", bearer(bound)...).Echo().Bearer(); got != bound {
					t.Error("the token is changed")
				}
				unproven(t, w.overTLS(t).Get(path+"/anything", bearer(bound)...))
				unproven(t, w.overTLS(t).Showing(p.real.Certificates["other"]).Get(path+"/anything", bearer(bound)...))
			}
		},
	},
	{
		name: "dpop",
		rows: only(config{"auth_methods": []string{"bearer"}, "proof_of_possession_dpop": "strict"}),
		steps: func(t *testing.T, w *world, p *idp, path string) {
			h := harness.NewHolder(t)
			bound := p.bind(t, "dpop", h)
			e := w.browser(t).Get(path+"/anything", "Authorization", "DPoP "+bound, "DPoP", h.Proof("GET", w.gateway.Proxy+path+"/anything", bound, nil)).Echo()
			if e.Bearer() != bound || len(e.Get("DPoP")) != 0 {
				t.Errorf("the service sees the proof %q", e.Get("DPoP"))
			}
			challenged(t, w.browser(t).Get(path+"/anything", bearer(bound)...), "invalid_token")
			challenged(t, w.browser(t).Get(path+"/anything", "Authorization", "DPoP "+bound), "invalid_dpop_proof")
			w.browser(t).Get(path + "/anything").Want(401)
		},
	},
	{
		name: "mtls-client-auth",
		rows: func(p *idp) map[string]config {
			c := config{
				"issuer": p.tlsIssuer, "client_id": []string{"tls"}, "client_secret": nil, "client_auth": []string{"tls_client_auth"},
				"tls_client_auth_cert_id": p.certificate["tls"], "tls_client_auth_ssl_verify": true, "auth_methods": []string{"password"},
			}
			return map[string]config{"": c, "-other": c.with(certificate("other")(p))}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			claims := claimsOf(t, w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().Bearer())
			if claims["azp"] != "tls" || claims["iss"] != p.tlsIssuer {
				t.Errorf("the token is of %v at %v", claims["azp"], claims["iss"])
			}
			w.browser(t).Get(path+"-other/anything", basic("alex", "doe")...).Want(401)
		},
	},
	{
		name: "pop-token-in-header",
		rows: func(p *idp) map[string]config {
			return map[string]config{"": config{
				"using_pseudo_issuer": true, "issuer": p.tlsIssuer, "jwks_endpoint": p.issuer + "/protocol/openid-connect/certs", "auth_methods": []string{"bearer"},
				"proof_of_possession_mtls": "strict", "proof_of_possession_mtls_from_header": config{
					"certificate_header_name": "x-client-cert", "certificate_header_format": "base64_encoded", "ca_certificates": []string{p.authorityID}, "secure_source": false,
				},
			}.with(clientless)}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			bound := p.bindToCertificate(t, "tls")
			der := harness.Base64Encoded(p.real.Certificates["tls"].Certificate[0])
			w.browser(t).Get(path+"/anything", append(bearer(bound), "x-client-cert", der)...).Echo().Bearer()
			unproven(t, w.browser(t).Get(path+"/anything", bearer(bound)...))
		},
	},
	{
		name: "mtls-pop-from-header",
		rows: func(p *idp) map[string]config {
			return map[string]config{"": config{
				"issuer": p.tlsIssuer, "auth_methods": []string{"bearer"}, "proof_of_possession_mtls": "strict", "proof_of_possession_mtls_from_header": config{
					"certificate_header_name": "x-client-cert", "certificate_header_format": "base64_encoded", "ca_certificates": []string{p.authorityID}, "ssl_verify": true,
				},
			}.with(clientless)}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			bound := p.bindToCertificate(t, "tls")
			der := harness.Base64Encoded(p.real.Certificates["tls"].Certificate[0])
			proxy := w.browser(t).From(harness.TrustedPeer)
			proxy.Get(path+"/anything", append(bearer(bound), "x-client-cert", der)...).Echo().Bearer()
			unproven(t, proxy.Get(path+"/anything", bearer(bound)...))
			unproven(t, w.browser(t).Get(path+"/anything", append(bearer(bound), "x-client-cert", der)...))
		},
	},
	{
		name: "auth-token-exchange",
		rows: func(p *idp) map[string]config {
			return map[string]config{"": {
				"using_pseudo_issuer": true, "jwks_endpoint": p.issuer + "/protocol/openid-connect/certs", "token_endpoint": p.issuer + "/protocol/openid-connect/token",
				"client_id": []string{"second"}, "client_secret": []string{p.clients["second"].Secret}, "auth_methods": []string{"bearer"},
				"token_exchange": config{
					"subject_token_issuers": []any{config{"issuer": p.issuer, "conditions": config{"has_audience": []string{"second"}}}},
					"request":               config{"scopes": []string{"profile"}},
				},
			}}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			sent := p.login(t, "kong").AccessToken
			if claims := claimsOf(t, sent); claims["azp"] != "kong" || !sameScopes(claims["scope"], "openid profile email") {
				t.Fatalf("the token is of %v with scope %q", claims["azp"], claims["scope"])
			}
			claims := claimsOf(t, w.browser(t).Get(path+"/anything", bearer(sent)...).Echo().Bearer())
			if claims["azp"] != "second" || !sameScopes(claims["scope"], "profile email") {
				t.Errorf("the service sees a token of %v with scope %v", claims["azp"], claims["scope"])
			}
		},
	},
	{
		name: "extra-jwks",
		rows: func(p *idp) map[string]config {
			return map[string]config{"": config{
				"auth_methods": []string{"bearer"}, "verify_signature": true, "verify_claims": false, "issuers_allowed": []string{p.issuer, p.issuerB},
				"extra_jwks_uris": []string{p.issuer + "/protocol/openid-connect/certs", p.issuerB + "/protocol/openid-connect/certs"},
			}.with(clientless)}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			b, err := p.askAt(p.issuerB+"/protocol/openid-connect/token", "kong", passwordForm("alex", "doe"))
			if err != nil {
				t.Fatal(err)
			}
			for _, jwt := range []string{p.login(t, "kong").AccessToken, b.AccessToken} {
				w.browser(t).Get(path+"/anything", bearer(jwt)...).Echo().Bearer()
				w.browser(t).Get(path+"/anything", bearer(damaged(jwt))...).Want(401)
			}
			w.browser(t).Get(path+"/anything", bearer(w.sandbox.login(t, "kong").AccessToken)...).Want(401)
		},
	},
	{
		name: "override-jwks-endpoint",
		rows: func(p *idp) map[string]config {
			c := config{"auth_methods": []string{"bearer"}, "issuers_allowed": []string{p.issuer, p.issuerB}}.with(clientless)
			return map[string]config{
				"":   c.with(config{"jwks_endpoint": p.issuer + "/protocol/openid-connect/certs"}),
				"-b": c.with(config{"jwks_endpoint": p.issuerB + "/protocol/openid-connect/certs"}),
			}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			jwt := p.login(t, "kong").AccessToken
			w.browser(t).Get(path+"/anything", bearer(jwt)...).Echo().Bearer()
			w.browser(t).Get(path+"-b/anything", bearer(jwt)...).Want(401) // the issuer's own keys do not count
		},
	},
}

// sameScopes compares scopes, whose order means nothing.
func sameScopes(got any, want string) bool {
	text, _ := got.(string)
	a, b := strings.Fields(text), strings.Fields(want)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
