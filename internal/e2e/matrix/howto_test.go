package matrix

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/testproviders"
)

// howTo is one of the documented step-by-step guides (behaviour.md A.2, A.3).
type howTo struct {
	name  string
	rows  func(p *idp) map[string]config // by what follows the guide's path; std is laid below
	steps func(t *testing.T, w *world, p *idp, path string)
}

var howTos = []howTo{
	{
		name: "password-grant",
		rows: only(config{"auth_methods": []string{"password"}, "password_param_type": []string{"header"}}),
		steps: func(t *testing.T, w *world, p *idp, path string) {
			p.reset()
			claims := claimsOf(t, w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().Bearer())
			if claims["iss"] != p.issuer || claims["preferred_username"] != "alex" {
				t.Errorf("the service sees a token of %v at %v", claims["preferred_username"], claims["iss"])
			}
			w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Want(200)
			if n := p.count(token); n != 1 {
				t.Errorf("the repeated request is not faster: %d token requests", n)
			}
			w.browser(t).Get(path + "/anything?username=alex&password=doe").Want(401)
		},
	},
	{
		name: "client-credentials",
		rows: only(config{"auth_methods": []string{"client_credentials"}, "client_credentials_param_type": []string{"header"}}),
		steps: func(t *testing.T, w *world, p *idp, path string) {
			caller := basic("second", p.clients["second"].Secret)
			p.reset()
			claims := claimsOf(t, w.browser(t).Get(path+"/anything", caller...).Echo().Bearer())
			if claims["azp"] != "second" || claims["tier"] != "silver" {
				t.Errorf("the token is of %v, tier %v", claims["azp"], claims["tier"])
			}
			w.browser(t).Get(path+"/anything", caller...).Want(200)
			if n := p.count(token); n != 1 {
				t.Errorf("the repeated request is not faster: %d token requests", n)
			}
			w.browser(t).Get(path+"/anything", basic("second", "wrong")...).Want(401)
		},
	},
	{
		name:  "introspection",
		rows:  only(config{"auth_methods": []string{"introspection", "password"}, "bearer_token_param_type": []string{"header"}}),
		steps: basicThenBearer(introspection),
	},
	{
		name:  "user-info-auth",
		rows:  only(config{"auth_methods": []string{"userinfo", "password"}, "bearer_token_param_type": []string{"header"}}),
		steps: basicThenBearer(userinfo),
	},
	{
		name: "refresh-token",
		rows: only(config{
			"auth_methods": []string{"refresh_token", "password"}, "refresh_token_param_name": "refresh_token",
			"refresh_token_param_type": []string{"header"}, "upstream_refresh_token_header": "refresh_token",
		}),
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			first := w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().One("Refresh-Token")
			e := w.browser(t).Get(path+"/anything", "Refresh-Token", first).Echo()
			if claims := claimsOf(t, e.Bearer()); claims["preferred_username"] != "alex" {
				t.Errorf("the token is of %v", claims["preferred_username"])
			}
			if e.One("Refresh-Token") == first {
				t.Error("the service sees the used refresh token, not its successor")
			}
		},
	},
	{
		name: "jwt-auth",
		rows: only(config{"auth_methods": []string{"bearer", "password"}, "bearer_token_param_type": []string{"query"}}),
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			jwt := w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().Bearer()
			e := w.browser(t).Get(path + "/anything?access_token=" + jwt).Echo()
			if e.Bearer() != jwt || e.Query != "" {
				t.Errorf("the service sees the query %q", e.Query)
			}
			w.browser(t).Get(path+"/anything", bearer(jwt)...).Want(401)
		},
	},
	{
		name: "multi-idp",
		rows: func(p *idp) map[string]config {
			keys := func(issuer string) string { return issuer + "/protocol/openid-connect/certs" }
			c := config{
				"using_pseudo_issuer": true, "jwks_endpoint": keys(p.issuer), "extra_jwks_uris": []string{keys(p.issuerB)},
				"issuers_allowed": []string{p.issuer, p.issuerB}, "verify_claims": false, "auth_methods": []string{"bearer"},
				"client_id": nil, "client_secret": nil, "client_auth": nil,
			}
			return map[string]config{"": c, "-one": c.with(config{"issuers_allowed": []string{p.issuer}})}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			b, err := p.askAt(p.issuerB+"/protocol/openid-connect/token", "kong", passwordForm("alex", "doe"))
			if err != nil {
				t.Fatal(err)
			}
			for issuer, jwt := range map[string]string{p.issuer: p.login(t, "kong").AccessToken, p.issuerB: b.AccessToken} {
				if got := w.browser(t).Get(path+"/anything", bearer(jwt)...).Echo().Bearer(); got != jwt {
					t.Errorf("the token of %s is changed", issuer)
				}
				w.browser(t).Get(path+"/anything", bearer(damaged(jwt))...).Want(401)
			}
			w.browser(t).Get(path+"-one/anything", bearer(b.AccessToken)...).Want(401)
		},
	},
	{
		name: "auth-code-flow",
		rows: func(p *idp) map[string]config {
			return map[string]config{"": {
				"auth_methods": []string{"authorization_code", "session"}, "response_mode": "form_post", "preserve_query_args": true,
				"login_action": "redirect", "login_tokens": nil, "authorization_endpoint": p.issuer + "/protocol/openid-connect/auth",
			}}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			b := w.browser(t)
			a := b.Get(path + "/anything?hello=world").Want(302)
			if !strings.HasPrefix(a.To().String(), p.issuer+"/protocol/openid-connect/auth?") || a.SetsCookie("authorization") == nil {
				t.Fatalf("sent to %s with cookies %v", a.To().Redacted(), a.Cookies())
			}
			a = deliver(b, signIn(t, a.To())).Want(302)
			if a.To().String() != w.gateway.Proxy+path+"/anything?hello=world" || a.SetsCookie("session") == nil {
				t.Errorf("lands on %s", a.To())
			}
			if claims := claimsOf(t, b.Get(a.To().String()).Echo().Bearer()); claims["preferred_username"] != "alex" {
				t.Errorf("the token is of %v", claims["preferred_username"])
			}
		},
	},
	{
		name: "session-auth",
		rows: only(config{"auth_methods": []string{"session", "password"}}),
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			b := w.browser(t)
			a := b.Get(path+"/anything", basic("alex", "doe")...).Want(200)
			if line := a.Header.Get("Set-Cookie"); !strings.HasPrefix(line, "session=") || !strings.HasSuffix(line, "; Path=/; HttpOnly; SameSite=Lax") &&
				!strings.HasSuffix(line, "; Path=/; SameSite=Lax; HttpOnly") {
				t.Errorf("Set-Cookie %q", line)
			}
			b.Get(path + "/anything").Echo().Bearer()
			w.browser(t).Get(path + "/anything").Want(401)
		},
	},
	{
		name: "claims-based-auth",
		rows: func(*idp) map[string]config {
			c := config{"auth_methods": []string{"password", "bearer"}, "scopes": []string{"openid", "profile"}}
			return map[string]config{
				"":          c.with(config{"scopes_required": []string{"openid"}}),
				"-either":   c.with(config{"scopes_required": []string{"unknown", "openid"}}),
				"-both":     c.with(config{"scopes_required": []string{"unknown openid"}}),
				"-audience": c.with(config{"audience_required": []string{"httpbin"}}),
				"-groups":   c.with(config{"groups_claim": []string{"groups"}, "groups_required": []string{"employees marketing", "super-admins"}}),
			}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			jwt := w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().Bearer()
			w.browser(t).Get(path+"/anything", bearer(jwt)...).Want(200)
			w.browser(t).Get(path+"-either/anything", bearer(jwt)...).Want(200)
			w.browser(t).Get(path+"-both/anything", bearer(jwt)...).Want(403)
			w.browser(t).Get(path+"-audience/anything", bearer(jwt)...).Want(403)
			w.browser(t).Get(path+"-groups/anything", bearer(jwt)...).Want(200)
			w.browser(t).Get(path+"-groups/anything", basic("blake", "doe")...).Want(403)
			// A token without the scope: openid was not asked for.
			plain, err := p.ask(token, "kong", url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}})
			if err != nil {
				t.Fatal(err)
			}
			w.browser(t).Get(path+"/anything", bearer(plain.AccessToken)...).Want(403)
		},
	},
	{
		name: "logout",
		rows: only(config{
			"auth_methods": []string{"session", "password"}, "logout_uri_suffix": "/logout", "logout_methods": []string{"POST"}, "logout_revoke": true,
		}),
		steps: func(t *testing.T, w *world, p *idp, path string) {
			b := w.browser(t)
			jwt := b.Get(path+"/anything", basic("alex", "doe")...).Want(200).Echo().Bearer()
			b.Get(path + "/anything").Want(200)
			a := b.Do("POST", path+"/logout", nil).Want(302)
			q := a.To().Query()
			if !strings.HasPrefix(a.To().String(), p.endpoints["end_session"]+"?") || q.Get("id_token_hint") == "" || q.Get("client_id") != "kong" {
				t.Fatalf("sent to %s", a.To().Path)
			}
			if _, err := testproviders.NewBrowser().Logout(t.Context(), a.To().String()); err != nil {
				t.Errorf("Keycloak does not take the logout: %v", err)
			}
			b.Get(path + "/anything").Want(401)
			// Logged out at Keycloak too: the token's session is gone.
			if resp := w.browser(t).Get(p.endpoints[userinfo], bearer(jwt)...); resp.StatusCode != 401 {
				t.Errorf("Keycloak's userinfo answers %d", resp.StatusCode)
			}
		},
	},
	{
		name: "headers",
		rows: func(*idp) map[string]config {
			c := config{"auth_methods": []string{"password"}}
			return map[string]config{
				"":     c.with(config{"upstream_headers": []any{map[string]any{"header": "X-Authenticated-User", "path": []string{"preferred_username"}}}}),
				"-old": c.with(config{"upstream_headers_claims": []string{"preferred_username"}, "upstream_headers_names": []string{"authenticated_user"}}),
			}
		},
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			spoof := []string{"X-Authenticated-User", "admin", "x_authenticated_user", "admin"}
			e := w.browser(t).Get(path+"/anything", append(basic("alex", "doe"), spoof...)...).Echo()
			if got := e.One("X-Authenticated-User"); got != "alex" {
				t.Errorf("X-Authenticated-User %q", got)
			}
			e = w.browser(t).Get(path+"-old/anything", append(basic("alex", "doe"), "Authenticated-User", "admin")...).Echo()
			if got := e.One("Authenticated-User"); got != "alex" {
				t.Errorf("Authenticated-User %q", got)
			}
		},
	},
}

func only(c config) func(*idp) map[string]config {
	return func(*idp) map[string]config { return map[string]config{"": c} }
}

// basicThenBearer: the token that Basic credentials bring upstream is good as a
// bearer token, and the provider is asked about it once.
func basicThenBearer(endpoint string) func(*testing.T, *world, *idp, string) {
	return func(t *testing.T, w *world, p *idp, path string) {
		jwt := w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().Bearer()
		p.reset()
		for range 2 {
			if got := w.browser(t).Get(path+"/anything", bearer(jwt)...).Echo().Bearer(); got != jwt {
				t.Error("the token is changed")
			}
		}
		if n := p.count(endpoint); n != 1 {
			t.Errorf("%d calls of %s", n, endpoint)
		}
		w.browser(t).Get(path+"/anything?access_token="+jwt, "X-Other", "1").Want(401)
		w.browser(t).Get(path+"/anything", bearer(damaged(jwt))...).Want(401)
	}
}

func howToRoutes(p *idp) []route {
	var out []route
	for _, h := range slices.Concat(howTos, boundHowTos, besideHowTos) {
		for suffix, c := range h.rows(p) {
			std := config{
				"issuer": p.issuer, "client_id": []string{"kong"}, "client_secret": []string{p.clients["kong"].Secret},
				"client_auth": []string{"client_secret_post"}, "cache_tokens_salt": h.name + suffix,
			}
			row := std.with(c)
			for name, v := range c {
				if v == nil && name != "login_tokens" {
					delete(row, name)
				}
			}
			out = append(out, route{"/howto/" + h.name + suffix, row})
		}
	}
	return out
}

func TestHowTo(t *testing.T) {
	for _, h := range slices.Concat(howTos, boundHowTos, besideHowTos) {
		t.Run(h.name, func(t *testing.T) {
			w := env(t)
			testproviders.Keycloak(t)
			h.steps(t, w, w.real["keycloak"], "/howto/"+h.name)
		})
	}
}
