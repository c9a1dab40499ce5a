package hazards

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/gateway"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// whole is a gateway with the built plugin server and a service behind it. The
// gateway repeats an event whose connection is closed, as Kong does.
type whole struct {
	*gateway.Gateway
	t       *testing.T
	service *upstream.Service
}

func startGateway(t *testing.T) *whole {
	t.Helper()
	service, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	config, err := json.Marshal(map[string]any{"_format_version": "3.0", "services": []any{map[string]any{
		"name": "echo", "url": "http://" + service.Addr(), "routes": []any{map[string]any{"name": "bearer", "paths": []any{"/bearer"}, "plugins": []any{map[string]any{
			"name": "openid-connect", "config": map[string]any{
				"issuer": idp.URL, "auth_methods": []any{"bearer"}, "bearer_token_param_type": []any{"header"}, "timeout": 2000,
				"upstream_headers": []any{map[string]any{"header": "X-User", "path": []any{"preferred_username"}}},
			},
		}}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	log := &transcript{}
	g, err := gateway.Start(gateway.Options{ConfigData: config, Plugin: program, PluginArgs: []string{"-log-level", "debug"}, Workers: 2, MaxRetries: 100, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if leak := spoken.in(log.String()); leak != "" {
			t.Errorf("case 62: the log holds %s", leak)
		}
	})
	return &whole{g, t, service}
}

// send writes a request as it is and returns the status of the answer and who
// the service was told that the caller is.
func (g *whole) send(raw string) (status int, user string) {
	g.t.Helper()
	c, err := net.DialTimeout("tcp", g.ProxyAddr(), patience)
	if err != nil {
		g.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, raw); err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		g.t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	var seen upstream.Request
	if resp.StatusCode == 200 {
		if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
			g.t.Fatal(err)
		}
	}
	return resp.StatusCode, strings.Join(seen.GetFold("X-User"), "|")
}

func (g *whole) want(raw string, status int, user string) {
	g.t.Helper()
	if s, u := g.send(raw); s != status || u != user {
		g.t.Errorf("status %d as %q, want %d as %q", s, u, status, user)
	}
}

func request(target, header string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + header + "\r\n"
}

// Case 36 from a client's side.
func TestGatewayCase36(t *testing.T) {
	g := startGateway(t)
	auth := "Authorization: Bearer " + mint(t, provider.TokenRequest{}) + "\r\n"
	for name, c := range map[string]struct{ target, header string }{
		"header": {"/bearer", "X-Note: caf\xe9 \xff\xfe\r\n"},
		"cookie": {"/bearer", "Cookie: a=\xe9; session=\xff\r\n"},
		"path":   {"/bearer/caf\xe9", ""},
		"query":  {"/bearer?q=\xe9&\xff", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			g.want(request(c.target, c.header+auth), 200, "alex")
			g.want(request(c.target, c.header+auth+"X-User: root\r\nx_user: root\r\n"), 200, "alex")
			g.want(request(c.target, c.header), 401, "")
		})
	}
	if n := g.Counters().Retries.Load(); n != 0 {
		t.Errorf("%d events were delivered again", n)
	}
}

// Case 37 from a client's side.
func TestGatewayCase37(t *testing.T) {
	g := startGateway(t)
	auth := "Authorization: Bearer " + mint(t, provider.TokenRequest{}) + "\r\n"
	lines := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-Filler-%d: v\r\n", i)
		}
		return b.String()
	}
	g.want(request("/bearer", lines(150)+auth), 200, "alex")
	g.want(request("/bearer", lines(150)), 401, "")
	g.want(request("/bearer", auth+lines(150)+"x_user: root\r\nX-User: root\r\n"), 200, "alex")
	g.want(request("/bearer", auth+lines(1000)+"x_user: root\r\n"), 400, "")
	if n := g.Counters().Retries.Load(); n != 0 {
		t.Errorf("%d events were delivered again", n)
	}
}

// Case 66 from a client's side: the plugin server is killed while a request
// waits for it. That request is 500 or delivered again, the next ones are
// served by the respawned process, and none without a token ever passes.
func TestGatewayCase66(t *testing.T) {
	g := startGateway(t)
	auth := "Authorization: Bearer " + mint(t, provider.TokenRequest{}) + "\r\n"
	first := g.PluginPID()
	for _, c := range []struct {
		header, user string
		want         []int
	}{
		{auth, "alex", []int{200, 500}},
		{"Authorization: Bearer " + mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}}) + "\r\n", "", []int{401, 500}},
	} {
		// The keys are not known yet, so the plugin waits.
		asked := idp.Count(provider.EndpointDiscovery)
		if err := idp.Faults().Set(provider.Fault{Name: "hang", Endpoint: provider.EndpointDiscovery, Times: 1}); err != nil {
			t.Fatal(err)
		}
		type result struct {
			status int
			user   string
		}
		done := make(chan result, 1)
		go func() {
			s, u := g.send(request("/bearer", c.header))
			done <- result{s, u}
		}()
		until(t, "the plugin asks the provider", func() bool { return idp.Count(provider.EndpointDiscovery) > asked })
		if err := g.KillPlugin(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-done:
			if r.status != c.want[0] && r.status != c.want[1] || r.status == 200 && r.user != c.user {
				t.Errorf("the request in flight: status %d as %q, want one of %v", r.status, r.user, c.want)
			}
		case <-time.After(patience):
			t.Fatal("the request in flight hangs")
		}
		idp.Faults().Clear()
		before := g.service.Count()
		// Kong answers 500 until the process is there again, once a second.
		until(t, "the respawned process answers", func() bool {
			status, _ := g.send(request("/bearer", ""))
			if status != 401 && status != 500 {
				t.Fatalf("status %d without a token", status)
			}
			return status == 401
		})
		if g.service.Count() != before {
			t.Error("a request without a token reached the service")
		}
		g.want(request("/bearer", auth), 200, "alex")
		// The next round meets a process that knows nothing.
		pid := g.PluginPID()
		if err := g.KillPlugin(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "the plugin server is respawned", func() bool {
			status, _ := g.send(request("/bearer", ""))
			return g.PluginPID() != pid && status == 401
		})
	}
	if g.PluginPID() == first {
		t.Error("the plugin server was never killed")
	}
	if n := g.Counters().Valve.Load(); n != 0 {
		t.Errorf("%d loops had to be broken", n)
	}
}

// until waits for what another process does and gives no sign of.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("never: " + what)
		}
	}
}

// A client that goes away while the provider is asked: the gateway has others
// to serve, and so has the plugin.
func TestGatewayClientThatGoesAway(t *testing.T) {
	g := startGateway(t)
	auth := "Authorization: Bearer " + mint(t, provider.TokenRequest{}) + "\r\n"
	if err := idp.Faults().Set(provider.Fault{Name: "hang", Endpoint: provider.EndpointDiscovery}); err != nil {
		t.Fatal(err)
	}
	defer idp.Faults().Clear()
	asked := idp.Count(provider.EndpointDiscovery)
	var clients []net.Conn
	for range 20 {
		c, err := net.DialTimeout("tcp", g.ProxyAddr(), patience)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, request("/bearer", auth)); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	until(t, "the plugin asks the provider", func() bool { return idp.Count(provider.EndpointDiscovery) > asked })
	for _, c := range clients {
		c.Close()
	}
	g.want(request("/bearer", ""), 401, "")
	idp.Faults().Clear()
	if n := g.service.Count(); n != 0 {
		t.Errorf("%d requests reached the service", n)
	}
	if n := g.Counters().Retries.Load(); n != 0 {
		t.Errorf("%d events were delivered again", n)
	}
}
