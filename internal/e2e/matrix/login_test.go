package matrix

import (
	"net/http"
	"net/url"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/testproviders"
)

// responseModes are those that a gateway can read.
var responseModes = []string{"query", "form_post"}

func loginRoutes(p *idp) []route {
	var out []route
	for _, mode := range responseModes {
		path := "/login/" + p.name + "/" + mode
		c := p.std("kong", "login", "authorization_code", "session").with(config{
			"response_mode": mode, "preserve_query_args": true, "login_action": "redirect", "login_tokens": []string{},
			"scopes": []string{"openid", "profile", "email"},
		})
		out = append(out,
			route{path, c},
			route{path + "-audience", c.with(config{"audience_required": []string{foreign}})},
			route{path + "-secret", c.with(config{"client_secret": []string{"wrong-wrong-wrong-wrong-wrong-wrong"}})})
	}
	return out
}

// signIn logs a user in at the provider and returns what the provider sends the
// browser back with.
func signIn(t *testing.T, to *url.URL) *testproviders.Callback {
	t.Helper()
	return signInBy(t, testproviders.NewBrowser(), to)
}

func signInBy(t *testing.T, b *testproviders.Browser, to *url.URL) *testproviders.Callback {
	t.Helper()
	cb, err := b.Login(t.Context(), to.String(), "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	return cb
}

// deliver carries the provider's answer to the gateway.
func deliver(b *harness.Browser, cb *testproviders.Callback) *harness.Answer {
	if cb.Form != nil {
		return b.Post(cb.URL, cb.Form)
	}
	return b.Get(cb.URL)
}

func TestAuthorizationCode(t *testing.T) {
	for _, mode := range responseModes {
		t.Run(mode, func(t *testing.T) {
			at(t, func(t *testing.T, w *world, p *idp) { w.authorizationCode(t, p, mode) })
		})
	}
}

func (w *world) authorizationCode(t *testing.T, p *idp, mode string) {
	path := "/login/" + p.name + "/" + mode
	refused := func(t *testing.T, a *harness.Answer, status int) {
		t.Helper()
		if a.Want(status).SetsCookie("session") != nil {
			t.Error("a session is issued")
		}
	}
	t.Run("success", func(t *testing.T) {
		b := w.browser(t)
		page := path + "/deep/li%20nk?hello=world"
		cb := signIn(t, b.Get(page).Want(302).To())
		if (cb.Form != nil) != (mode == "form_post") {
			t.Fatalf("the provider answers by another mode: %s", cb.URL)
		}
		a := deliver(b, cb).Want(302)
		if got := a.To().String(); got != w.gateway.Proxy+page {
			t.Errorf("lands on %s", got)
		}
		if c := a.SetsCookie("session"); c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
			t.Errorf("session cookie %v", c)
		}
		p.reset()
		e := b.Get(page).Echo()
		if claims := claimsOf(t, e.Bearer()); claims["preferred_username"] != "alex" || e.Query != "hello=world" {
			t.Errorf("the service saw query %q and the token of %v", e.Query, claims["preferred_username"])
		}
		if n := p.count(token) + p.count(userinfo); n != 0 {
			t.Errorf("the second request asks the provider %d times", n)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		b := w.browser(t)
		refused(t, deliver(b, signIn(t, b.Get(path+"-secret").Want(302).To())), 401)
	})
	t.Run("wrong audience", func(t *testing.T) {
		b := w.browser(t)
		refused(t, deliver(b, signIn(t, b.Get(path+"-audience").Want(302).To())), 403)
	})
	t.Run("wrong code", func(t *testing.T) {
		b := w.browser(t)
		cb := signIn(t, b.Get(path).Want(302).To())
		change(t, cb, "code", "wrong")
		refused(t, deliver(b, cb), 401)
	})
	t.Run("wrong state", func(t *testing.T) {
		b := w.browser(t)
		cb := signIn(t, b.Get(path).Want(302).To())
		change(t, cb, "state", "wrong")
		p.reset()
		refused(t, deliver(b, cb), 401)
		if n := p.count(token); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("code of another browser", func(t *testing.T) {
		cb := signIn(t, w.browser(t).Get(path).Want(302).To())
		p.reset()
		refused(t, deliver(w.browser(t), cb), 302)
		if n := p.count(token); n != 0 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("provider down", func(t *testing.T) {
		b := w.browser(t)
		cb := signIn(t, b.Get(path).Want(302).To())
		p.down(func() { refused(t, deliver(b, cb), 500) })
	})
}

// change replaces a parameter of the provider's answer.
func change(t *testing.T, cb *testproviders.Callback, name, value string) {
	t.Helper()
	if cb.Form != nil {
		cb.Form.Set(name, value)
		return
	}
	u, err := url.Parse(cb.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	cb.URL = u.String()
}
