package provider

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sleeps records what the provider would have waited.
type sleeps struct {
	mu  sync.Mutex
	all []time.Duration
}

func (s *sleeps) sleep(ctx context.Context, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, d)
	return ctx.Err()
}

// take returns what has been slept since the last take.
func (s *sleeps) take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.all
	s.all = nil
	return out
}

func TestWireFaults(t *testing.T) {
	var slept sleeps
	keys, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start("127.0.0.1:0", Options{Sleep: slept.sleep, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	type answer struct {
		res  *http.Response
		body []byte
		err  error
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	call := func() answer {
		res, err := client.Get(s.URL + "/jwks")
		if err != nil {
			return answer{err: err}
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return answer{res, b, err}
	}
	healthy := func(a answer) bool {
		return a.err == nil && a.res.StatusCode == 200 && bytes.HasPrefix(a.body, []byte(`{"keys":[`))
	}
	cases := map[string]struct {
		fault Fault
		want  func(answer) bool
	}{
		"status": {Fault{}, func(a answer) bool { return a.res.StatusCode == 500 }},
		"body":   {Fault{Value: "null", Status: 201}, func(a answer) bool { return a.res.StatusCode == 201 && string(a.body) == "null" }},
		"slow":   {Fault{Delay: Duration(7 * time.Second)}, func(a answer) bool { return healthy(a) && slices.Equal(slept.take(), []time.Duration{7 * time.Second}) }},
		"drip": {Fault{}, func(a answer) bool {
			return healthy(a) && slices.Equal(slept.take(), slices.Repeat([]time.Duration{time.Second}, len(a.body)))
		}},
		"hang":        {Fault{}, func(a answer) bool { return a.err != nil && slept.take()[0] > time.Hour }},
		"huge-body":   {Fault{Size: 3 << 20}, func(a answer) bool { return len(a.body) == 3<<20+14 }},
		"huge-header": {Fault{Size: 100 << 10}, func(a answer) bool { return len(a.res.Header.Get("X-Padding")) == 100<<10 }},
		"not-json":    {Fault{}, func(a answer) bool { return a.res.Header.Get("Content-Type") == "application/json" && a.body[0] == 't' }},
		"html":        {Fault{}, func(a answer) bool { return strings.HasPrefix(a.res.Header.Get("Content-Type"), "text/html") }},
		"empty":       {Fault{}, func(a answer) bool { return a.res.StatusCode == 200 && len(a.body) == 0 }},
		"truncated":   {Fault{}, func(a answer) bool { return errors.Is(a.err, io.ErrUnexpectedEOF) && len(a.body) > 0 }},
		"redirect-loop": {Fault{}, func(a answer) bool {
			return a.res.StatusCode == 307 && a.res.Header.Get("Location") == "/jwks"
		}},
		"redirect-elsewhere": {Fault{Status: 308}, func(a answer) bool {
			return a.res.StatusCode == 308 && a.res.Header.Get("Location") == strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/sandbox/elsewhere"
		}},
		"connection-reset": {Fault{}, func(a answer) bool { return errors.Is(a.err, syscall.ECONNRESET) }},
		"gzip-bomb": {Fault{Size: 3 << 20}, func(a answer) bool {
			z, err := gzip.NewReader(bytes.NewReader(a.body))
			if err != nil || len(a.body) > 10<<10 {
				return false
			}
			n, _ := io.Copy(io.Discard, z)
			return n == 3<<20+14
		}},
	}
	for _, name := range FaultNames() {
		if catalogue[name].group != groupWire {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c, ok := cases[name]
			if !ok {
				t.Fatal("no test looks at this fault")
			}
			slept.take()
			c.fault.Name, c.fault.Endpoint, c.fault.Times = name, EndpointJWKS, 1
			if err := s.Faults().Set(c.fault); err != nil {
				t.Fatal(err)
			}
			if res, err := client.Get(s.URL + "/.well-known/openid-configuration"); err != nil || res.StatusCode != 200 {
				t.Fatal("another endpoint is hit")
			} else {
				res.Body.Close()
			}
			before := s.Count(EndpointJWKS)
			if a := call(); !c.want(a) {
				t.Errorf("the fault does not show: %v %+v %.100s", a.err, a.res, a.body)
			}
			if s.Count(EndpointJWKS) != before+1 {
				t.Error("the request is not counted")
			}
			if a := call(); !healthy(a) {
				t.Errorf("the fault acts more than once: %v %.100s", a.err, a.body)
			}
		})
	}
}

// An OAuth error by the fault "status", for one client only.
func TestStatusFaultOfOneClient(t *testing.T) {
	f := start(t)
	f.set(Fault{Name: "status", Endpoint: EndpointToken, Client: "second", Status: 400, Value: "invalid_grant"})
	f.password()
	wantError(t, f.post("/token", "grant_type", "password", "client_id", "second", "client_secret", "x"), 400, "invalid_grant")
	f.set(Fault{Name: "status", Endpoint: EndpointUserinfo, Client: "kong", Status: 503})
	if r := f.userinfo(f.password()["access_token"].(string)); r.status != 503 {
		t.Errorf("userinfo of the client: %d, want 503", r.status)
	}
}

// A caller that gives up ends a hanging answer, and Close does not wait for it.
func TestHangEndsWithItsCaller(t *testing.T) {
	keys, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	begun, ended := make(chan bool), make(chan error, 1)
	s, err := Start("127.0.0.1:0", Options{Keys: keys, Sleep: func(ctx context.Context, _ time.Duration) error {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Faults().Set(Fault{Name: "hang"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	req, _ := http.NewRequestWithContext(ctx, "POST", s.URL+"/token", strings.NewReader("a=b"))
	if res, err := http.DefaultTransport.RoundTrip(req); err == nil {
		res.Body.Close()
		t.Error("there is an answer")
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the answer ended with %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestRedirectsToElsewhereAreCounted(t *testing.T) {
	f := start(t)
	f.set(Fault{Name: "redirect-elsewhere", Endpoint: EndpointJWKS, Times: 1, Value: f.URL + "/sandbox/elsewhere"})
	if r := f.get("/jwks"); r.status != 200 || f.Count(EndpointElsewhere) != 1 {
		t.Errorf("answer %d, elsewhere counted %d", r.status, f.Count(EndpointElsewhere))
	}
}

func TestRequestBodyIsBounded(t *testing.T) {
	p, err := New(Options{Issuer: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "http://127.0.0.1:1/token", strings.NewReader("a="+strings.Repeat("x", maxForm)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	p.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("answer %d, want 413", w.Code)
	}
}
