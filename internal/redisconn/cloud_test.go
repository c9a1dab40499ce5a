package redisconn

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/testservers"
)

const cloudSecret = "cl0ud-secret"

// fakeCloud answers every host over TLS and plain HTTP and notes what it was asked.
type fakeCloud struct {
	mu     sync.Mutex
	asked  []string
	answer func(r *http.Request, form url.Values) (int, string)
	server *httptest.Server
}

func newCloud(t *testing.T, answer func(*http.Request, url.Values) (int, string)) *fakeCloud {
	f := &fakeCloud{answer: answer}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(b))
		for k, v := range r.URL.Query() {
			form[k] = v
		}
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.Header.Get("X-Was")+r.URL.Path)
		f.mu.Unlock()
		status, body := f.answer(r, form)
		w.Header().Set("Location", "https://elsewhere.test/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(f.server.Close)
	return f
}

// RoundTrip sends every request to the fake, and tells it where it was to go.
func (f *fakeCloud) RoundTrip(r *http.Request) (*http.Response, error) {
	u, _ := url.Parse(f.server.URL)
	out := r.Clone(r.Context())
	out.Header.Set("X-Was", r.URL.Scheme+"://"+r.URL.Host)
	out.URL.Scheme, out.URL.Host = "http", u.Host
	return http.DefaultTransport.RoundTrip(out)
}

func (f *fakeCloud) count() int { f.mu.Lock(); defer f.mu.Unlock(); return len(f.asked) }

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func provider(t *testing.T, f *fakeCloud, c *clock, cloud Cloud, user string, env map[string]string) credentials {
	t.Helper()
	o := Options{TLS: true, Username: user, Cloud: cloud, HTTP: &http.Client{Transport: f}, Now: c.now, Getenv: func(k string) string { return env[k] }}
	if err := o.check(); err != nil {
		t.Fatal(err)
	}
	o.setDefaults()
	return o.credentials()
}

func newClock() *clock { return &clock{time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func must(t *testing.T, get credentials) (user, token string) {
	t.Helper()
	user, token, err := get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return user, token
}

func jwtWith(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func TestTokensAreRenewed(t *testing.T) {
	c := newClock()
	n, down := 0, false
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		if down {
			return 503, cloudSecret
		}
		n++
		return 200, fmt.Sprintf(`{"access_token":"token %d","expires_in":3600}`, n)
	})
	get := provider(t, f, c, Cloud{Provider: GCP}, "u", nil)
	want := func(token string) {
		t.Helper()
		if _, got := must(t, get); got != token {
			t.Errorf("%v: %q, want %q", c.at, got, token)
		}
	}
	var wg sync.WaitGroup
	for range 20 { // the first connections ask once together
		wg.Go(func() { _, _, _ = get(t.Context()) })
	}
	wg.Wait()
	want("token 1")
	c.at = c.at.Add(time.Hour - renewBefore - time.Second)
	want("token 1")
	c.at = c.at.Add(time.Second)
	want("token 2") // ahead of its end
	down = true
	c.at = c.at.Add(time.Hour - renewBefore)
	asked := f.count()
	want("token 2") // the old one lives
	want("token 2")
	if f.count() != asked+1 {
		t.Error("a failed renewal is tried again without a pause")
	}
	c.at = c.at.Add(retryAfter)
	want("token 2")
	if f.count() != asked+2 {
		t.Error("a failed renewal is not tried again")
	}
	c.at = c.at.Add(renewBefore)
	_, _, err := get(t.Context())
	if err == nil || strings.Contains(err.Error(), cloudSecret) || !strings.Contains(err.Error(), "answered 503") {
		t.Fatalf("after the end: %v", err)
	}
	down = false
	want("token 3")
}

func TestCloudAnswersAreBounded(t *testing.T) {
	for name, body := range map[string]string{"large": strings.Repeat(" ", maxCloudReply+1), "no token": `{"expires_in":1}`, "no end": `{"access_token":"x"}`,
		"past": `{"access_token":"x","expires_in":-1}`, "no JSON": "<html>"} {
		f := newCloud(t, func(*http.Request, url.Values) (int, string) { return 200, body })
		if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f := newCloud(t, nil)
	f.answer = func(*http.Request, url.Values) (int, string) { return 302, "" }
	if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(t.Context()); err == nil || f.count() != 1 {
		t.Errorf("a redirect: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := provider(t, f, newClock(), Cloud{Provider: GCP}, "", nil)(ctx); err == nil {
		t.Error("a dead context asked")
	}
}

// TestCloudErrorReachesTheCaller: what failed is named, on the connection of a real dial.
func TestCloudErrorReachesTheCaller(t *testing.T) {
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		return 400, `{"error":"invalid_client","error_description":"` + cloudSecret + `"}`
	})
	server := httptest.NewUnstartedServer(nil)
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var port int
	fmt.Sscan(u.Port(), &port)
	c, err := New(Options{Address: Address{u.Hostname(), port}, TLS: true, TLSSkipVerify: true, HTTP: &http.Client{Transport: f},
		Cloud: Cloud{Provider: Azure, AzureClientID: "c", AzureClientSecret: cloudSecret, AzureTenantID: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Check(t.Context())
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "login by the cloud: Entra's token endpoint answered 400 (invalid_client: the client id or its secret is wrong, or the secret has ended)") || strings.Contains(err.Error(), cloudSecret) {
		t.Errorf("error = %v", err)
	}
}

// TestTokenLogsIn: a real Redis takes the token as the password of the user,
// and connections that are made after its renewal use the new one.
func TestTokenLogsIn(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{TLS: true, ACL: []string{"user default on nopass ~* +@all", "user object-id on >placeholder ~* +@all"}})
	c := newClock()
	n := 0
	token := func() string { return jwtWith(fmt.Sprintf(`{"oid":"object-id","n":%d}`, n)) }
	f := newCloud(t, func(*http.Request, url.Values) (int, string) {
		n++
		return 200, fmt.Sprintf(`{"access_token":%q,"expires_in":3600}`, token())
	})
	c2, err := New(Options{Address: Address{s.Host, s.Port}, TLS: true, Roots: s.Roots, Now: c.now, HTTP: &http.Client{Transport: f},
		Cloud: Cloud{Provider: Azure, AzureClientID: "c", AzureClientSecret: cloudSecret, AzureTenantID: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c2.Close()
	var e *Error
	if err := c2.Check(t.Context()); !errors.As(err, &e) || e.Code != "WRONGPASS" || !strings.Contains(err.Error(), "access policy") || strings.Contains(err.Error(), token()) {
		t.Fatalf("a token that Redis does not take: %v", err)
	}
	for range 2 {
		s.MustDo("ACL", "SETUSER", "object-id", "resetpass", ">"+token())
		if err := c2.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.at = c.at.Add(time.Hour)
		n++ // what the next request will bring
		next := token()
		n--
		s.MustDo("ACL", "SETUSER", "object-id", "resetpass", ">"+next)
		s.MustDo("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		if err := c2.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("asked for %d tokens", n)
	}
}
