package nodes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
	"kong-openid-connect/internal/testservers"
)

const config = `
_format_version: "3.0"
services:
- name: echo
  url: http://UPSTREAM
  routes:
  - name: redis
    paths: [/redis]
    plugins:
    - name: openid-connect
      config: &std
        issuer: ISSUER
        client_id: [kong]
        client_secret: [kong-secret-0123456789abcdef0123456789abcdef]
        auth_methods: [password, session]
        session_secret: a-secret-of-the-nodes-0123456789
        session_cookie_name: redis
        session_storage: redis
        session_store_metadata: true
        session_hash_subject: true
        session_hash_storage_key: true
        redis: &server {host: 127.0.0.1, port: REDIS, prefix: nodes}
        logout_uri_suffix: /out
        logout_redirect_uri: ["http://127.0.0.1/bye"]
        cache_tokens_salt: nodes
  - name: always-due
    paths: [/due]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: due
        leeway: 600
        cache_tokens: false
  - name: cookie-due
    paths: [/cookie-due]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: cdue
        session_storage: cookie
        session_store_metadata: false
        leeway: 600
        cache_tokens: false
  - name: memcached
    paths: [/memcached]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: mem
        session_storage: memcached
        session_store_metadata: false
        session_memcached_port: MEMCACHED
  - name: shared
    paths: [/shared]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [introspection, password]
        cluster_cache_strategy: redis
        cluster_cache_items: [introspection, tokens]
        cluster_cache_redis: {host: 127.0.0.1, port: REDIS}
        cache_tokens_salt: shared
`

// cluster is two gateways before one provider, with what they share.
type cluster struct {
	provider  *provider.Server
	redis     *testservers.Redis
	memcached *testservers.Memcached
	a, b      *harness.Gateway
}

func start(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{redis: testservers.StartRedis(t, testservers.RedisOptions{Persist: true}), memcached: testservers.StartMemcached(t, testservers.MemcachedOptions{})}
	var err error
	if c.provider, err = provider.Start("127.0.0.1:0", provider.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.provider.Close() })
	up, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	text := strings.NewReplacer("UPSTREAM", up.Addr(), "ISSUER", c.provider.URL, "REDIS", fmt.Sprint(c.redis.Port), "MEMCACHED", fmt.Sprint(c.memcached.Port)).Replace(config)
	plugin, err := harness.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []**harness.Gateway{&c.a, &c.b} {
		dir, err := os.MkdirTemp("", "nodes")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		file := filepath.Join(dir, "kong.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if *g, err = harness.Start(harness.Options{Dir: dir, Plugin: plugin, Config: file, Workers: 2, Await: "/redis"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*g).Stop)
	}
	return c
}

// lifetime sets how long new access tokens live. The routes' leeway is 600 s, so
// that a token of a shorter life is due at once, and one of a longer is not.
func (c *cluster) lifetime(t *testing.T, seconds int) {
	t.Helper()
	for _, k := range provider.DefaultClients() {
		if k.ID == "kong" {
			k.AccessTokenSeconds = seconds
			if err := c.provider.SetClient(k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// login returns the Cookie header of a new session at a route of node A.
func (c *cluster) login(t *testing.T, route, name string) string {
	t.Helper()
	a := harness.NewBrowser(t, c.a.Proxy).Get(route, "Authorization", harness.Basic("alex", "doe")).Want(200)
	k := a.SetsCookie(name)
	if k == nil {
		t.Fatalf("no cookie %s", name)
	}
	return name + "=" + k.Value
}

func TestNodes(t *testing.T) {
	c := start(t)
	onA := func(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.a.Proxy) }
	onB := func(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.b.Proxy) }

	for _, s := range []struct{ name, route, cookie string }{{"redis", "/redis", "redis"}, {"memcached", "/memcached", "mem"}} {
		t.Run(s.name+": a session of one node serves on the other, and ends on both", func(t *testing.T) {
			cookie := c.login(t, s.route, s.cookie)
			if len(cookie) > 400 {
				t.Errorf("a cookie of %d bytes, though its data is stored elsewhere", len(cookie))
			}
			onB(t).Get(s.route, "Cookie", cookie).Want(200)
			onB(t).Do("POST", s.route+"/out", nil, "Cookie", cookie).Want(302)
			onA(t).Get(s.route, "Cookie", cookie).Want(401)
			onB(t).Get(s.route, "Cookie", cookie).Want(401)
		})
	}
	t.Run("the storage alone shows no token", func(t *testing.T) {
		c.login(t, "/redis", "redis")
		keys := c.redis.MustDo("KEYS", "*")
		if strings.Contains(keys, "sub-alex") {
			t.Error("the subject stands in a key")
		}
	})
	for _, s := range []struct{ name, route, cookie string }{{"redis", "/due", "due"}} {
		t.Run("case 48: twenty requests on two nodes refresh once, "+s.name, func(t *testing.T) {
			for range 100 {
				c.lifetime(t, 100)
				cookie := c.login(t, s.route, s.cookie)
				c.lifetime(t, 3600)
				c.provider.ResetRecords()
				var wg sync.WaitGroup
				for i := range 20 {
					wg.Go(func() {
						b := onA(t)
						if i%2 == 1 {
							b = onB(t)
						}
						b.Get(s.route, "Cookie", cookie).Want(200)
					})
				}
				wg.Wait()
				if r := c.provider.Records(provider.EndpointToken); len(r) != 1 {
					for _, one := range r {
						t.Logf("%s %s %s: %d", one.Time, one.GrantType, one.Form.Get("refresh_token"), one.Status)
					}
					t.Fatalf("%d refreshes", len(r))
				}
			}
		})
	}
	t.Run("one node refreshes a session in a cookie once", func(t *testing.T) {
		c.lifetime(t, 100)
		cookie := c.login(t, "/cookie-due", "cdue")
		c.lifetime(t, 3600)
		c.provider.ResetRecords()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { onA(t).Get("/cookie-due", "Cookie", cookie).Want(200) })
		}
		wg.Wait()
		if n := len(c.provider.Records(provider.EndpointToken)); n != 1 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("case 49: a refresh that fails leaves the session while its token lives", func(t *testing.T) {
		c.lifetime(t, 100)
		cookie := c.login(t, "/due", "due")
		if err := c.provider.Faults().Set(provider.Fault{Name: "status", Endpoint: provider.EndpointToken, Status: 503}); err != nil {
			t.Fatal(err)
		}
		onA(t).Get("/due", "Cookie", cookie).Want(200)
		c.provider.Faults().Clear()
		if err := c.provider.Faults().Set(provider.Fault{Name: "status", Endpoint: provider.EndpointToken, Status: 400, Value: "invalid_grant"}); err != nil {
			t.Fatal(err)
		}
		onA(t).Get("/due", "Cookie", cookie).Want(401)
		c.provider.Faults().Clear()
		onB(t).Get("/due", "Cookie", cookie).Want(401)
	})
	t.Run("the cluster cache: the second node does not ask the provider", func(t *testing.T) {
		tok, err := c.provider.Mint(provider.TokenRequest{Client: "opaque"})
		if err != nil {
			t.Fatal(err)
		}
		c.provider.ResetRecords()
		onA(t).Get("/shared", "Authorization", "Bearer "+tok).Want(200)
		onB(t).Get("/shared", "Authorization", "Bearer "+tok).Want(200)
		if n := c.provider.Count(provider.EndpointIntrospection); n != 1 {
			t.Errorf("%d introspections", n)
		}
		onA(t).Get("/shared", "Authorization", harness.Basic("blake", "doe")).Want(200)
		onB(t).Get("/shared", "Authorization", harness.Basic("blake", "doe")).Want(200)
		if n := c.provider.Count(provider.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("case 46: Redis down is 503, and sessions come back", func(t *testing.T) {
		cookie := c.login(t, "/redis", "redis")
		c.redis.Kill()
		a := onA(t).Get("/redis", "Cookie", cookie).Want(503)
		if a.Header.Get("Retry-After") == "" || a.SetsCookie("redis") != nil {
			t.Error("the answer does not say when to come again, or sets a cookie")
		}
		if a := onA(t).Get("/redis", "Authorization", harness.Basic("alex", "doe")); a.SetsCookie("redis") != nil {
			t.Error("a cookie claims a session that was never stored")
		}
		onA(t).Get("/shared", "Authorization", harness.Basic("casey", "doe")).Want(200)
		c.redis.Start()
		for deadline := time.Now().Add(10 * time.Second); ; {
			if onB(t).Get("/redis", "Cookie", cookie).StatusCode == 200 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the session does not come back")
			}
		}
	})
}
