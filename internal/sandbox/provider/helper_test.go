package provider

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	kongSecret = "kong-secret-0123456789abcdef0123456789abcdef"
	redirect   = "http://127.0.0.1:8000/cb"
)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.t }
func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type fixture struct {
	*Server
	t     *testing.T
	clock *clock
	http  *http.Client
}

// sharedKeys are made once: RSA keys are what a provider costs. Tests that
// rotate keys make their own with startWith.
var sharedKeys = sync.OnceValues(NewKeys)

func start(t *testing.T, clients ...Client) *fixture {
	t.Helper()
	keys, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	return startWith(t, keys, clients...)
}

func startWith(t *testing.T, keys *Keys, clients ...Client) *fixture {
	t.Helper()
	c := &clock{t: time.Now()}
	s, err := Start("127.0.0.1:0", Options{Now: c.Now, Keys: keys, Clients: append(DefaultClients(), clients...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	jar, _ := cookiejar.New(nil)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &fixture{s, t, c, &http.Client{Jar: jar, Transport: tr, Timeout: 20 * time.Second}}
}

type reply struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (f *fixture) do(req *http.Request) reply {
	f.t.Helper()
	res, err := f.http.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, body: b}
	json.Unmarshal(b, &r.json)
	return r
}

func (f *fixture) get(path string) reply {
	f.t.Helper()
	req, _ := http.NewRequest("GET", f.URL+path, nil)
	return f.do(req)
}

// post sends a form as the client kong, unless the form says who it is.
func (f *fixture) post(path string, pairs ...string) reply {
	f.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req, _ := http.NewRequest("POST", f.URL+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !form.Has("client_id") && !form.Has("client_assertion") {
		req.SetBasicAuth("kong", kongSecret)
	}
	return f.do(req)
}

func (f *fixture) control(method, path, body string) reply {
	f.t.Helper()
	req, _ := http.NewRequest(method, f.URL+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return f.do(req)
}

func (f *fixture) userinfo(token string) reply {
	f.t.Helper()
	req, _ := http.NewRequest("GET", f.URL+"/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+token)
	return f.do(req)
}

func (f *fixture) password() map[string]any {
	f.t.Helper()
	r := f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "scope", "openid")
	if r.status != 200 {
		f.t.Fatalf("password grant: %d %s", r.status, r.body)
	}
	return r.json
}

// authorize logs alex in and returns how the browser comes back.
func (f *fixture) authorize(pairs ...string) *Callback {
	f.t.Helper()
	q := url.Values{"client_id": {"kong"}, "redirect_uri": {redirect}, "response_type": {"code"}, "scope": {"openid"}, "state": {"the-state"}, "nonce": {"the-nonce"}}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	cb, err := SignIn(f.t.Context(), f.http, f.URL+"/authorize?"+q.Encode(), "alex", "doe")
	if err != nil {
		f.t.Fatal(err)
	}
	return cb
}

func (f *fixture) set(x Fault) {
	f.t.Helper()
	if err := f.Faults().Set(x); err != nil {
		f.t.Fatal(err)
	}
}

func wantError(t *testing.T, r reply, status int, code string) {
	t.Helper()
	if r.status != status || r.json["error"] != code {
		t.Errorf("answer is %d %s, want %d with error %q", r.status, r.body, status, code)
	}
}

// open reads a JWT without any check.
func open(t *testing.T, token any) (header, claims map[string]any) {
	t.Helper()
	s, _ := token.(string)
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %v", token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := b64decode(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		if err := d.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// verify checks a JWT with the published keys by kid, as a relying party would.
func (f *fixture) verify(token any) error {
	jws, err := jose.ParseSignedCompact(token.(string), keyAlgorithms)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(f.get("/jwks").body, &set); err != nil {
		return err
	}
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		return errNoKey
	}
	_, err = jws.Verify(keys[0])
	return err
}
