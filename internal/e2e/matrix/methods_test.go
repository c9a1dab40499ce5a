package matrix

import (
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/testproviders"
)

// sessionSecret is long enough for every row.
const sessionSecret = "a-secret-of-the-matrix-0123456789abcdef"

// std is the configuration of a client of the provider.
func (p *idp) std(client, salt string, methods ...string) config {
	c := p.clients[client]
	return config{
		"issuer": p.issuer, "client_id": []string{c.ID}, "client_secret": []string{c.Secret}, "client_auth": []string{"client_secret_basic"},
		"auth_methods": methods, "cache_tokens_salt": "matrix-" + p.name + salt, "session_secret": sessionSecret,
	}
}

// kind is what a caller comes with.
type kind string

const (
	good     kind = "success"
	another  kind = "another good one" // not seen before, so that the provider has to be asked
	absent   kind = "no credential"
	wrong    kind = "wrong credential"
	expired  kind = "expired"
	inactive kind = "inactive"
)

// methodRow is a method with what its callers come with, and what they get.
type methodRow struct {
	name   string
	auth   []string
	more   config
	client func(p *idp) string
	// bring returns the request headers of a caller.
	bring func(t *testing.T, p *idp, client string, k kind) []string
	// want is the status by kind. Kinds that a method does not have are left out.
	want map[kind]int
	// wrongSecret is the status where the plugin's own client secret is wrong;
	// 0 where the method uses none.
	wrongSecret int
	// down is the status while the provider is down; another credential comes.
	down int
}

func live(p *idp) string { return p.live }
func kong(*idp) string   { return "kong" }

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func basic(user, secret string) []string {
	return []string{"Authorization", harness.Basic(user, secret)}
}

var methodTable = []methodRow{
	{
		name: "bearer", auth: []string{"bearer"}, client: kong,
		bring: func(t *testing.T, p *idp, client string, k kind) []string {
			switch k {
			case wrong:
				return bearer(damaged(p.login(t, client).AccessToken))
			case expired:
				return bearer(p.spentToken("short"))
			case inactive:
				if p.live != client {
					return bearer(p.login(t, client).AccessToken) // it cannot be withdrawn at all
				}
				return bearer(p.revoked(t, client, "access_token").AccessToken)
			}
			return bearer(p.login(t, client).AccessToken)
		},
		// Nobody is asked about a JWT: it is good until it expires, and while the provider is down.
		want: map[kind]int{good: 200, absent: 401, wrong: 401, expired: 401, inactive: 200}, down: 200,
	},
	{
		name: "introspection", auth: []string{"introspection"}, client: live,
		bring: bringOpaque,
		want:  map[kind]int{good: 200, absent: 401, wrong: 401, expired: 401, inactive: 401}, wrongSecret: 500, down: 500,
	},
	{
		name: "userinfo", auth: []string{"userinfo"}, client: live,
		bring: bringOpaque,
		want:  map[kind]int{good: 200, absent: 401, wrong: 401, expired: 401, inactive: 401}, down: 500,
	},
	{
		name: "refresh_token", auth: []string{"refresh_token"}, client: kong,
		more: config{"refresh_token_param_name": "refresh_token", "upstream_refresh_token_header": "refresh_token"},
		bring: func(t *testing.T, p *idp, client string, k kind) []string {
			switch k {
			case wrong:
				return []string{"Refresh-Token", "wrong"}
			case inactive:
				return []string{"Refresh-Token", p.revoked(t, client, "refresh_token").RefreshToken}
			}
			return []string{"Refresh-Token", p.login(t, client).RefreshToken}
		},
		want: map[kind]int{good: 200, absent: 401, wrong: 401, inactive: 401}, wrongSecret: 401, down: 500,
	},
	{
		name: "password", auth: []string{"password"}, client: kong,
		bring: func(_ *testing.T, _ *idp, _ string, k kind) []string {
			switch k {
			case wrong:
				return basic("alex", "wrong")
			case another:
				return basic("blake", "doe")
			}
			return basic("alex", "doe")
		},
		want: map[kind]int{good: 200, absent: 401, wrong: 401}, wrongSecret: 401, down: 500,
	},
	{
		name: "client_credentials", auth: []string{"client_credentials"}, client: kong,
		bring: func(_ *testing.T, p *idp, client string, k kind) []string {
			switch k {
			case wrong:
				return basic(client, "wrong")
			case another:
				return basic("second", p.clients["second"].Secret)
			}
			return basic(client, p.clients[client].Secret)
		},
		want: map[kind]int{good: 200, absent: 401, wrong: 401}, down: 500,
	},
}

func bringOpaque(t *testing.T, p *idp, client string, k kind) []string {
	switch k {
	case wrong:
		return bearer("wrong")
	case expired:
		return bearer(p.spentToken(client))
	case inactive:
		return bearer(p.revoked(t, client, "access_token").AccessToken)
	}
	return bearer(p.login(t, client).AccessToken)
}

// foreign is an audience that no token has.
const foreign = "https://foreign.example.test"

func methodRoutes(p *idp) []route {
	var out []route
	for _, m := range methodTable {
		path := "/methods/" + p.name + "/" + m.name
		c := p.std(m.client(p), m.name, m.auth...).with(m.more)
		out = append(out,
			route{path, c},
			route{path + "-audience", c.with(config{"audience_required": []string{foreign}})},
			route{path + "-secret", c.with(config{"client_secret": []string{"wrong-wrong-wrong-wrong-wrong-wrong"}, "cache_tokens_salt": p.name + m.name})},
			route{path + "-once", c.with(config{"cache_tokens_salt": "once" + p.name + m.name})})
	}
	key := p.endpoints["jwks"]
	return append(out,
		route{"/methods/" + p.name + "/api", p.std("kong", "", "bearer").with(config{"audience_required": []string{testproviders.API}})},
		route{"/methods/" + p.name + "/cold", p.std("kong", "", "bearer").with(config{"jwks_endpoint": key + "?cold=1"})},
		route{"/methods/" + p.name + "/password-short", p.std("short", "password-short", "password")},
		route{"/methods/" + p.name + "/client_credentials-short", p.std("short", "client_credentials-short", "client_credentials")},
		route{"/methods/" + p.name + "/session", p.std("kong", "session", "session", "password")},
		route{"/methods/" + p.name + "/session-audience", p.std("kong", "session-audience", "session", "password").with(config{"audience_required": []string{foreign}})},
		route{"/methods/" + p.name + "/session-short", p.std("short", "session-short", "session", "password").with(config{"cache_tokens": false})},
		route{"/methods/" + p.name + "/session-unrefreshed", p.std("short", "session-unrefreshed", "session", "password").with(config{"refresh_tokens": false, "cache_tokens": false})})
}

func TestMethods(t *testing.T) {
	for _, m := range methodTable {
		t.Run(m.name, func(t *testing.T) {
			at(t, func(t *testing.T, w *world, p *idp) { w.method(t, p, m) })
		})
	}
}

func (w *world) method(t *testing.T, p *idp, m methodRow) {
	path := "/methods/" + p.name + "/" + m.name
	client := m.client(p)
	for _, k := range []kind{good, absent, wrong, expired, inactive} {
		status, has := m.want[k]
		if !has {
			continue
		}
		t.Run(string(k), func(t *testing.T) {
			var header []string
			if k != absent {
				header = m.bring(t, p, client, k)
			}
			a := w.browser(t).Get(path, header...).Want(status)
			switch {
			case status == 200:
				a.Echo().Bearer()
			case !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer realm="):
				t.Errorf("WWW-Authenticate %q", a.Header.Get("WWW-Authenticate"))
			}
		})
	}
	t.Run("wrong audience", func(t *testing.T) {
		a := w.browser(t).Get(path+"-audience", m.bring(t, p, client, good)...).Want(403)
		if !strings.Contains(a.Header.Get("WWW-Authenticate"), "insufficient_scope") {
			t.Errorf("WWW-Authenticate %q", a.Header.Get("WWW-Authenticate"))
		}
	})
	if m.wrongSecret != 0 {
		t.Run("wrong secret", func(t *testing.T) {
			w.browser(t).Get(path+"-secret", m.bring(t, p, client, good)...).Want(m.wrongSecret)
		})
	}
	t.Run("provider down", func(t *testing.T) {
		header := m.bring(t, p, client, another)
		p.down(func() { w.browser(t).Get(path, header...).Want(m.down) })
		w.browser(t).Get(path, header...).Want(200)
	})
}

func TestBearerKeysCannotBeHad(t *testing.T) {
	at(t, func(t *testing.T, w *world, p *idp) {
		header := bearer(p.login(t, "kong").AccessToken)
		p.down(func() { w.browser(t).Get("/methods/"+p.name+"/cold", header...).Want(500) })
	})
}

func TestRequiredAudience(t *testing.T) {
	at(t, func(t *testing.T, w *world, p *idp) {
		w.browser(t).Get("/methods/"+p.name+"/api", bearer(p.login(t, "kong").AccessToken)...).Want(200)
	})
}

func TestTokensOfAnotherProvider(t *testing.T) {
	at(t, func(t *testing.T, w *world, p *idp) {
		for _, other := range w.providers() {
			if other != p {
				w.browser(t).Get("/methods/"+p.name+"/bearer", bearer(other.login(t, "kong").AccessToken)...).Want(401)
			}
		}
	})
}

func TestSessionMethod(t *testing.T) {
	at(t, func(t *testing.T, w *world, p *idp) {
		path := "/methods/" + p.name + "/session"
		b := w.browser(t)
		cookie := b.Get(path, basic("alex", "doe")...).Want(200).SetsCookie("session")
		if cookie == nil {
			t.Fatal("no session")
		}
		t.Run("success", func(t *testing.T) {
			p.reset()
			b.On(t).Get(path).Echo().Bearer()
			if n := p.count(token); n != 0 {
				t.Errorf("%d token requests", n)
			}
		})
		t.Run("no credential", func(t *testing.T) { w.browser(t).Get(path).Want(401) })
		t.Run("wrong credential", func(t *testing.T) {
			i := len(cookie.Value) / 2
			w.browser(t).Get(path, "Cookie", "session="+cookie.Value[:i]+"AAAA"+cookie.Value[i+4:]).Want(401)
		})
		t.Run("wrong audience", func(t *testing.T) {
			if a := w.browser(t).Get(path+"-audience", basic("alex", "doe")...).Want(403); a.SetsCookie("session") != nil {
				t.Error("a refused caller gets a session")
			}
		})
		t.Run("session of another configuration", func(t *testing.T) {
			w.browser(t).Get(path+"-short", "Cookie", "session="+cookie.Value).Want(401)
		})
		t.Run("provider down", func(t *testing.T) { p.down(func() { b.On(t).Get(path).Want(200) }) })
	})
}

// TestKeptTokensExpire: tokens of two seconds in sessions and in the cache.
// Real providers have real clocks, so this is the one test that waits.
func TestKeptTokensExpire(t *testing.T) {
	w := env(t)
	cached := func(p *idp) map[string][]string {
		return map[string][]string{"password": basic("alex", "doe"), "client_credentials": basic("short", p.clients["short"].Secret)}
	}
	refreshed, not := map[*idp]*harness.Browser{}, map[*idp]*harness.Browser{}
	for _, p := range w.providers() {
		refreshed[p], not[p] = w.browser(t), w.browser(t)
		refreshed[p].Get("/methods/"+p.name+"/session-short", basic("alex", "doe")...).Want(200)
		not[p].Get("/methods/"+p.name+"/session-unrefreshed", basic("alex", "doe")...).Want(200)
		for method, header := range cached(p) {
			w.browser(t).Get("/methods/"+p.name+"/"+method+"-short", header...).Want(200)
		}
	}
	time.Sleep(2500 * time.Millisecond)
	at(t, func(t *testing.T, w *world, p *idp) {
		t.Run("refreshed", func(t *testing.T) {
			b := refreshed[p].On(t)
			p.down(func() { b.Get("/methods/" + p.name + "/session-short").Want(500) })
			p.reset()
			b.Get("/methods/" + p.name + "/session-short").Want(200)
			if n := p.count(token); n != 1 {
				t.Errorf("%d token requests", n)
			}
		})
		for method, header := range cached(p) {
			t.Run(method, func(t *testing.T) {
				p.reset()
				jwt := w.browser(t).Get("/methods/"+p.name+"/"+method+"-short", header...).Echo().Bearer()
				if n := p.count(token); n != 1 {
					t.Errorf("%d token requests", n)
				}
				if strings.Count(jwt, ".") == 2 && claimsOf(t, jwt)["exp"].(float64) <= float64(time.Now().Unix()) {
					t.Error("an expired token reaches the service")
				}
			})
		}
		t.Run("expired", func(t *testing.T) { not[p].On(t).Get("/methods/" + p.name + "/session-unrefreshed").Want(401) })
	})
}

// TestAskedOnce: twenty first requests at once make one call, and the next
// ones within the time to live make none.
func TestAskedOnce(t *testing.T) {
	for _, c := range []struct{ method, endpoint string }{
		{"password", token}, {"client_credentials", token}, {"refresh_token", token}, {"introspection", introspection}, {"userinfo", userinfo},
	} {
		t.Run(c.method, func(t *testing.T) {
			at(t, func(t *testing.T, w *world, p *idp) {
				for _, m := range methodTable {
					if m.name != c.method {
						continue
					}
					path := "/methods/" + p.name + "/" + m.name + "-once"
					header := m.bring(t, p, m.client(p), another)
					p.reset()
					w.parallel(t, path, header...)
					if n := p.count(c.endpoint); n != 1 {
						t.Errorf("twenty requests at once make %d calls", n)
					}
					w.browser(t).Get(path, header...).Want(200)
					if n := p.count(c.endpoint); n != 1 {
						t.Errorf("the next request asks again: %d calls", n)
					}
				}
			})
		})
	}
}
