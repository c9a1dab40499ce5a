package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	idX  = "00000000-0000-4000-8000-00000000000a"
	issX = "https://idp/realms/x"
	kidA = "key/with slash"
	hush = "the-session-secret"
)

// fake is the discovery objects and keys of a test.
type fake struct {
	objects []Object
	keys    map[string]string
	err     error
	calls   []string
}

func newFake() *fake {
	return &fake{
		objects: []Object{{
			ID: idX, Issuer: issX, CreatedAt: time.Unix(1_760_000_000, 0),
			Configuration: json.RawMessage(`{"issuer":"https://idp/realms/x"}`),
			Keys: []json.RawMessage{
				json.RawMessage(`{"kty":"RSA","kid":"1","n":"AQ","e":"AQAB"}`),
				json.RawMessage(`{"kty":"RSA","kid":"2","n":"AQ","e":"AQAB","d":"` + hush + `","p":"` + hush + `","oth":[]}`),
				json.RawMessage(`{"kty":"oct","kid":"3","k":"` + hush + `"}`),
			},
		}},
		keys: map[string]string{kidA: `{"kty":"EC","kid":"` + kidA + `","alg":"ES256","use":"sig","crv":"P-256","x":"AQ","y":"AQ","d":"` + hush + `"}`},
	}
}

func (f *fake) List(_ context.Context, after string, size int) ([]Object, error) {
	var all []Object
	for _, o := range f.objects {
		if o.ID > after && len(all) < size {
			all = append(all, o)
		}
	}
	return all, f.err
}

func (f *fake) Get(_ context.Context, ref string) (Object, error) {
	if f.err != nil {
		return Object{}, f.err
	}
	for _, o := range f.objects {
		if o.ID == ref || o.Issuer == ref {
			return o, nil
		}
	}
	return Object{}, ErrNotFound
}

func (f *fake) Delete(ctx context.Context, ref string) error {
	o, err := f.Get(ctx, ref)
	if err == nil {
		f.calls = append(f.calls, "delete "+o.ID)
	}
	return err
}

func (f *fake) Clear(context.Context) error {
	f.calls = append(f.calls, "clear")
	return f.err
}

func (f *fake) Public(context.Context) ([]byte, error) {
	var all []string
	for _, k := range f.keys {
		all = append(all, k)
	}
	return []byte(`{"keys":[` + strings.Join(all, ",") + `]}`), f.err
}

func (f *fake) PublicKey(_ context.Context, kid string) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	if k, ok := f.keys[kid]; ok {
		return []byte(k), nil
	}
	return nil, ErrNotFound
}

func (f *fake) Rotate(context.Context) error {
	f.calls = append(f.calls, "rotate")
	return f.err
}

func (f *fake) DeleteKey(ctx context.Context, kid string) error {
	_, err := f.PublicKey(ctx, kid)
	if err == nil {
		f.calls = append(f.calls, "delete key "+kid)
	}
	return err
}

func (f *fake) handler() *Handler {
	return New(Options{Discovery: f, Keys: f, Sessions: fakeSessions{f}, Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte("openid_connect_build_info 1\n"))
	})})
}

func do(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestAnswers(t *testing.T) {
	object := `{"id":"` + idX + `","issuer":"https://idp/realms/x","created_at":1760000000,"configuration":{"issuer":"https://idp/realms/x"},` +
		`"keys":[{"kty":"RSA","kid":"1","n":"AQ","e":"AQAB"},{"e":"AQAB","kid":"2","kty":"RSA","n":"AQ"}]}`
	key := `{"alg":"ES256","crv":"P-256","kid":"` + kidA + `","kty":"EC","use":"sig","x":"AQ","y":"AQ"}`
	const json, jwks = "application/json; charset=utf-8", "application/jwk-set+json"
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		body         string
		call         string
	}{
		{"GET", "/openid-connect/discovery-cache", 200, json, `{"data":[` + object + `],"next":null}`, ""},
		{"GET", "/openid-connect/issuers", 200, json, `{"data":[` + object + `],"next":null}`, ""},
		{"GET", "/openid-connect/issuers/", 200, json, `{"data":[` + object + `],"next":null}`, ""},
		{"GET", "/default/openid-connect/issuers", 200, json, `{"data":[` + object + `],"next":null}`, ""},
		{"GET", "/openid-connect/issuers/" + idX, 200, json, object, ""},
		{"GET", "/openid-connect/issuers/" + idX + "/", 200, json, object, ""},
		{"GET", "/openid-connect/discovery-cache/https%3A%2F%2Fidp%2Frealms%2Fx", 200, json, object, ""},
		{"GET", "/ws-1/openid-connect/discovery-cache/https%3a%2f%2fidp%2frealms%2fx", 200, json, object, ""},
		{"GET", "/openid-connect/issuers/https://idp/realms/x", 200, json, object, ""},
		{"GET", "/openid-connect/issuers/https%3A%2F%2Fnone", 404, json, `{"message":"Not found"}`, ""},
		{"DELETE", "/openid-connect/issuers/https%3A%2F%2Fidp%2Frealms%2Fx", 204, "", "", "delete " + idX},
		{"DELETE", "/openid-connect/discovery-cache/" + idX, 204, "", "", "delete " + idX},
		{"DELETE", "/openid-connect/discovery-cache/none", 404, json, `{"message":"Not found"}`, ""},
		{"DELETE", "/openid-connect/discovery-cache", 204, "", "", "clear"},
		{"DELETE", "/openid-connect/issuers/", 204, "", "", "clear"},
		{"GET", "/openid-connect/jwks", 200, jwks, `{"keys":[` + key + `]}`, ""},
		{"GET", "/openid-connect/jwks/key%2Fwith%20slash", 200, json, key, ""},
		{"GET", "/openid-connect/jwks/none", 404, json, `{"message":"Not found"}`, ""},
		{"DELETE", "/openid-connect/jwks", 204, "", "", "rotate"},
		{"DELETE", "/default/openid-connect/jwks/", 204, "", "", "rotate"},
		{"DELETE", "/openid-connect/jwks/key%2Fwith%20slash", 204, "", "", "delete key " + kidA},
		{"DELETE", "/openid-connect/jwks/none", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/openid-connect/health", 200, json, `{"status":"ok","parts":{}}`, ""},
		{"GET", "/openid-connect/health/x", 404, json, `{"message":"Not found"}`, ""},
		{"POST", "/openid-connect/issuers", 405, json, `{"message":"Method not allowed"}`, ""},
		{"PUT", "/openid-connect/jwks/x", 405, json, `{"message":"Method not allowed"}`, ""},
		{"DELETE", "/openid-connect/health", 405, json, `{"message":"Method not allowed"}`, ""},
		{"OPTIONS", "/openid-connect/jwks", 204, "", "", ""},
		{"GET", "/openid-connect", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/openid-connect/", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/openid-connect//jwks", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/openid-connect/none", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/a/b/openid-connect/jwks", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/a%2Fb/openid-connect/jwks", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/", 404, json, `{"message":"Not found"}`, ""},
		{"GET", "/openid-connect/issuers?size=x", 400, json, `{"code":9,"name":"invalid size","message":"size must be a number"}`, ""},
		{"GET", "/openid-connect/issuers?size=0", 400, json, `{"code":9,"name":"invalid size","message":"size must be an integer between 1 and 1000"}`, ""},
		{"GET", "/openid-connect/issuers?size=1001", 400, json, `{"code":9,"name":"invalid size","message":"size must be an integer between 1 and 1000"}`, ""},
		{"GET", "/openid-connect/issuers?size=1.5", 400, json, `{"code":9,"name":"invalid size","message":"size must be an integer between 1 and 1000"}`, ""},
		{"GET", "/openid-connect/issuers?size=NaN", 400, json, `{"code":9,"name":"invalid size","message":"size must be an integer between 1 and 1000"}`, ""},
		{"GET", "/openid-connect/issuers?offset=*", 400, json, `{"code":7,"name":"invalid offset","message":"'*' is not a valid offset: bad base64 encoding"}`, ""},
		{"GET", "/openid-connect/issuers?offset=e30=", 400, json, `{"code":7,"name":"invalid offset","message":"'e30=' is not a valid offset: bad array"}`, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			f := newFake()
			w := do(f.handler(), c.method, c.path)
			if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType || w.Body.String() != c.body {
				t.Errorf("%d %s\n%s\nwant %d %s\n%s", w.Code, w.Header().Get("Content-Type"), w.Body, c.status, c.contentType, c.body)
			}
			if got := strings.Join(f.calls, ","); got != c.call {
				t.Errorf("calls: %q, want %q", got, c.call)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers: %v", w.Header())
			}
			if (w.Code == 405 || c.method == "OPTIONS") && w.Header().Get("Allow") == "" {
				t.Error("no Allow")
			}
			if strings.Contains(w.Body.String(), hush) {
				t.Error("a private member is shown")
			}
		})
	}
}

func TestAllow(t *testing.T) {
	f := newFake()
	for path, want := range map[string]string{
		"/openid-connect/issuers": "DELETE, GET, HEAD, OPTIONS",
		"/openid-connect/health":  "GET, HEAD, OPTIONS",
	} {
		if got := do(f.handler(), "PATCH", path).Header().Get("Allow"); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestHead(t *testing.T) {
	s := httptest.NewServer(newFake().handler())
	defer s.Close()
	r, err := http.Head(s.URL + "/openid-connect/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 || r.ContentLength < 10 {
		t.Errorf("%d, length %d", r.StatusCode, r.ContentLength)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		body   string
	}{
		{"unknown", errors.New("secret detail"), 500, `{"message":"An unexpected error occurred"}`},
		{"unavailable", fmt.Errorf("%w: secret detail", ErrUnavailable), 503, `{"message":"Service unavailable"}`},
		{"gone", fmt.Errorf("%w: secret detail", ErrNotFound), 404, `{"message":"Not found"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range []string{"issuers", "issuers/x", "jwks", "jwks/x"} {
				for _, method := range []string{"GET", "DELETE"} {
					f := newFake()
					f.err = c.err
					w := do(f.handler(), method, "/openid-connect/"+path)
					if w.Code != c.status || w.Body.String() != c.body {
						t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
					}
				}
			}
		})
	}
	f := newFake()
	f.err = ErrReadOnly
	w := do(f.handler(), "DELETE", "/openid-connect/jwks")
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" || !strings.Contains(w.Body.String(), "-keys-file") {
		t.Errorf("read only: %d %s", w.Code, w.Body)
	}
}

func TestPaging(t *testing.T) {
	f := newFake()
	f.objects = nil
	for i := range 25 {
		f.objects = append(f.objects, Object{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Issuer: fmt.Sprint("https://", i)})
	}
	for _, base := range []string{"/openid-connect/issuers", "/openid-connect/discovery-cache", "/team/openid-connect/issuers"} {
		var seen []string
		next := base + "?size=10"
		for pages := 1; ; pages++ {
			w := do(f.handler(), "GET", next)
			var p struct {
				Data   []struct{ Issuer string }
				Offset string
				Next   *string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d %s", next, w.Code, w.Body)
			}
			for _, o := range p.Data {
				seen = append(seen, o.Issuer)
			}
			if p.Next == nil {
				if pages != 3 || p.Offset != "" {
					t.Errorf("%d pages, offset %q", pages, p.Offset)
				}
				break
			}
			if *p.Next != base+"?offset="+url.QueryEscape(p.Offset)+"&size=10" {
				t.Fatalf("next = %s", *p.Next)
			}
			next = *p.Next
		}
		if len(seen) != 25 || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 25 {
			t.Errorf("%s: %d of 25: %v", base, len(seen), seen)
		}
	}
	f.objects = f.objects[:10]
	if w := do(f.handler(), "GET", "/openid-connect/issuers?size=10"); !strings.Contains(w.Body.String(), `"next":null`) || strings.Contains(w.Body.String(), "offset") {
		t.Errorf("a full last page has a next one: %s", w.Body)
	}
	f.objects = nil
	if w := do(f.handler(), "GET", "/openid-connect/issuers"); w.Body.String() != `{"data":[],"next":null}` {
		t.Errorf("no objects: %s", w.Body)
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		name   string
		health Health
		status int
		body   string
	}{
		{"ok", Health{true, map[string]error{"store": nil}}, 200, `{"status":"ok","parts":{"store":"ok"}}`},
		{"a part away", Health{true, map[string]error{"store": errors.New("host db.internal refused")}}, 200, `{"status":"degraded","parts":{"store":"unavailable"}}`},
		{"not ready", Health{false, nil}, 503, `{"status":"not ready","parts":{}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := New(Options{Health: func(context.Context) Health { return c.health }})
			if w := do(h, "GET", "/openid-connect/health"); w.Code != c.status || w.Body.String() != c.body {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestExtra(t *testing.T) {
	h := New(Options{Extra: map[string]http.Handler{"metrics": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("metrics of " + r.URL.Path))
	})}})
	if w := do(h, "GET", "/openid-connect/metrics"); w.Body.String() != "metrics of /openid-connect/metrics" {
		t.Errorf("%s", w.Body)
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/openid-connect/jwks", "/ws/openid-connect/issuers/https%3A%2F%2Fx", "/%2e%2e/openid-connect/jwks", "//openid-connect//"} {
		f.Add(p)
	}
	fk := newFake()
	h := fk.handler()
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || u.Host != "" {
			return
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		if w.Code != 200 && w.Code != 404 && w.Code != 400 {
			t.Errorf("%d", w.Code)
		}
		if strings.Contains(w.Body.String(), hush) {
			t.Error("a private member is shown")
		}
	})
}

func FuzzOffset(f *testing.F) {
	f.Add(encodeOffset(idX))
	f.Fuzz(func(t *testing.T, text string) {
		id, fault := pageOffset(url.Values{"offset": {text}}, isUUID)
		if fault == nil && id != "" && !isUUID(id) {
			t.Errorf("%q became %q", text, id)
		}
	})
}

// The answer tells that a part fails, the log tells why: once, not at every probe.
func TestHealthLogsItsFaultsOnce(t *testing.T) {
	var log bytes.Buffer
	var fault error
	h := New(Options{
		Health: func(context.Context) Health { return Health{Ready: true, Parts: map[string]error{"store": fault}} },
		Log:    slog.New(slog.NewTextHandler(&log, nil)),
	})
	for _, fault = range []error{nil, errors.New("the disk is full"), errors.New("the disk is full"), nil, nil} {
		if w := do(h, "GET", "/openid-connect/health"); strings.Contains(w.Body.String(), "disk") {
			t.Errorf("the answer shows the reason: %s", w.Body)
		}
	}
	if n := strings.Count(log.String(), "the disk is full"); n != 1 || strings.Count(log.String(), "again") != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}
