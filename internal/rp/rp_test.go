package rp

import (
	"context"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// fakeGateway answers from fields, and counts.
type fakeGateway struct {
	full    Request
	body    []byte
	fetches int
}

func (g *fakeGateway) Fetch(_ context.Context, r *Request, n Needs) error {
	g.fetches++
	if n&NeedMethod != 0 {
		r.Method = g.full.Method
	}
	if n&NeedTarget != 0 {
		r.Path, r.RawQuery = g.full.Path, g.full.RawQuery
	}
	if n&NeedExternal != 0 {
		r.External = g.full.External
	}
	if n&NeedClient != 0 {
		r.ClientIP = g.full.ClientIP
	}
	if n&NeedAuthenticated != 0 {
		r.Authenticated = g.full.Authenticated
	}
	return nil
}

func (g *fakeGateway) Body(_ context.Context, limit int64) ([]byte, error) {
	if int64(len(g.body)) > limit {
		return nil, ErrBodyTooLarge
	}
	return g.body, nil
}

func (g *fakeGateway) Variable(context.Context, string) (string, error) { return "", nil }

func newRequest(method, target, query string, h Header) *Request {
	g := &fakeGateway{full: Request{Method: method, Path: target, RawQuery: query, External: External{"https", "gw.example.com", 443, target}}}
	return NewRequest(g, h, 0)
}

// fakeProvider accepts the tokens that it lists.
type fakeProvider struct {
	Provider
	tokens map[string]claims.Object
	err    error
}

func (f *fakeProvider) VerifyAccessToken(_ context.Context, _ int, raw token.Opaque, _ Method) (*token.Token, error) {
	if f.err != nil {
		return nil, f.err
	}
	c, ok := f.tokens[raw.Reveal()]
	if !ok {
		return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "unknown", Reason: "test"}
	}
	return &token.Token{Raw: raw, Claims: c}, nil
}

func (f *fakeProvider) Exchange(context.Context, int, token.Opaque) (*TokenResponse, error) {
	return nil, nil
}

const jws = "eyJhbGciOiJub25lIn0.e30.c2ln"

func bearerPolicy(c claims.Object) *Policy {
	return &Policy{
		Methods:         NewMethodSet(MethodBearer),
		RunOnPreflight:  true,
		Realm:           "idp.example.com",
		Bearer:          BearerPolicy{Places: Places{Header: true, Query: true, Body: true}},
		HideCredentials: true,
		Credential:      claims.Path{"sub"},
		Errors:          ErrorPolicy{ExposeCode: true},
		Headers: NewHeaderPolicy([]HeaderRule{
			{Name: "Authorization", Source: FromAccessToken, Bearer: true},
			{Name: "X-User", Source: FromClaim, Path: claims.Path{"preferred_username"}},
		}, nil),
		Provider: &fakeProvider{tokens: map[string]claims.Object{jws: c}},
		Now:      func() time.Time { return time.Unix(1e9, 0) },
		Flight:   &Flight{},
	}
}

func set(d *Decision, name string) (string, bool) {
	for _, f := range d.Upstream.Set {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

func cleared(d *Decision, name string) bool {
	for _, n := range d.Upstream.Clear {
		if n == name {
			return true
		}
	}
	return false
}

func TestBearerPlaces(t *testing.T) {
	for _, c := range []struct {
		name   string
		header Header
		query  string
		status int
	}{
		{"authorization", Header{"authorization": {"Bearer " + jws}}, "", 0},
		{"scheme ignores case", Header{"authorization": {"bEaReR " + jws}}, "", 0},
		{"access-token raw", Header{"access-token": {jws}}, "", 0},
		{"x-access-token with Bearer", Header{"x-access-token": {"Bearer " + jws}}, "", 0},
		{"query", nil, "a=b&access_token=" + jws, 0},
		{"none", nil, "", 401},
		{"basic is not bearer", Header{"authorization": {"Basic " + jws}}, "", 401},
		{"opaque", Header{"authorization": {"Bearer abc"}}, "", 401},
		{"unknown token", Header{"authorization": {"Bearer " + jws + "x"}}, "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bearerPolicy(claims.Object{"sub": "s"})
			d := p.Decide(t.Context(), newRequest("GET", "/", c.query, c.header))
			got := 0
			if d.Respond != nil {
				got = d.Respond.Status
			}
			if got != c.status {
				t.Errorf("status %d, want %d (%v)", got, c.status, d.Err)
			}
		})
	}
}

func TestCase32MappedHeaderIsStrippedWhenTheClaimIsAbsent(t *testing.T) {
	p := bearerPolicy(claims.Object{"sub": "s"})
	h := Header{"authorization": {"Bearer " + jws}, "x-user": {"admin"}, "x_user": {"admin"}, "x-consumer-id": {"1"}, "x_consumer_username": {"root"},
		"x-credential-identifier": {"spoof"}, "x-anonymous-consumer": {"true"}, "x_authenticated-groups": {"admin"}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", h))
	if d.Respond != nil {
		t.Fatal(d.Err)
	}
	for name := range h {
		if name != "authorization" && !cleared(d, name) {
			t.Errorf("%s goes through", name)
		}
	}
	if _, ok := set(d, "X-User"); ok {
		t.Error("X-User is set without its claim")
	}
	if v, _ := set(d, "X-Credential-Identifier"); v != "s" {
		t.Errorf("credential %q", v)
	}
}

func TestZeroPolicyDenies(t *testing.T) {
	p := &Policy{}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	if d.Respond == nil || d.Respond.Status < 400 {
		t.Fatalf("the zero policy lets a request through: %+v", d)
	}
}

func TestProviderOutageIs500(t *testing.T) {
	p := bearerPolicy(nil)
	p.Provider = &fakeProvider{err: &Error{Kind: Unexpected, Description: "keys cannot be had"}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	if d.Respond == nil || d.Respond.Status != 500 {
		t.Fatalf("%+v", d.Respond)
	}
}

func TestHideCredentialInQueryAndBody(t *testing.T) {
	p := bearerPolicy(claims.Object{"sub": "s"})
	d := p.Decide(t.Context(), newRequest("GET", "/", "a=1&access_token="+jws+"&b=%20x", nil))
	if d.Request.RawQuery == nil || *d.Request.RawQuery != "a=1&b=%20x" {
		t.Errorf("query %v", d.Request.RawQuery)
	}
	r := newRequest("POST", "/", "", Header{"content-type": {"application/json"}})
	r.Gateway.(*fakeGateway).body = []byte(`{"access_token":"` + jws + `","n":12345678901234567890}`)
	d = p.Decide(t.Context(), r)
	if d.Request.Body == nil || string(*d.Request.Body) != `{"n":12345678901234567890}` {
		t.Errorf("body %v", d.Request.Body)
	}
	r = newRequest("POST", "/", "", Header{"content-type": {"application/json"}})
	r.Gateway.(*fakeGateway).body = []byte(`null`)
	if d = p.Decide(t.Context(), r); d.Respond == nil || d.Respond.Status != 401 {
		t.Errorf("null body: %+v", d)
	}
}

func FuzzArgs(f *testing.F) {
	f.Add("a=b&c=%20", "a")
	f.Add("&&=&a", "")
	f.Fuzz(func(t *testing.T, s, name string) {
		v := parseArgs(s)
		if n := len(v); n > MaxArgs {
			t.Fatal(n)
		}
		if name != "" {
			if _, ok := parseArgs(dropArgs(s, []string{name}))[name]; ok && len(v) < MaxArgs {
				t.Fatalf("%q survives in %q", name, s)
			}
		}
	})
}

func FuzzExternal(f *testing.F) {
	f.Add("https", "gw.example.com", 443, "/a b")
	f.Add("http", "[::1]", 8000, "//evil")
	f.Add("http", "gw@evil.com", 80, "/\\evil")
	f.Fuzz(func(t *testing.T, scheme, host string, port int, path string) {
		e := External{scheme, host, port, path}
		o, ok := e.origin()
		if !ok {
			return
		}
		u := o + safePath(path)
		if !sameOrigin(u, o) {
			t.Fatalf("%q leaves %q", u, o)
		}
	})
}
