package jwks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func ec(t testing.TB, kid string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: &k.PublicKey, KeyID: kid}
}

func document(t testing.TB, members ...any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newSet(t testing.TB, members ...any) *Set {
	t.Helper()
	s, err := Parse(document(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// One key that cannot be used never spoils the set.
func TestParseKeyByKey(t *testing.T) {
	a, b := ec(t, "same"), ec(t, "same")
	enc := ec(t, "enc")
	enc.Use = "enc"
	s, err := Parse(document(t, map[string]any{"kty": "AKP"}, a, 7, nil, "x", enc, map[string]any{"kty": "oct", "k": "c2VjcmV0"}, b))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Keys()) != 2 || s.Keys()[0].KeyID != "same" || s.Keys()[1].KeyID != "same" {
		t.Errorf("kept %d keys", len(s.Keys()))
	}
	if len(s.Skipped()) != 6 {
		t.Errorf("skipped %v", s.Skipped())
	}
}

func TestParseRefusesWhatIsNoSet(t *testing.T) {
	for _, in := range []string{``, `null`, `[]`, `{}`, `{"keys":null}`, `{"keys":{}}`, `{"keys":[]}{}`, `<html>`, `{"keys":[`} {
		if _, err := Parse([]byte(in)); !errors.Is(err, ErrNoSet) {
			t.Errorf("%s: %v", in, err)
		}
	}
	if s, err := Parse([]byte(`{"keys":[]}`)); err != nil || len(s.Keys()) != 0 {
		t.Errorf("an empty set: %v", err)
	}
}

func TestParseBoundsTheNumberOfKeys(t *testing.T) {
	key := ec(t, "k")
	many := make([]any, 2*MaxKeys)
	for i := range many {
		many[i] = key
	}
	s, err := Parse(document(t, many...))
	if err != nil || len(s.Keys()) != MaxKeys {
		t.Errorf("kept %d keys, %v", len(s.Keys()), err)
	}
}

func TestSetRoundTrip(t *testing.T) {
	s := newSet(t, ec(t, "a"), ec(t, "b"))
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(b)
	if err != nil || !again.Equal(s) || len(again.Keys()) != 2 {
		t.Errorf("read back %v, %v", again, err)
	}
	if s.Equal(newSet(t, ec(t, "a"))) || s.Equal(nil) {
		t.Error("different sets are equal")
	}
}

// Keys verify tokens of the issuer that published them only.
func TestRingBindsKeysToIssuers(t *testing.T) {
	set := func(kid string) *Set { return newSet(t, ec(t, kid)) }
	fetched := func(issuer, uri, kid string) Fetched {
		return Fetched{Source: Source{issuer, uri}, Set: set(kid)}
	}
	const a, b, c = "https://a.example", "https://b.example", "https://c.example"
	base := Ring{Primary: fetched(a, a+"/keys", "a"), Names: []string{"https://public-a.example/"}}
	loose, own := base, base
	loose.Loose = []Fetched{fetched("", a+"/keys", "a-again"), fetched("", b+"/keys", "b"), fetched("", c+"/keys", "c")}
	own.Bound, own.Loose = []Fetched{fetched(b, b+"/keys", "b")}, loose.Loose
	claims := own
	claims.Names = []string{b}
	tenants := base
	tenants.Names = []string{"https://login.example/{tenantid}/v2.0"}
	tenants.Loose = loose.Loose
	down := base
	down.Primary = Fetched{Source: Source{a, a + "/keys"}, Err: errors.New("down")}
	for _, x := range []struct {
		name    string
		ring    Ring
		issuer  string
		allowed []string
		want    string // kids, or "error"
		loose   bool
	}{
		{"own issuer", base, a, nil, "a", false},
		{"own issuer with a slash", base, a + "/", nil, "a", false},
		{"issuer of the document", base, "https://public-a.example", nil, "a", false},
		{"no issuer", base, "", nil, "a", false},
		{"foreign issuer", base, b, nil, "a", false},
		{"other name of the provider", base, b, []string{b}, "a", false},
		{"own issuer is never verified by loose sets", loose, a, []string{a, b}, "a", false},
		{"issuer of the document is never verified by loose sets", loose, "https://public-a.example", []string{a, b}, "a", false},
		{"allowed issuer by loose sets, not by the primary's", loose, b, []string{a, b}, "b c", true},
		{"issuer that is not allowed gets no loose set", loose, b, []string{a}, "a", false},
		{"nobody is allowed by name", loose, b, nil, "a", false},
		{"bound issuer by its own set", own, b, []string{a, b}, "b", false},
		{"a document cannot claim a bound issuer", claims, b, []string{a, b}, "b", false},
		{"tenant of a template", tenants, "https://login.example/t1/v2.0", []string{"https://login.example/t1/v2.0"}, "a", false},
		{"template does not span a path", tenants, "https://login.example/a/b/v2.0", []string{"https://login.example/a/b/v2.0"}, "b c", true},
		{"no keys were read", down, a, nil, "error", false},
	} {
		t.Run(x.name, func(t *testing.T) {
			keys, loose, err := x.ring.Keys(x.issuer, x.allowed)
			var kids []string
			for _, k := range keys {
				kids = append(kids, k.KeyID)
			}
			got := strings.Join(kids, " ")
			if err != nil {
				got = "error"
			}
			if got != x.want || loose != x.loose {
				t.Errorf("keys %q, loose %v", got, loose)
			}
		})
	}
	t.Run("sets are not changed by being joined", func(t *testing.T) {
		r := loose
		for range 2 {
			if keys, _, _ := r.Keys(b, []string{b}); len(keys) != 2 {
				t.Errorf("%d keys", len(keys))
			}
		}
		if len(r.Loose[1].Set.Keys()) != 1 {
			t.Error("a set has grown")
		}
	})
	t.Run("equality", func(t *testing.T) {
		again := base
		if !base.Equal(&again) || base.Equal(&loose) || base.Equal(&tenants) || base.Equal(&down) {
			t.Error("rings are compared wrongly")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(document(f, ec(f, "k"), map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB"}))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed448","x":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if len(s.Keys()) > MaxKeys {
			t.Fatal(fmt.Sprint(len(s.Keys()), " keys"))
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil || !again.Equal(s) {
			t.Fatalf("not the same after a round trip: %v", err)
		}
	})
}
