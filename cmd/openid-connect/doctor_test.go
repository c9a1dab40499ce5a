package main

import (
	"encoding/json"
	"maps"
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
