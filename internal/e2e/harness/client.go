package harness

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Browser is a client with cookies that does not follow redirects.
type Browser struct {
	t    testing.TB
	base string // what a target that begins with a slash is below
	HTTP *http.Client
}

// NewBrowser returns a browser without cookies. It fails the test when a
// request gets no answer.
func NewBrowser(t testing.TB, base string) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{t, base, &http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if strings.HasPrefix(base, "https:") {
		b.transport()
	}
	return b
}

// On returns the same browser, with its cookies, for a subtest.
func (b *Browser) On(t testing.TB) *Browser {
	return &Browser{t, b.base, b.HTTP}
}

// From makes the browser connect from a source address, as from TrustedPeer,
// whose forwarding headers count.
func (b *Browser) From(ip string) *Browser {
	d, tr := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}, b.transport()
	tr.DialContext, tr.DisableKeepAlives = d.DialContext, true
	return b
}

// Showing makes the browser show a client certificate to whoever asks for one.
// It shows the same to everybody, whatever authorities the server names.
func (b *Browser) Showing(c tls.Certificate) *Browser {
	b.transport().TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	return b
}

// Named makes the browser ask for a host by name in its TLS handshakes.
func (b *Browser) Named(host string) *Browser {
	b.transport().TLSClientConfig.ServerName = host
	return b
}

// transport is the browser's own; it takes any certificate of the gateway.
func (b *Browser) transport() *http.Transport {
	t, ok := b.HTTP.Transport.(*http.Transport)
	if !ok {
		t = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4)}}
		b.HTTP.Transport = t
		b.t.Cleanup(t.CloseIdleConnections)
	}
	return t
}

// Answer is a response, read whole.
type Answer struct {
	*http.Response
	Text string
	t    testing.TB
}

// Do sends a request; header holds names and values in turn.
func (b *Browser) Do(method, target string, body io.Reader, header ...string) *Answer {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.base + target
	}
	r, err := http.NewRequest(method, target, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := b.HTTP.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, r.URL.Path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, r.URL.Path, err)
	}
	return &Answer{resp, string(text), b.t}
}

// Get sends a GET request.
func (b *Browser) Get(target string, header ...string) *Answer {
	b.t.Helper()
	return b.Do("GET", target, nil, header...)
}

// Post sends a form.
func (b *Browser) Post(target string, form url.Values, header ...string) *Answer {
	b.t.Helper()
	return b.Do("POST", target, strings.NewReader(form.Encode()), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
}

// Want fails the test unless the status is the given one.
func (a *Answer) Want(status int) *Answer {
	a.t.Helper()
	if a.StatusCode != status {
		a.t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, status, a.Text)
	}
	return a
}

// To returns where a redirect leads.
func (a *Answer) To() *url.URL {
	a.t.Helper()
	u, err := a.Location()
	if err != nil {
		a.t.Fatalf("%s %s: status %d without a location: %s", a.Request.Method, a.Request.URL.Path, a.StatusCode, a.Text)
	}
	return u
}

// SetsCookie returns the cookie that the answer sets to a value, or nil.
func (a *Answer) SetsCookie(name string) *http.Cookie {
	for _, c := range a.Cookies() {
		if c.Name == name && c.Value != "" && c.MaxAge >= 0 {
			return c
		}
	}
	return nil
}

// Echo is what the service saw of a request.
type Echo struct {
	Method  string   `json:"method"`
	Path    string   `json:"path"`
	Query   string   `json:"query"`
	Headers []string `json:"headers"` // lines as sent
	Body    string   `json:"body"`
	t       testing.TB
}

// Echo returns what the service saw; the request must have reached it.
func (a *Answer) Echo() *Echo {
	a.t.Helper()
	a.Want(200)
	e := &Echo{t: a.t}
	if err := json.Unmarshal([]byte(a.Text), e); err != nil {
		a.t.Fatalf("the service's answer: %v: %s", err, a.Text)
	}
	return e
}

// Get returns the values of the headers that a service could take for name:
// any case, `_` as `-`.
func (e *Echo) Get(name string) []string {
	canonical := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	var out []string
	for _, line := range e.Headers {
		if k, v, _ := strings.Cut(line, ":"); canonical(k) == canonical(name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}

// One returns the value of a header that stands once.
func (e *Echo) One(name string) string {
	e.t.Helper()
	v := e.Get(name)
	if len(v) != 1 {
		e.t.Fatalf("header %s at the service: %q, want one", name, v)
	}
	return v[0]
}

// Bearer returns the token of the Authorization header.
func (e *Echo) Bearer() string {
	e.t.Helper()
	v, ok := strings.CutPrefix(e.One("Authorization"), "Bearer ")
	if !ok {
		e.t.Fatal("the service sees another Authorization than a Bearer token")
	}
	return v
}

// Basic returns the value of an Authorization header (RFC 7617).
func Basic(user, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+secret))
}
