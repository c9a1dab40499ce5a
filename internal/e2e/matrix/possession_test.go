package matrix

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
)

// possessionRoutes are the ways to ask for proof of possession (behaviour.md
// 8.7) of the tokens that a provider binds.
func possessionRoutes(p *idp) []route {
	if p.real == nil {
		return nil // the sandbox's tokens: package e2e
	}
	path := "/possession/" + p.name + "/"
	dpop := p.std("dpop", "dpop", "bearer").with(config{"proof_of_possession_dpop": "strict"})
	opaque := p.std(p.opaqueDPoP(), "dpop-opaque", "introspection").with(config{"proof_of_possession_dpop": "strict", "cache_introspection": false})
	mtls := p.std("mtls-bound", "mtls", "bearer").with(config{"issuer": p.tlsIssuer, "proof_of_possession_mtls": "strict"})
	if p.name == "oidc-provider" {
		mtls["issuer"] = p.issuer
	}
	header := config{"certificate_header_name": "X-Client-Cert", "ca_certificates": []string{p.authorityID}}
	return []route{
		{path + "dpop", dpop},
		{path + "dpop-optional", dpop.with(config{"proof_of_possession_dpop": "optional"})},
		{path + "dpop-nonce", dpop.with(config{"dpop_use_nonce": true})},
		{path + "dpop-short", dpop.with(config{"dpop_proof_lifetime": 60})},
		{path + "dpop-off", dpop.with(config{"proof_of_possession_dpop": "off"})},
		{path + "dpop-session", dpop.with(config{"auth_methods": []string{"session", "bearer"}, "session_cookie_name": "dpop"})},
		{path + "dpop-introspection", opaque},
		{path + "mtls", mtls},
		{path + "mtls-optional", mtls.with(config{"proof_of_possession_mtls": "optional"})},
		{path + "mtls-header", mtls.with(config{"proof_of_possession_mtls_from_header": header})},
	}
}

// opaqueDPoP is a client of bound tokens that the provider answers
// introspection for.
func (p *idp) opaqueDPoP() string {
	if _, ok := p.clients["dpop-opaque"]; ok {
		return "dpop-opaque"
	}
	return "dpop"
}

// bind returns an access token that the provider has bound to a holder's key.
func (p *idp) bind(t *testing.T, client string, h *harness.Holder) string {
	t.Helper()
	to := p.endpoints[token]
	answer, err := p.askBy(p.real.HTTPClient(""), to, client, url.Values{"grant_type": {"client_credentials"}}, h.Proof("POST", to, "", nil))
	if err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken
}

// TestDPoPBoundTokens: tokens of real providers, cases 53 to 55.
func TestDPoPBoundTokens(t *testing.T) {
	atReal(t, func(t *testing.T, w *world, p *idp) {
		base := "/possession/" + p.name + "/"
		h := harness.NewHolder(t)
		bound, plain := p.bind(t, "dpop", h), p.login(t, "kong").AccessToken
		if cnf, _ := claimsOf(t, bound)["cnf"].(map[string]any); cnf["jkt"] != h.Thumbprint() {
			t.Fatalf("the token is bound to %v", cnf)
		}
		send := func(t *testing.T, path, scheme, access, proof string) *harness.Answer {
			t.Helper()
			header := []string{"Authorization", scheme + " " + access}
			if proof != "" {
				header = append(header, "DPoP", proof)
			}
			return w.browser(t).Get(base+path, header...)
		}
		// proof is a good one for a route; change is laid over it.
		proof := func(path string, change map[string]any) string {
			return h.Proof("GET", w.gateway.Proxy+base+path, bound, change)
		}
		t.Run("success", func(t *testing.T) {
			for _, path := range []string{"dpop", "dpop-optional", "dpop-short"} {
				for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
					e := send(t, path, scheme, bound, proof(path, nil)).Echo()
					if e.Bearer() != bound || len(e.Get("DPoP")) != 0 {
						t.Errorf("%s: the service sees %q and %q", path, e.Get("Authorization"), e.Get("DPoP"))
					}
				}
			}
		})
		t.Run("introspection", func(t *testing.T) {
			const path = "dpop-introspection"
			opaque := p.bind(t, p.opaqueDPoP(), h)
			good := h.Proof("GET", w.gateway.Proxy+base+path, opaque, nil)
			send(t, path, "DPoP", opaque, good).Echo().Bearer()
			challenged(t, send(t, path, "DPoP", opaque, good), "invalid_dpop_proof")
			challenged(t, send(t, path, "DPoP", opaque, harness.NewHolder(t).Proof("GET", w.gateway.Proxy+base+path, opaque, nil)), "invalid_")
			challenged(t, send(t, path, "Bearer", opaque, ""), "invalid_token")
		})
		t.Run("session", func(t *testing.T) {
			const path = "dpop-session"
			b := w.browser(t)
			cookie := b.Get(base+path, "Authorization", "DPoP "+bound, "DPoP", proof(path, nil)).Want(200).SetsCookie("dpop")
			if cookie == nil {
				t.Fatal("no session")
			}
			b.Get(base+path, "DPoP", proof(path, nil)).Want(200)
			// The cookie alone proves nothing.
			w.browser(t).Get(base+path, "Cookie", "dpop="+cookie.Value).Want(401)
			w.browser(t).Get(base+path, "Cookie", "dpop="+cookie.Value, "DPoP", harness.NewHolder(t).Proof("GET", w.gateway.Proxy+base+path, bound, nil)).Want(401)
		})
		used := proof("dpop", nil)
		send(t, "dpop", "DPoP", bound, used).Want(200)
		url := w.gateway.Proxy + base + "dpop"
		for _, c := range []struct{ name, scheme, access, proof, code string }{
			{"case 53: wrong htm", "DPoP", bound, proof("dpop", map[string]any{"htm": "POST"}), "invalid_dpop_proof"},
			{"case 53: wrong htu", "DPoP", bound, proof("dpop-optional", nil), "invalid_dpop_proof"},
			{"case 53: htu of another origin", "DPoP", bound, proof("dpop", map[string]any{"htu": "https://other.example.test" + base + "dpop"}), "invalid_dpop_proof"},
			{"case 53: wrong ath", "DPoP", bound, h.Proof("GET", url, plain, nil), "invalid_dpop_proof"},
			{"case 53: no ath", "DPoP", bound, proof("dpop", map[string]any{"ath": nil}), "invalid_dpop_proof"},
			{"case 53: wrong jkt", "DPoP", bound, harness.NewHolder(t).Proof("GET", url, bound, nil), "invalid_"},
			{"case 53: stale iat", "DPoP", bound, proof("dpop", map[string]any{"iat": time.Now().Add(-time.Hour).Unix()}), "invalid_dpop_proof"},
			{"case 53: iat to come", "DPoP", bound, proof("dpop", map[string]any{"iat": time.Now().Add(time.Hour).Unix()}), "invalid_dpop_proof"},
			{"case 53: reused jti", "DPoP", bound, used, "invalid_dpop_proof"},
			{"case 53: no jti", "DPoP", bound, proof("dpop", map[string]any{"jti": nil}), "invalid_dpop_proof"},
			{"case 53: a private key in jwk", "DPoP", bound, h.Forged(harness.PrivateKey, "GET", url, bound), "invalid_dpop_proof"},
			{"case 53: alg none", "DPoP", bound, h.Forged(harness.NoAlgorithm, "GET", url, bound), "invalid_dpop_proof"},
			{"case 53: alg HS256", "DPoP", bound, h.Forged(harness.Symmetric, "GET", url, bound), "invalid_dpop_proof"},
			{"another typ", "DPoP", bound, h.Forged(harness.WrongType, "GET", url, bound), "invalid_dpop_proof"},
			{"a bad signature", "DPoP", bound, h.Forged(harness.BadSign, "GET", url, bound), "invalid_dpop_proof"},
			{"no proof", "DPoP", bound, "", "invalid_dpop_proof"},
			{"case 55: as Bearer", "Bearer", bound, proof("dpop", nil), "invalid_token"},
			{"case 55: as Bearer, without a proof", "Bearer", bound, "", "invalid_token"},
			{"a token that is not bound", "DPoP", plain, h.Proof("GET", url, plain, nil), "invalid_token"},
			{"a token that is not bound, as Bearer", "Bearer", plain, "", "invalid_token"},
		} {
			t.Run(c.name, func(t *testing.T) { challenged(t, send(t, "dpop", c.scheme, c.access, c.proof), c.code) })
		}
		t.Run("stale by the configured lifetime", func(t *testing.T) {
			old := map[string]any{"iat": time.Now().Add(-2 * time.Minute).Unix()}
			send(t, "dpop", "DPoP", bound, proof("dpop", old)).Want(200)
			challenged(t, send(t, "dpop-short", "DPoP", bound, proof("dpop-short", old)), "invalid_dpop_proof")
		})
		t.Run("optional", func(t *testing.T) {
			send(t, "dpop-optional", "Bearer", plain, "").Want(200)
			challenged(t, send(t, "dpop-optional", "Bearer", bound, proof("dpop-optional", nil)), "invalid_token")
			challenged(t, send(t, "dpop-optional", "DPoP", bound, used), "invalid_dpop_proof")
		})
		t.Run("off", func(t *testing.T) {
			send(t, "dpop-off", "DPoP", bound, proof("dpop-off", nil)).Want(401)
		})
		t.Run("case 54: nonce", func(t *testing.T) {
			const path = "dpop-nonce"
			a := send(t, path, "DPoP", bound, proof(path, nil))
			challenged(t, a, "use_dpop_nonce")
			nonce := a.Header.Get("DPoP-Nonce")
			if nonce == "" {
				t.Fatal("no nonce")
			}
			good := proof(path, map[string]any{"nonce": nonce})
			send(t, path, "DPoP", bound, good).Want(200)
			challenged(t, send(t, path, "DPoP", bound, good), "invalid_dpop_proof")
			for name, other := range map[string]string{"made up": "made-up", "damaged": "AAAA" + nonce[4:]} {
				a := send(t, path, "DPoP", bound, proof(path, map[string]any{"nonce": other}))
				if challenged(t, a, "use_dpop_nonce"); a.Header.Get("DPoP-Nonce") == "" {
					t.Errorf("%s: no fresh nonce", name)
				}
			}
		})
	})
}

// challenged is the refusal of a proof (RFC 9449 section 7.1).
func challenged(t *testing.T, a *harness.Answer, code string) {
	t.Helper()
	got := a.Want(401).Header.Get("WWW-Authenticate")
	if !strings.HasPrefix(got, "DPoP ") || !strings.Contains(got, `algs="`) || !strings.Contains(got, `error="`+code) {
		t.Errorf("challenge %q, want %s", got, code)
	}
}

// TestCertificateBoundTokens: tokens of real providers, bound to the
// certificate that their client showed at the token endpoint (RFC 8705 section 3).
func TestCertificateBoundTokens(t *testing.T) {
	atReal(t, func(t *testing.T, w *world, p *idp) {
		base := "/possession/" + p.name + "/"
		mine, other := p.real.Certificates["tls"], p.real.Certificates["other"]
		bound := p.bindToCertificate(t, "tls")
		plain := p.login(t, "kong").AccessToken
		if p.name == "keycloak" {
			answer, err := p.askBy(p.real.HTTPClient(""), p.tlsEndpoint(t), "kong", passwordForm("alex", "doe"), "")
			if err != nil {
				t.Fatal(err)
			}
			plain = answer.AccessToken // of the issuer over TLS
		}
		if cnf, _ := claimsOf(t, bound)["cnf"].(map[string]any); cnf["x5t#S256"] != harness.Thumbprint(mine) {
			t.Fatalf("the token is bound to %v", cnf)
		}
		t.Run("success", func(t *testing.T) {
			for _, path := range []string{"mtls", "mtls-optional", "mtls-header"} {
				if got := w.overTLS(t).Showing(mine).Get(base+path, bearer(bound)...).Echo().Bearer(); got != bound {
					t.Errorf("%s: the token is changed", path)
				}
			}
		})
		t.Run("case 56: x5t#S256 differs", func(t *testing.T) {
			for _, path := range []string{"mtls", "mtls-optional", "mtls-header"} {
				unproven(t, w.overTLS(t).Showing(other).Get(base+path, bearer(bound)...))
			}
		})
		t.Run("no certificate", func(t *testing.T) {
			unproven(t, w.overTLS(t).Get(base+"mtls", bearer(bound)...))
			unproven(t, w.browser(t).Get(base+"mtls-optional", bearer(bound)...))
		})
		t.Run("a token that is not bound", func(t *testing.T) {
			unproven(t, w.overTLS(t).Showing(mine).Get(base+"mtls", bearer(plain)...))
			w.overTLS(t).Get(base+"mtls-optional", bearer(plain)...).Want(200)
		})
		cert := harness.URLEncoded(mine.Certificate[0])
		t.Run("header of a trusted proxy", func(t *testing.T) {
			proxy := w.browser(t).From(harness.TrustedPeer)
			proxy.Get(base+"mtls-header", append(bearer(bound), "X-Client-Cert", cert)...).Echo().Bearer()
			unproven(t, proxy.Get(base+"mtls-header", append(bearer(bound), "X-Client-Cert", harness.URLEncoded(other.Certificate[0]))...))
			unproven(t, proxy.Get(base+"mtls-header", append(bearer(bound), "X-Client-Cert", harness.URLEncoded(p.real.Certificates["untrusted"].Certificate[0]))...))
		})
		t.Run("case 56: header from an untrusted address", func(t *testing.T) {
			unproven(t, w.browser(t).Get(base+"mtls-header", append(bearer(bound), "X-Client-Cert", cert)...))
			unproven(t, w.overTLS(t).Showing(other).Get(base+"mtls-header", append(bearer(bound), "X-Client-Cert", cert)...))
		})
	})
}

// tlsEndpoint is the token endpoint that asks for a certificate.
func (p *idp) tlsEndpoint(t *testing.T) string {
	t.Helper()
	if p.name == "oidc-provider" {
		return p.real.TLSIssuer + "/token"
	}
	return p.real.TLSIssuer + "/protocol/openid-connect/token"
}

// bindToCertificate returns an access token that the provider has bound to the
// certificate of its connection.
func (p *idp) bindToCertificate(t *testing.T, certificate string) string {
	t.Helper()
	answer, err := p.askBy(p.real.HTTPClient(certificate), p.tlsEndpoint(t), "mtls-bound", passwordForm("alex", "doe"), "")
	if err != nil {
		t.Fatal(err)
	}
	return answer.AccessToken
}

// unproven is the refusal of a token whose key its sender does not show.
func unproven(t *testing.T, a *harness.Answer) {
	t.Helper()
	if got := a.Want(401).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer realm=") || !strings.Contains(got, `error="invalid_token"`) {
		t.Errorf("challenge %q", got)
	}
}
