package harness

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"kong-openid-connect/internal/sandbox/gateway"
)

// TrustedPeer is the one address whose forwarding headers the gateway trusts.
const TrustedPeer = "127.0.0.2"

// Options describe a gateway.
type Options struct {
	Dir     string // for files of this run
	Plugin  string // the built plugin server
	Config  string // path of a declarative configuration
	Workers int    // unless E2E_WORKERS says another number
	Await   string // path that answers 401 once the plugin works
	// CacheMemory is the plugin server's -cache-memory; 0 for its default.
	CacheMemory int
	// Shared is the -kong-prefix of a plugin server that somebody else runs; "":
	// the gateway launches one.
	Shared string
	// Settings of kong.conf that go before the harness's own, on a real Kong.
	Settings map[string]string
	Trusted  string // file of authorities that sign providers' certificates; "" for the system's
	// Database is the cluster's; nil for none, or on a real Kong for one of the
	// gateway's own with E2E_DATABASE=postgres.
	Database *Database
}

// flags are those of the plugin server, for a gateway whose Admin API is at admin.
func (o *Options) flags(admin string) []string {
	f := []string{"-admin-api", "http://" + admin, "-audit-log", o.audit(), "-admin-sessions"}
	if o.CacheMemory > 0 {
		f = append(f, "-cache-memory", strconv.Itoa(o.CacheMemory))
	}
	return f
}

// socket is the plugin server's where somebody else runs it, "" otherwise.
func (o *Options) socket() string {
	if o.Shared == "" {
		return ""
	}
	return filepath.Join(o.Shared, "openid-connect.socket")
}

func (o *Options) audit() string { return filepath.Join(o.Dir, "audit.log") }

// Gateway is a running gateway with the plugin.
type Gateway struct {
	Proxy, Admin string        // http://host:port
	ProxyTLS     string        // https://host:port; it asks for a client certificate and takes any
	Writable     bool          // the Admin API takes changes of single entities
	Log          func() string // the gateway's error log
	Audit        string        // path of the plugin server's record of logins
	Reload       func() error
	Stop         func()
}

// RealKong reports whether the tests run on a real Kong (E2E_TARGET=kong).
func RealKong() bool { return os.Getenv("E2E_TARGET") == "kong" }

// Build builds the plugin server into dir and returns its path.
func Build(dir string) (string, error) {
	binary := filepath.Join(dir, "openid-connect")
	build := exec.Command("go", "build", "-o", binary, "kong-openid-connect/cmd/openid-connect")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the plugin server: %w\n%s", err, out)
	}
	return binary, nil
}

// Start starts the gateway and waits until the plugin answers.
func Start(o Options) (*Gateway, error) {
	start := sandbox
	if RealKong() {
		start = kong
	}
	var err error
	if o.Workers, err = workers(o.Workers); err != nil {
		return nil, err
	}
	g, err := start(o)
	if err != nil {
		return nil, err
	}
	if err := g.await(o.Await); err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

func sandbox(o Options) (*Gateway, error) {
	var log buffer
	kong := map[string]string{}
	if o.Database != nil {
		maps.Copy(kong, o.Database.settings)
	}
	if o.Trusted != "" {
		kong["lua_ssl_trusted_certificate"] = o.Trusted
	}
	ports, err := FreePorts(1)
	if err != nil {
		return nil, err
	}
	admin := "127.0.0.1:" + strconv.Itoa(ports[0])
	g, err := gateway.Start(gateway.Options{
		KongEnv: kong, AdminAddr: admin, ProxyTLSAddr: "127.0.0.1:0", PluginArgs: o.flags(admin),
		External: o.Shared != "", Socket: o.socket(), Config: o.Config, Plugin: o.Plugin, Workers: o.Workers, TrustedIPs: []string{TrustedPeer}, RealIPHeader: "X-Forwarded-For", Log: &log, HTTP2: true,
	})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, log.String())
	}
	return &Gateway{
		Proxy: "http://" + g.ProxyAddr(), ProxyTLS: "https://" + g.ProxyTLSAddr(), Admin: "http://" + g.AdminAddr(), Log: log.String, Reload: g.Reload,
		Writable: true, Audit: o.audit(),
		Stop: func() { g.Close() },
	}, nil
}

// kong runs the program of KONG_BIN, or kong on PATH, without a database or,
// with E2E_DATABASE=postgres, with one that is made for it.
func kong(o Options) (*Gateway, error) {
	program := os.Getenv("KONG_BIN")
	if program == "" {
		program = "kong"
	}
	ports, err := FreePorts(3)
	if err != nil {
		return nil, err
	}
	// The socket's path must fit into 107 bytes.
	prefix, err := os.MkdirTemp("", "kong")
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	proxy, admin, proxyTLS := at(0), at(1), at(2)
	conf := map[string]string{
		"prefix": prefix, "database": "off", "declarative_config": o.Config, "proxy_listen": proxy + " http2, " + proxyTLS + " ssl", "admin_listen": admin, "admin_gui_listen": "off", "status_listen": "off",
		"anonymous_reports": "off", "nginx_worker_processes": strconv.Itoa(o.Workers), "plugins": "bundled,openid-connect", "log_level": "info",
		"pluginserver_names":                    "openid-connect",
		"pluginserver_openid_connect_socket":    prefix + "/openid-connect.socket",
		"pluginserver_openid_connect_start_cmd": o.Plugin + " -kong-prefix " + prefix + " -log-level debug " + strings.Join(o.flags(admin), " "),
		"pluginserver_openid_connect_query_cmd": o.Plugin + " -dump -kong-prefix " + prefix,
		"trusted_ips":                           TrustedPeer,
		"real_ip_header":                        "X-Forwarded-For",
		// As docs/install.md says for certificate-bound tokens.
		"nginx_proxy_ssl_verify_client": "optional_no_ca",
	}
	if o.Trusted != "" {
		conf["lua_ssl_trusted_certificate"] = o.Trusted
	}
	if conf["nginx_admin_include"], err = adminInclude(o.Dir, prefix); err != nil {
		os.RemoveAll(prefix)
		return nil, err
	}
	if os.Getuid() == 0 {
		conf["nginx_user"] = "root root"
	}
	if o.Shared != "" {
		delete(conf, "pluginserver_openid_connect_start_cmd")
		conf["pluginserver_openid_connect_query_cmd"] = o.Plugin + " -dump -kong-prefix " + o.Shared
		conf["pluginserver_openid_connect_socket"] = o.socket()
	}
	maps.Copy(conf, o.Settings)
	undo := func() {}
	database := o.Database
	if database == nil && withDatabase() {
		if database, err = NewDatabase(); err != nil {
			os.RemoveAll(prefix)
			return nil, fmt.Errorf("E2E_DATABASE=postgres: %w", err)
		}
		undo = database.Close
	}
	if database != nil {
		database.use(conf)
	}
	var b strings.Builder
	for k, v := range conf {
		fmt.Fprintf(&b, "%s = %s\n", k, v)
	}
	file := filepath.Join(o.Dir, "kong.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	run := func(args ...string) error {
		// To a file: Kong's processes keep the descriptor, and a pipe would wait for them.
		file, err := os.CreateTemp(o.Dir, "kong-out")
		if err != nil {
			return err
		}
		defer file.Close()
		cmd := exec.Command(program, args...)
		cmd.Stdout, cmd.Stderr = file, file
		if err := cmd.Run(); err != nil {
			out, _ := os.ReadFile(file.Name())
			log, _ := os.ReadFile(prefix + "/logs/error.log")
			return fmt.Errorf("kong %s: %w\n%s\n%s", args[0], err, out, Tail(string(log)))
		}
		return nil
	}
	stop := func() {
		run("stop", "-p", prefix)
		undo()
		if os.Getenv("E2E_KEEP") == "" {
			os.RemoveAll(prefix)
		} else {
			fmt.Println("kept", prefix)
		}
	}
	begin := func() error {
		if database != nil && !database.filled {
			if err := run("migrations", "bootstrap", "-c", file, "-p", prefix); err != nil {
				return err
			}
		}
		if err := run("start", "-c", file, "-p", prefix); err != nil {
			return err
		}
		if database != nil && !database.filled {
			database.filled = true
			return fill("http://"+admin, o.Config)
		}
		return nil
	}
	if err := begin(); err != nil {
		stop()
		return nil, err
	}
	return &Gateway{
		Proxy: "http://" + proxy, ProxyTLS: "https://" + proxyTLS, Admin: "http://" + admin,
		Log: func() string {
			log, _ := os.ReadFile(prefix + "/logs/error.log")
			return string(log)
		},
		Reload:   func() error { return run("reload", "-c", file, "-p", prefix) },
		Writable: database != nil, Audit: o.audit(),
		Stop: stop,
	}, nil
}

// await waits until the plugin answers on a path, on every worker.
func (g *Gateway) await(path string) error {
	if err := Settled(g.Proxy+path, nil, func(r *http.Response, _ string) bool { return r.StatusCode == 401 }); err != nil {
		return fmt.Errorf("the gateway does not answer: %w\n%s", err, Tail(g.Log()))
	}
	return nil
}

// Tail returns the last part of a log.
func Tail(s string) string {
	const most = 8 << 10
	if len(s) > most {
		s = "... " + s[len(s)-most:]
	}
	return s
}

// FreePorts returns loopback ports that nobody listens on at this moment.
func FreePorts(n int) ([]int, error) {
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

// buffer collects a log that other goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *buffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *buffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// adminInclude writes the shipped nginx file for this prefix.
func adminInclude(dir, prefix string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../../docs/nginx-admin.conf"))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "nginx-admin.conf")
	return file, os.WriteFile(file, bytes.ReplaceAll(text, []byte("/usr/local/kong"), []byte(prefix)), 0o600)
}

var serving = regexp.MustCompile(`msg="openid-connect: serving".* pid=([0-9]+)`)

// PluginPID returns the process id of the plugin server that began last, as a
// gateway's log tells it.
func PluginPID(t testing.TB, log string) int {
	t.Helper()
	all := serving.FindAllStringSubmatch(log, -1)
	if len(all) == 0 {
		t.Fatal("no plugin server tells its process id in the log")
	}
	pid, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// Companion calls an endpoint of the plugin under an Admin API, and returns the
// answer's body; a status other than the wanted one ends the test.
func Companion(t testing.TB, admin, method, path string, status int) (string, http.Header) {
	t.Helper()
	r, err := http.NewRequest(method, admin+"/openid-connect/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", method, path, resp.StatusCode, status, body)
	}
	return string(body), resp.Header
}
