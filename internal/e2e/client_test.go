package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

// answer is a response, read whole.
type answer struct {
	*http.Response
	body string
}

// echo is what the service saw of the request.
type echo struct {
	Method  string   `json:"method"`
	Path    string   `json:"path"`
	Query   string   `json:"query"`
	Headers []string `json:"headers"` // lines as sent
	Body    string   `json:"body"`
}

func (a *answer) echo(t *testing.T) echo {
	t.Helper()
	var e echo
	if a.StatusCode != 200 {
		t.Fatalf("status %d, want what the service saw: %s", a.StatusCode, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("the service's answer: %v: %s", err, a.body)
	}
	return e
}

// get returns the values of the headers that a service could take for name:
// any case, `_` as `-`.
func (e echo) get(name string) []string {
	canonical := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	var out []string
	for _, line := range e.Headers {
		if k, v, _ := strings.Cut(line, ":"); canonical(k) == canonical(name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

func (e echo) one(t *testing.T, name string) string {
	t.Helper()
	v := e.get(name)
	if len(v) != 1 {
		t.Fatalf("header %s at the service: %q, want one", name, v)
	}
	return v[0]
}

// browser is a client with cookies that does not follow redirects.
type browser struct {
	t *testing.T
	c *http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// from makes the browser connect from a source address.
func (b *browser) from(ip string) *browser {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	b.c.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.DialContext(ctx, network, addr)
	}}
	return b
}

func (b *browser) do(method, target string, body io.Reader, header ...string) *answer {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = env.Proxy + target
	}
	r, err := http.NewRequest(method, target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := b.c.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, target, err)
	}
	return &answer{resp, string(text)}
}

func (b *browser) get(target string, header ...string) *answer {
	b.t.Helper()
	return b.do("GET", target, nil, header...)
}

func (b *browser) post(target string, form url.Values, header ...string) *answer {
	b.t.Helper()
	return b.do("POST", target, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// want fails unless the status is one of the given.
func (a *answer) want(t *testing.T, status int) *answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL, a.StatusCode, status, a.body)
	}
	return a
}

func (a *answer) location(t *testing.T) *url.URL {
	t.Helper()
	u, err := a.Location()
	if err != nil {
		t.Fatalf("status %d without a location: %s", a.StatusCode, a.body)
	}
	return u
}

// setCookies returns the cookies that the answer sets to a value.
func (a *answer) setCookies() map[string]*http.Cookie {
	m := map[string]*http.Cookie{}
	for _, c := range a.Cookies() {
		if c.Value != "" && c.MaxAge >= 0 {
			m[c.Name] = c
		}
	}
	return m
}

// mint makes an access token of alex, signed by the provider's current key.
func mint(t *testing.T, q provider.TokenRequest) string {
	t.Helper()
	raw, err := env.provider.Mint(q)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// faults sets faults at the provider for the time of a test.
func faults(t *testing.T, list ...provider.Fault) {
	t.Helper()
	for _, f := range list {
		if err := env.provider.Faults().Set(f); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(env.provider.Faults().Clear)
}
