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
        backchannel_logout_uri_suffix: /backchannel
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
  - name: app
    paths: [/app]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [authorization_code, session]
        login_action: redirect
        login_tokens: []
        session_cookie_name: app
        authorization_cookie_name: applogin
        session_storage: APPSTORAGE
        session_store_metadata: false
  - name: generated-secret
    paths: [/generated]
    plugins:
    - name: openid-connect
      config:
        issuer: ISSUER
        client_id: [kong]
        client_secret: [kong-secret-0123456789abcdef0123456789abcdef]
        auth_methods: [bearer, password, session]
        session_cookie_name: generated
  - name: cookie-listed
    paths: [/cookie]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: listed
        session_storage: cookie
        session_store_metadata: false
        session_revocation_storage: redis
  - name: sentinels
    paths: [/sentinels]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: sentinels
        redis: {prefix: nodes, password: server-password, sentinel_master: main, sentinel_role: master, sentinel_password: sentinel-password, sentinel_nodes: [SENTINELS]}
  - name: cluster
    paths: [/cluster]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: cluster
        redis: {prefix: nodes, cluster_nodes: [CLUSTER]}
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
  - name: agreed-by-cluster-cache
    paths: [/cluster-due]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        session_cookie_name: xdue
        session_storage: cookie
        session_store_metadata: false
        leeway: 600
        cache_tokens: false
        cluster_cache_strategy: redis
        cluster_cache_redis: {host: 127.0.0.1, port: REDIS}
  - name: shared
    paths: [/shared]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        auth_methods: [introspection, password]
        backchannel_logout_uri_suffix: null
        cluster_cache_strategy: redis
        cluster_cache_items: [introspection, tokens]
        cluster_cache_redis: {host: 127.0.0.1, port: REDIS}
        cache_tokens_salt: shared
  - name: dpop
    paths: [/dpop]
    plugins:
    - name: openid-connect
      config: &dpop
        issuer: ISSUER
        auth_methods: [bearer]
        proof_of_possession_dpop: strict
        session_secret: a-secret-of-the-nodes-0123456789
  - name: dpop-by-sessions-redis
    paths: [/dpop-sessions]
    plugins:
    - name: openid-connect
      config:
        <<: *dpop
        session_storage: redis
        redis: *server
  - name: dpop-by-cluster-cache
    paths: [/dpop-cluster]
    plugins:
    - name: openid-connect
      config:
        <<: *dpop
        cluster_cache_strategy: redis
        cluster_cache_redis: {host: 127.0.0.1, port: REDIS}
  - name: dpop-nonce
    paths: [/dpop-nonce]
    plugins:
    - name: openid-connect
      config:
        <<: *dpop
        dpop_use_nonce: true
  - name: dpop-nonce-of-a-generated-secret
    paths: [/dpop-generated]
    plugins:
    - name: openid-connect
      config:
        issuer: ISSUER
        auth_methods: [bearer]
        proof_of_possession_dpop: strict
        dpop_use_nonce: true
  - name: client-dpop
    paths: [/client-dpop]
    plugins:
    - name: openid-connect
      config:
        <<: *std
        client_dpop: required
        session_cookie_name: bound
        session_storage: cookie
        session_store_metadata: false
        search_user_info: true
        cache_user_info: false
        upstream_user_info_header: x-userinfo
`

// cluster is two gateways before one provider, with what they share.
type cluster struct {
	provider  *provider.Server
	redis     *testservers.Redis
	memcached *testservers.Memcached
	sentinels *testservers.Sentinels // nil with a database
	database  *harness.Database      // nil: none
	a, b      *harness.Gateway
}

func start(t *testing.T, database *harness.Database) *cluster {
	t.Helper()
	return startWith(t, database, config, 0)
}

// startWith is start with a declarative configuration of the test's own, and
// with plugin servers of the given -cache-memory.
func startWith(t *testing.T, database *harness.Database, config string, cacheMemory int) *cluster {
	t.Helper()
	c := &cluster{database: database, redis: testservers.StartRedis(t, testservers.RedisOptions{Persist: true}), memcached: testservers.StartMemcached(t, testservers.MemcachedOptions{})}
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
	storage := "redis"
	sentinels, members := []string{"{host: 127.0.0.1, port: 1}"}, []string{"{ip: 127.0.0.1, port: 1}"} // nobody asks them
	if database != nil {
		storage = "cookie"
	} else {
		c.sentinels = testservers.StartSentinels(t, testservers.SentinelOptions{Password: "server-password", SentinelPassword: "sentinel-password"})
		sentinels, members = nil, nil
		for _, n := range c.sentinels.Nodes {
			sentinels = append(sentinels, fmt.Sprintf("{host: %s, port: %d}", n.Host, n.Port))
		}
		for _, n := range testservers.StartCluster(t, testservers.RedisOptions{}).Nodes {
			members = append(members, fmt.Sprintf("{ip: %s, port: %d}", n.Host, n.Port))
		}
	}
	text := strings.NewReplacer("UPSTREAM", up.Addr(), "ISSUER", c.provider.URL, "REDIS", fmt.Sprint(c.redis.Port), "MEMCACHED", fmt.Sprint(c.memcached.Port), "APPSTORAGE", storage,
		"SENTINELS", strings.Join(sentinels, ", "), "CLUSTER", strings.Join(members, ", ")).Replace(config)
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
		if *g, err = harness.Start(harness.Options{Dir: dir, Plugin: plugin, Config: file, Workers: 2, Await: "/redis", Database: database, CacheMemory: cacheMemory}); err != nil {
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
	c.lifetimes(t, seconds, 0)
}

// lifetimes sets that of new ID tokens too; 0 is the provider's default.
func (c *cluster) lifetimes(t *testing.T, access, id int) {
	t.Helper()
	for _, k := range provider.DefaultClients() {
		if k.ID == "kong" {
			k.AccessTokenSeconds, k.IDTokenSeconds = access, id
			if err := c.provider.SetClient(k); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (c *cluster) onA(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.a.Proxy) }
func (c *cluster) onB(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.b.Proxy) }

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

// refreshOnce sends twenty requests at once to both nodes with a session whose
// tokens are due, over and over. The provider rotates refresh tokens and revokes
// the grant of one that comes twice.
func (c *cluster) refreshOnce(t *testing.T, route, cookieName string, rounds int) {
	t.Helper()
	for range rounds {
		c.lifetime(t, 100)
		cookie := c.login(t, route, cookieName)
		c.lifetime(t, 3600)
		c.provider.ResetRecords()
		var wg sync.WaitGroup
		for i := range 20 {
			b := harness.NewBrowser(t, []*harness.Gateway{c.a, c.b}[i%2].Proxy)
			wg.Go(func() {
				a := b.Get(route, "Cookie", cookie)
				if a.StatusCode != 200 || a.SetsCookie(cookieName) == nil {
					t.Errorf("status %d, cookies %v: %s", a.StatusCode, a.Header["Set-Cookie"], a.Text)
				}
			})
		}
		wg.Wait()
		if r := c.provider.Records(provider.EndpointToken); len(r) != 1 {
			for _, one := range r {
				t.Logf("%s %s: %d", one.Time, one.GrantType, one.Status)
			}
			t.Fatalf("%d refreshes", len(r))
		}
	}
}

func TestNodes(t *testing.T) {
	c := start(t, nil)
	onA, onB := c.onA, c.onB

	for _, s := range []struct{ name, route, cookie string }{
		{"redis", "/redis", "redis"}, {"memcached", "/memcached", "mem"}, {"sentinels", "/sentinels", "sentinels"}, {"cluster", "/cluster", "cluster"},
	} {
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
	for _, s := range []struct {
		name, route, cookie string
		rounds              int
	}{{"by Redis", "/due", "due", 100}, {"by the Redis of the cluster cache", "/cluster-due", "xdue", 20}} {
		t.Run("case 48: twenty requests on two nodes refresh once, "+s.name, func(t *testing.T) {
			c.refreshOnce(t, s.route, s.cookie, s.rounds)
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
	c.logouts(t)
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
	t.Run("case 47: Redis restarts, and the next request is served", func(t *testing.T) {
		cookie := c.login(t, "/redis", "redis")
		var wg sync.WaitGroup
		for range 8 { // fills the pools of both nodes
			wg.Go(func() { onA(t).Get("/redis", "Cookie", cookie).Want(200) })
			wg.Go(func() { onB(t).Get("/redis", "Cookie", cookie).Want(200) })
		}
		wg.Wait()
		c.redis.Kill()
		c.redis.Start()
		onA(t).Get("/redis", "Cookie", cookie).Want(200)
		onB(t).Get("/redis", "Cookie", cookie).Want(200)
	})
	for _, route := range []string{"/dpop-sessions", "/dpop-cluster"} {
		t.Run("case 53: a proof that the other node has seen, by Redis at "+route, func(t *testing.T) { c.proofsAreShared(t, route) })
	}
	t.Run("case 54: a nonce of one node is good at the other", func(t *testing.T) { c.noncesAreShared(t, "/dpop-nonce") })
	t.Run("client_dpop: tokens of one node are used by the other", c.boundTokensAreShared)
	t.Run("DPoP with Redis down is 503", func(t *testing.T) {
		h := harness.NewHolder(t)
		access := c.boundTo(t, h)
		c.redis.Kill()
		defer c.redis.Start()
		proof := h.Proof("GET", external+"/dpop-sessions", access, nil)
		if a := c.proves(t, c.a, "/dpop-sessions", access, proof).Want(503); a.Header.Get("Retry-After") == "" {
			t.Error("the answer does not say when to come again")
		}
	})
	t.Run("cases 46 and 47: Redis is killed under load and comes back", c.killedUnderLoad)
	t.Run("case 46: Redis down is 503, and sessions come back", func(t *testing.T) {
		cookie := c.login(t, "/redis", "redis")
		callback, login := c.atCallback(t)
		c.redis.Kill()
		if a := c.balanced(t, c.a, callback, login).Want(503); a.SetsCookie("app") != nil {
			t.Error("a login that could not be stored sets a session cookie")
		}
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
