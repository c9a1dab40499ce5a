package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/upstream"
)

const manyRoutes = `
_format_version: "3.0"
services:
- name: echo
  url: http://UPSTREAM/base
  routes:
  - {name: strip, paths: [/strip]}
  - {name: keep, paths: [/keep], strip_path: false}
  - {name: host, hosts: [api.example.com], preserve_host: true}
  - {name: wild, hosts: ["*.example.org"]}
  - {name: longer, paths: [/strip/longer], tags: [longer]}
  - {name: regex, paths: ['~/r/(?<id>\d+)$'], methods: [GET]}
  - {name: header, paths: [/strip], headers: {x-version: ["2"]}}
  - {name: secure, paths: [/secure], protocols: [https]}
  - {name: keyed, paths: [/keyed], plugins: [{name: key-auth, config: {anonymous: nobody}}]}
  - {name: ended, paths: [/ended], plugins: [{name: request-termination, config: {status_code: 418, message: short}}]}
- {name: dead, url: "http://127.0.0.1:1", routes: [{name: dead, paths: [/dead]}]}
- {name: lazy, url: "http://UPSTREAM", read_timeout: 30, routes: [{name: lazy, paths: [/lazy], strip_path: false}]}
- {name: odd, url: "http://ODD", routes: [{name: odd, paths: [/odd]}]}
consumers:
- {username: nobody}
- {username: alice, keyauth_credentials: [{key: k}]}
`

func proxyOnly(t *testing.T) (*Gateway, *upstream.Service) {
	t.Helper()
	echo, err := upstream.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	odd, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { odd.Close() })
	go serveOdd(odd)
	config := strings.NewReplacer("UPSTREAM", echo.Addr(), "ODD", odd.Addr().String()).Replace(manyRoutes)
	return adminOnly(t, config), echo
}

// serveOdd answers by the last segment of the path.
func serveOdd(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			br := bufio.NewReader(c)
			for {
				raw, err := readHeadFrom(br)
				if err != nil {
					return
				}
				switch path := strings.Fields(string(raw))[1]; path {
				case "/chunked":
					io.WriteString(c, "HTTP/1.1 200 OK\r\nX_Odd: a\r\nx-odd: b\r\nServer: own\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
				case "/until-close":
					io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nto the end")
					return
				case "/early":
					io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				case "/garbage":
					io.WriteString(c, "no http\r\n\r\n")
					return
				case "/cut":
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
					return
				case "/304":
					io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
				}
			}
		}()
	}
}

// exchange sends raw bytes over one connection and reads n answers.
func exchange(t *testing.T, g *Gateway, raw string, n int) (out []*http.Response, bodies []string) {
	t.Helper()
	c, err := net.Dial("tcp", g.ProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, raw)
	br := bufio.NewReader(c)
	for range n {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("after %d answers: %v", len(out), err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = append(b, fmt.Sprintf(" (%v)", err)...)
		}
		out, bodies = append(out, resp), append(bodies, string(b))
	}
	return out, bodies
}

func TestRouting(t *testing.T) {
	g, _ := proxyOnly(t)
	for _, c := range []struct {
		name, request, target, host string
		status                      int
	}{
		{"prefix is stripped", "GET /strip/x?y HTTP/1.1\r\nHost: h", "/base/x?y", "UP", 200},
		{"prefix alone", "GET /strip HTTP/1.1\r\nHost: h", "/base", "UP", 200},
		{"prefix with a slash", "GET /strip/ HTTP/1.1\r\nHost: h", "/base/", "UP", 200},
		{"prefix is no segment", "GET /stripes HTTP/1.1\r\nHost: h", "/base/es", "UP", 200},
		{"longest wins", "GET /strip/longer/x HTTP/1.1\r\nHost: h", "/base/x", "UP", 200},
		{"kept", "GET /keep/x HTTP/1.1\r\nHost: h", "/base/keep/x", "UP", 200},
		{"host, preserved", "GET /p HTTP/1.1\r\nHost: API.example.com:99", "/base/p", "API.example.com:99", 200},
		{"wildcard host", "GET /p HTTP/1.1\r\nHost: a.example.org", "/base/p", "UP", 200},
		{"regex", "GET /r/12 HTTP/1.1\r\nHost: h", "/base", "UP", 200},
		{"method", "POST /r/12 HTTP/1.1\r\nHost: h\r\nContent-Length: 0", "", "", 404},
		{"header", "GET /strip/longer HTTP/1.1\r\nHost: h\r\nX-Version: 2", "/base/longer", "UP", 200},
		{"dots cannot leave the prefix", "GET /strip/../keep/x HTTP/1.1\r\nHost: h", "/base/keep/x", "UP", 200},
		{"encoded dots", "GET /strip/%2e%2e/keep/x HTTP/1.1\r\nHost: h", "/base/keep/x", "UP", 200},
		{"an encoded slash stays", "GET /strip/a%2fb HTTP/1.1\r\nHost: h", "/base/a%2Fb", "UP", 200},
		{"above the root", "GET /../x HTTP/1.1\r\nHost: h", "", "", 400},
		{"absolute form", "GET http://api.example.com/p HTTP/1.1\r\nHost: h", "/base/p", "h", 200},
		{"https wanted", "GET /secure HTTP/1.1\r\nHost: h", "", "", 426},
		{"prefix in the middle", "GET /x/strip HTTP/1.1\r\nHost: h", "", "", 404},
		{"no route", "GET /none HTTP/1.1\r\nHost: h", "", "", 404},
		{"dead service", "GET /dead HTTP/1.1\r\nHost: h", "", "", 502},
		{"slow service", "GET /lazy/slow?ms=5000 HTTP/1.1\r\nHost: h", "", "", 504},
		{"ended by a plugin", "GET /ended HTTP/1.1\r\nHost: h", "", "", 418},
		{"a line of 8 KiB", "GET /strip HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("y", 8192-len("Cookie: \r\n")), "/base", "UP", 200},
		{"HTTP/1.0", "GET /strip HTTP/1.0\r\nHost: h", "/base", "UP", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := exchange(t, g, c.request+"\r\n\r\n", 1)
			if resp[0].StatusCode != c.status {
				t.Fatalf("%d %s", resp[0].StatusCode, body[0])
			}
			if c.status != 200 {
				if c.status != 400 && !strings.Contains(body[0], `"message":`) {
					t.Errorf("body %s", body[0])
				}
				return
			}
			var seen upstream.Request
			if err := json.Unmarshal([]byte(body[0]), &seen); err != nil {
				t.Fatal(err)
			}
			host := strings.Join(seen.Get("Host"), "|")
			if c.host == "UP" {
				c.host = str(g.st().by("services", "name", "echo")["host"]) + ":" + fmt.Sprint(num(g.st().by("services", "name", "echo")["port"]))
			}
			if seen.Target != c.target || host != c.host {
				t.Errorf("the service saw %s at %s, want %s at %s", seen.Target, host, c.target, c.host)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	g, echo := proxyOnly(t)
	for name, c := range map[string]struct {
		raw    string
		status int
	}{
		"no host":               {"GET /strip HTTP/1.1\r\n\r\n", 400},
		"two hosts":             {"GET /strip HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		"two lengths":           {"POST /strip HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
		"length and chunked":    {"POST /strip HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"other coding":          {"POST /strip HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		"negative length":       {"POST /strip HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
		"huge length":           {"POST /strip HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n", 413},
		"bad chunk":             {"POST /strip HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		"bad escape":            {"GET /strip/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"NUL escape":            {"GET /strip/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"control in the line":   {"GET /strip/\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"control in a name":     {"GET /strip HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n", 400},
		"NUL in a value":        {"GET /strip HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400},
		"folded":                {"GET /strip HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
		"method in lower case":  {"get /strip HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"HTTP/2 preface":        {"PRI * HTTP/2.0\r\n\r\n", 400},
		"large head":            {"GET /strip HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+strings.Repeat("y", 7000)+"\r\n", 6) + "\r\n", 400},
		"one line over 8 KiB":   {"GET /strip HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("y", 8192-len("Cookie: \r\n")+1) + "\r\n\r\n", 400},
		"long line":             {"GET /" + strings.Repeat("y", 20000), 414},
		"a thousand and one":    {"GET /strip HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 1001) + "\r\n", 400},
		"a body that is cut":    {"POST /strip HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc", 0},
		"head that never comes": {"GET /strip HTT", 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := echo.Count()
			conn, err := net.Dial("tcp", g.ProxyAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			io.WriteString(conn, c.raw)
			if c.status == 0 {
				conn.(*net.TCPConn).CloseWrite()
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if c.status != 0 && (err != nil || resp.StatusCode != c.status) {
				t.Errorf("%v, %v, want %d", resp, err, c.status)
			}
			if c.status == 0 && err == nil && resp.StatusCode < 400 {
				t.Errorf("answered %d", resp.StatusCode)
			}
			if echo.Count() != n {
				t.Error("the service was asked")
			}
		})
	}
}

func TestResponsesPassAsTheyAre(t *testing.T) {
	g, _ := proxyOnly(t)
	for path, want := range map[string]string{"chunked": "abcde", "until-close": "to the end", "early": "ok", "cut": "abc (unexpected EOF)"} {
		resp, bodies := exchange(t, g, "GET /odd/"+path+" HTTP/1.1\r\nHost: h\r\n\r\n", 1)
		if resp[0].StatusCode != 200 || bodies[0] != want {
			t.Errorf("%s: %d %q, want %q", path, resp[0].StatusCode, bodies[0], want)
		}
	}
	c, err := net.Dial("tcp", g.ProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /odd/chunked HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(c)
	for _, line := range []string{"\r\nX_Odd: a\r\n", "\r\nx-odd: b\r\n", "\r\nServer: own\r\n", "\r\nConnection: close\r\n", "\r\nTransfer-Encoding: chunked\r\n"} {
		if !strings.Contains(string(b), line) {
			t.Errorf("%q is not in %q", line, b)
		}
	}
	resp, _ := exchange(t, g, "GET /odd/garbage HTTP/1.1\r\nHost: h\r\n\r\nGET /odd/304 HTTP/1.1\r\nHost: h\r\n\r\nGET /odd/early HTTP/1.1\r\nHost: h\r\n\r\n", 3)
	for i, want := range []int{502, 304, 200} {
		if resp[i].StatusCode != want {
			t.Errorf("answer %d: %d, want %d", i, resp[i].StatusCode, want)
		}
	}
}

func TestRequestsPassAsTheyAre(t *testing.T) {
	g, echo := proxyOnly(t)
	exchange(t, g, "POST /strip HTTP/1.1\r\nHost: h\r\nX_User: 1\r\nx-USER: 2\r\nX.Dot: 3\r\nConnection: x-hop, keep-alive\r\nX-Hop: 4\r\nProxy-Connection: 5\r\nTE: gzip, trailers\r\nX-Forwarded-Prefix: /evil\r\nX-Real-IP: 6.6.6.6\r\nVia: 1.0 before\r\nContent-Length: 3\r\n\r\nabc", 1)
	seen := echo.Last()
	for name, want := range map[string]string{"X_User": "1", "x-USER": "2", "X.Dot": "", "X-Hop": "", "Proxy-Connection": "", "TE": "trailers", "X-Forwarded-Prefix": "/strip", "X-Real-IP": "127.0.0.1", "Via": "1.0 before, 1.1 kong/3.9.3", "Connection": "keep-alive", "Content-Length": "3"} {
		if got := strings.Join(seen.Get(name), "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if seen.Body != "abc" {
		t.Errorf("body %q", seen.Body)
	}
}

func TestPipelinedRequestsOnOneConnection(t *testing.T) {
	g, echo := proxyOnly(t)
	post := "POST /strip HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
	chunked := "POST /strip HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n0\r\nT: x\r\n\r\n"
	ended := "POST /ended HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
	resp, _ := exchange(t, g, post+chunked+ended+post, 4)
	for i, want := range []int{200, 200, 418, 200} {
		if resp[i].StatusCode != want {
			t.Errorf("answer %d: %d, want %d", i, resp[i].StatusCode, want)
		}
	}
	if echo.Count() != 3 {
		t.Errorf("the service saw %d requests", echo.Count())
	}
}

func TestWebSocketBytesFlow(t *testing.T) {
	g, _ := proxyOnly(t)
	c, err := net.Dial("tcp", g.ProxyAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, "GET /strip HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	for _, word := range []string{"one", "two"} {
		io.WriteString(c, word)
		b := make([]byte, 3)
		if _, err := io.ReadFull(br, b); err != nil || string(b) != word {
			t.Errorf("%q came back as %q, %v", word, b, err)
		}
	}
}

func TestKeyAuthAndAnonymous(t *testing.T) {
	g, echo := proxyOnly(t)
	for _, c := range []struct{ header, user, anonymous string }{
		{"apikey: k", "alice", ""}, {"apikey: wrong", "nobody", "true"}, {"X-Consumer-Username: alice\r\nX-Anonymous-Consumer: false", "nobody", "true"},
	} {
		exchange(t, g, "GET /keyed HTTP/1.1\r\nHost: h\r\n"+c.header+"\r\n\r\n", 1)
		seen := echo.Last()
		if got := strings.Join(seen.GetFold("X-Consumer-Username"), "|"); got != c.user {
			t.Errorf("%q: consumer %q, want %q", c.header, got, c.user)
		}
		if got := strings.Join(seen.GetFold("X-Anonymous-Consumer"), "|"); got != c.anonymous {
			t.Errorf("%q: anonymous %q, want %q", c.header, got, c.anonymous)
		}
	}
}

func TestErrorBodiesFollowAccept(t *testing.T) {
	g, _ := proxyOnly(t)
	for accept, want := range map[string]string{"text/html": "<!doctype html>", "text/plain": "no Route matched", "application/xml": "<?xml", "application/json": "{\n", "*/*": "{\n"} {
		_, body := exchange(t, g, "GET /none HTTP/1.1\r\nHost: h\r\nAccept: "+accept+"\r\n\r\n", 1)
		if !strings.HasPrefix(body[0], want) {
			t.Errorf("%s: %q", accept, body[0])
		}
	}
}

func FuzzRequestHead(f *testing.F) {
	f.Add([]byte("GET /a?b#c HTTP/1.1\r\nHost: h\r\nX_Y: \xff\r\n\r\n"))
	f.Add([]byte("POST http://h/x HTTP/1.0\nContent-Length: 3\n\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := newHeadReader(strings.NewReader(string(b))).head(maxHead)
		if err != nil {
			return
		}
		r, err := parseRequest(head)
		if err != nil {
			return
		}
		if !strings.HasPrefix(r.path, "/") || r.length < -2 || strings.ContainsAny(r.target, " \r\n\x00") {
			t.Errorf("%+v", r)
		}
		for _, h := range r.headers {
			if h.name == "" || strings.ContainsAny(h.name, ": \r\n") || strings.ContainsAny(h.value, "\r\n\x00") {
				t.Errorf("%q", h)
			}
		}
	})
}
