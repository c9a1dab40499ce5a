package rp

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// registry is a Directory that lists its entries.
type registry struct {
	entries map[DirectoryQuery]*DirectoryEntry
	err     error
	asked   []DirectoryQuery
}

func (p *registry) Entry(_ context.Context, q DirectoryQuery) (*DirectoryEntry, error) {
	p.asked = append(p.asked, q)
	return p.entries[q], p.err
}

// issuing is a provider that has metadata.
type issuing struct{ *fakeProvider }

func (issuing) Metadata(context.Context) (*Metadata, error) {
	return &Metadata{Issuer: "https://idp.example.com"}, nil
}

// kongs are consumers by id, and groups that all exist.
type kongs map[string]*Consumer

func (k kongs) Consumer(_ context.Context, _ *Request, by ConsumerField, value string, _ bool) (*Consumer, error) {
	if by == ByUsername {
		for _, c := range k {
			if c.Username == value {
				return c, nil
			}
		}
		return nil, nil
	}
	return k[value], nil
}

func (kongs) ConsumerGroups(_ context.Context, _ *Request, names []string) ([]string, bool, error) {
	return names, true, nil
}

func TestPrincipals(t *testing.T) {
	const issuer = "https://idp.example.com"
	bySubject := DirectoryQuery{Directory: "staff", Issuer: issuer, Value: "alex"}
	full := &DirectoryEntry{ID: "p1", Consumer: "c1", Groups: []string{"gold"}}
	away := errors.New("away")
	for _, c := range []struct {
		name     string
		policy   PrincipalPolicy
		claims   claims.Object
		entries  map[DirectoryQuery]*DirectoryEntry
		err      error
		status   int // 0: let through
		asked    []DirectoryQuery
		consumer string
		groups   []string
		id       string
	}{
		{
			name: "by issuer and subject", policy: PrincipalPolicy{Claim: claims.Path{"sub"}, MatchConsumer: true, MatchGroups: true},
			claims: claims.Object{"iss": issuer, "sub": "alex"}, entries: map[DirectoryQuery]*DirectoryEntry{bySubject: full},
			asked: []DirectoryQuery{bySubject}, consumer: "c1", groups: []string{"gold"}, id: "p1",
		},
		{
			name: "a token without issuer is the provider's", policy: PrincipalPolicy{Claim: claims.Path{"sub"}}, claims: claims.Object{"sub": "alex"},
			entries: map[DirectoryQuery]*DirectoryEntry{bySubject: full}, asked: []DirectoryQuery{bySubject}, consumer: "c2", groups: []string{"claimed"}, id: "p1",
		},
		{
			name: "by issuer and another claim", policy: PrincipalPolicy{Claim: claims.Path{"user", "id"}, MatchConsumer: true}, claims: claims.Object{"iss": issuer, "sub": "alex", "user": map[string]any{"id": "7"}},
			entries: map[DirectoryQuery]*DirectoryEntry{{Directory: "staff", Issuer: issuer, Value: "7"}: {ID: "p7"}},
			asked:   []DirectoryQuery{{Directory: "staff", Issuer: issuer, Value: "7"}}, consumer: "c2", groups: []string{"claimed"}, id: "p7",
		},
		{
			name: "by a custom identity", policy: PrincipalPolicy{By: "badge", Claim: claims.Path{"badge"}}, claims: claims.Object{"iss": issuer, "badge": "B1"},
			entries: map[DirectoryQuery]*DirectoryEntry{{Directory: "staff", By: "badge", Value: "B1"}: full},
			asked:   []DirectoryQuery{{Directory: "staff", By: "badge", Value: "B1"}}, consumer: "c2", groups: []string{"claimed"}, id: "p1",
		},
		{name: "nobody", policy: PrincipalPolicy{Claim: claims.Path{"sub"}}, claims: claims.Object{"iss": issuer, "sub": "alex"}, status: 401, asked: []DirectoryQuery{bySubject}},
		{name: "no claim to look up by", policy: PrincipalPolicy{Claim: claims.Path{"badge"}}, claims: claims.Object{"iss": issuer, "sub": "alex"}, status: 401},
		{
			name: "nobody, and none is needed", policy: PrincipalPolicy{Claim: claims.Path{"sub"}, Optional: true, MatchConsumer: true, MatchGroups: true}, claims: claims.Object{"iss": issuer, "sub": "alex"},
			asked: []DirectoryQuery{bySubject}, consumer: "c2", groups: []string{"claimed"},
		},
		{name: "the directory is away", policy: PrincipalPolicy{Claim: claims.Path{"sub"}, Optional: true}, claims: claims.Object{"iss": issuer, "sub": "alex"}, err: away, status: 500, asked: []DirectoryQuery{bySubject}},
		{
			name: "a consumer that Kong does not know", policy: PrincipalPolicy{Claim: claims.Path{"sub"}, Optional: true, MatchConsumer: true}, claims: claims.Object{"iss": issuer, "sub": "alex"},
			entries: map[DirectoryQuery]*DirectoryEntry{bySubject: {ID: "p1", Consumer: "gone"}}, status: 500, asked: []DirectoryQuery{bySubject},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := &registry{entries: c.entries, err: c.err}
			c.policy.Directory, c.policy.Name = dir, "staff"
			c.claims["name"], c.claims["groups"] = "second", []any{"claimed"}
			p := &Policy{Methods: NewMethodSet(MethodBearer), Bearer: BearerPolicy{Places: Places{Header: true}}, Now: time.Now}
			p.Provider = issuing{&fakeProvider{tokens: map[string]claims.Object{"t": c.claims}}}
			p.Principals = c.policy
			p.Consumer = ConsumerPolicy{Claims: []claims.Path{{"name"}}, By: []ConsumerField{ByUsername}, Groups: claims.Path{"groups"}}
			p.Consumers = kongs{"c1": {ID: "c1", Username: "first"}, "c2": {ID: "c2", Username: "second"}}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer t"}}))
			if !slices.Equal(dir.asked, c.asked) {
				t.Errorf("asked for %+v", dir.asked)
			}
			if c.status != 0 {
				if d.Respond == nil || d.Respond.Status != c.status {
					t.Fatalf("got %+v, %v", d.Respond, d.Err)
				}
				return
			}
			if d.Respond != nil {
				t.Fatalf("denied: %v", d.Err)
			}
			a := d.Authenticate
			if a == nil || a.Consumer == nil || a.Consumer.ID != c.consumer || !slices.Equal(a.ConsumerGroups, c.groups) || a.DirectoryID != c.id {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// An ID token that comes along vouches for its own issuer's subjects only.
func TestIssuerAndValueOfOneSource(t *testing.T) {
	dir := &registry{}
	x := &Exchange{Policy: &Policy{Principals: PrincipalPolicy{Directory: dir, Claim: claims.Path{"sub"}, Optional: true}}}
	id := &Identity{
		Access: &token.Token{Claims: claims.Object{"iss": "https://a.example.com"}},
		ID:     &token.Token{Claims: claims.Object{"iss": "https://b.example.com", "sub": "alex"}},
	}
	if _, err := x.lookUpPrincipal(t.Context(), id); err != nil || len(dir.asked) != 1 || dir.asked[0].Issuer != "https://b.example.com" {
		t.Errorf("asked for %+v, %v", dir.asked, err)
	}
}
