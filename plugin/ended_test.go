package plugin_test

import (
	"log/slog"
	"maps"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/plugin"
)

func started(t *testing.T, config map[string]any) *world {
	t.Helper()
	w := newWorld(t, &decisionCase{})
	w.plugin = plugin.New(w.environment())
	all := map[string]any{"issuer": "{{issuer}}", "client_id": []any{"kong"}, "client_secret": []any{"{{secret}}"}}
	maps.Copy(all, config)
	w.start(&decisionCase{Config: all})
	return w
}

func (w *world) mint(q provider.TokenRequest) map[string]string {
	w.t.Helper()
	raw, err := w.main.Mint(q)
	if err != nil {
		w.t.Fatal(err)
	}
	return map[string]string{"authorization": "Bearer " + raw}
}

// TestLogoutTokenIsNoAccessToken: every client of a provider receives logout
// tokens about its users (OpenID Connect Back-Channel Logout 1.0 section 4).
func TestLogoutTokenIsNoAccessToken(t *testing.T) {
	for name, q := range map[string]provider.TokenRequest{
		"typ logout+jwt":  {Header: map[string]any{"typ": "logout+jwt"}},
		"typ JWT":         {Header: map[string]any{"typ": "JWT"}},
		"no typ":          {Header: map[string]any{"typ": nil}},
		"without an end":  {Header: map[string]any{"typ": "JWT"}, Claims: map[string]any{"exp": nil}},
		"of another kind": {Header: map[string]any{"typ": "JWT"}, Claims: map[string]any{"events": map[string]any{"https://example.com/e": map[string]any{}}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := started(t, map[string]any{"auth_methods": []any{"bearer"}})
			q.Kind = provider.TokenLogout
			w.send(decisionRequest{Target: "/", Headers: w.mint(q)})
			w.want(401)
		})
	}
}

func TestLogoutBySIDEndsASessionOfIntrospection(t *testing.T) {
	w := started(t, map[string]any{
		"auth_methods": []any{"introspection", "session"}, "backchannel_logout_uri_suffix": "/backchannel", "introspect_jwt_tokens": true,
		"downstream_headers": []any{map[string]any{"header": "x-sid", "path": []any{"sid"}}},
	})
	w.send(decisionRequest{Target: "/", Headers: w.mint(provider.TokenRequest{Kind: provider.TokenAccess, Claims: map[string]any{"sid": "login-1"}})})
	w.want(0)
	jar, sid := maps.Clone(w.jar), w.answer.Downstream.Set[0].Value
	w.logoutToken(w.mintLogout(map[string]any{"sid": sid}))
	w.want(200)
	w.jar = jar
	w.send(withCookies)
	w.want(401)
}

func TestLogoutOfAllSessionsNeedsASubject(t *testing.T) {
	w := started(t, map[string]any{"auth_methods": []any{"bearer", "session"}, "logout_all_sessions": true, "logout_uri_suffix": "/out", "verify_claims": false})
	login := func() map[string]string {
		clear(w.jar)
		w.send(decisionRequest{Target: "/", Headers: w.mint(provider.TokenRequest{Kind: provider.TokenAccess, Claims: map[string]any{"sub": nil}})})
		w.want(0)
		return maps.Clone(w.jar)
	}
	a, b := login(), login()
	w.jar = a
	w.send(decisionRequest{Method: "POST", Target: "/out", Cookies: true})
	w.jar = b
	w.send(withCookies)
	w.want(0)
}

// TestOperatorsEndingsAreRecorded holds that the record names no id in clear.
func TestOperatorsEndingsAreRecorded(t *testing.T) {
	var record strings.Builder
	env := newWorld(t, &decisionCase{}).environment()
	env.SharedList, env.Audit = true, slog.New(slog.NewTextHandler(&record, nil))
	if err := env.EndLogin(t.Context(), "https://idp.example.com", "sid-1"); err != nil {
		t.Fatal(err)
	}
	if err := env.EndSubject(t.Context(), "https://idp.example.com", "alex"); err != nil {
		t.Fatal(err)
	}
	if got := record.String(); strings.Count(got, "by=operator") != 2 || !strings.Contains(got, "subject=alex") || strings.Contains(got, "sid-1") {
		t.Error(got)
	}
}

func TestOperatorIsToldWhereNoListIsKnown(t *testing.T) {
	env := newWorld(t, &decisionCase{}).environment()
	for name, err := range map[string]error{
		"subject": env.EndSubject(t.Context(), "https://idp.example.com", "alex"), "login": env.EndLogin(t.Context(), "https://idp.example.com", "sid-1"),
	} {
		if err == nil {
			t.Errorf("%s: nothing was written, and nothing is said", name)
		}
	}
}
