package op

import (
	"bufio"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/roots"
)

func get(t testing.TB, c HTTP, roots *x509.CertPool, address string) (*answer, error) {
	t.Helper()
	cl, err := newClient(c, roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	return cl.do(t.Context(), call{name: "test", method: http.MethodGet, url: address})
}

// Case 59: caps on size, redirects and time.
func TestCase59Caps(t *testing.T) {
	var followed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	defer elsewhere.Close()
	var sent atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 1<<16)
		for sent.Load() < 100<<20 {
			n, err := w.Write(block)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write([]byte("x")); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/header", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		_, _ = io.CopyN(z, zeroes{}, 2*maxBody)
	})
	s := httptest.NewServer(mux)
	defer s.Close()

	quick, patient := HTTP{Timeout: 100 * time.Millisecond}, HTTP{Timeout: time.Minute}
	for path, c := range map[string]HTTP{"/huge": patient, "/drip": quick, "/silent": quick, "/header": patient} {
		t.Run(path, func(t *testing.T) {
			_, err := get(t, c, nil, s.URL+path)
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Unavailable {
				t.Errorf("got %v", err)
			}
		})
	}
	if n := sent.Load(); n > 20<<20 {
		t.Errorf("%d bytes were taken in", n)
	}
	t.Run("/redirect", func(t *testing.T) {
		a, err := get(t, patient, nil, s.URL+"/redirect")
		if err != nil || a.status != http.StatusTemporaryRedirect || followed.Load() {
			t.Errorf("status %v, %v, followed %v", a, err, followed.Load())
		}
	})
	t.Run("/bomb", func(t *testing.T) {
		a, err := get(t, patient, nil, s.URL+"/bomb")
		if err != nil || len(a.body) > maxBody {
			t.Errorf("inflated: %v", err)
		}
	})
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// quiet takes what servers say of refused handshakes.
var quiet = log.New(io.Discard, "", 0)

func TestNoCookies(t *testing.T) {
	var got atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Add(int64(len(r.Cookies())))
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
	}))
	defer s.Close()
	cl, err := newClient(HTTP{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := cl.do(t.Context(), call{method: "GET", url: s.URL}); err != nil {
			t.Fatal(err)
		}
	}
	if got.Load() > 0 {
		t.Error("cookies were sent")
	}
}

func TestTrustInCertificates(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = quiet
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting, err := roots.Load([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	withSystem, err := roots.Load([]string{"system", file})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		http  HTTP
		roots *x509.CertPool
		ok    bool
	}{
		{"the system's authorities", HTTP{}, nil, false},
		{"no authority", HTTP{}, x509.NewCertPool(), false},
		{"its authority", HTTP{}, trusting, true},
		{"its authority and the system's", HTTP{}, withSystem, true},
		{"ssl_verify off", HTTP{InsecureSkipVerify: true}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := get(t, c.http, c.roots, s.URL); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, files := range [][]string{{"/does/not/exist"}, {os.DevNull}, {"system", "/does/not/exist"}} {
		if _, err := roots.Load(files); err == nil {
			t.Errorf("%v was read", files)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = quiet
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.StartTLS()
	defer s.Close()
	if _, err := get(t, HTTP{InsecureSkipVerify: true}, nil, s.URL); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}

// tunnel is a proxy that knows plain requests and CONNECT.
type tunnel struct {
	*httptest.Server
	authorization atomic.Value // of the last request
	used          atomic.Int64
}

func newTunnel(t *testing.T) *tunnel {
	p := &tunnel{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.used.Add(1)
		p.authorization.Store(r.Header.Get("Proxy-Authorization"))
		if r.Method != http.MethodConnect {
			r.RequestURI = ""
			r.Header.Del("Proxy-Authorization")
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer res.Body.Close()
			w.WriteHeader(res.StatusCode)
			_, _ = io.Copy(w, res.Body)
			return
		}
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		down, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprint(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { defer up.Close(); _, _ = io.Copy(up, bufio.NewReader(buf)) }()
		go func() { defer down.Close(); _, _ = io.Copy(down, up) }()
	}))
	t.Cleanup(p.Close)
	return p
}

func TestProxies(t *testing.T) {
	seen := make(chan http.Header, 10)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Clone() })
	plain, secure := httptest.NewServer(h), httptest.NewTLSServer(h)
	defer plain.Close()
	defer secure.Close()
	for _, c := range []struct {
		name, target string
		http         func(*tunnel) HTTP
		used         bool
		want         string
	}{
		{"http", plain.URL, func(p *tunnel) HTTP { return HTTP{HTTPProxy: p.URL, HTTPProxyAuthorization: "Basic abc"} }, true, "Basic abc"},
		{"http, credentials in its address", plain.URL, func(p *tunnel) HTTP { return HTTP{HTTPProxy: strings.Replace(p.URL, "//", "//u:p@", 1)} }, true, "Basic dTpw"},
		{"http, without a scheme", plain.URL, func(p *tunnel) HTTP { return HTTP{HTTPProxy: strings.TrimPrefix(p.URL, "http://")} }, true, ""},
		{"https", secure.URL, func(p *tunnel) HTTP { return HTTP{HTTPSProxy: p.URL, HTTPSProxyAuthorization: "Basic abc"} }, true, "Basic abc"},
		{"https proxy is not for http", plain.URL, func(p *tunnel) HTTP { return HTTP{HTTPSProxy: p.URL, HTTPSProxyAuthorization: "Basic abc"} }, false, ""},
		{"http proxy is not for https", secure.URL, func(p *tunnel) HTTP { return HTTP{HTTPProxy: p.URL, HTTPProxyAuthorization: "Basic abc"} }, false, ""},
		{"authorization without a proxy", plain.URL, func(*tunnel) HTTP { return HTTP{HTTPProxyAuthorization: "Basic abc"} }, false, ""},
		{"excepted", plain.URL, func(p *tunnel) HTTP {
			return HTTP{HTTPProxy: p.URL, HTTPProxyAuthorization: "Basic abc", NoProxy: "example.com, 127.0.0.1"}
		}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTunnel(t)
			conf := c.http(p)
			conf.InsecureSkipVerify = true
			if _, err := get(t, conf, nil, c.target); err != nil {
				t.Fatal(err)
			}
			if got := (<-seen).Get("Proxy-Authorization"); got != "" {
				t.Errorf("the provider saw the proxy's authorization")
			}
			if (p.used.Load() > 0) != c.used {
				t.Errorf("used: %v", p.used.Load())
			}
			if c.used && p.authorization.Load() != c.want {
				t.Errorf("authorized with %q", p.authorization.Load())
			}
		})
	}
	for _, bad := range []string{"://", "socks5://x", "http://"} {
		if _, err := newProxies(HTTP{HTTPProxy: bad}); err == nil {
			t.Errorf("proxy %q is taken", bad)
		}
	}
}

func TestNoProxy(t *testing.T) {
	for _, c := range []struct {
		list, host string
		want       bool
	}{
		{"", "a.example", false}, {"*", "a.example", true}, {"example.com", "example.com", true}, {"example.com", "id.example.com", true},
		{".example.com", "id.example.com", true}, {"*.example.com", "id.example.com", true}, {"example.com", "evil-example.com", false}, {"Example.COM", "example.com", true},
		{"example.com:8443", "example.com:8443", true}, {"example.com:8443", "example.com", false}, {"10.0.0.0/8", "10.1.2.3", true}, {"10.0.0.0/8", "11.1.2.3", false},
		{"a.example,b.example", "b.example", true}, {" a.example , b.example ", "b.example", true}, {",,", "a.example", false}, {"::1", "[::1]", true},
	} {
		p, err := newProxies(HTTP{HTTPProxy: "http://proxy", NoProxy: c.list})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse("http://" + c.host + "/")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.excepted(u); got != c.want {
			t.Errorf("no_proxy %q, host %s: %v", c.list, c.host, got)
		}
	}
}

// Case 62: errors show no query, no credential and no body.
func TestCase62ErrorsHoldNoSecret(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write([]byte("body-secret"))
	}))
	defer s.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	cl, err := newClient(HTTP{HTTPProxyAuthorization: "proxy-secret"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{s.URL, closed.URL, "http://127.0.0.1:1", "ftp://x", "http://[::1]:namedport"} {
		_, _, err := cl.getObject(t.Context(), "test", address+"/?key=query-secret", []Field{{"Authorization", "header-secret"}})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", address, err)
		}
	}
	c := config("https://i.example")
	c.HTTP.HTTPProxyAuthorization, c.DiscoveryHeaders = "proxy-secret", []Field{{"A", "header-secret"}}
	if text := fmt.Sprintf("%v %+v %#v", c, c, c); strings.Contains(text, "secret") {
		t.Errorf("a configuration prints %s", text)
	}
}

// Every field of a configuration makes it another one.
func TestConfigKeyCoversEveryField(t *testing.T) {
	full := Config{ExtraJWKSURIs: []string{""}, IssuerKeys: []IssuerKeys{{URIs: []string{""}}}, DiscoveryHeaders: []Field{{}}, Parameters: Parameters{Scopes: []string{""}, AuthMethods: []string{""}}}
	seen := map[[32]byte]string{full.key(): "none"}
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		change := func(set func()) {
			old := reflect.New(v.Type()).Elem()
			old.Set(v)
			set()
			if other, dup := seen[full.key()]; dup {
				t.Errorf("changing %s gives the key of %s", name, other)
			}
			seen[full.key()] = name
			v.Set(old)
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			change(func() { v.Set(reflect.AppendSlice(v, v)) })
			walk(v.Index(0), name+"[0]")
		case reflect.String:
			change(func() { v.SetString("x") })
		case reflect.Bool:
			change(func() { v.SetBool(true) })
		case reflect.Int64:
			change(func() { v.SetInt(7) })
		case reflect.Func:
			change(func() { v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { return nil })) })
		default:
			t.Fatalf("%s is of kind %s", name, v.Kind())
		}
	}
	walk(reflect.ValueOf(&full).Elem(), "Config")
}
