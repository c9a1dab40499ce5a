package rp

import (
	"errors"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
)

// The log says what was looked for and what was there; the client learns
// nothing of it, display_errors included.
func TestRefusalsNameTheirCause(t *testing.T) {
	has := claims.Object{"aud": "account", "scope": "openid email", "realm_access": map[string]any{"roles": []any{"user", "guest"}}, "sub": "s"}
	required := func(name string, path claims.Path, texts ...string) func(*Policy) {
		return func(p *Policy) {
			p.Claims.Require = []Requirement{{Name: name, Path: path, Required: claims.CompileRequired(texts)}}
		}
	}
	consumer := func(paths ...claims.Path) func(*Policy) {
		return func(p *Policy) {
			p.Consumers, p.Consumer = &directory{}, ConsumerPolicy{Claims: paths, By: []ConsumerField{ByUsername, ByCustomID}}
		}
	}
	for name, c := range map[string]struct {
		change func(*Policy)
		header Header
		status int
		want   string
	}{
		"audience":          {required("audience", claims.Path{"aud"}, "api://x"), nil, 403, `the required audience is missing: the claim aud has ["account"], one of ["api://x"] is expected`},
		"scopes":            {required("scopes", claims.Path{"scope"}, "a b", "c"), nil, 403, `the claim scope has ["openid" "email"], one of ["a b" "c"] is expected`},
		"an absent claim":   {required("scopes", claims.Path{"scp"}, "a"), nil, 403, `the claim scp is absent or empty`},
		"roles are counted": {required("roles", claims.Path{"realm_access", "roles"}, "admin"), nil, 403, `the required roles are missing: the claim realm_access > roles has 2 other values, one of ["admin"] is expected`},
		"consumer":          {consumer(claims.Path{"nope"}, claims.Path{"sub"}), nil, 403, `none has the value of the claim sub as its [username custom_id]`},
		"no claim of any":   {consumer(claims.Path{"nope"}), nil, 403, `the caller has none of the claims [nope]`},
		"a preflight":       {func(*Policy) {}, Header{"access-control-request-method": {"GET"}}, 401, `no credential was found: it is a CORS preflight, which never has one: set run_on_preflight to false`},
		"no credential":     {func(*Policy) {}, Header{}, 401, `no credential was found`},
	} {
		p := bearerPolicy(has)
		p.Errors.Display = true
		c.change(p)
		h := c.header
		if h == nil {
			h = Header{"authorization": {"Bearer " + jws}}
		}
		d := p.Decide(t.Context(), newRequest("OPTIONS", "/", "", h))
		if d.Respond == nil || d.Respond.Status != c.status || !strings.Contains(d.Err.Error(), c.want) {
			t.Errorf("%s: %+v %v, want %q", name, d.Respond, d.Err, c.want)
			continue
		}
		for _, secret := range []string{"account", "guest", "user,", "is expected", "run_on_preflight", "none has"} {
			if strings.Contains(string(d.Respond.Body), secret) || strings.Contains(d.Err.Error(), "guest") {
				t.Errorf("%s: the answer says %q: %s", name, secret, d.Respond.Body)
			}
		}
	}
	long := make([]string, 50)
	for i := range long {
		long[i] = strings.Repeat("é", 80)
	}
	r := Requirement{Name: "scopes", Path: claims.Path{"scope"}, Required: claims.CompileRequired([]string{"a"})}
	if text := r.wanted(long).Error(); len(text) > 3000 || !strings.Contains(text, "and 30 more") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
}

func TestErrorSaysACauseOnce(t *testing.T) {
	if got := (&Error{Description: "a", Err: errors.New("a")}).Error(); got != "a" {
		t.Error(got)
	}
	if got := (&Error{Description: "a", Err: errors.New("b")}).Error(); got != "a: b" {
		t.Error(got)
	}
}
