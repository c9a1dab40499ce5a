package matrix

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/upstream"
	"kong-openid-connect/internal/testproviders"
)

// config is the plugin's configuration as a person writes it.
type config map[string]any

// with returns the configuration with members laid over it.
func (c config) with(more config) config {
	out := maps.Clone(c)
	maps.Copy(out, more)
	return out
}

// route is one row: a path and the plugin's configuration on it.
type route struct {
	path   string
	config config
}

// world is what the tests run in; it is made once, by the first test that asks.
type world struct {
	gateway *harness.Gateway
	sandbox *idp
	real    map[string]*idp  // those that this machine can run
	keys    *foundation      // providers of the foundation's modules
	legacy  *httptest.Server // exchanges tokens in its own way
}

var shared = struct {
	once  sync.Once
	world *world
	stops []func()
}{}

func TestMain(m *testing.M) {
	code := m.Run()
	if w := shared.world; code != 0 && w != nil {
		fmt.Fprintln(os.Stderr, "the end of the gateway's log:\n"+harness.Tail(w.gateway.Log()))
	}
	for i := len(shared.stops) - 1; i >= 0; i-- {
		shared.stops[i]()
	}
	testproviders.StopAll()
	os.Exit(code)
}

// env returns the running gateway and the providers around it.
func env(t *testing.T) *world {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "matrix")
		if err != nil {
			t.Fatal(err)
		}
		shared.stops = append(shared.stops, func() { os.RemoveAll(dir) })
		// First, as nothing else takes so little time to fail.
		plugin, err := harness.Build(dir)
		if err != nil {
			t.Fatal(err)
		}
		// Their own subtests, so that an absent one is skipped alone.
		real := map[string]*idp{}
		t.Run("start oidc-provider", func(t *testing.T) { real["oidc-provider"] = overHTTP(t, testproviders.OIDCProvider(t)) })
		t.Run("start keycloak", func(t *testing.T) { real["keycloak"] = overHTTP(t, testproviders.Keycloak(t)) })
		if shared.world, err = start(dir, plugin, real); err != nil {
			t.Fatal(err)
		}
	})
	if shared.world == nil {
		t.Fatal("the gateway did not start: see the first test's failure")
	}
	return shared.world
}

// start starts what the tests need beside the real providers.
func start(dir, plugin string, real map[string]*idp) (*world, error) {
	onStop := func(f func()) { shared.stops = append(shared.stops, f) }
	w := &world{real: real}
	sandbox, err := startSandboxProvider()
	if err != nil {
		return nil, err
	}
	w.sandbox = sandbox
	onStop(sandbox.stop)
	if w.keys, err = startFoundation(); err != nil {
		return nil, err
	}
	onStop(w.keys.stop)
	w.legacy = newLegacy(w)
	onStop(w.legacy.Close)
	if k, p := real["keycloak"], real["oidc-provider"]; k != nil && p != nil {
		if err := p.real.TrustIssuer(context.Background(), k.issuer, k.issuer+"/protocol/openid-connect/certs"); err != nil {
			return nil, err
		}
	}
	up, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	onStop(func() { up.Close() })
	routes := []route{{"/ready", config{"issuer": sandbox.issuer, "auth_methods": []string{"bearer"}}}}
	for _, p := range w.providers() {
		if err := p.prepare(); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		routes = append(routes, methodRoutes(p)...)
		routes = append(routes, loginRoutes(p)...)
		routes = append(routes, clientRoutes(p)...)
		routes = append(routes, requestRoutes(p)...)
		routes = append(routes, possessionRoutes(p)...)
		routes = append(routes, exchangeRoutes(w, p)...)
		routes = append(routes, providerLogoutRoutes(p)...)
	}
	if k := real["keycloak"]; k != nil {
		routes = append(routes, howToRoutes(k)...)
	}
	routes = append(routes, w.keys.routes()...)
	file := filepath.Join(dir, "kong.yml")
	var certificates, clientAuthorities []any
	var authorities []byte
	for _, p := range w.providers() {
		certificates = append(certificates, p.certificates...)
		if p.authority != nil {
			clientAuthorities = append(clientAuthorities, map[string]any{"id": p.authorityID, "cert": string(p.authority)})
		}
		authorities = append(authorities, p.authority...)
	}
	trusted := ""
	if len(authorities) > 0 {
		trusted = filepath.Join(dir, "authorities.pem")
		if err := os.WriteFile(trusted, authorities, 0o600); err != nil {
			return nil, err
		}
	}
	if err := writeConfig(file, "http://"+up.Addr(), routes, certificates, clientAuthorities); err != nil {
		return nil, err
	}
	w.gateway, err = harness.Start(harness.Options{Dir: dir, Plugin: plugin, Config: file, Workers: 2, Await: "/ready", Trusted: trusted})
	if err != nil {
		return nil, err
	}
	onStop(w.gateway.Stop)
	return w, nil
}

// writeConfig writes a declarative configuration with one route a row.
func writeConfig(file, service string, rows []route, certificates, authorities []any) error {
	var routes []map[string]any
	for i, r := range rows {
		routes = append(routes, map[string]any{
			"name": fmt.Sprintf("row-%d", i), "paths": []string{r.path},
			"plugins": append([]any{plugin("openid-connect", r.config)}, beside[r.path]...),
		})
	}
	all := map[string]any{
		"_format_version": "3.0",
		"services":        []any{map[string]any{"name": "echo", "url": service, "routes": routes}},
		"consumers":       besideConsumers,
	}
	if len(certificates) > 0 {
		all["certificates"] = certificates
	}
	if len(authorities) > 0 {
		all["ca_certificates"] = authorities
	}
	raw, err := yaml.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o600)
}

// providers returns those that run, the sandbox's first.
func (w *world) providers() []*idp {
	all := []*idp{w.sandbox}
	for _, name := range []string{"oidc-provider", "keycloak"} {
		if p := w.real[name]; p != nil {
			all = append(all, p)
		}
	}
	return all
}

// at runs a test at each provider; an absent one is skipped, or fails.
func at(t *testing.T, test func(t *testing.T, w *world, p *idp)) {
	w := env(t)
	t.Run("sandbox", func(t *testing.T) { test(t, w, w.sandbox) })
	atReal(t, test)
}

// atReal is at without the sandbox's.
func atReal(t *testing.T, test func(t *testing.T, w *world, p *idp)) {
	w := env(t)
	t.Run("oidc-provider", func(t *testing.T) {
		testproviders.OIDCProvider(t)
		test(t, w, w.real["oidc-provider"])
	})
	t.Run("keycloak", func(t *testing.T) {
		testproviders.Keycloak(t)
		test(t, w, w.real["keycloak"])
	})
}

func (w *world) browser(t testing.TB) *harness.Browser {
	return harness.NewBrowser(t, w.gateway.Proxy)
}

// overTLS is a browser that talks to the gateway over TLS.
func (w *world) overTLS(t testing.TB) *harness.Browser {
	return harness.NewBrowser(t, w.gateway.ProxyTLS)
}

// parallel sends one request twenty times at once, each from its own client.
func (w *world) parallel(t *testing.T, path string, header ...string) {
	t.Helper()
	var wg sync.WaitGroup
	status := make([]int, 20)
	for i := range status {
		b := w.browser(t)
		wg.Go(func() {
			r, err := http.NewRequest("GET", w.gateway.Proxy+path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for j := 0; j+1 < len(header); j += 2 {
				r.Header.Add(header[j], header[j+1])
			}
			resp, err := b.HTTP.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			status[i] = resp.StatusCode
		})
	}
	wg.Wait()
	for _, s := range status {
		if s != 200 {
			t.Fatalf("twenty requests at once are answered by %v", status)
		}
	}
}
