package e2e

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/testproviders"
)

// examples is a gateway of its own with the kong.yml that ships at the root.
type examples struct {
	*target
	t  *testing.T
	ca *authority // in place of the file's, whose key nobody has
}

// bearer returns the Authorization header with a token of alex.
func (x *examples) bearer(q provider.TokenRequest) []string {
	x.t.Helper()
	raw, err := x.provider.Mint(q)
	if err != nil {
		x.t.Fatal(err)
	}
	return []string{"Authorization", "Bearer " + raw}
}

func (x *examples) of(iss string) []string {
	return x.bearer(provider.TokenRequest{Claims: object{"iss": x.Issuer + iss, "scope": "openid"}})
}

func (x *examples) on(t *testing.T) *examples { return &examples{x.target, t, x.ca} }

func (x *examples) browser() *harness.Browser { return harness.NewBrowser(x.t, x.Proxy) }

func (x *examples) get(target string, header ...string) *harness.Answer {
	x.t.Helper()
	return x.browser().Get(target, header...)
}

func user(name string) []string { return []string{"Authorization", harness.Basic(name, "doe")} }

func client(id, secret string) []string { return []string{"Authorization", harness.Basic(id, secret)} }

// sentToLogin checks that a browser is sent to the provider, and returns where.
func (x *examples) sentToLogin(a *harness.Answer, want url.Values) *url.URL {
	x.t.Helper()
	to := a.Want(302).To()
	if !strings.HasPrefix(to.String(), x.Issuer+"/authorize?") || a.SetsCookie("authorization") == nil {
		x.t.Fatalf("sent to %s with cookies %v", to.Redacted(), a.Cookies())
	}
	for name := range want {
		if got := to.Query().Get(name); got != want.Get(name) {
			x.t.Errorf("%s is %q, want %q", name, got, want.Get(name))
		}
	}
	return to
}

// fixedRedirect is a login whose redirect URI stands in the file. The file says
// port 8000; the answer is carried to where the gateway of the test listens.
func fixedRedirect(name, scope string) func(*examples, string) {
	return func(x *examples, path string) {
		b := x.browser()
		const base = "http://127.0.0.1:8000"
		to := x.sentToLogin(b.Get(path), url.Values{"redirect_uri": {base + "/" + name + "/callback"}, "scope": {scope}})
		cb, err := testproviders.Login(x.t.Context(), to.String(), "alex", "doe")
		if err != nil {
			x.t.Fatal(err)
		}
		a := b.Get(strings.Replace(cb.URL, base, x.Proxy, 1)).Want(200)
		if a.SetsCookie("session") == nil {
			x.t.Error("no session is issued")
		}
		b.Get(path).Echo().Bearer()
	}
}

// TestRootConfiguration asks each route of the kong.yml at the root for the
// result that its example documents.
func TestRootConfiguration(t *testing.T) {
	dir := t.TempDir()
	x := &examples{t: t, ca: newAuthority(t)}
	raw, err := os.ReadFile("../../kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "root.yml")
	if err := os.WriteFile(file, x.ca.replace(t, raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if x.target, err = startTarget(dir, file, "/bearer", 1); err != nil {
		t.Fatal(err)
	}
	defer x.stop()
	names := regexp.MustCompile(`(?m)^  - name: (\S+)`).FindAllStringSubmatch(string(raw), -1)
	if len(names) != len(rootRoutes) {
		t.Errorf("the file has %d routes, the test asks %d", len(names), len(rootRoutes))
	}
	for _, m := range names {
		name := strings.TrimPrefix(m[1], "example-")
		ask := rootRoutes[name]
		if ask == nil {
			t.Errorf("route %s is not asked", m[1])
			continue
		}
		t.Run(name, func(t *testing.T) { ask(x.on(t), "/"+name) })
	}
}

// rootRoutes are what each route is asked, by its name without "example-".
var rootRoutes = map[string]func(x *examples, path string){
	"open": func(x *examples, path string) { x.get(path).Want(200) },
	"bearer": func(x *examples, path string) {
		x.get(path).Want(401)
		if got := x.get(path, x.bearer(provider.TokenRequest{Scopes: []string{"profile"}})...).Echo().One("X-Authenticated-User"); got != "alex" {
			x.t.Errorf("X-Authenticated-User %q", got)
		}
	},
	"scoped": func(x *examples, path string) {
		x.get(path, x.of("")...).Want(403)
		x.get(path, x.bearer(provider.TokenRequest{Scopes: []string{"profile", "email"}})...).Want(200)
	},
	"app":  func(x *examples, path string) { x.sentToLogin(x.get(path+"/x?y=z"), nil) },
	"both": func(x *examples, path string) { x.get(path, x.of("")...).Want(200) },
	"acl-auth": func(x *examples, path string) {
		x.get(path).Want(401)
		if got := x.get(path, user("alex")...).Echo().One("X-Authenticated-Groups"); !strings.Contains(got, "openid") {
			x.t.Errorf("X-Authenticated-Groups %q", got)
		}
	},
	"amazon-cognito": func(x *examples, path string) { x.sentToLogin(x.get(path), nil) },
	"auth0": func(x *examples, path string) {
		claims := x.claims(x.get(path, client("kong", kongSecret)...).Echo().Bearer())
		if list, _ := claims["aud"].([]any); len(list) != 2 || list[1] != "https://api.example.com" {
			x.t.Errorf("the token's audience is %v", claims["aud"])
		}
		x.get(path, client("kong", "wrong")...).Want(401)
	},
	"authorization-code": func(x *examples, path string) {
		b, page := x.browser(), path+"/anything?hello=world"
		to := x.sentToLogin(b.Get(page), url.Values{"response_mode": {"form_post"}})
		cb, err := testproviders.Login(x.t.Context(), to.String(), "alex", "doe")
		if err != nil {
			x.t.Fatal(err)
		}
		a := b.Post(cb.URL, cb.Form).Want(302)
		if a.To().String() != x.Proxy+page || a.SetsCookie("session") == nil {
			x.t.Errorf("lands on %s with cookies %v", a.To(), a.Cookies())
		}
		if e := b.Get(page).Echo(); e.Query != "hello=world" || e.Bearer() == "" {
			x.t.Errorf("the service saw the query %q", e.Query)
		}
	},
	"azure-ad": fixedRedirect("azure-ad", "openid email profile kong/.default"),
	"google":   fixedRedirect("google", "openid email"),
	"okta":     fixedRedirect("okta", "openid email profile"),
	"cert-bound-access-tokens": func(x *examples, path string) {
		x.get(path, x.bearer(provider.TokenRequest{Claims: x.ca.bound()})...).Want(401)
	},
	"cert-bound-access-tokens-no-client": func(x *examples, path string) {
		x.get(path, x.bearer(provider.TokenRequest{Claims: x.ca.bound()})...).Want(401)
	},
	"claims-based-auth": func(x *examples, path string) {
		x.get(path, user("alex")...).Want(200)
		x.get(path).Want(401)
	},
	"client-credentials": func(x *examples, path string) {
		x.provider.ResetRecords()
		for range 2 {
			x.get(path, client("second", secondSecret)...).Want(200)
		}
		if n := x.provider.Count(provider.EndpointToken); n != 1 {
			x.t.Errorf("%d token requests, want one", n)
		}
		x.get(path, client("second", "wrong")...).Want(401)
	},
	"client-credentials-identity": func(x *examples, path string) {
		if got := x.get(path, client("kong", kongSecret)...).Echo().One("X-Consumer-Username"); got != "kong" {
			x.t.Errorf("X-Consumer-Username %q", got)
		}
		x.get(path, client("second", secondSecret)...).Want(403)
	},
	"consumer-auth": func(x *examples, path string) {
		e := x.get(path, user("alex")...).Echo()
		if e.One("X-Consumer-Username") != "alex" || e.One("X-Consumer-ID") == "" {
			x.t.Errorf("the service saw %q", e.Headers)
		}
		x.get(path, user("blake")...).Want(403)
	},
	"consumer-group-auth": func(x *examples, path string) {
		if got := x.get(path, client("kong", kongSecret)...).Echo().One("X-Consumer-Groups"); got != "gold" {
			x.t.Errorf("X-Consumer-Groups %q", got)
		}
		x.get(path, client("kong", "wrong")...).Want(401)
	},
	"curity": func(x *examples, path string) {
		if err := x.provider.SetUser(provider.User{Username: "phantom", Password: "doe", Claims: object{"phantom_token": "eyJ.phantom.jwt"}}); err != nil {
			x.t.Fatal(err)
		}
		e := x.get(path, x.bearer(provider.TokenRequest{User: "phantom", Client: "opaque"})...).Echo()
		if e.One("X-Phantom-Token") != "eyJ.phantom.jwt" || len(e.Get("Authorization")) != 0 {
			x.t.Errorf("the service saw %q", e.Headers)
		}
	},
	"dpop": func(x *examples, path string) {
		h := harness.NewHolder(x.t)
		access, _ := strings.CutPrefix(x.bearer(provider.TokenRequest{Claims: boundClaims(h)})[1], "Bearer ")
		e := x.get(path, "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", x.Proxy+path, access, nil)).Echo()
		if e.Bearer() != access || len(e.Get("DPoP")) != 0 {
			x.t.Errorf("the service saw %q", e.Headers)
		}
		x.get(path, "Authorization", "Bearer "+access).Want(401)
	},
	"extra-jwks": func(x *examples, path string) {
		x.get(path, x.of("/realms/one")...).Want(200)
		x.get(path, x.of("/realms/two")...).Want(200)
		x.get(path, x.of("/realms/three")...).Want(401)
	},
	"headers": func(x *examples, path string) {
		e := x.get(path, append(user("alex"), "X-Authenticated-User", "admin", "x_authenticated_user", "admin")...).Echo()
		if got := e.One("X-Authenticated-User"); got != "alex" {
			x.t.Errorf("X-Authenticated-User %q", got)
		}
	},
	"introspection-auth": func(x *examples, path string) {
		x.get(path, x.of("")...).Want(200)
		x.get(path, "Authorization", "Bearer unknown").Want(401)
	},
	"jwt-access-token": func(x *examples, path string) {
		h := x.of("")
		x.get(path + "?access_token=" + strings.TrimPrefix(h[1], "Bearer ")).Want(200)
		x.get(path, h...).Want(401)
	},
	"kong-oauth-token": func(x *examples, path string) { x.get(path, x.of("")...).Want(401) },
	"logout": func(x *examples, path string) {
		b := x.browser()
		if b.Get(path, user("alex")...).Want(200).SetsCookie("session") == nil {
			x.t.Fatal("no session is issued")
		}
		b.Get(path).Want(200)
		x.provider.ResetRecords()
		to := b.Do("POST", path, nil).Want(302).To()
		if !strings.HasPrefix(to.String(), x.Issuer+"/logout?") || to.Query().Get("id_token_hint") == "" {
			x.t.Errorf("sent to %s", to.Redacted())
		}
		if n := x.provider.Count(provider.EndpointRevocation); n != 2 {
			x.t.Errorf("%d tokens are revoked, want 2", n)
		}
		b.Get(path).Want(401)
	},
	"mtls-client-auth": func(x *examples, path string) { x.get(path, user("alex")...).Want(500) },
	"mtls-pop-from-header": func(x *examples, path string) {
		b := x.browser()
		b.HTTP.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(trustedPeer)}}).DialContext(ctx, network, addr)
		}}
		h := x.bearer(provider.TokenRequest{Claims: x.ca.bound()})
		certificate := []string{"x-client-cert", base64.StdEncoding.EncodeToString(x.ca.client)}
		b.Get(path, append(h, certificate...)...).Want(200)
		b.Get(path, h...).Want(401)
		b.Get(path, append(x.of(""), certificate...)...).Want(401)
		x.get(path, append(h, certificate...)...).Want(401) // not from the proxy
	},
	"override-jwks-endpoint": func(x *examples, path string) {
		x.get(path, x.of("")...).Want(200)
		x.get(path, x.of("/realms/other")...).Want(200)
		x.get(path, x.of("/realms/third")...).Want(401)
	},
	"password": func(x *examples, path string) {
		if claims := x.claims(x.get(path, user("alex")...).Echo().Bearer()); claims["preferred_username"] != "alex" {
			x.t.Errorf("the token is of %v", claims["preferred_username"])
		}
		x.get(path, "Authorization", harness.Basic("alex", "wrong")).Want(401)
	},
	"refresh-token": func(x *examples, path string) {
		first := x.refreshToken()
		e := x.get(path, "Refresh-Token", first).Echo()
		if e.Bearer() == "" || e.One("Refresh-Token") == first {
			x.t.Error("the service sees the used refresh token")
		}
		x.get(path, "Refresh-Token", "unknown").Want(401)
	},
	"session-auth": func(x *examples, path string) {
		b := x.browser()
		b.Get(path).Want(401)
		b.Get("/logout", user("alex")...).Want(200)
		b.Get(path).Want(200)
	},
	"token-exchange-cross-domain": func(x *examples, path string) {
		h := x.of("/realms/partner")
		e := x.get(path, h...).Echo()
		if claims := x.claims(e.Bearer()); claims["iss"] != x.Issuer {
			x.t.Errorf("the service sees a token of %v", claims["iss"])
		}
		x.get(path, x.of("/realms/stranger")...).Want(401)
	},
	"token-exchange-transformation": func(x *examples, path string) {
		h := x.of("")
		if e := x.get(path, h...).Echo(); "Bearer "+e.Bearer() == h[1] || !strings.Contains(x.claims(e.Bearer())["scope"].(string), "profile") {
			x.t.Error("a token without profile is not exchanged")
		}
		h = x.bearer(provider.TokenRequest{Scopes: []string{"openid", "profile"}})
		if e := x.get(path, h...).Echo(); "Bearer "+e.Bearer() != h[1] {
			x.t.Error("a token with profile is exchanged")
		}
	},
	"user-info-auth": func(x *examples, path string) {
		x.get(path, x.of("")...).Want(200)
		x.get(path, "Authorization", "Bearer unknown").Want(401)
	},
}
