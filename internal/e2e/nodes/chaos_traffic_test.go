package nodes

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// chaosRoutes stand beside those of config: one for each method that has none there.
const chaosRoutes = `
  - name: userinfo
    paths: [/userinfo]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [userinfo]
        backchannel_logout_uri_suffix: null
        cache_ttl: 1
  - name: refresh
    paths: [/refresh]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [refresh_token]
        backchannel_logout_uri_suffix: null
        refresh_token_param_name: refresh_token
        cache_tokens: false
  - name: client-credentials
    paths: [/clients]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [client_credentials]
        backchannel_logout_uri_suffix: null
        cache_ttl: 1
`

// operation is one kind of request of the mixed traffic.
type operation struct {
	name string
	// passes says that the request has to reach the service; all others must never.
	passes bool
	do     func(g *harness.Gateway) (*http.Response, error)
}

// chaosClient follows nothing and keeps no connection: each request meets the
// gateway as it is.
var chaosClient = &http.Client{
	Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// operations returns the mixed traffic.
func (c *cluster) operations(t *testing.T) []operation {
	t.Helper()
	mint := func(q provider.TokenRequest) string {
		q.Seconds = 4 * 3600
		tok, err := c.provider.Mint(q)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + tok
	}
	get := func(path string, header ...string) func(g *harness.Gateway) (*http.Response, error) {
		return func(g *harness.Gateway) (*http.Response, error) {
			r, err := http.NewRequest("GET", g.Proxy+path, nil)
			if err != nil {
				return nil, err
			}
			for i := 0; i+1 < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			return chaosClient.Do(r)
		}
	}
	const authorization = "Authorization"
	stored, sealed, cached := c.login(t, "/redis", "redis"), c.login(t, "/cookie-due", "cdue"), c.login(t, "/memcached", "mem")
	opaque := mint(provider.TokenRequest{Client: "opaque"})
	good := mint(provider.TokenRequest{})
	forged := sealed[:len(sealed)-12] + strings.Repeat("A", 12)
	return []operation{
		{"bearer", true, get("/generated", authorization, good)},
		{"introspection", true, get("/shared", authorization, opaque)},
		{"userinfo", true, get("/userinfo", authorization, good)},
		{"password", true, get("/shared", authorization, harness.Basic("alex", "doe"))},
		{"client credentials", true, get("/clients", authorization, harness.Basic("kong", "kong-secret-0123456789abcdef0123456789abcdef"))},
		{"refresh token", true, c.refreshGrant},
		{"session in Redis", true, get("/redis", "Cookie", stored)},
		{"session in a cookie", true, get("/cookie-due", "Cookie", sealed)},
		{"session that is due", true, c.startAndRenew},
		{"login", true, c.loginAndWork},
		// memcached forgets what it held when it is killed: no session is right then.
		{"session in memcached that may be lost", false, func(g *harness.Gateway) (*http.Response, error) {
			r, err := get("/memcached", "Cookie", cached)(g)
			if err == nil && r.StatusCode == 200 {
				r.StatusCode = 204
			}
			return r, err
		}},
		{"no credential", false, get("/generated")},
		{"bad signature", false, get("/generated", authorization, mint(provider.TokenRequest{Faults: []string{"bad-signature"}}))},
		{"foreign key", false, get("/generated", authorization, mint(provider.TokenRequest{Faults: []string{"foreign-key"}}))},
		{"expired", false, get("/generated", authorization, mint(provider.TokenRequest{Faults: []string{"expired"}}))},
		{"wrong issuer", false, get("/generated", authorization, mint(provider.TokenRequest{Faults: []string{"wrong-iss"}}))},
		{"an unknown token", false, get("/shared", authorization, "Bearer nobody-ever-issued-this")},
		{"wrong password", false, get("/shared", authorization, harness.Basic("alex", "wrong"))},
		{"wrong client secret", false, get("/clients", authorization, harness.Basic("kong", "wrong"))},
		{"forged session", false, get("/cookie-due", "Cookie", forged)},
		{"session of another route", false, get("/memcached", "Cookie", "mem="+strings.TrimPrefix(stored, "redis="))},
		{"a callback that nobody began", false, get("/app?code=x&state=" + strings.Repeat("y", 80))},
	}
}

// refreshGrant takes a refresh token from the provider and presents it.
func (c *cluster) refreshGrant(g *harness.Gateway) (*http.Response, error) {
	form := url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid offline_access"}}
	r, err := http.NewRequest("POST", c.provider.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("kong", "kong-secret-0123456789abcdef0123456789abcdef")
	a, err := chaosClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, err
	}
	tok := regexp.MustCompile(`"refresh_token":"([^"]+)"`).FindSubmatch(body)
	if tok == nil {
		return nil, fmt.Errorf("the provider gave no refresh token: %s", a.Status)
	}
	r, err = http.NewRequest("GET", g.Proxy+"/refresh", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Refresh-Token", string(tok[1]))
	return chaosClient.Do(r)
}

// startAndRenew begins a session whose tokens are due at once, and takes it up.
func (c *cluster) startAndRenew(g *harness.Gateway) (*http.Response, error) {
	r, err := http.NewRequest("GET", g.Proxy+"/due", nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth("alex", "doe")
	a, err := chaosClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != 200 || len(a.Cookies()) == 0 {
		return nil, fmt.Errorf("no session was begun: %s", a.Status)
	}
	if r, err = http.NewRequest("GET", g.Proxy+"/due", nil); err != nil {
		return nil, err
	}
	for _, k := range a.Cookies() {
		r.AddCookie(k)
	}
	return chaosClient.Do(r)
}

// loginAndWork is a browser that logs in and lands on its page.
func (c *cluster) loginAndWork(g *harness.Gateway) (*http.Response, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	b := &http.Client{Timeout: 40 * time.Second, Jar: jar, Transport: chaosClient.Transport, CheckRedirect: chaosClient.CheckRedirect}
	a, err := b.Get(g.Proxy + "/app")
	if err != nil {
		return nil, err
	}
	a.Body.Close()
	to, err := a.Location()
	if err != nil {
		return nil, fmt.Errorf("no redirect to the provider: %s", a.Status)
	}
	at, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	back, err := provider.SignIn(ctx, &http.Client{Jar: at, Timeout: 20 * time.Second}, to.String(), "alex", "doe")
	if err != nil {
		return nil, err
	}
	if a, err = b.Get(back.URL.String()); err != nil {
		return nil, err
	}
	a.Body.Close()
	page, err := a.Location()
	if err != nil {
		return nil, fmt.Errorf("no redirect to the page: %s", a.Status)
	}
	return b.Get(page.String())
}

// edge is a fault at one edge of the plugin.
type edge struct {
	name   string
	inject func() (mend func())
}

func (c *cluster) edges(t *testing.T) []edge {
	fault := func(f provider.Fault) func() func() {
		return func() func() {
			if err := c.provider.Faults().Set(f); err != nil {
				t.Error(err)
			}
			return c.provider.Faults().Clear
		}
	}
	must := func(what string, err error) {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	return []edge{
		{"provider resets connections", fault(provider.Fault{Name: "connection-reset"})},
		{"Redis is killed", func() func() { c.redis.Kill(); return c.redis.Start }},
		{"provider answers 500", fault(provider.Fault{Name: "status"})},
		{"plugin process is killed", func() func() {
			must("kill", syscall.Kill(harness.PluginPID(t, c.a.Log()), syscall.SIGKILL))
			return func() {}
		}},
		{"provider's answers break off", fault(provider.Fault{Name: "truncated"})},
		{"Postgres is stopped", func() func() {
			c.database.Stop()
			return func() { must("start of Postgres", c.database.Start()) }
		}},
		{"the gateway reloads", func() func() { must("reload", c.a.Reload()); return func() {} }},
		{"memcached is killed", func() func() { c.memcached.Kill(); return c.memcached.Start }},
		{"provider is slow", fault(provider.Fault{Name: "slow", Delay: provider.Duration(700 * time.Millisecond)})},
	}
}
