package nodes

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
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

// Each cycle of the chaos is a fault at one edge, time to settle, and quiet.
const (
	faultTime  = 1500 * time.Millisecond
	settleTime = 5500 * time.Millisecond // a failed discovery pauses for 5 s
	settleMost = 30 * time.Second        // until every operation was right again on both nodes
	quietTime  = 2 * time.Second
)

// operation is one kind of request of the mixed traffic.
type operation struct {
	name string
	// passes says that the request has to reach the service; all others must never.
	passes bool
	do     func(g *harness.Gateway) (*http.Response, error)
}

// mistake is an answer that was not what its operation asks for.
type mistake struct {
	op         string
	begin, end time.Time
	text       string
	passed     bool // a request that has to be denied reached the service
}

// TestChaos runs mixed traffic of all methods over two nodes while faults are
// injected at every edge, one after another: the provider, Redis, memcached,
// Postgres, the plugin process, the gateway's configuration. No unauthorized
// request passes at any time, and every authorized one passes in the quiet that
// follows each fault. The node whose process lives on is no larger in the end.
//
// CHAOS_TIME is how long it goes on (`make chaos`: 10m); one round of all faults
// where it is not set.
func TestChaos(t *testing.T) {
	limit := time.Duration(0)
	if v := os.Getenv("CHAOS_TIME"); v != "" {
		var err error
		if limit, err = time.ParseDuration(v); err != nil {
			t.Fatalf("CHAOS_TIME: %v", err)
		}
	}
	c := startWith(t, postgres(t), config+chaosRoutes)
	c.lifetime(t, 4*3600)
	ops := c.operations(t)
	l := &traffic{stop: make(chan struct{}), sent: map[string]int{}, right: map[string]time.Time{}}
	for n := range 4 {
		l.wg.Go(func() { l.run(n, n%2, []*harness.Gateway{c.a, c.b}[n%2], ops) })
	}
	stopped := false
	defer func() {
		if !stopped {
			close(l.stop)
			l.wg.Wait()
		}
	}()
	var quiet []window
	var first, last footprint
	began := time.Now()
	faults := c.edges(t)
	for round := 0; ; round++ {
		for _, f := range faults {
			mend := f.inject()
			time.Sleep(faultTime)
			mend()
			mended := time.Now()
			time.Sleep(settleTime)
			for !l.rightSince(mended, ops) {
				if time.Since(mended) > settleMost {
					t.Errorf("after %q not every operation was right again within %v", f.name, settleMost)
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			from := time.Now()
			time.Sleep(quietTime)
			quiet = append(quiet, window{f.name, from, time.Now()})
			if limit > 0 && time.Since(began) > limit {
				break
			}
		}
		last = c.footprint(t)
		if round == 0 {
			first = last
		}
		if time.Since(began) >= limit {
			break
		}
	}
	close(l.stop)
	l.wg.Wait()
	stopped = true

	l.mu.Lock()
	defer l.mu.Unlock()
	excused := 0
	for _, m := range l.wrong {
		in := ""
		for _, w := range quiet {
			if m.begin.After(w.from) && m.end.Before(w.to) {
				in = w.after
			}
		}
		switch {
		case m.passed:
			t.Errorf("%s reached the service %v after the beginning: %s", m.op, m.begin.Sub(began), m.text)
		case in != "":
			t.Errorf("%s, in the quiet after %q, %v after the beginning: %s", m.op, in, m.begin.Sub(began), m.text)
		default:
			excused++
		}
	}
	for _, o := range ops {
		if l.sent[o.name] == 0 {
			t.Errorf("%s was never sent", o.name)
		}
	}
	if last.goroutines > first.goroutines+50 {
		t.Errorf("%v goroutines after the first round, %v in the end", first.goroutines, last.goroutines)
	}
	if most := 1.5*first.heap + 16<<20; last.heap > most {
		t.Errorf("a heap of %.0f bytes after the first round, of %.0f in the end", first.heap, last.heap)
	}
	t.Logf("%v: %d faults, %d requests, of which %d were not served while a fault lasted; goroutines %v to %v, heap %.1f to %.1f MiB",
		time.Since(began).Round(time.Second), len(quiet), l.total(), excused, first.goroutines, last.goroutines, first.heap/(1<<20), last.heap/(1<<20))
}

type window struct {
	after    string
	from, to time.Time
}

// traffic sends operations until it is stopped, and keeps what went wrong.
type traffic struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	sent  map[string]int
	right map[string]time.Time // when an operation was last begun that was right, by node
	wrong []mistake
}

func at(node int, op string) string { return fmt.Sprint(node, op) }

// rightSince reports whether every operation was right on both nodes since then.
func (l *traffic) rightSince(when time.Time, ops []operation) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range ops {
		if l.right[at(0, o.name)].Before(when) || l.right[at(1, o.name)].Before(when) {
			return false
		}
	}
	return true
}

func (l *traffic) total() (n int) {
	for _, k := range l.sent {
		n += k
	}
	return n
}

func (l *traffic) run(seed, node int, g *harness.Gateway, ops []operation) {
	order := rand.New(rand.NewPCG(uint64(seed), 1))
	for {
		for _, i := range order.Perm(len(ops)) {
			select {
			case <-l.stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			l.one(node, g, &ops[i])
		}
	}
}

func (l *traffic) one(node int, g *harness.Gateway, o *operation) {
	m := mistake{op: o.name, begin: time.Now()}
	r, err := o.do(g)
	right := false
	if err != nil {
		m.text = err.Error()
	} else {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		r.Body.Close()
		reached := r.StatusCode == 200 && bytes.Contains(body, []byte(`"headers"`))
		m.text = fmt.Sprintf("%s %.200s", r.Status, body)
		m.passed = reached && !o.passes
		right = reached == o.passes && (o.passes || r.StatusCode < 500)
	}
	m.end = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[o.name]++
	if !right {
		l.wrong = append(l.wrong, m)
		return
	}
	l.right[at(node, o.name)] = m.begin
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

// footprint is what the plugin server of node B, which lives through it all, takes.
type footprint struct{ goroutines, heap float64 }

func (c *cluster) footprint(t *testing.T) (f footprint) {
	t.Helper()
	r, err := chaosClient.Get(c.b.Admin + "/openid-connect/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_goroutines":
			f.goroutines = v
		case "go_memstats_heap_alloc_bytes":
			f.heap = v
		}
	}
	if f.goroutines == 0 || f.heap == 0 {
		t.Fatalf("the metrics do not tell: %s", r.Status)
	}
	return f
}
