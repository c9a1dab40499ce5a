package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// TestProcessOfItsOwn is the recommended way of docs/install.md: somebody else
// than Kong runs the plugin server, in a directory that both share.
func TestProcessOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	shared, err := os.MkdirTemp("", "oidc") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	launch := func() *exec.Cmd {
		log, err := os.CreateTemp(dir, "plugin")
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		c := exec.Command(env.binary, "-kong-prefix", shared, "-socket-mode", "0660", "-admin-socket-mode", "0660", "-kong-setting", "database=off")
		c.Stderr = log
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		until(t, "the plugin server", func() bool {
			text, _ := os.ReadFile(log.Name())
			return strings.Contains(string(text), "openid-connect: serving")
		})
		return c
	}
	first := launch()
	if out, err := exec.Command(env.binary, "health", "-kong-prefix", shared).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok") {
		t.Errorf("health: %v, %s", err, out)
	}
	config := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `_format_version: "3.0"
services:
- name: echo
  url: %s
  routes:
  - name: bearer
    paths: [/bearer]
    plugins:
    - name: openid-connect
      config: {issuer: "%s", auth_methods: [bearer]}
`, serviceURL(t), env.Issuer), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := harness.Start(harness.Options{
		Dir: dir, Plugin: env.binary, Config: config, Workers: 1, Await: "/bearer", Shared: shared,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	token := []string{"Authorization", "Bearer " + mint(t, provider.TokenRequest{})}
	status := func(header ...string) int { return harness.NewBrowser(t, g.Proxy).Get("/bearer", header...).StatusCode }
	both := func(when string) {
		t.Helper()
		if good, bad := status(token...), status(); good != 200 || bad != 401 {
			t.Errorf("%s: %d with a token, %d without", when, good, bad)
		}
	}
	both("at first")
	// The defect of Kong's Admin API is not met: no worker has started a plugin server.
	for range 8 {
		r, err := http.Get(g.Admin + "/")
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Fatalf("GET / of the Admin API: %s", r.Status)
		}
	}
	// An upgrade: the new one takes the socket over, then the old one is told to end.
	second := launch()
	both("with both")
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for n := 0; !gone(first.Process.Pid); n++ {
		both(fmt.Sprint("while the old one ends, round ", n))
		if n > 500 {
			t.Fatal("the old process does not end")
		}
	}
	both("after the upgrade")
	// Killed: everything fails closed, and the next one serves without Kong's doing.
	if err := second.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait()
	if good, bad := status(token...), status(); good != 500 || bad != 500 {
		t.Errorf("without a process: %d with a token, %d without", good, bad)
	}
	launch()
	until(t, "requests to pass again", func() bool { return status(token...) == 200 })
	both("after a restart")
}
