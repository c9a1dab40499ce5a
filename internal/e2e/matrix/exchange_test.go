package matrix

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"kong-openid-connect/internal/testproviders"
)

// exchangeRow is a condition on tokens of the provider's own, and whether a
// token of client kong meets it (RFC 8693; behaviour.md 16.1).
type exchangeRow struct {
	name       string
	conditions config
	due        bool
}

// A token of client kong has the API's audience and the scopes that were asked for.
var exchangeTable = []exchangeRow{
	{"has_scopes", config{"has_scopes": []string{"profile"}}, true},
	{"has_scopes-not-all", config{"has_scopes": []string{"profile", "admin"}}, false},
	{"missing_scopes", config{"missing_scopes": []string{"admin"}}, true},
	{"missing_scopes-there", config{"missing_scopes": []string{"profile"}}, false},
	{"missing_scopes-one-there", config{"missing_scopes": []string{"admin", "profile"}}, false},
	{"has_audience", config{"has_audience": []string{testproviders.API}}, true},
	{"has_audience-not", config{"has_audience": []string{foreign}}, false},
	{"missing_audience", config{"missing_audience": []string{foreign}}, true},
	{"missing_audience-there", config{"missing_audience": []string{testproviders.API}}, false},
	{"all", config{"has_scopes": []string{"profile"}, "missing_scopes": []string{"admin"}, "has_audience": []string{testproviders.API}}, true},
	{"all-but-one", config{"has_scopes": []string{"profile"}, "missing_audience": []string{testproviders.API}}, false},
}

// exchanging is a configuration by which client second exchanges tokens.
func (p *idp) exchanging(salt string, issuer string, conditions config, more config) config {
	entry := config{"issuer": issuer}
	if conditions != nil {
		entry["conditions"] = conditions
	}
	return p.std("second", "exchange"+salt, "bearer").with(config{
		"token_exchange": config{"subject_token_issuers": []any{entry}, "request": config{"empty_scopes": true}}.with(more),
	})
}

func exchangeRoutes(w *world, p *idp) []route {
	if p.real == nil {
		return nil // its exchange: package op
	}
	path := "/exchange/" + p.name + "/"
	due := config{"has_scopes": []string{"profile"}}
	out := []route{
		{path + "uncached", p.exchanging("uncached", p.issuer, due, config{"cache": config{"enabled": false}})},
		{path + "required", p.exchanging("required", p.issuer, due, nil).with(config{"audience_required": []string{foreign}})},
		{path + "secret", p.exchanging("secret", p.issuer, due, nil).with(wrongSecret(p))},
		{path + "unlisted", p.exchanging("unlisted", foreign, nil, nil)},
		{path + "legacy", p.std("kong", "legacy", "bearer").with(config{
			"token_exchange_endpoint": w.legacy.URL + "/" + p.name, "upstream_headers": []any{config{"header": "X-Azp", "path": []string{"azp"}}},
		})},
		{path + "legacy-refused", p.std("kong", "legacy", "bearer").with(config{"token_exchange_endpoint": w.legacy.URL + "/refused"})},
	}
	for _, r := range exchangeTable {
		out = append(out, route{path + r.name, p.exchanging(r.name, p.issuer, r.conditions, nil)})
	}
	if k := w.real["keycloak"]; p.name == "oidc-provider" && k != nil {
		// Tokens of Keycloak are exchanged for oidc-provider's; Keycloak's own
		// standard exchange takes none of another issuer.
		out = append(out, route{path + "cross-domain", p.std("kong", "cross", "bearer").with(config{
			"token_exchange": config{"subject_token_issuers": []any{config{"issuer": k.issuer, "verify_signature": true}}},
		})})
	}
	return out
}

func TestTokenExchange(t *testing.T) {
	atReal(t, func(t *testing.T, w *world, p *idp) {
		path := "/exchange/" + p.name + "/"
		for _, r := range exchangeTable {
			t.Run(r.name, func(t *testing.T) {
				sent := p.login(t, "kong").AccessToken
				p.reset()
				got := w.browser(t).Get(path+r.name, bearer(sent)...).Echo().Bearer()
				if r.due != (got != sent) || r.due != (p.count(token) == 1) {
					t.Errorf("exchanged %t, %d calls", got != sent, p.count(token))
				}
				if claims := claimsOf(t, got); r.due && (claims["azp"] != "second" || claims["iss"] != p.issuer || claims["sub"] != claimsOf(t, sent)["sub"]) {
					t.Errorf("exchanged for a token of azp %v, sub %v at %v", claims["azp"], claims["sub"], claims["iss"])
				}
			})
		}
		t.Run("cached", func(t *testing.T) {
			for route, calls := range map[string]int{"has_scopes": 1, "uncached": 3} {
				sent := p.login(t, "kong").AccessToken
				p.reset()
				for range 3 {
					w.browser(t).Get(path+route, bearer(sent)...).Want(200)
				}
				if n := p.count(token); n != calls {
					t.Errorf("%s: three requests make %d calls", route, n)
				}
			}
		})
		t.Run("expired", func(t *testing.T) {
			sent := p.spentToken("short")
			p.reset()
			unproven(t, w.browser(t).Get(path+"has_scopes", bearer(sent)...))
			if n := p.count(token); n != 0 {
				t.Errorf("%d calls", n)
			}
		})
		t.Run("refused by the provider", func(t *testing.T) {
			w.browser(t).Get(path+"has_scopes", bearer(damaged(p.login(t, "kong").AccessToken))...).Want(401)
			w.browser(t).Get(path+"secret", bearer(p.login(t, "kong").AccessToken)...).Want(401)
		})
		t.Run("the exchanged token is held to the rules", func(t *testing.T) {
			w.browser(t).Get(path+"required", bearer(p.login(t, "kong").AccessToken)...).Want(403)
		})
		t.Run("an issuer that is not listed", func(t *testing.T) {
			sent := p.login(t, "kong").AccessToken
			p.reset()
			if got := w.browser(t).Get(path+"unlisted", bearer(sent)...).Echo().Bearer(); got != sent || p.count(token) != 0 {
				t.Errorf("changed %t, %d calls", got != sent, p.count(token))
			}
			for _, other := range w.providers() {
				if other != p {
					w.browser(t).Get(path+"has_scopes", bearer(other.login(t, "kong").AccessToken)...).Want(401)
				}
			}
		})
		t.Run("provider down", func(t *testing.T) {
			sent := p.login(t, "kong").AccessToken
			p.down(func() { w.browser(t).Get(path+"has_scopes", bearer(sent)...).Want(500) })
			w.browser(t).Get(path+"has_scopes", bearer(sent)...).Want(200)
		})
	})
}

// TestTokenExchangeTransformation is the documented example (behaviour.md A.1,
// 30). Keycloak's tokens never lack the scope.
func TestTokenExchangeTransformation(t *testing.T) {
	w := env(t)
	testproviders.OIDCProvider(t)
	p := w.real["oidc-provider"]
	for scope, due := range map[string]bool{"openid email": true, "openid email profile": false} {
		form := passwordForm("alex", "doe")
		form.Set("scope", scope)
		sent, err := p.ask(token, "kong", form)
		if err != nil {
			t.Fatal(err)
		}
		got := w.browser(t).Get("/exchange/oidc-provider/missing_scopes-there", bearer(sent.AccessToken)...).Echo().Bearer()
		if due != (got != sent.AccessToken) {
			t.Errorf("scope %s: exchanged %t", scope, got != sent.AccessToken)
		}
	}
}

// TestTokenExchangeCrossDomain is the documented example (behaviour.md A.1,
// 29): tokens of Keycloak for ones of oidc-provider.
func TestTokenExchangeCrossDomain(t *testing.T) {
	w := env(t)
	testproviders.Keycloak(t)
	testproviders.OIDCProvider(t)
	k, p := w.real["keycloak"], w.real["oidc-provider"]
	const path = "/exchange/oidc-provider/cross-domain"
	t.Run("exchanged", func(t *testing.T) {
		p.reset()
		claims := claimsOf(t, w.browser(t).Get(path, bearer(k.login(t, "kong").AccessToken)...).Echo().Bearer())
		if claims["iss"] != p.issuer || claims["azp"] != "kong" || claims["preferred_username"] != "alex" || p.count(token) != 1 {
			t.Errorf("the service sees a token of %v, azp %v at %v", claims["preferred_username"], claims["azp"], claims["iss"])
		}
	})
	t.Run("refused before the provider is asked", func(t *testing.T) {
		p.reset()
		b, err := k.askAt(k.issuerB+"/protocol/openid-connect/token", "kong", passwordForm("alex", "doe"))
		if err != nil {
			t.Fatal(err)
		}
		for name, sent := range map[string]string{
			"a bad signature": damaged(k.login(t, "kong").AccessToken), "expired": k.spentToken("short"), "another issuer": b.AccessToken,
		} {
			if a := w.browser(t).Get(path, bearer(sent)...); a.StatusCode != 401 {
				t.Errorf("%s: status %d", name, a.StatusCode)
			}
		}
		if n := p.count(token); n != 0 {
			t.Errorf("%d calls", n)
		}
	})
	t.Run("the provider's own are left alone", func(t *testing.T) {
		sent := p.login(t, "kong").AccessToken
		if got := w.browser(t).Get(path, bearer(sent)...).Echo().Bearer(); got != sent {
			t.Error("the token is changed")
		}
	})
}

// newLegacy is a service that token_exchange_endpoint can name (behaviour.md
// 16.2): it takes a Bearer token and answers with another one, raw, that it gets
// from the provider by RFC 8693.
func newLegacy(w *world) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		p := w.real[strings.Trim(r.URL.Path, "/")]
		sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if p == nil || !ok || r.Method != "POST" {
			http.Error(rw, "no", http.StatusForbidden)
			return
		}
		answer, err := p.ask(token, "second", url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {sent},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		})
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(rw, answer.AccessToken)
	}))
}

func TestTokenExchangeLegacy(t *testing.T) {
	atReal(t, func(t *testing.T, w *world, p *idp) {
		path := "/exchange/" + p.name + "/legacy"
		t.Run("exchanged once", func(t *testing.T) {
			sent := p.login(t, "kong").AccessToken
			p.reset()
			for range 2 {
				e := w.browser(t).Get(path, bearer(sent)...).Echo()
				// What is mapped is the token that was verified.
				if azp := claimsOf(t, e.Bearer())["azp"]; azp != "second" || e.One("X-Azp") != "kong" {
					t.Errorf("azp %v, mapped %s", azp, e.One("X-Azp"))
				}
			}
			if n := p.count(token); n != 1 {
				t.Errorf("%d calls", n)
			}
		})
		t.Run("a token that is not good is not sent there", func(t *testing.T) {
			p.reset()
			w.browser(t).Get(path, bearer(damaged(p.login(t, "kong").AccessToken))...).Want(401)
			if n := p.count(token); n != 1 { // the login's
				t.Errorf("%d calls", n)
			}
		})
		t.Run("refused", func(t *testing.T) {
			w.browser(t).Get(path+"-refused", bearer(p.login(t, "kong").AccessToken)...).Want(500)
		})
	})
}
