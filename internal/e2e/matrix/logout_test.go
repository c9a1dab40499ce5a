package matrix

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/testproviders"
)

const afterLogout = "http://127.0.0.1:9/bye"

// providerLogoutRoutes are an application whose provider ends its sessions, in a
// cookie each.
func providerLogoutRoutes(p *idp) []route {
	return []route{{"/provider-logout/" + p.name, p.std("second", "logout", "authorization_code", "session").with(config{
		"login_action": "redirect", "login_tokens": []string{}, "logout_uri_suffix": "/out", "logout_methods": []string{"GET"},
		"logout_redirect_uri": []string{afterLogout}, "backchannel_logout_uri_suffix": "/backchannel",
	})}}
}

// tell has a provider send the client's logout tokens to a URL.
func (p *idp) tell(t *testing.T, client, to string) {
	t.Helper()
	var err error
	switch p.name {
	case "oidc-provider":
		err = testproviders.OIDCProvider(t).SetBackchannelLogout(t.Context(), client, to)
	case "keycloak":
		err = testproviders.Keycloak(t).SetBackchannelLogout(t.Context(), client, to)
	default:
		clients, cerr := sandboxClients()
		if cerr != nil {
			t.Fatal(cerr)
		}
		for _, c := range clients {
			if c.ID == client {
				c.BackchannelLogoutURI = to
				err = p.own.SetClient(c)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestProviderLogout: RP-initiated logout in one browser, and the logout token
// that ends the session of the person's other browser.
func TestProviderLogout(t *testing.T) {
	at(t, func(t *testing.T, w *world, p *idp) {
		path := "/provider-logout/" + p.name
		p.tell(t, "second", w.gateway.Proxy+path+"/backchannel")
		person, stranger := testproviders.NewBrowser(), testproviders.NewBrowser()
		login := func(at *testproviders.Browser) *harness.Browser {
			t.Helper()
			b := w.browser(t)
			cb, err := at.Login(t.Context(), b.Get(path).Want(302).To().String(), "alex", "doe")
			if err != nil {
				t.Fatal(err)
			}
			deliver(b, cb).Want(302)
			b.Get(path).Want(200)
			return b
		}
		one, two, other := login(person), login(person), login(stranger)
		to := one.Get(path + "/out").Want(302).To()
		back, err := person.Logout(t.Context(), to.String())
		if err != nil || back == nil || !strings.HasPrefix(back.URL, afterLogout) {
			t.Fatalf("after the logout: %v, %v", back, err)
		}
		one.Get(path).Want(302)
		for deadline := time.Now().Add(10 * time.Second); two.Get(path).StatusCode != 302; {
			if time.Now().After(deadline) {
				t.Fatal("the other browser is still in")
			}
		}
		other.Get(path).Want(200)
		// The provider knows the login no more: the next one begins with its form.
		if _, err := person.Login(t.Context(), two.Get(path).Want(302).To().String(), "alex", "doe"); err != nil || !person.ShownForm() {
			t.Errorf("the provider's form is not shown: %v", err)
		}
		w.browser(t).Post(path+"/backchannel", url.Values{"logout_token": {p.login(t, "second").IDToken}}).Want(400)
		other.Get(path).Want(200)
	})
}
