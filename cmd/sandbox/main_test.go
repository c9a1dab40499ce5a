package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/gateway"
)

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func pluginBinary(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "openid-connect")
	if out, err := exec.Command("go", "build", "-o", bin, "kong-openid-connect/cmd/openid-connect").CombinedOutput(); err != nil {
		t.Fatalf("build the plugin server: %v\n%s", err, out)
	}
	return bin
}

// The repository's kong.yml on free ports: no token, a token, Ctrl-C.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out, errs lockedBuffer
	ready := make(chan *gateway.Gateway, 1)
	done := make(chan int, 1)
	any := "127.0.0.1:0"
	args := []string{"run", "-config", filepath.Join("..", "..", "kong.yml"), "-plugin", pluginBinary(t), "-proxy", any, "-admin", any, "-provider", any, "-upstream", any, "-tls", any}
	go func() { done <- run(ctx, args, &out, &errs, func(g *gateway.Gateway) { ready <- g }) }()
	var g *gateway.Gateway
	select {
	case g = <-ready:
	case code := <-done:
		t.Fatalf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	issuer := regexp.MustCompile(`provider +(http://\S+)`).FindStringSubmatch(out.String())[1]
	resp, err := http.Get("http://" + g.ProxyAddr() + "/bearer")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("no token: %d %v", resp.StatusCode, resp.Header)
	}
	req, _ := http.NewRequest("POST", issuer+"/token", strings.NewReader(url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid profile"}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("kong", "kong-secret-0123456789abcdef0123456789abcdef")
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&token); err != nil || token.AccessToken == "" {
		t.Fatalf("token: %v", err)
	}
	resp.Body.Close()
	req, _ = http.NewRequest("GET", "http://"+g.ProxyAddr()+"/bearer", nil)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	if resp, err = http.DefaultClient.Do(req); err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !strings.Contains(string(body), "X-Authenticated-User: alex") {
		t.Errorf("with a token: %d %s\n%s", resp.StatusCode, body, errs.String())
	}
	pid := g.PluginPID()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not stop")
	}
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("the plugin server, process %d, still runs", pid)
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().String()
	any := []string{"-proxy", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-provider", "127.0.0.1:0", "-upstream", "127.0.0.1:0"}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":       {nil, 2, "usage: sandbox run"},
		"help":          {[]string{"-help"}, 0, "usage: sandbox run"},
		"help of run":   {[]string{"run", "-h"}, 0, "usage: sandbox run"},
		"unknown flag":  {[]string{"run", "-nope"}, 2, "flag provided but not defined"},
		"argument":      {[]string{"run", "nope"}, 2, `unexpected argument "nope"`},
		"no plugin":     {[]string{"run", "-plugin", "/nonexistent"}, 1, "no plugin server at /nonexistent: build it with make, or name it with -plugin"},
		"proxy taken":   {append([]string{"run", "-plugin", "main.go"}, append(any, "-proxy", busy)...), 1, busy + " is taken by another program: stop that one, or choose another port with -proxy 127.0.0.1:PORT (make run PROXY=127.0.0.1:PORT)"},
		"admin taken":   {append([]string{"run", "-plugin", "main.go"}, append(any, "-admin", busy)...), 1, "with -admin"},
		"provider":      {append([]string{"run", "-plugin", "main.go"}, append(any, "-provider", busy)...), 1, "with -provider"},
		"upstream":      {append([]string{"run", "-plugin", "main.go"}, append(any, "-upstream", busy)...), 1, "with -upstream"},
		"not loopback":  {append([]string{"run", "-plugin", "main.go"}, append(any, "-proxy", "0.0.0.0:0")...), 1, "is not a loopback address"},
		"no port":       {append([]string{"run", "-plugin", "main.go"}, append(any, "-proxy", "8000")...), 1, `-proxy "8000" is not host:port`},
		"no program":    {append([]string{"run", "-plugin", "main.go"}, any...), 1, "query command"},
		"no such trust": {append([]string{"run", "-plugin", "main.go", "-trusted-ips", "x"}, any...), 1, `trusted address "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(context.Background(), c.args, &out, &errs, nil); code != c.code || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit %d, want %d; %q lacks %q", code, c.code, errs.String(), c.want)
			}
		})
	}
}
