package main

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

// TestDoctor holds what is said of each part that is wrong, and that a good
// configuration has nothing that fails.
func TestDoctor(t *testing.T) {
	idp, err := provider.Start("127.0.0.1:0", provider.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer idp.Close()
	to, err := url.Parse(idp.URL)
	if err != nil {
		t.Fatal(err)
	}
	// The same provider under another name, with a clock of its own.
	late := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			return nil
		},
	})
	defer late.Close()
	var bareHost string
	// The same without introspection.
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": "http://" + bareHost, "authorization_endpoint": idp.URL + "/authorize", "token_endpoint": idp.URL + "/token", "jwks_uri": idp.URL + "/jwks",
		})
	}))
	defer bare.Close()
	bareHost = bare.Listener.Addr().String()
	const secret = "kong-secret-0123456789abcdef0123456789abcdef"
	t.Setenv("DOCTOR_SECRET", secret)
	prefix := t.TempDir()
	if err := os.WriteFile(filepath.Join(prefix, ".kong_env"), []byte("database = off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		say    []string
		code   int
	}{
		{"all is well", nil, []string{
			"ok    kong           ", "ok    store          memory answers", "ok    discovery      issuer " + idp.URL, "ok    keys ", "ok    clock ",
			"ok    client 1       is authenticated", "ok    redirect_uri   the provider shows a login", "ok    sessions       are kept in cookies",
		}, 0},
		{"secret from the environment", map[string]any{"client_secret": []string{"{vault://env/doctor-secret}"}}, []string{"ok    client 1       is authenticated"}, 0},
		{"a reference that is not known here", map[string]any{"client_secret": []string{"{vault://env/doctor-unknown}"}}, []string{"open  client 1", "export what"}, 0},
		{"an issuer that is not known here", map[string]any{"issuer": "{vault://env/doctor-unknown}"}, []string{"open  discovery      issuer is a reference"}, 0},
		{"wrong secret", map[string]any{"client_secret": []string{"wrong-secret-wrong-secret-wrong-secret"}}, []string{"FAIL  client 1       token endpoint", "invalid_client", "-> check client_id"}, 1},
		{"unknown client", map[string]any{"client_id": []string{"nobody"}}, []string{"FAIL  client 1"}, 1},
		{"no provider", map[string]any{"issuer": "http://127.0.0.1:1"}, []string{"FAIL  discovery      discovery at 127.0.0.1:1", "-> check issuer"}, 1},
		{"clock and issuer", map[string]any{"issuer": late.URL}, []string{"warn  discovery      the document is of issuer " + idp.URL, "FAIL  clock          this machine is ", " ahead of the provider, more than leeway allows", "-> run NTP"}, 1},
		{"no keys", map[string]any{"jwks_endpoint": idp.URL + "/nothing"}, []string{"FAIL  keys           key set at"}, 1},
		{"redirect_uri is not registered", map[string]any{"redirect_uri": []string{"https://elsewhere.example.test/callback"}}, []string{"FAIL  redirect_uri   the provider refuses", "-> register that very address"}, 1},
		{"redirect_uri is derived", map[string]any{"redirect_uri": nil}, []string{"open  redirect_uri   is derived"}, 0},
		{"redis is down", map[string]any{"session_storage": "redis", "redis": map[string]any{"host": "127.0.0.1", "port": 1, "password": "redis-password"}}, []string{"FAIL  sessions       redis cannot be read", "-> check host"}, 1},
		{"memcached is down", map[string]any{"session_storage": "memcached", "session_memcached_host": "127.0.0.1", "session_memcached_port": 1}, []string{"FAIL  sessions       memcached cannot be read"}, 1},
		{"redis of the ended sessions is down", map[string]any{"session_revocation_storage": "redis", "redis": map[string]any{"host": "127.0.0.1", "port": 1, "password": "redis-password"}},
			[]string{"ok    sessions       are kept in cookies", "FAIL  ended sessions redis cannot be read", "-> check redis"}, 1},
		{"redis of the cluster cache is down", map[string]any{"cluster_cache_strategy": "redis", "cluster_cache_redis": map[string]any{"host": "127.0.0.1", "port": 1, "password": "redis-password"}},
			[]string{"warn  cluster cache", "-> check cluster_cache_redis"}, 0},
		{"no token endpoint", map[string]any{"token_endpoint": "http://127.0.0.1:1/token"}, []string{"FAIL  client 1       token endpoint at 127.0.0.1:1 is unavailable", "-> check token_endpoint"}, 1},
		{"an endpoint that there is not", map[string]any{"issuer": bare.URL}, []string{"FAIL  endpoints      introspection_endpoint is neither published nor configured", "-> set introspection_endpoint"}, 1},
		{"client authentication that cannot be", map[string]any{"client_auth": []string{"tls_client_auth"}, "tls_client_auth_cert_id": "00000000-0000-0000-0000-000000000000"},
			[]string{"FAIL  client 1       token endpoint", "is misconfigured", "-> correct"}, 1},
		{"a bad parameter", map[string]any{"leeway": "many"}, []string{"FAIL  configuration  ", "leeway"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := map[string]any{
				"issuer": idp.URL, "client_id": []string{"kong"}, "client_secret": []string{secret}, "auth_methods": []string{"session", "authorization_code", "introspection"},
				"redirect_uri": []string{"http://127.0.0.1:8000/app"}, "session_secret": "session-secret-0123456789",
			}
			maps.Copy(config, c.change)
			text, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			code, out, errs := command(t, string(text), "doctor", "-kong-prefix", prefix, "-config", "-")
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, errs)
			}
			for _, want := range c.say {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said", want)
				}
			}
			for _, hidden := range []string{secret, "wrong-secret", "session-secret", "redis-password"} {
				if strings.Contains(out+errs, hidden) {
					t.Errorf("a secret is printed: %s", hidden)
				}
			}
			saysWhatToDo(t, out)
			if t.Failed() {
				t.Log(out)
			}
		})
	}
	if entries, err := os.ReadDir(prefix); err != nil || len(entries) != 1 {
		t.Errorf("the prefix was written to: %v %v", entries, err)
	}
	if code, out, _ := command(t, "", "doctor", "-kong-prefix", prefix, "-issuer", idp.URL); code != 0 || !strings.Contains(out, "ok    keys") {
		t.Errorf("by -issuer: exit code %d\n%s", code, out)
	}
	if code, _, _ := command(t, "", "doctor", "-config", prefix+"/none"); code != 2 {
		t.Errorf("a missing file: exit code %d", code)
	}
}

// saysWhatToDo checks that each line is ok, or is followed by what to do.
func saysWhatToDo(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		word, _, _ := strings.Cut(line, " ")
		// Findings of the configuration say it themselves.
		if (word == "FAIL" || word == "warn" || word == "open") && !strings.HasPrefix(line[6:], "configuration  ") &&
			(i+1 == len(lines) || !strings.Contains(lines[i+1], " -> ")) {
			t.Errorf("nobody is told what to do: %s", line)
		}
	}
}

// TestDoctorSurroundings holds what is said of what no configuration names.
func TestDoctorSurroundings(t *testing.T) {
	kongEnv := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".kong_env"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	served := kongEnv("database = off\n")
	for _, name := range []string{"openid-connect.socket", "openid-connect-admin.socket"} {
		l, err := net.Listen("unix", filepath.Join(served, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	const password = "password-of-the-database"
	for _, c := range []struct {
		name string
		args []string
		say  []string
		code int
	}{
		{"sockets", []string{"-kong-prefix", served}, []string{"ok    kong", "database off", "ok    plugin server", "ok    admin socket", "ok    store          memory answers"}, 0},
		{"nobody serves", []string{"-kong-prefix", kongEnv("database = off\n")}, []string{"warn  plugin server", "-> start Kong", "warn  admin socket", "-> start the plugin server"}, 0},
		{"wrong prefix", []string{"-kong-prefix", t.TempDir()}, []string{"warn  kong", "-> give the prefix that Kong runs with by -kong-prefix", "FAIL  store          it is not known whether this Kong has a database", "-> give Kong's prefix"}, 1},
		{"database is down", []string{"-kong-prefix", kongEnv("database = postgres\npg_host = 127.0.0.1\npg_port = 1\npg_user = kong\npg_database = kong\npg_password = " + password + "\n")},
			[]string{"ok    kong", "database postgres", "FAIL  store          postgres: ", "127.0.0.1:1", "connection refused", "-> check the pg_* settings"}, 1},
		{"database by flags", []string{"-kong-prefix", served, "-kong-setting", "database=postgres", "-kong-setting", "pg_host=127.0.0.1", "-kong-setting", "pg_port=1", "-kong-setting", "pg_password=" + password},
			[]string{"FAIL  store          postgres: ", "127.0.0.1:1"}, 1},
		{"nobody on the admin address", []string{"-kong-prefix", served, "-admin-listen", "127.0.0.1:1"}, []string{"warn  admin address", "-> start the plugin server, or correct -admin-listen"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := command(t, "", append([]string{"doctor"}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d: %s", code, c.code, errs)
			}
			for _, want := range c.say {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if strings.Contains(out+errs, password) {
				t.Error("the password is printed")
			}
			saysWhatToDo(t, out)
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// TestDoctorNamesTheRoute: with many configurations in a file each is told apart.
func TestDoctorNamesTheRoute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kong.yml")
	if err := os.WriteFile(file, []byte(`_format_version: "3.0"
services:
- name: shop
  url: http://127.0.0.1
  routes:
  - name: cart
    plugins:
    - name: openid-connect
      config:
        issuer: http://127.0.0.1:1
        auth_methods: [bearer]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, out, _ := command(t, "", "doctor", "-kong-prefix", t.TempDir(), "-config", file)
	if want := "\nservice shop, route cart, " + file + ":10, services[1].routes[1].plugins[1].config\n"; !strings.Contains(out, want) {
		t.Errorf("%q is not among\n%s", want, out)
	}
}
