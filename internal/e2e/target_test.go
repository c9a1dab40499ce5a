package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// target is a running gateway with the plugin, and the provider beside it.
type target struct {
	Proxy    string // http://host:port
	ProxyTLS string // https://host:port
	Admin    string
	Issuer   string

	provider *provider.Server
	second   *provider.Server   // another one, for faults that outlast a test
	third    *provider.Server   // one whose discovery document names another issuer
	late     string             // address of one that is down at first
	root     *harness.Authority // of client certificates
	between  *harness.Authority // one below it
	writable bool               // the Admin API takes changes of single entities
	log      func() string      // the gateway's error log
	audit    string             // path of the plugin server's record of logins
	binary   string             // the plugin server's
	config   string             // path of the declarative file that it started with
	reload   func() error
	stop     func()
}

// trustedPeer is the one address whose forwarding headers the gateway trusts.
const trustedPeer = harness.TrustedPeer

// otherIssuer is what the third provider calls itself.
const otherIssuer = "https://other.example.test"

// env is the target of this run; TestMain sets it before any test.
var env *target

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	t, err := startTarget(dir, "../../testdata/e2e/kong.yml", "/response", 2)
	if err != nil {
		return 1, err
	}
	defer t.stop()
	env = t
	return m.Run(), nil
}

// startTarget builds the plugin server and starts everything around it.
func startTarget(dir, config, await string, workers int) (*target, error) {
	t := &target{}
	plugin, err := harness.Build(dir)
	if err != nil {
		return nil, err
	}
	var stops []func()
	t.stop = func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
	p, err := provider.Start("127.0.0.1:0", provider.Options{})
	if err != nil {
		return nil, err
	}
	t.provider, t.Issuer = p, p.URL
	stops = append(stops, func() { p.Close() })
	if t.second, err = provider.Start("127.0.0.1:0", provider.Options{}); err != nil {
		return nil, err
	}
	stops = append(stops, func() { t.second.Close() })
	if t.third, err = provider.Start("127.0.0.1:0", provider.Options{Metadata: map[string]any{"issuer": otherIssuer}}); err != nil {
		return nil, err
	}
	stops = append(stops, func() { t.third.Close() })
	free, err := harness.FreePorts(1)
	if err != nil {
		return nil, err
	}
	t.late = "127.0.0.1:" + strconv.Itoa(free[0])
	if t.root, err = harness.NewAuthority("root", nil); err != nil {
		return nil, err
	}
	stops = append(stops, t.root.Close)
	if t.between, err = harness.NewAuthority("between", t.root); err != nil {
		return nil, err
	}
	stops = append(stops, t.between.Close)
	up, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	stops = append(stops, func() { up.Close() })
	calls, err := upstream.StartGRPC("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	stops = append(stops, func() { calls.Close() })
	raw, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8080"), []byte(t.Issuer))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8090"), []byte("http://"+up.Addr()))
	raw = bytes.ReplaceAll(raw, []byte("grpc://127.0.0.1:8091"), []byte("grpc://"+calls.Addr()))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8081"), []byte(t.second.URL))
	raw = bytes.ReplaceAll(raw, []byte("127.0.0.1:8082"), []byte(t.late))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8083"), []byte(t.third.URL))
	for placeholder, a := range map[string]*harness.Authority{`"@ROOT@"`: t.root, `"@BETWEEN@"`: t.between} {
		raw = bytes.ReplaceAll(raw, []byte(placeholder), strconv.AppendQuote(nil, string(a.PEM())))
	}
	path := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return nil, err
	}
	os.Setenv("E2E_CLIENT_SECRET", "kong-secret-0123456789abcdef0123456789abcdef")
	g, err := harness.Start(harness.Options{Dir: dir, Plugin: plugin, Config: path, Workers: workers, Await: await})
	if err != nil {
		t.stop()
		return nil, err
	}
	t.Proxy, t.ProxyTLS, t.Admin, t.log, t.audit, t.writable, t.binary, t.config, t.reload = g.Proxy, g.ProxyTLS, g.Admin, g.Log, g.Audit, g.Writable, plugin, path, g.Reload
	stops = append(stops, g.Stop)
	return t, nil
}
