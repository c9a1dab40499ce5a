package rp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
)

// people are Kong's consumers.
type people map[string]*Consumer

func (p people) Consumer(_ context.Context, _ *Request, by ConsumerField, v string, _ bool) (*Consumer, error) {
	if by == ByUsername {
		return p[v], nil
	}
	return nil, nil
}
func (people) ConsumerGroups(_ context.Context, _ *Request, names []string) ([]string, bool, error) {
	return names, true, nil
}

const spoof = "SPOOFED"

var identityHeaders = []string{"x-consumer-id", "x-consumer-username", "x-consumer-custom-id", "x-consumer-groups", "x-credential-identifier", "x-credential-username",
	"x-anonymous-consumer", "x-authenticated-groups", "x-authenticated-scope", "x-authenticated-userid"}

// spell writes a header name in one of the spellings that reach the plugin:
// Kong lowers the case, `-` and `_` stay apart.
func spell(r *rand.Rand, name string) string {
	b := []byte(Canonical(name))
	for i := range b {
		if b[i] == '-' && r.IntN(2) == 0 {
			b[i] = '_'
		}
	}
	return string(b)
}

func pick(r *rand.Rand, list []string) []string {
	var out []string
	for _, e := range list {
		if r.IntN(2) == 0 {
			out = append(out, e)
		}
	}
	return out
}

// Whatever the configuration, no value that a client sends in a mapped header
// or in one of identity reaches the service: on success, failure, anonymous
// and preflight paths. Where this plugin stands aside for an earlier one, that
// plugin's headers stay, and only the mapped names and spellings that no plugin
// of Kong's uses are taken out.
func TestNothingSpoofedGetsThrough(t *testing.T) {
	names := []string{"X-User", "X-Email", "X-Deep-Claim-Name", "Remote-User", "X-Access-Token", "X-Id-Token", "X-Userinfo", "X-Introspection", "Session-Id", "X-Consumer-Username", "X-A_B", "user"}
	sources := []Source{FromClaim, FromAccessToken, FromIDToken, FromRefreshToken, FromAccessTokenJWK, FromIDTokenJWK, FromIntrospection, FromUserInfo, FromIntrospectionJWT, FromUserInfoJWT, FromSession}
	paths := map[Reason]int{}
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := bearerPolicy(claims.Object{"sub": "s", "a": "mapped", "groups": []any{"g"}, "scope": "read"})
		var rules []HeaderRule
		for _, n := range pick(r, names) {
			rules = append(rules, HeaderRule{Name: n, Source: sources[r.IntN(len(sources))], Path: claims.Path{[]string{"a", "absent", "groups"}[r.IntN(3)]}, Bearer: r.IntN(2) == 0, Attribute: "id"})
		}
		p.Headers = NewHeaderPolicy(rules, nil)
		p.RunOnPreflight = r.IntN(3) > 0
		p.HideCredentials = r.IntN(2) == 0
		p.Consumers = people{"s": {ID: "id-s", Username: "s"}, "nobody": {ID: "id-0", Username: "nobody"}}
		if r.IntN(2) == 0 {
			p.Anonymous = "nobody"
		}
		if r.IntN(2) == 0 {
			p.Consumer = ConsumerPolicy{Claims: []claims.Path{{[]string{"sub", "absent", "a"}[r.IntN(3)]}}, By: []ConsumerField{ByUsername}, Optional: r.IntN(2) == 0}
		}
		if r.IntN(2) == 0 {
			p.Groups = claims.Path{[]string{"groups", "absent"}[r.IntN(2)]}
		}
		if r.IntN(4) == 0 {
			p.Consumer.Groups, p.Consumer.GroupsOptional = claims.Path{"groups"}, true
		}
		if r.IntN(3) == 0 {
			p.Credential = nil
		}
		if r.IntN(4) == 0 {
			p.Claims.Require = []Requirement{{"scopes", claims.Path{"scope"}, claims.CompileRequired([]string{"admin"})}}
		}
		h := Header{}
		var mapped []string
		for _, rule := range rules {
			mapped = append(mapped, Canonical(rule.Name))
		}
		for _, n := range append(pick(r, mapped), pick(r, identityHeaders)...) {
			for range 1 + r.IntN(2) {
				h[spell(r, n)] = slices.Repeat([]string{spoof}, 1+r.IntN(3))
			}
		}
		h["x-innocent"] = []string{"stays"}
		method := []string{"GET", "OPTIONS", "HEAD", "POST"}[r.IntN(4)]
		switch r.IntN(3) {
		case 0:
			h["authorization"] = []string{"Bearer " + jws}
		case 1:
			h["authorization"] = []string{"Bearer bad"}
		}
		req := newRequest(method, "/", "", h)
		aside := p.Anonymous != "" && r.IntN(6) == 0
		req.Gateway.(*fakeGateway).full.Authenticated = aside
		d := p.Decide(t.Context(), req)
		paths[d.Reason]++
		if d.Respond != nil {
			if len(d.Upstream.Set)+len(d.Upstream.Clear) > 0 || d.Authenticate != nil {
				t.Fatalf("seed %d: an answer of our own edits the request", seed)
			}
			continue
		}
		got := reaches(d, h)
		for name, values := range got {
			c := Canonical(name)
			identity := slices.Contains(identityHeaders, c)
			if d.Reason == "authenticated_before" && identity && c == name && !slices.Contains(mapped, c) {
				continue
			}
			if slices.Contains(values, spoof) && (identity || slices.Contains(mapped, c)) {
				t.Fatalf("seed %d: %s: %s reaches the service", seed, d.Reason, name)
			}
		}
		if got["x-innocent"] == nil {
			t.Fatalf("seed %d: an innocent header is gone", seed)
		}
		if d.Reason == "authenticated_before" {
			for name := range h {
				if c := Canonical(name); c == name && slices.Contains(identityHeaders, c) && !slices.Contains(mapped, c) && got[name] == nil {
					t.Fatalf("seed %d: %s of an earlier plugin is gone", seed, name)
				}
			}
		}
	}
	for _, reason := range []Reason{"ok_bearer", "anonymous", "preflight", "authenticated_before", "no_credential", "missing_scopes", "no_consumer"} {
		if paths[reason] < 20 {
			t.Errorf("path %s was taken %d times: the test shows little (%v)", reason, paths[reason], paths)
		}
	}
}

// reaches applies the edits as the gateway does.
func reaches(d *Decision, h Header) Header {
	out := Header{}
	for n, v := range h {
		out[n] = v
	}
	for _, n := range d.Upstream.Clear {
		delete(out, strings.ToLower(n))
	}
	for _, f := range d.Upstream.Set {
		out[strings.ToLower(f.Name)] = []string{f.Value}
	}
	return out
}

// The truth table of *_required (behaviour.md 9): AND between pairs, OR
// between elements, AND between the words of an element.
func TestRequiredTruthTable(t *testing.T) {
	has := func(names ...string) []any {
		out := []any{}
		for _, n := range names {
			out = append(out, n)
		}
		return out
	}
	need := [][]string{{"a"}, {"a", "b"}, {"a b"}, {"a b", "c"}, {"a", "b c"}}
	for bits := range 8 {
		have := map[string]bool{"a": bits&1 != 0, "b": bits&2 != 0, "c": bits&4 != 0}
		var list []string
		for _, n := range []string{"a", "b", "c"} {
			if have[n] {
				list = append(list, n)
			}
		}
		want := []bool{have["a"], have["a"] || have["b"], have["a"] && have["b"], have["a"] && have["b"] || have["c"], have["a"] || have["b"] && have["c"]}
		for i, required := range need {
			for form, value := range map[string]any{"list": has(list...), "text": strings.Join(list, " "), "absent": nil} {
				expect := want[i] && form != "absent"
				p := bearerPolicy(claims.Object{"groups": value})
				p.Claims.Require = []Requirement{{"groups", claims.Path{"groups"}, claims.CompileRequired(required)}}
				if got := admits(t, p); got != expect {
					t.Errorf("%v as %s against %q: %v, want %v", list, form, required, got, expect)
				}
			}
		}
	}
	// Every pair must pass, and no forbidden claim may be there.
	pairs := []string{"scopes", "audience", "groups", "roles"}
	for bits := range 32 {
		c, p := claims.Object{}, bearerPolicy(nil)
		all := bits&15 == 15
		for i, n := range pairs {
			c[n] = map[bool]string{true: "yes", false: "no"}[bits&(1<<i) != 0]
			p.Claims.Require = append(p.Claims.Require, Requirement{n, claims.Path{n}, claims.CompileRequired([]string{"yes"})})
		}
		if bits&16 != 0 {
			c["bad"] = nil
		}
		p.Claims.Forbidden = []string{"bad"}
		p.Provider = &fakeProvider{tokens: map[string]claims.Object{jws: c}}
		if got, want := admits(t, p), all && bits&16 == 0; got != want {
			t.Errorf("%05b: %v, want %v", bits, got, want)
		}
	}
}

func admits(t *testing.T, p *Policy) bool {
	t.Helper()
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	if d.Respond != nil && d.Respond.Status != 403 {
		t.Fatalf("%+v %v", d.Respond, d.Err)
	}
	return d.Respond == nil
}

// The truth table of anonymous (behaviour.md 10.7): what it stands in for, and
// what it never does.
func TestAnonymousTruthTable(t *testing.T) {
	consumers := people{"nobody": {ID: "id-0", Username: "nobody"}}
	for _, c := range []struct {
		name      string
		auth      string
		change    func(*Policy)
		earlier   bool
		without   int // status without anonymous; 0 = let through
		anonymous string
	}{
		{"no credential", "", nil, false, 401, "anonymous"},
		{"bad credential", "bad", nil, false, 401, "anonymous"},
		{"good credential", jws, nil, false, 0, "ok_bearer"},
		{"missing scope", jws, func(p *Policy) {
			p.Claims.Require = []Requirement{{"scopes", claims.Path{"scope"}, claims.CompileRequired([]string{"x"})}}
		}, false, 403, "anonymous"},
		{"no consumer", jws, func(p *Policy) {
			p.Consumer = ConsumerPolicy{Claims: []claims.Path{{"sub"}}, By: []ConsumerField{ByUsername}}
		}, false, 403, "anonymous"},
		{"no consumer, optional", jws, func(p *Policy) {
			p.Consumer = ConsumerPolicy{Claims: []claims.Path{{"sub"}}, By: []ConsumerField{ByUsername}, Optional: true}
		}, false, 0, "ok_bearer"},
		{"forbidden claim", jws, func(p *Policy) { p.Claims.Forbidden = []string{"sub"} }, false, 403, "403"},
		{"outage", jws, func(p *Policy) { p.Provider = &fakeProvider{err: &Error{Description: "down"}} }, false, 500, "500"},
		{"storage down", jws, func(p *Policy) { p.Provider = &fakeProvider{err: &Error{Kind: Unavailable}} }, false, 503, "503"},
		{"authenticated before, no credential", "", nil, true, 401, "authenticated_before"},
		{"authenticated before, bad credential", "bad", nil, true, 401, "authenticated_before"},
		{"login has priority over anonymous (U66)", "", func(p *Policy) {
			q := codePolicy(&fakeLogins{})
			p.Methods, p.Logins, p.Provider = q.Methods, q.Logins, q.Provider
		}, false, 302, "302"},
		{"a foreign state is nobody's login", "", func(p *Policy) {
			q := codePolicy(&fakeLogins{})
			p.Methods, p.Logins, p.Provider = q.Methods, q.Logins, q.Provider
		}, false, 302, "302"},
	} {
		for _, anonymous := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ",", anonymous), func(t *testing.T) {
				p := bearerPolicy(claims.Object{"sub": "s"})
				p.Consumers = consumers
				if c.change != nil {
					c.change(p)
				}
				h := Header{}
				if c.auth != "" {
					h["authorization"] = []string{"Bearer " + c.auth}
				}
				r := newRequest("GET", "/", "", h)
				r.Gateway.(*fakeGateway).full.Authenticated = c.earlier
				if anonymous {
					p.Anonymous = "nobody"
				}
				d := p.Decide(t.Context(), r)
				status := 0
				if d.Respond != nil {
					status = d.Respond.Status
				}
				if !anonymous {
					if status != c.without {
						t.Errorf("status %d, want %d (%v)", status, c.without, d.Err)
					}
					return
				}
				if status != 0 {
					if fmt.Sprint(status) != c.anonymous {
						t.Errorf("status %d, want %s (%v)", status, c.anonymous, d.Err)
					}
					return
				}
				if string(d.Reason) != c.anonymous {
					t.Errorf("%s, want %s", d.Reason, c.anonymous)
				}
				if v, ok := set(d, "X-Anonymous-Consumer"); ok != (d.Reason == "anonymous") || ok && v != "true" {
					t.Errorf("X-Anonymous-Consumer %q", v)
				}
			})
		}
	}
}
