package admin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/server"
)

// TestNginxInclude runs docs/nginx-admin.conf in a real nginx, within a server
// block as Kong's Admin API has it. It needs the binary; REQUIRE_NGINX=1 makes
// its absence a failure.
func TestNginxInclude(t *testing.T) {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		if bin = "/usr/sbin/nginx"; !isFile(bin) {
			if os.Getenv("REQUIRE_NGINX") == "1" {
				t.Fatal("no nginx: install Debian's package nginx-light")
			}
			t.Skip("no nginx (REQUIRE_NGINX=1 makes this a failure)")
		}
	}
	dir, err := os.MkdirTemp("/tmp", "nginxtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("../../docs/nginx-admin.conf")
	if err != nil {
		t.Fatal(err)
	}
	include := strings.ReplaceAll(string(b), "/usr/local/kong", dir)
	if include == string(b) {
		t.Fatal("the file does not name Kong's prefix")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
  access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen 127.0.0.1:%[2]d;
    include %[1]s/nginx-admin.conf;
    location / { default_type application/json; return 200 'kong'; }
  }
}
`, dir, port)
	for name, text := range map[string]string{"nginx.conf": conf, "nginx-admin.conf": include} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := newFake()
	socket, err := server.Listen(filepath.Join(dir, Socket), 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, socket, Protect(f.handler(), Guard{AnyHost: true}), time.Second) }()
	cmd := exec.Command(bin, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		stop()
		<-served
	}()
	base := fmt.Sprintf("http://127.0.0.1:%d", port)
	ask := func(method, path string) (int, string) {
		req, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	deadline := time.Now().Add(10 * time.Second)
	for code := 0; code != 200; code, _ = ask("GET", "/") {
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(filepath.Join(dir, "out"))
			t.Fatalf("nginx does not answer: %s", b)
		}
		<-time.After(20 * time.Millisecond)
	}
	for _, c := range []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/openid-connect/jwks", 200, `"keys"`},
		{"GET", "/default/openid-connect/jwks", 200, `"keys"`},
		{"GET", "/openid-connect/issuers/" + url.PathEscape(issX), 200, idX},
		{"GET", "/ws_1/openid-connect/discovery-cache/" + url.PathEscape(issX), 200, idX},
		{"GET", "/openid-connect/issuers/https://idp/realms/x", 200, idX},
		{"GET", "/openid-connect/jwks/" + url.PathEscape(kidA), 200, "ES256"},
		{"DELETE", "/openid-connect/jwks", 204, ""},
		{"DELETE", "/openid-connect/issuers/" + url.PathEscape(issX), 204, ""},
		{"GET", "/openid-connect/none", 404, "Not found"},
		{"POST", "/openid-connect/jwks", 405, "Method not allowed"},
		{"GET", "/services", 200, "kong"},
		{"GET", "/services/x/openid-connect/", 200, "kong"},
	} {
		if code, body := ask(c.method, c.path); code != c.status || !strings.Contains(body, c.contains) {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
	}
	if got := strings.Join(f.calls, ","); got != "rotate,delete "+idX {
		t.Errorf("calls: %s", got)
	}
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
