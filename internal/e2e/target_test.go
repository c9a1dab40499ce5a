package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/gateway"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// target is a running gateway with the plugin, and the provider beside it.
type target struct {
	Proxy  string // http://host:port
	Admin  string
	Issuer string

	provider *provider.Server
	second   *provider.Server // another one, for faults that outlast a test
	third    *provider.Server // one whose discovery document names another issuer
	late     string           // address of one that is down at first
	binary   string
	log      func() string // the gateway's error log
	stop     func()
	reload   func() error
}

// trustedPeer is the one address whose forwarding headers the gateway trusts.
const trustedPeer = "127.0.0.2"

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
	t, err := startTarget(dir, "../../testdata/e2e/kong.yml", 2)
	if err != nil {
		return 1, err
	}
	defer t.stop()
	env = t
	return m.Run(), nil
}

// startTarget builds the plugin server and starts everything around it.
func startTarget(dir, config string, workers int) (*target, error) {
	t := &target{binary: filepath.Join(dir, "openid-connect")}
	build := exec.Command("go", "build", "-trimpath", "-o", t.binary, "kong-openid-connect/cmd/openid-connect")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the plugin server: %w\n%s", err, out)
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
	free, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	t.late = "127.0.0.1:" + strconv.Itoa(free[0])
	up, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	stops = append(stops, func() { up.Close() })
	raw, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8080"), []byte(t.Issuer))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8090"), []byte("http://"+up.Addr()))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8081"), []byte(t.second.URL))
	raw = bytes.ReplaceAll(raw, []byte("127.0.0.1:8082"), []byte(t.late))
	raw = bytes.ReplaceAll(raw, []byte("http://127.0.0.1:8083"), []byte(t.third.URL))
	path := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return nil, err
	}
	os.Setenv("E2E_CLIENT_SECRET", "kong-secret-0123456789abcdef0123456789abcdef")
	start := t.startSandbox
	if os.Getenv("E2E_TARGET") == "kong" {
		start = t.startKong
	}
	stop, err := start(dir, path, workers)
	if err != nil {
		t.stop()
		return nil, err
	}
	stops = append(stops, stop)
	return t, t.await()
}

func (t *target) startSandbox(dir, config string, workers int) (func(), error) {
	var log syncBuffer
	g, err := gateway.Start(gateway.Options{
		Config: config, Plugin: t.binary, Workers: workers, TrustedIPs: []string{trustedPeer}, RealIPHeader: "X-Forwarded-For", Log: &log,
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, log.String())
	}
	t.Proxy, t.Admin, t.log, t.reload = "http://"+g.ProxyAddr(), "http://"+g.AdminAddr(), log.String, g.Reload
	return func() { g.Close() }, nil
}

func (t *target) startKong(dir, config string, workers int) (func(), error) {
	kong := os.Getenv("KONG_BIN")
	if kong == "" {
		kong = "kong"
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	// The socket's path must fit into 107 bytes.
	prefix, err := os.MkdirTemp("", "kong")
	if err != nil {
		return nil, err
	}
	proxy, admin := "127.0.0.1:"+strconv.Itoa(ports[0]), "127.0.0.1:"+strconv.Itoa(ports[1])
	conf := map[string]string{
		"prefix": prefix, "database": "off", "declarative_config": config, "proxy_listen": proxy, "admin_listen": admin, "admin_gui_listen": "off", "status_listen": "off",
		"anonymous_reports": "off", "nginx_worker_processes": strconv.Itoa(workers), "plugins": "bundled,openid-connect", "log_level": "info",
		"pluginserver_names":                    "openid-connect",
		"pluginserver_openid_connect_socket":    prefix + "/openid-connect.socket",
		"pluginserver_openid_connect_start_cmd": t.binary + " -kong-prefix " + prefix + " -log-level debug",
		"pluginserver_openid_connect_query_cmd": t.binary + " -dump -kong-prefix " + prefix,
		"trusted_ips":                           trustedPeer,
		"real_ip_header":                        "X-Forwarded-For",
	}
	if os.Getuid() == 0 {
		conf["nginx_user"] = "root root"
	}
	var b strings.Builder
	for k, v := range conf {
		fmt.Fprintf(&b, "%s = %s\n", k, v)
	}
	file := filepath.Join(dir, "kong.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	run := func(args ...string) error {
		// To a file: Kong's processes keep the descriptor, and a pipe would wait for them.
		file, err := os.CreateTemp(dir, "kong-out")
		if err != nil {
			return err
		}
		defer file.Close()
		cmd := exec.Command(kong, args...)
		cmd.Stdout, cmd.Stderr = file, file
		if err := cmd.Run(); err != nil {
			out, _ := os.ReadFile(file.Name())
			log, _ := os.ReadFile(prefix + "/logs/error.log")
			return fmt.Errorf("kong %s: %w\n%s\n%s", args[0], err, out, tail(string(log)))
		}
		return nil
	}
	if err := run("start", "-c", file, "-p", prefix); err != nil {
		return nil, err
	}
	t.Proxy, t.Admin = "http://"+proxy, "http://"+admin
	t.log = func() string {
		log, _ := os.ReadFile(prefix + "/logs/error.log")
		return string(log)
	}
	t.reload = func() error { return run("reload", "-c", file, "-p", prefix) }
	return func() {
		run("stop", "-p", prefix)
		if os.Getenv("E2E_KEEP") == "" {
			os.RemoveAll(prefix)
		} else {
			fmt.Println("kept", prefix)
		}
	}, nil
}

// await waits until the plugin answers.
func (t *target) await() error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get(t.Proxy + "/bearer")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == 401 {
				return nil
			}
			err = errors.New(resp.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the gateway does not answer: %w\n%s", err, tail(t.log()))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		s = "... " + s[len(s)-most:]
	}
	return s
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
