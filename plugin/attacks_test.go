package plugin_test

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// restart starts another configuration in the same process, with the browser's cookies.
func (w *world) restart(config map[string]any) {
	w.t.Helper()
	all := map[string]any{"issuer": "{{issuer}}", "client_id": []any{"kong"}, "client_secret": []any{"{{secret}}"}}
	maps.Copy(all, config)
	w.start(&decisionCase{Config: all})
}

// revoke withdraws the bearer token of h at the provider.
func (w *world) revoke(h map[string]string) {
	w.t.Helper()
	res, err := http.PostForm(w.main.URL+"/revoke", url.Values{"token": {strings.TrimPrefix(h["authorization"], "Bearer ")}, "client_id": {"kong"}, "client_secret": {clientSecret}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		w.t.Fatal(res.Status)
	}
}

// An ID token that comes with an access token is a source of claims, so that
// one of another person would make its sender that person.
func TestIDTokenOfSomebodyElseBesideOnesOwnToken(t *testing.T) {
	for _, methods := range [][]any{{"bearer"}, {"introspection"}, {"userinfo"}} {
		t.Run(methods[0].(string), func(t *testing.T) {
			w := started(t, map[string]any{
				"auth_methods": methods, "id_token_param_name": "x-id-token",
				"upstream_headers": []any{map[string]any{"header": "x-employee", "path": []any{"employee"}}},
			})
			for _, c := range []struct {
				name       string
				access, id map[string]any // claims beside those of mallory and blake
				user       string         // of the ID token
				status     int
			}{
				{"one's own", nil, nil, "mallory", 0},
				{"of another subject", nil, nil, "blake", 401},
				{"of another subject, with an object id", nil, map[string]any{"oid": "b", "tid": "t"}, "blake", 401},
				{"with an object id that is none", map[string]any{"oid": ""}, map[string]any{"oid": ""}, "blake", 401},
				{"with the hash of another token", nil, map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "blake", 401},
			} {
				t.Run(c.name, func(t *testing.T) {
					q := decisionRequest{Target: "/", Headers: w.mint(provider.TokenRequest{User: "mallory", Scopes: []string{"openid"}, Claims: c.access})}
					claims := map[string]any{"employee": "42"}
					maps.Copy(claims, c.id)
					id, err := w.main.Mint(provider.TokenRequest{Kind: provider.TokenID, User: c.user, Claims: claims})
					if err != nil {
						t.Fatal(err)
					}
					q.Headers["x-id-token"] = id
					w.send(q)
					if got := w.status(); got != c.status {
						t.Errorf("status %d, want %d: %v", got, c.status, w.answer.Err)
					}
				})
			}
		})
	}
	t.Run("pairwise subjects of one object", func(t *testing.T) {
		w := started(t, map[string]any{"auth_methods": []any{"bearer"}, "id_token_param_name": "x-id-token"})
		q := decisionRequest{Target: "/", Headers: w.mint(provider.TokenRequest{User: "alex", Claims: map[string]any{"sub": "for-the-api", "oid": "o", "tid": "t"}})}
		id, err := w.main.Mint(provider.TokenRequest{Kind: provider.TokenID, User: "alex", Claims: map[string]any{"sub": "for-the-app", "oid": "o", "tid": "t"}})
		if err != nil {
			t.Fatal(err)
		}
		q.Headers["x-id-token"] = id
		w.send(q)
		w.want(0)
	})
}

// A route that asks less must not make sessions for one that asks more.
func TestSessionOfALaxRouteAtAStricterOne(t *testing.T) {
	for _, c := range []struct {
		name                string
		shared, lax, strict map[string]any
		token               provider.TokenRequest
	}{
		{
			name:   "introspection_check_active",
			shared: map[string]any{"auth_methods": []any{"introspection", "session"}},
			lax:    map[string]any{"introspection_check_active": false},
		},
		{
			name:   "introspect_jwt_tokens",
			shared: map[string]any{"auth_methods": []any{"bearer", "session"}},
			strict: map[string]any{"introspect_jwt_tokens": true},
		},
		{
			name:   "jwt_session_cookie",
			shared: map[string]any{"auth_methods": []any{"bearer", "session"}},
			strict: map[string]any{"jwt_session_cookie": "browser", "jwt_session_claim": "sid"},
			token:  provider.TokenRequest{Claims: map[string]any{"sid": "s1"}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			with := func(m map[string]any) map[string]any {
				all := maps.Clone(c.shared)
				maps.Copy(all, m)
				return all
			}
			w := started(t, with(c.lax))
			h := w.mint(c.token)
			w.revoke(h)
			w.send(decisionRequest{Target: "/", Headers: h})
			w.want(0)
			if len(w.jar) == 0 {
				t.Fatal("no session was started")
			}
			w.send(decisionRequest{Target: "/", Cookies: true})
			w.want(0)
			w.restart(with(c.strict))
			w.send(decisionRequest{Target: "/", Cookies: true})
			w.want(401)
		})
	}
}

// A session keeps to the rules of bearer tokens where it was made by them.
func TestSessionOfABearerTokenHoldsItsRules(t *testing.T) {
	w := started(t, map[string]any{"auth_methods": []any{"bearer", "session"}, "jwt_session_cookie": "browser", "jwt_session_claim": "sid", "introspect_jwt_tokens": true})
	w.jar["browser"] = "s1"
	w.send(decisionRequest{Target: "/", Cookies: true, Headers: w.mint(provider.TokenRequest{Claims: map[string]any{"sid": "s1"}})})
	w.want(0)
	w.send(decisionRequest{Target: "/", Cookies: true})
	w.want(0)
	w.jar["browser"] = "s2"
	w.send(decisionRequest{Target: "/", Cookies: true})
	w.want(401)
}

// Case 49: a session ends with its refresh token, and with nothing else that the
// token endpoint may say: a secret that was changed, or a firewall in between,
// must not log everybody out.
func TestCase49OnlyAVerdictOnTheRefreshTokenEndsASession(t *testing.T) {
	for _, c := range []struct {
		name   string
		fault  provider.Fault
		status int
	}{
		{"invalid_grant", provider.Fault{Name: "status", Status: 400, Value: "invalid_grant"}, 401},
		{"another word for it", provider.Fault{Name: "status", Status: 400, Value: "interaction_required"}, 401},
		{"the client's secret was changed", provider.Fault{Name: "status", Status: 401, Value: "invalid_client"}, 0},
		{"the client may not", provider.Fault{Name: "status", Status: 400, Value: "unauthorized_client"}, 0},
		{"a firewall", provider.Fault{Name: "body", Status: 403, Value: "<html>Forbidden</html>"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := started(t, alwaysDue())
			w.lifetime(100)
			w.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}})
			w.want(0)
			c.fault.Endpoint = provider.EndpointToken
			if err := w.main.Faults().Set(c.fault); err != nil {
				t.Fatal(err)
			}
			w.send(withCookies)
			w.want(c.status)
			if ended := w.jar["session"] == ""; ended != (c.status != 0) {
				t.Errorf("the session has ended: %v", ended)
			}
		})
	}
}

// Some providers refuse a token at their userinfo endpoint with status 200 and
// an error in the object (Slack does): that is nobody's identity.
func TestUserinfoThatNamesNobodyIsNoIdentity(t *testing.T) {
	for _, c := range []struct {
		body   string
		config map[string]any
		status int
	}{
		{`{"ok":false,"error":"invalid_auth"}`, nil, 401},
		{`{}`, nil, 401},
		{`{"sub":""}`, nil, 401},
		{`{"sub":null,"login":"alex"}`, nil, 401},
		{`{"sub":"s"}`, nil, 0},
		{`{"login":"alex"}`, map[string]any{"credential_claim": []any{"login"}}, 0},
		{`{"login":"alex"}`, map[string]any{"consumer_claims": []any{[]any{"login"}}, "consumer_optional": true}, 0},
		{`{"error":"x"}`, map[string]any{"consumer_claims": []any{[]any{"login"}}, "consumer_optional": true}, 401},
	} {
		t.Run(c.body, func(t *testing.T) {
			config := map[string]any{"auth_methods": []any{"userinfo"}}
			maps.Copy(config, c.config)
			w := started(t, config)
			if err := w.main.Faults().Set(provider.Fault{Name: "body", Endpoint: provider.EndpointUserinfo, Status: 200, Value: c.body}); err != nil {
				t.Fatal(err)
			}
			w.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "Bearer garbage"}})
			w.want(c.status)
		})
	}
}
