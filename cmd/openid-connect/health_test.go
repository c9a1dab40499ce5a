package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kong-openid-connect/internal/admin"
)

// state serves the admin endpoints in a prefix, as the plugin server does.
func state(t *testing.T, h admin.Health) (prefix string) {
	t.Helper()
	prefix, err := os.MkdirTemp("", "health") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(prefix) })
	socket, err := net.Listen("unix", filepath.Join(prefix, "openid-connect.socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	l, err := net.Listen("unix", filepath.Join(prefix, admin.Socket))
	if err != nil {
		t.Fatal(err)
	}
	serveAdmin(t, l, h, admin.Guard{AnyHost: true})
	return prefix
}

func serveAdmin(t *testing.T, l net.Listener, h admin.Health, g admin.Guard) {
	t.Helper()
	s := &http.Server{Handler: admin.Protect(admin.New(admin.Options{Health: func(context.Context) admin.Health { return h }}), g)}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

func TestHealth(t *testing.T) {
	ready := state(t, admin.Health{Ready: true, Parts: map[string]error{"store": nil}})
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveAdmin(t, tcp, admin.Health{Ready: true}, admin.Guard{Token: "0123456789abcdef", AnyHost: true})
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"ready":               {[]string{"-kong-prefix", ready}, 0, "ok\nstore: ok\n"},
		"the socket only":     {[]string{"-kong-prefix", ready, "-admin-listen", "off"}, 0, "ok\n"},
		"an address, a token": {[]string{"-kong-prefix", ready, "-admin-listen", "0.0.0.0:" + port, "-admin-token-file", token}, 0, "ok\n"},
		"no token":            {[]string{"-kong-prefix", ready, "-admin-listen", "127.0.0.1:" + port}, 1, "401"},
		"degraded":            {[]string{"-kong-prefix", state(t, admin.Health{Ready: true, Parts: map[string]error{"store": errors.New("down")}})}, 0, "degraded\nstore: unavailable\n"},
		"not ready":           {[]string{"-kong-prefix", state(t, admin.Health{})}, 1, "not ready"},
		"nobody there":        {[]string{"-kong-prefix", t.TempDir()}, 1, "does not take connections"},
		"no address":          {[]string{"-kong-prefix", ready, "-admin-listen", "8002"}, 1, "not host:port"},
		"an argument":         {[]string{"now"}, 2, `"now"`},
		"help":                {[]string{"-help"}, 0, "-kong-prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, "", append([]string{"health"}, c.args...)...)
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("exit %d, want %d; %q lacks %q", code, c.code, out+errs, c.want)
			}
		})
	}
}
