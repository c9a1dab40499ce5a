package plugin_test

import (
	"bytes"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/plugin"
)

// logoutToken sends a logout token of alex to a node.
func (w *world) logoutToken(raw string) {
	w.t.Helper()
	w.send(decisionRequest{Method: "POST", Target: "/app/backchannel", Headers: map[string]string{"content-type": "application/x-www-form-urlencoded"}, Body: url.Values{"logout_token": {raw}}.Encode()})
}

func (w *world) mintLogout(claims map[string]any) string {
	w.t.Helper()
	raw, err := w.main.Mint(provider.TokenRequest{Kind: provider.TokenLogout, Claims: claims})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// passwordSession is a configuration whose sessions begin with a password.
func passwordSession(more map[string]any) map[string]any {
	c := map[string]any{
		"issuer": "{{issuer}}", "auth_methods": []any{"password", "session"}, "client_id": []any{"kong"}, "client_secret": []any{"{{secret}}"},
		"backchannel_logout_uri_suffix": "/backchannel",
	}
	maps.Copy(c, more)
	return c
}

var withPassword = decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}}

// A request that still carries the id from before a refresh is answered by what
// the refresh made, which is kept in memory: a logout in another tab ends that too.
func TestTheIDFromBeforeARefreshDiesAtLogout(t *testing.T) {
	c := alwaysDue()
	c["logout_uri_suffix"] = "/out"
	for name, claims := range map[string]map[string]any{"a logout in another tab": nil, "a logout token": {"sid": nil}} {
		t.Run(name, func(t *testing.T) {
			c["backchannel_logout_uri_suffix"] = "/backchannel"
			w := newWorld(t, &decisionCase{})
			w.start(&decisionCase{Config: c})
			w.lifetime(100)
			w.send(withPassword)
			w.want(0)
			before := maps.Clone(w.jar)
			w.lifetime(3600)
			w.send(withCookies)
			w.want(0)
			if maps.Equal(before, w.jar) {
				t.Fatal("no refresh")
			}
			after := maps.Clone(w.jar)
			w.jar = maps.Clone(before)
			w.send(withCookies) // in flight
			w.want(0)
			w.jar = after
			if claims == nil {
				w.send(decisionRequest{Method: "POST", Target: "/out", Cookies: true})
			} else {
				w.logoutToken(w.mintLogout(claims))
				w.want(200)
			}
			w.jar = before
			w.send(withCookies)
			w.want(401)
		})
	}
}

func TestPreviousSecrets(t *testing.T) {
	const first, second = "the first secret, long enough", "the second one, long enough too"
	w := newWorld(t, &decisionCase{})
	config := func(more map[string]any) map[string]any {
		c := map[string]any{
			"issuer": "{{issuer}}", "auth_methods": []any{"authorization_code", "session"}, "client_id": []any{"kong"}, "client_secret": []any{"{{secret}}"},
			"login_action": "redirect", "login_tokens": []any{},
		}
		maps.Copy(c, more)
		return c
	}
	start := func(more map[string]any) { w.start(&decisionCase{Config: config(more)}) }
	begin := func() decisionRequest {
		w.send(decisionRequest{Target: "/", Cookies: true})
		w.want(302)
		return w.logIn("alex")
	}
	start(map[string]any{"session_secret": first})
	w.send(begin())
	w.want(302)
	session := w.jar["session"]
	clear(w.jar)
	pending := begin()

	start(map[string]any{"session_secret": second, "session_previous_secrets": []any{first}})
	w.send(pending) // the login that was pending at the rotation finishes
	w.want(302)
	if w.jar["session"] == "" {
		t.Fatal("no session")
	}
	w.jar = map[string]string{"session": session}
	w.send(withCookies)
	w.want(0)
	moved := w.jar["session"]
	if moved == session {
		t.Fatal("the session is not written anew")
	}
	w.send(withCookies)
	w.want(0)
	if set := w.cookiesSet(); len(set) != 0 {
		t.Errorf("a session under the new secret is written again: %q", set)
	}

	start(map[string]any{"session_secret": second}) // the first one is forgotten
	w.send(withCookies)
	w.want(0)
	w.jar = map[string]string{"session": session}
	w.send(withCookies)
	w.want(302)
	start(map[string]any{"session_secret": first, "session_previous_secrets": []any{"another one, not used before"}})
	w.jar = map[string]string{"session": moved}
	w.send(withCookies)
	w.want(302)
}

// What others than the browser end is ended on other nodes only by a list that
// they read.
func TestReachOfTheList(t *testing.T) {
	for _, c := range []struct {
		name   string
		shared bool
		plane  bool
		more   map[string]any
		status int
		log    string
	}{
		{"Kong's database", true, false, nil, 401, ""},
		{"a node without a database", false, false, nil, 401, "ends sessions on this node alone"},
		{"a data plane", false, true, nil, 500, "backchannel_logout_uri_suffix: a data plane has no list"},
		{"a data plane, logout of all", false, true, map[string]any{"backchannel_logout_uri_suffix": nil, "logout_all_sessions": true, "logout_uri_suffix": "/out"}, 500, "logout_all_sessions: a data plane has no list"},
		{"a data plane with Redis", false, true, map[string]any{"session_revocation_storage": "redis"}, 401, ""},
		{"a data plane without the extensions", false, true, map[string]any{"backchannel_logout_uri_suffix": nil}, 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			w := newWorld(t, &decisionCase{})
			env := w.environment()
			env.SharedList, env.DataPlane, env.Log = c.shared, c.plane, slog.New(slog.NewTextHandler(&log, nil))
			w.plugin = plugin.New(env)
			w.start(&decisionCase{Config: passwordSession(c.more)})
			w.send(decisionRequest{Target: "/"})
			w.want(c.status)
			if c.log == "" && strings.Contains(log.String(), "list") || !strings.Contains(log.String(), c.log) {
				t.Errorf("the log says %s", log.String())
			}
		})
	}
}

// Two configurations of one provider have sessions of their own.
func TestALogoutTokenEndsSessionsOfEveryConfigurationOfItsProvider(t *testing.T) {
	w := newWorld(t, &decisionCase{})
	env := w.environment()
	w.plugin = plugin.New(env)
	w.start(&decisionCase{Config: passwordSession(map[string]any{"session_absolute_timeout": 172800})})
	w.send(withPassword)
	w.want(0)
	one, first := w.instance, maps.Clone(w.jar)
	clear(w.jar)
	w.start(&decisionCase{Config: passwordSession(map[string]any{"audience": []any{"another"}})})
	w.send(withPassword)
	w.want(0)
	second := maps.Clone(w.jar)
	w.logoutToken(w.mintLogout(map[string]any{"sid": "of another login"}))
	w.want(200)
	w.send(withCookies)
	w.want(0)
	w.logoutToken(w.mintLogout(map[string]any{"sid": nil}))
	w.want(200)
	if e := w.answer.Events; len(e) != 1 || e[0].Kind != rp.EventLogout || e[0].Subject != "sub-alex" || e[0].Client != "kong" {
		t.Errorf("the record says %+v", e)
	}
	w.jar = second
	w.send(withCookies)
	w.want(401)
	w.instance, w.jar = one, first
	w.send(withCookies)
	w.want(401)
}

func TestALogoutTokenIsRefusedWhereNothingIsVerified(t *testing.T) {
	w := newWorld(t, &decisionCase{})
	w.start(&decisionCase{Config: passwordSession(map[string]any{
		"verify_signature": false, "verify_claims": false, "ignore_signature": []any{"password", "session", "authorization_code"}, "display_errors": true,
	})})
	w.send(withPassword)
	w.want(0)
	for name, faults := range map[string][]string{
		"bad signature": {"bad-signature"}, "alg none": {"alg-none"}, "wrong iss": {"wrong-iss"}, "wrong aud": {"wrong-aud"}, "nonce": {"wrong-nonce"},
		"expired": {"expired"}, "another's key": {"foreign-key"}, "HS256": {"alg-hs256-with-secret"},
	} {
		raw, err := w.main.Mint(provider.TokenRequest{Kind: provider.TokenLogout, Faults: faults, Claims: map[string]any{"sid": nil}})
		if err != nil {
			t.Fatal(err)
		}
		w.logoutToken(raw)
		if w.status() != 400 || strings.Contains(string(w.answer.Respond.Body), raw[:20]) {
			t.Errorf("%s: %d %s", name, w.status(), w.answer.Respond.Body)
		}
	}
	w.send(withCookies)
	w.want(0)
	if err := w.main.Faults().Set(provider.Fault{Name: "status", Endpoint: provider.EndpointJWKS, Status: 503}); err != nil {
		t.Fatal(err)
	}
	w.logoutToken(w.mintLogout(map[string]any{"sid": nil}))
	if w.status() == 400 && !strings.Contains(string(w.answer.Respond.Body), "temporarily_unavailable") {
		t.Errorf("an outage: %s", w.answer.Respond.Body)
	}
}

func TestSessionsOfTheProcessAreListedAndEnded(t *testing.T) {
	w := newWorld(t, &decisionCase{})
	env := w.environment()
	w.plugin = plugin.New(env)
	if _, err := env.ListSessions(t.Context(), "sub-alex", "", 10); err != plugin.ErrNoMetadata {
		t.Errorf("no metadata: %v", err)
	}
	c := passwordSession(map[string]any{"session_response_headers": []any{"id"}})
	w.start(&decisionCase{Config: c})
	login := func() (jar map[string]string, id string) {
		clear(w.jar)
		w.send(withPassword)
		w.want(0)
		i := slices.IndexFunc(w.answer.Downstream.Set, func(f rp.Field) bool { return strings.EqualFold(f.Name, "Session-Id") })
		if i < 0 {
			t.Fatal("no Session-Id")
		}
		return maps.Clone(w.jar), w.answer.Downstream.Set[i].Value
	}
	has := func(jar map[string]string, status int) {
		t.Helper()
		w.jar = maps.Clone(jar)
		w.send(withCookies)
		w.want(status)
	}
	one, id := login()
	two, _ := login()
	if err := env.EndSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	has(one, 401)
	has(two, 0)
	if err := env.EndSubject(t.Context(), w.main.URL+"/", "sub-alex"); err != nil {
		t.Fatal(err)
	}
	has(two, 401)
	if err := env.EndSession(t.Context(), "nothing"); err == nil {
		t.Error("no id is taken for one")
	}
	if _, err := env.ListSessions(t.Context(), "sub-alex", "", 10); err != plugin.ErrNoMetadata {
		t.Errorf("cookies: %v", err)
	}
}
