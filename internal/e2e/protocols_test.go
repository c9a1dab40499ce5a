package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/sandbox/upstream"
)

// http2Client speaks HTTP/2 in clear text and nothing else.
func http2Client(t *testing.T) *http.Client {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func TestHTTP2(t *testing.T) {
	b := &browser{t, http2Client(t)}
	good := mint(t, provider.TokenRequest{})
	a := b.get("/bearer/x?y=1", "Authorization", "Bearer "+good, "X-Authenticated-User", "root", "X_Authenticated_User", "root", "X-Consumer-Username", "root")
	if a.ProtoMajor != 2 {
		t.Fatal(a.Proto)
	}
	if e := a.echo(t); e.one(t, "X-Authenticated-User") != "alex" || e.Query != "y=1" || e.get("X-Consumer-Username") != nil || e.one(t, "Authorization") != "Bearer "+good {
		t.Errorf("the service saw %q", e.Headers)
	}
	if a := b.get("/bearer").want(t, 401); a.body != `{"message":"Unauthorized"}` || a.Header.Get("WWW-Authenticate") != `Bearer realm="127.0.0.1"` {
		t.Errorf("%s %v", a.body, a.Header)
	}
	// A cookie each in a field of its own, as HTTP/2 clients may send them.
	if e := b.get("/places", "Cookie", "a=1", "Cookie", "token="+good, "Cookie", "b=2").echo(t); e.one(t, "Cookie") != "a=1; b=2" {
		t.Errorf("cookies %q", e.get("Cookie"))
	}
	if e := b.do("POST", "/places", strings.NewReader("x=1&access_token="+good), "Content-Type", "application/x-www-form-urlencoded").echo(t); e.Body != "x=1" {
		t.Errorf("body %q", e.Body)
	}
}

// call makes a gRPC call with one message and returns the answer, its message
// and its status and message of gRPC, from the head or the trailers.
func call(t *testing.T, method string, header ...string) (a *http.Response, message, status, text string) {
	t.Helper()
	r, err := http.NewRequest("POST", env.Proxy+method, strings.NewReader(string(upstream.AppendMessage(nil, []byte("hello")))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	a, err = http2Client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if m, err := upstream.ReadMessage(a.Body); err == nil {
		message = string(m)
	}
	if _, err := io.ReadAll(a.Body); err != nil {
		t.Fatal(err)
	}
	h := a.Header
	if h.Get("Grpc-Status") == "" {
		h = a.Trailer
	}
	return a, message, h.Get("Grpc-Status"), h.Get("Grpc-Message")
}

func TestGRPC(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	t.Run("an allowed call", func(t *testing.T) {
		_, message, status, _ := call(t, "/echo.Echo/Say", "Authorization", "Bearer "+good, "X-Authenticated-User", "root", "X_authenticated_user", "root", "X-Consumer-Id", "1", "Grpc-Timeout", "20S")
		if status != "0" || !strings.Contains(message, `"x-authenticated-user: alex"`) || strings.Contains(message, "root") || strings.Contains(message, "x-consumer-id") ||
			!strings.Contains(message, `"authorization: Bearer `+good+`"`) || !strings.Contains(message, `"body":"hello"`) {
			t.Errorf("status %s, the service saw %s", status, message)
		}
	})
	t.Run("a stream both ways", func(t *testing.T) {
		pr, pw := io.Pipe()
		defer pw.Close()
		r, err := http.NewRequest("POST", env.Proxy+"/echo.Echo/Chat", pr)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Authorization": {"Bearer " + good}}
		go pw.Write(upstream.AppendMessage(nil, []byte("first")))
		a, err := http2Client(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		for _, next := range []string{"second", ""} {
			if m, err := upstream.ReadMessage(a.Body); err != nil || !strings.Contains(string(m), "x-authenticated-user: alex") {
				t.Fatalf("%v %s", err, m)
			}
			if next != "" {
				pw.Write(upstream.AppendMessage(nil, []byte(next)))
			}
		}
	})
	for _, c := range []struct {
		name, method, token string
		http                int
		status, message     string
		challenge           string
	}{
		{"no token", "/echo.Echo/Say", "", 401, "16", "Unauthorized", `Bearer realm="127.0.0.1"`},
		{"a bad token", "/echo.Echo/Say", "x.y.z", 401, "16", "Unauthorized", `Bearer realm="127.0.0.1", error="invalid_token"`},
		{"a token without the scope", "/echo.Echo/Say", mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "other"}}), 403, "7", "Forbidden", `Bearer realm="127.0.0.1", error="insufficient_scope", scope="openid"`},
		{"the provider is gone", "/gone.Echo/Say", good, 500, "13", "An unexpected error occurred", ""},
		{"a message that has to be encoded", "/shown.Echo/Say", "", 401, "16", "Zutritt f%C3%BCr 100%25 niemand: no credential was found", `Bearer realm="127.0.0.1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h []string
			if c.token != "" {
				h = []string{"Authorization", "Bearer " + c.token}
			}
			a, message, status, text := call(t, c.method, h...)
			if a.StatusCode != c.http || message != "" || status != c.status || text != c.message || a.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s, %q, grpc-status %s %q, %s", a.Status, message, status, text, a.Header.Get("WWW-Authenticate"))
			}
			if a.Header.Get("Content-Type") != "" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", a.Header)
			}
		})
	}
	t.Run("a login is a redirect all the same", func(t *testing.T) {
		a, _, status, _ := call(t, "/login.Echo/Say")
		if a.StatusCode != 302 || status != "2" || !strings.HasPrefix(a.Header.Get("Location"), env.Issuer) {
			t.Errorf("%s, grpc-status %s, to %s", a.Status, status, a.Header.Get("Location"))
		}
	})
}

// Authentication happens on the handshake; what is denied is a plain answer.
func TestWebSocket(t *testing.T) {
	handshake := func(t *testing.T, header string) (net.Conn, *bufio.Reader, *http.Response) {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(env.Proxy, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(c, "GET /bearer/ws HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", header)
		r := bufio.NewReader(c)
		a, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c, r, a
	}
	t.Run("allowed", func(t *testing.T) {
		c, r, a := handshake(t, "Authorization: Bearer "+mint(t, provider.TokenRequest{})+"\r\nX-Authenticated-User: root\r\n")
		if a.StatusCode != 101 || a.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Fatalf("%s %v", a.Status, a.Header)
		}
		fmt.Fprint(c, "bytes both ways")
		got := make([]byte, len("bytes both ways"))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "bytes both ways" {
			t.Errorf("%v %q", err, got)
		}
	})
	t.Run("denied", func(t *testing.T) {
		_, _, a := handshake(t, "Authorization: Bearer x.y.z\r\n")
		body, _ := io.ReadAll(a.Body)
		if a.StatusCode != 401 || string(body) != `{"message":"Unauthorized"}` || !strings.Contains(a.Header.Get("WWW-Authenticate"), "invalid_token") {
			t.Errorf("%s %s %v", a.Status, body, a.Header)
		}
	})
}

var (
	requestID = regexp.MustCompile(`\n *(<p>)?<?request_?id(>|: )[0-9a-f]{32}(</p>|</requestid>)?`)
	jsonError = regexp.MustCompile(`^\{\n  "message":"([^"]*)",\n  "request_id":"[0-9a-f]{32}"\n\}$`)
)

// An error has the type and the bytes of the gateway's own, but for the request's id.
func TestErrorBodiesAreTheGateways(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string // the type
	}{
		{nil, "application/json"},
		{[]string{"*/*"}, "application/json"},
		{[]string{"application/json"}, "application/json"},
		{[]string{"text/html"}, "text/html"},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}, "text/html"},
		{[]string{"application/xml"}, "application/xml"},
		{[]string{"text/plain"}, "text/plain"},
		{[]string{"text/*"}, "text/plain"},
		{[]string{"application/*"}, "application/json"},
		{[]string{"image/png"}, "application/json"},
		{[]string{"image/png, text/html;q=0.5"}, "application/json"},
		{[]string{"text/html;q=0.1, application/xml;q=0.2"}, "application/xml"},
		{[]string{"text/plain;q=0.999, text/html;q=1.000"}, "text/html"},
		{[]string{"text/plain, text/html"}, "text/plain"},
		{[]string{"text/html;q=0"}, "application/json"},
		{[]string{"text/html;level=1;q=0.1, text/plain;q=0.2"}, "text/plain"},
		{[]string{"application/json;q=0.4", "text/plain;q=0.5"}, "text/plain"},
		{[]string{"text, /html, ;;;"}, "application/json"},
	} {
		t.Run(strings.Join(c.accept, " + "), func(t *testing.T) {
			var h []string
			for _, v := range c.accept {
				h = append(h, "Accept", v)
			}
			b := newBrowser(t)
			own := b.get("/no-such-route", h...).want(t, 404)
			for path, expect := range map[string]struct {
				status  int
				message string
				token   string
			}{
				"/bearer": {401, "Unauthorized", ""}, "/quiet": {403, "Not you", mint(t, provider.TokenRequest{})}, "/gone": {500, "An unexpected error occurred", mint(t, provider.TokenRequest{})},
			} {
				headers := h
				if expect.token != "" {
					headers = append(headers[:len(headers):len(headers)], "Authorization", "Bearer "+expect.token)
				}
				a := b.get(path, headers...).want(t, expect.status)
				got, theirs := a.Header.Get("Content-Type"), own.Header.Get("Content-Type")
				if got != theirs || got != c.want+"; charset=utf-8" {
					t.Errorf("%s: type %q, the gateway's %q, want %s", path, got, theirs, c.want)
				}
				want := strings.Replace(requestID.ReplaceAllString(own.body, ""), "no Route matched with those values", expect.message, 1)
				if m := jsonError.FindStringSubmatch(own.body); m != nil {
					want = `{"message":"` + expect.message + `"}` // a table that Kong encodes has no spaces
				}
				if a.body != want {
					t.Errorf("%s: body %q, want %q", path, a.body, want)
				}
			}
		})
	}
}
