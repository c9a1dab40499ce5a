package gateway

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/upstream"
)

const http2Routes = `
_format_version: "3.0"
services:
- name: echo
  url: http://UPSTREAM
  routes:
  - {name: plain, paths: [/plain]}
  - {name: ended, paths: [/ended], plugins: [{name: request-termination, config: {status_code: 401, message: short}}]}
- name: calls
  url: grpc://GRPC
  routes:
  - {name: calls, paths: [/echo.Echo/], protocols: [grpc], strip_path: false}
  - {name: secure, paths: [/secure.Echo/], protocols: [grpcs], strip_path: false}
`

// http2Client speaks HTTP/2 only, in clear text or over TLS.
func http2Client(t *testing.T) *http.Client {
	var p http.Protocols
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func http2Gateway(t *testing.T) *Gateway {
	t.Helper()
	echo, err := upstream.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	calls, err := upstream.StartGRPC("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { calls.Close() })
	return startOptions(t, Options{
		ConfigData: []byte(strings.NewReplacer("UPSTREAM", echo.Addr(), "GRPC", calls.Addr()).Replace(http2Routes)), HTTP2: true, ProxyTLSAddr: "127.0.0.1:0",
	})
}

func TestHTTP2(t *testing.T) {
	g := http2Gateway(t)
	c := http2Client(t)
	for _, base := range []string{"http://" + g.ProxyAddr(), "https://" + g.ProxyTLSAddr()} {
		r, err := http.NewRequest("POST", base+"/plain/x?y=1", strings.NewReader(strings.Repeat("z", 20<<10)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header["X_Under"] = []string{"a", "b"}
		r.Header["Cookie"] = []string{"a=1", "b=2"}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.ProtoMajor != 2 || res.StatusCode != 200 {
			t.Fatalf("%v %s %s", err, res.Proto, res.Status)
		}
		for _, line := range []string{`"x_under: a"`, `"x_under: b"`, `"cookie: a=1; b=2"`, `"Via: 2 kong/3.9.3"`, `"Content-Length: 20480"`, `"target": "/x?y=1"`} {
			if !strings.Contains(string(body), line) {
				t.Errorf("the service did not see %s: %s", line, strings.ReplaceAll(string(body), "zzzz", ""))
			}
		}
		res, err = c.Get(base + "/ended")
		if err != nil {
			t.Fatal(err)
		}
		body, _ = io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 401 || !strings.Contains(string(body), "short") {
			t.Errorf("%s %s", res.Status, body)
		}
	}
	// HTTP/1 on the same ports.
	one := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer one.CloseIdleConnections()
	for _, base := range []string{"http://" + g.ProxyAddr(), "https://" + g.ProxyTLSAddr()} {
		res, err := one.Get(base + "/plain")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 200 || res.ProtoMajor != 1 {
			t.Errorf("%s %s", res.Proto, res.Status)
		}
	}
}

func TestGRPC(t *testing.T) {
	g := http2Gateway(t)
	c := http2Client(t)
	base := "http://" + g.ProxyAddr()
	call := func(t *testing.T, path, contentType string, body io.Reader) *http.Response {
		t.Helper()
		r, err := http.NewRequest("POST", base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Te", "trailers")
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	hello := func() io.Reader { return strings.NewReader(string(upstream.AppendMessage(nil, []byte("hello")))) }
	t.Run("a call and its trailers", func(t *testing.T) {
		res := call(t, "/echo.Echo/Say", "application/grpc", hello())
		m, err := upstream.ReadMessage(res.Body)
		if err != nil || !strings.Contains(string(m), `"body":"hello"`) || !strings.Contains(string(m), `"path":"/echo.Echo/Say"`) {
			t.Fatalf("%v %s", err, m)
		}
		if _, err := io.ReadAll(res.Body); err != nil || res.Trailer.Get("grpc-status") != "0" {
			t.Errorf("%v, trailers %v", err, res.Trailer)
		}
	})
	t.Run("a stream both ways", func(t *testing.T) {
		pr, pw := io.Pipe()
		go pw.Write(upstream.AppendMessage(nil, []byte("first")))
		res := call(t, "/echo.Echo/Chat", "application/grpc+proto", pr)
		for _, next := range []string{"second", "third", ""} {
			m, err := upstream.ReadMessage(res.Body)
			if err != nil || !strings.Contains(string(m), `"body":"`) {
				t.Fatalf("%v %s", err, m)
			}
			if next != "" {
				pw.Write(upstream.AppendMessage(nil, []byte(next)))
			}
		}
		pw.Close()
		if _, err := io.ReadAll(res.Body); err != nil || res.Trailer.Get("grpc-status") != "0" {
			t.Errorf("%v, trailers %v", err, res.Trailer)
		}
	})
	t.Run("a failure of the service", func(t *testing.T) {
		res := call(t, "/echo.Echo/Fail", "application/grpc", hello())
		io.ReadAll(res.Body)
		if res.StatusCode != 200 || res.Trailer.Get("grpc-status") != "9" || res.Trailer.Get("grpc-message") != "failed as asked" {
			t.Errorf("%s %v %v", res.Status, res.Header, res.Trailer)
		}
	})
	t.Run("refusals", func(t *testing.T) {
		if res := call(t, "/echo.Echo/Say", "text/plain", hello()); res.StatusCode != 415 {
			t.Errorf("another type: %s", res.Status)
		}
		if res := call(t, "/secure.Echo/Say", "application/grpc", hello()); res.Header.Get("grpc-status") != "1" {
			t.Errorf("in clear text: %v", res.Header)
		}
		res, err := http.Post(base+"/echo.Echo/Say", "application/grpc", hello())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 426 {
			t.Errorf("HTTP/1: %s", res.Status)
		}
		if res := call(t, "/none.Echo/Say", "application/grpc", hello()); res.StatusCode != 404 || res.Header.Get("grpc-status") != "5" || res.Header.Get("grpc-message") != "NotFound" {
			t.Errorf("no route: %s %v", res.Status, res.Header)
		}
	})
}
