package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/server"
)

func get(t *testing.T, socket string) string {
	t.Helper()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	r, err := c.Get("http://unix/openid-connect/health")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSocketOutlivesItsPredecessor(t *testing.T) {
	path := filepath.Join(t.TempDir(), Socket)
	serve := func(name string) (stop func()) {
		l, err := server.Listen(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		h := New(Options{Extra: map[string]http.Handler{"health": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, l, h, time.Second) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stopOld := serve("old")
	if got := get(t, path); got != "old" {
		t.Fatal(got)
	}
	stopNew := serve("new") // a reload: the new process starts first
	defer stopNew()
	if got := get(t, path); got != "new" {
		t.Fatal(got)
	}
	stopOld()
	if got := get(t, path); got != "new" {
		t.Errorf("after the old one ended: %s", got)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files are left beside the socket", len(entries)-1)
	}
}

func TestListenTCP(t *testing.T) {
	long := strings.Repeat("t", MinToken)
	for _, c := range []struct {
		address, token string
		need           bool
		ok             bool
	}{
		{"127.0.0.1:0", "", false, true},
		{"localhost:0", "", false, true},
		{"0.0.0.0:0", "", true, false},
		{":0", "", true, false},
		{"[::]:0", "", true, false},
		{"example.test:0", "", true, false},
		{"0.0.0.0:0", long, false, true},
		{"127.0.0.1:0", "short", false, false},
		{"nonsense", "", false, false},
	} {
		t.Run(c.address+" "+c.token, func(t *testing.T) {
			l, err := ListenTCP(c.address, c.token)
			if l != nil {
				_ = l.Close()
			}
			if (err == nil) != c.ok || errors.Is(err, ErrTokenNeeded) != c.need {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestProtect(t *testing.T) {
	const token = "0123456789abcdef"
	h := newFake().handler()
	for _, c := range []struct {
		name    string
		guard   Guard
		host    string
		headers map[string]string
		status  int
	}{
		{"no token needed", Guard{}, "127.0.0.1:8001", nil, 200},
		{"localhost", Guard{}, "LOCALHOST", nil, 200},
		{"IPv6", Guard{}, "[::1]:80", nil, 200},
		{"a name that lies", Guard{}, "evil.test", nil, 421},
		{"a name that begins well", Guard{}, "127.0.0.1.evil.test", nil, 421},
		{"no name", Guard{}, "", nil, 421},
		{"a name that is allowed", Guard{Hosts: []string{"kong.internal"}}, "Kong.Internal:8001", nil, 200},
		{"behind Kong's port", Guard{AnyHost: true}, "evil.test", nil, 200},
		{"no token", Guard{Token: token}, "localhost", nil, 401},
		{"bearer", Guard{Token: token}, "localhost", map[string]string{"Authorization": "bearer " + token}, 200},
		{"Kong's header", Guard{Token: token}, "localhost", map[string]string{"Kong-Admin-Token": token}, 200},
		{"another token", Guard{Token: token}, "localhost", map[string]string{"Kong-Admin-Token": token + "x"}, 401},
		{"a prefix", Guard{Token: token}, "localhost", map[string]string{"Kong-Admin-Token": token[:15]}, 401},
		{"basic", Guard{Token: token}, "localhost", map[string]string{"Authorization": "Basic " + token}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/openid-connect/jwks", nil)
			r.Host = c.host
			for k, v := range c.headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			Protect(h, c.guard).ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Code == 401 && (w.Header().Get("WWW-Authenticate") == "" || w.Body.String() != `{"message":"Unauthorized"}`) {
				t.Errorf("%v %s", w.Header(), w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("may be cached")
			}
		})
	}
}
