package rp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// sourceProvider answers for claims sources by their endpoint.
type sourceProvider struct {
	codeProvider
	answers map[string]claims.Object
	asked   []ClaimsSource
	id      claims.Object
}

func (p *sourceProvider) DistributedClaims(_ context.Context, s ClaimsSource) (claims.Object, error) {
	p.asked = append(p.asked, s)
	if o, ok := p.answers[s.Endpoint+s.JWT.Reveal()]; ok {
		return o, nil
	}
	return nil, errors.New("no such source")
}

func (p *sourceProvider) VerifyIDToken(_ context.Context, raw token.Opaque, _ IDTokenExpectation) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: p.id}, nil
}

func overage(names map[string]any, sources map[string]any) claims.Object {
	return claims.Object{"sub": "s", "_claim_names": names, "_claim_sources": sources}
}

func TestDistributedAndAggregatedClaims(t *testing.T) {
	type object = map[string]any
	for _, c := range []struct {
		name    string
		id      claims.Object
		off     bool
		asked   int
		group   string // value of X-Groups, "" = not set
		allowed bool   // groups_required: staff
	}{
		{"distributed", overage(object{"groups": "a"}, object{"a": object{"endpoint": "https://ok", "access_token": "t"}}), false, 1, "staff, users", true},
		{"aggregated", overage(object{"groups": "a"}, object{"a": object{"JWT": "jwt"}}), false, 1, "staff, users", true},
		{"switched off", overage(object{"groups": "a"}, object{"a": object{"endpoint": "https://ok"}}), true, 0, "", false},
		{"a source that fails", overage(object{"groups": "a"}, object{"a": object{"endpoint": "https://down"}}), false, 1, "", false},
		{"a source without an address", overage(object{"groups": "a"}, object{"a": object{}}), false, 0, "", false},
		{"a source that is not there", overage(object{"groups": "b"}, object{"a": object{"endpoint": "https://ok"}}), false, 0, "", false},
		{"malformed", overage(object{"groups": 1}, object{"a": "https://ok"}), false, 0, "", false},
		{"its own claim wins", func() claims.Object {
			o := overage(object{"groups": "a"}, object{"a": object{"endpoint": "https://ok"}})
			o["groups"] = []any{"users"}
			return o
		}(), false, 0, "users", false},
		{"protocol claims are nobody else's", overage(object{"sub": "a", "aud": "a", "scope": "a", "cnf": "a"}, object{"a": object{"endpoint": "https://ok"}}), false, 0, "", false},
		{"what was not named is left out", overage(object{"email": "a"}, object{"a": object{"endpoint": "https://ok"}}), false, 1, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ok := claims.Object{"groups": []any{"staff", "users"}, "sub": "evil", "admin": true}
			pr := &sourceProvider{answers: map[string]claims.Object{"https://ok": ok, "jwt": ok}, id: c.id}
			pr.answer = TokenResponse{AccessToken: "opaque", IDToken: "i.d.t"}
			p := codePolicy(&fakeLogins{outcome: LoginFound, login: Login{ID: "1"}})
			p.Provider, p.DistributedClaims, p.Credential = pr, !c.off, claims.Path{"sub"}
			p.Headers = NewHeaderPolicy([]HeaderRule{{Name: "X-Groups", Path: claims.Path{"groups"}}, {Name: "X-Admin", Path: claims.Path{"admin"}}}, nil)
			d := p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil))
			if d.Err != nil {
				t.Fatal(d.Err)
			}
			if got, _ := set(d, "X-Groups"); got != c.group {
				t.Errorf("groups %q, want %q", got, c.group)
			}
			if v, ok := set(d, "X-Admin"); ok {
				t.Errorf("X-Admin %q came from nowhere", v)
			}
			if d.Authenticate.CredentialID != "s" {
				t.Errorf("subject %q", d.Authenticate.CredentialID)
			}
			if len(pr.asked) != c.asked {
				t.Errorf("asked %d sources, want %d", len(pr.asked), c.asked)
			}
			p.Claims.Require = []Requirement{{"groups", claims.Path{"groups"}, claims.CompileRequired([]string{"staff"})}}
			d = p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil))
			if got := d.Respond == nil; got != c.allowed {
				t.Errorf("allowed: %v, want %v", got, c.allowed)
			}
		})
	}
}

func TestClaimsSourcesAreBounded(t *testing.T) {
	names, sources := map[string]any{}, map[string]any{}
	for i := range 12 {
		names[fmt.Sprint("c", i)] = fmt.Sprint("s", i)
		sources[fmt.Sprint("s", i)] = map[string]any{"endpoint": fmt.Sprint("https://", i)}
	}
	pr := &sourceProvider{id: overage(names, sources)}
	pr.answer = TokenResponse{AccessToken: "opaque", IDToken: "i.d.t"}
	p := codePolicy(&fakeLogins{outcome: LoginFound, login: Login{ID: "1"}})
	p.Provider, p.DistributedClaims = pr, true
	if d := p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil)); d.Err != nil || len(pr.asked) != maxSources {
		t.Errorf("%v, %d sources were asked", d.Err, len(pr.asked))
	}
	for i := range maxSourceClaims + 1 {
		names[strings.Repeat("x", i+1)] = "s1"
	}
	if s := sourcesOf(overage(names, sources)); s != nil {
		t.Errorf("%d sources", len(s))
	}
}
