package rp

import (
	"context"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// countingProvider counts what it is asked to read and to verify.
type countingProvider struct {
	keyProvider
	decoded int
}

func (p *countingProvider) Decode(raw token.Opaque) (*token.Token, error) {
	p.decoded++
	return p.keyProvider.Decode(raw)
}

// TestWhatWasReadOfASessionDecidesNothing: requests of one session share what its
// tokens say, and each is judged by itself.
func TestWhatWasReadOfASessionDecidesNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	const n = 3
	for name, c := range map[string]struct {
		edit              func(*Policy)
		pass              time.Duration
		decoded, verified int
		status            int // of the last
	}{
		"read once":                {decoded: 2},
		"the access token expires": {decoded: 2, pass: 2 * time.Hour, status: 401},
		"verified each time":       {edit: func(p *Policy) { p.Session.Reverify = true }, verified: 2 * n},
		"verified for a key's header": {edit: func(p *Policy) {
			p.Headers = NewHeaderPolicy([]HeaderRule{{Name: "X-Key", Source: FromAccessTokenJWK}}, nil)
		}, decoded: 1, verified: n},
		"a required claim is missing": {edit: func(p *Policy) {
			p.Claims.Require = []Requirement{{Name: "groups", Path: claims.Path{"groups"}, Required: claims.CompileRequired([]string{"admin"})}}
		}, decoded: 2, status: 403},
	} {
		t.Run(name, func(t *testing.T) {
			pr := &countingProvider{}
			p := bearerPolicy(nil)
			p.Methods, p.Provider, p.Flight = NewMethodSet(MethodSession), pr, &Flight{}
			at := now
			p.Now = func() time.Time { return at }
			if c.edit != nil {
				c.edit(p)
			}
			var read ReadTokens
			if name == "verified each time" { // though it was read
				read.access.Store(&token.Token{Raw: jws})
				read.id.Store(&token.Token{Raw: jws})
			}
			var d *Decision
			for i := range n {
				if i == n-1 {
					at = at.Add(c.pass)
				}
				p.Sessions = &endingKeeper{sessionKeeper{s: &Session{ID: "1", Read: &read, Tokens: StoredTokens{
					Method: MethodAuthorizationCode, AccessToken: jws, IDToken: jws, Expiry: now.Add(time.Hour)}}}}
				d = p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}}))
			}
			got := 0
			if d.Respond != nil {
				got = d.Respond.Status
			}
			if got != c.status || pr.decoded != c.decoded || pr.verified != c.verified {
				t.Errorf("status %d, %d decoded, %d verified: %v", got, pr.decoded, pr.verified, d.Err)
			}
		})
	}
}

// bigProvider reads claims that take far more memory than their token.
type bigProvider struct{ countingProvider }

func (p *bigProvider) Decode(raw token.Opaque) (*token.Token, error) {
	t, err := p.countingProvider.Decode(raw)
	if err != nil {
		return nil, err
	}
	big := *t
	big.Claims = claims.Object{"a": make([]any, 1000)}
	return &big, nil
}

// TestATokenThatTakesMoreThanItsRoomIsReadEachTime: what is kept of a session
// takes no more memory than it was reckoned with.
func TestATokenThatTakesMoreThanItsRoomIsReadEachTime(t *testing.T) {
	x := &Exchange{Policy: &Policy{Provider: &bigProvider{}}}
	var read ReadTokens
	for range 3 {
		if got, err := x.read(jws, &read.access); err != nil || got == nil {
			t.Fatal(err)
		}
	}
	if read.access.Load() != nil {
		t.Error("it is kept")
	}
	if n := x.Policy.Provider.(*bigProvider).decoded; n != 3 {
		t.Errorf("read %d times", n)
	}
	if (&ReadTokens{}).Weight() != 0 || NewReadTokens(&StoredTokens{AccessToken: jws, IDToken: jws}).Weight() < 2*len(jws) {
		t.Error("the room is not reckoned")
	}
}

// endingKeeper lets its session end.
type endingKeeper struct{ sessionKeeper }

func (*endingKeeper) Destroy(context.Context, Browser, *Session) ([]string, error) { return nil, nil }
