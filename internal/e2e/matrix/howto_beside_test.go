package matrix

import (
	"slices"
	"strings"
	"testing"
)

// plugin is another plugin on a route.
func plugin(name string, c config) any { return map[string]any{"name": name, "config": c} }

// beside are the plugins on the routes of the how-tos beside this one, by the
// route's path. On the sandbox its own stand in for Kong's acl, key-auth and
// request-termination.
var beside = map[string][]any{
	"/howto/acl-auth-deny":     {plugin("acl", config{"deny": []string{"openid"}})},
	"/howto/acl-auth-allow":    {plugin("acl", config{"allow": []string{"openid"}})},
	"/howto/acl-auth-other":    {plugin("acl", config{"allow": []string{"admins"}})},
	"/howto/multi-auth":        {plugin("key-auth", config{"anonymous": "nobody"})},
	"/howto/multi-auth-closed": {plugin("key-auth", config{"anonymous": "refused"})},
}

// besideConsumers are Kong's consumers. The guide makes alex after the first
// request; here blake is whom Kong does not know.
var besideConsumers = []any{
	map[string]any{"username": "alex", "custom_id": "alex-of-kong"},
	map[string]any{"username": "staff", "keyauth_credentials": []any{map[string]any{"key": "staff-key"}}},
	map[string]any{"username": "nobody"},
	map[string]any{"username": "refused", "plugins": []any{plugin("request-termination", config{"status_code": 401, "message": "Neither will do"})}},
}

var besideHowTos = []howTo{
	{
		name: "acl-auth",
		rows: func(*idp) map[string]config {
			c := config{"auth_methods": []string{"password"}, "scopes": []string{"openid", "profile", "email"}, "authenticated_groups_claim": []string{"scope"}}
			return map[string]config{"": c, "-deny": c, "-allow": c, "-other": c}
		},
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			groups := strings.Split(w.browser(t).Get(path+"/anything", basic("alex", "doe")...).Echo().One("X-Authenticated-Groups"), ", ")
			slices.Sort(groups)
			if strings.Join(groups, " ") != "email openid profile" {
				t.Errorf("groups %q", groups)
			}
			for suffix, status := range map[string]int{"-deny": 403, "-allow": 200, "-other": 403} {
				a := w.browser(t).Get(path+suffix+"/anything", basic("alex", "doe")...).Want(status)
				if status == 403 && !strings.Contains(a.Text, "You cannot consume this service") {
					t.Errorf("%s: %s", suffix, a.Text)
				}
				w.browser(t).Get(path+suffix+"/anything", basic("alex", "wrong")...).Want(401)
			}
		},
	},
	{
		name: "consumers",
		rows: only(config{"auth_methods": []string{"password"}, "consumer_claims": []any{[]string{"preferred_username"}}, "consumer_by": []string{"username"}}),
		steps: func(t *testing.T, w *world, _ *idp, path string) {
			if a := w.browser(t).Get(path+"/anything", basic("blake", "doe")...).Want(403); a.Text != `{"message":"Forbidden"}` {
				t.Errorf("body %s", a.Text)
			}
			e := w.browser(t).Get(path+"/anything", append(basic("alex", "doe"), "X-Consumer-Username", "root", "X_Consumer_ID", "1")...).Echo()
			if e.One("X-Consumer-Username") != "alex" || e.One("X-Consumer-Custom-Id") != "alex-of-kong" || len(e.One("X-Consumer-Id")) != 36 {
				t.Errorf("the service saw %q", e.Headers)
			}
			if claims := claimsOf(t, e.Bearer()); claims["preferred_username"] != "alex" || claims["sub"] != e.One("X-Credential-Identifier") {
				t.Errorf("the token is of %v, the credential %q", claims["preferred_username"], e.One("X-Credential-Identifier"))
			}
		},
	},
	{
		name: "multi-auth",
		rows: func(*idp) map[string]config {
			c := config{"auth_methods": []string{"password", "bearer"}}
			return map[string]config{"": c.with(config{"anonymous": "nobody"}), "-closed": c.with(config{"anonymous": "refused"})}
		},
		steps: func(t *testing.T, w *world, p *idp, path string) {
			token := p.login(t, "kong").AccessToken
			for _, c := range []struct {
				name      string
				header    []string
				consumer  string
				anonymous bool
			}{
				{"neither", nil, "nobody", true},
				{"a key", []string{"apikey", "staff-key"}, "staff", false},
				{"a password", basic("alex", "doe"), "", false},
				{"a token", bearer(token), "", false},
				{"a key and a password", append(basic("alex", "doe"), "apikey", "staff-key"), "staff", false},
				{"a wrong key and a token", append(bearer(token), "apikey", "wrong"), "", false},
				{"a wrong password", basic("alex", "wrong"), "nobody", true},
				{"a wrong token and a wrong key", append(bearer(damaged(token)), "apikey", "wrong"), "nobody", true},
			} {
				t.Run(c.name, func(t *testing.T) {
					e := w.browser(t).Get(path+"/anything", c.header...).Echo()
					if got := strings.Join(e.Get("X-Consumer-Username"), "|"); got != c.consumer {
						t.Errorf("consumer %q, want %q", got, c.consumer)
					}
					if got := len(e.Get("X-Anonymous-Consumer")) == 1; got != c.anonymous {
						t.Errorf("anonymous: %v", got)
					}
					if c.consumer == "" && e.Bearer() == "" {
						t.Error("no token reaches the service")
					}
					w.browser(t).Get(path+"-closed/anything", c.header...).Want(map[bool]int{true: 401, false: 200}[c.anonymous])
				})
			}
		},
	},
}
