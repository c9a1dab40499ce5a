package token

import (
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// object decodes claims as the verifier does.
func object(t testing.TB, c map[string]any) claims.Object {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	o, err := claims.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const absent = "\x00absent"

// changed returns base with the changes; absent removes a claim.
func changed(base, changes map[string]any) map[string]any {
	c := maps.Clone(base)
	for k, v := range changes {
		if v == absent {
			delete(c, k)
		} else {
			c[k] = v
		}
	}
	return c
}

// claimOf returns the claim that an error is about, "" for no error.
func claimOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := errors.AsType[*ClaimError](err)
	if !ok || !errors.Is(err, ErrClaims) {
		t.Fatalf("no claim error: %v", err)
	}
	return e.Claim
}

type m = map[string]any

func TestAccessRules(t *testing.T) {
	sec := func(d int64) int64 { return now.Unix() + d }
	base := m{"iss": issuer, "sub": "alex", "exp": sec(60), "iat": sec(-60)}
	strict := AccessRules{VerifyClaims: true, Issuers: Issuers{Expected: []string{issuer}}}
	lax := AccessRules{Issuers: Issuers{Expected: []string{issuer}}}
	leeway := strict
	leeway.Leeway = 30 * time.Second
	allowed := AccessRules{Issuers: Issuers{Expected: []string{"https://a.example", "https://b.example/"}, Enforced: true}}
	domains := strict
	domains.Domains = []string{"example.com"}
	for _, c := range []struct {
		name    string
		rules   AccessRules
		changes m
		want    string // claim refused
	}{
		{"good", strict, m{}, ""},
		{"trailing slash in the token", strict, m{"iss": issuer + "/"}, ""},
		{"two trailing slashes", strict, m{"iss": issuer + "//"}, "iss"},
		{"case 1: foreign issuer", strict, m{"iss": "https://evil.example"}, "iss"},
		{"issuer is a prefix", strict, m{"iss": issuer + ".evil"}, "iss"},
		{"issuer in another case", strict, m{"iss": strings.ToUpper(issuer)}, "iss"},
		{"issuer is a list", strict, m{"iss": []string{issuer}}, "iss"},
		{"issuer is empty", strict, m{"iss": ""}, "iss"},
		{"issuer null", strict, m{"iss": nil}, "iss"},
		{"no issuer", strict, m{"iss": absent}, ""},
		{"no exp", strict, m{"exp": absent}, ""},
		{"case 3: azp is not for access tokens", strict, m{"azp": "other", "aud": []string{"x", "y"}}, ""},
		{"case 5: exp at the boundary", strict, m{"exp": sec(0)}, ""},
		{"case 5: exp a second before", strict, m{"exp": sec(-1)}, "exp"},
		{"case 5: exp within leeway", leeway, m{"exp": sec(-30)}, ""},
		{"case 5: exp beyond leeway", leeway, m{"exp": sec(-31)}, "exp"},
		{"case 5: nbf at the boundary", strict, m{"nbf": sec(0)}, ""},
		{"case 5: nbf a second after", strict, m{"nbf": sec(1)}, "nbf"},
		{"case 5: nbf within leeway", leeway, m{"nbf": sec(30)}, ""},
		{"case 5: nbf beyond leeway", leeway, m{"nbf": sec(31)}, "nbf"},
		{"case 5: iat in the future", strict, m{"iat": sec(1)}, "iat"},
		{"case 5: iat within leeway", leeway, m{"iat": sec(30)}, ""},
		{"case 6: exp as a string", strict, m{"exp": "1700000060"}, ""},
		{"case 6: exp as an expired string", strict, m{"exp": "1600000000"}, "exp"},
		{"case 6: exp as a float", strict, m{"exp": 1700000060.5}, ""},
		{"case 6: exp 1e300", strict, m{"exp": 1e300}, "exp"},
		{"case 6: exp negative", strict, m{"exp": -1}, "exp"},
		{"case 6: exp an object", strict, m{"exp": m{}}, "exp"},
		{"case 6: exp null", strict, m{"exp": nil}, "exp"},
		{"case 6: nbf a word", strict, m{"nbf": "soon"}, "nbf"},
		{"verify_claims off: foreign issuer", lax, m{"iss": "https://evil.example"}, ""},
		{"verify_claims off: nbf", lax, m{"nbf": sec(100)}, ""},
		{"verify_claims off: expired all the same", lax, m{"exp": sec(-1)}, "exp"},
		{"verify_claims off: exp unreadable", lax, m{"exp": "x"}, "exp"},
		{"issuers_allowed: first", allowed, m{"iss": "https://a.example"}, ""},
		{"issuers_allowed: second", allowed, m{"iss": "https://b.example"}, ""},
		{"issuers_allowed: other, verify_claims off", allowed, m{}, "iss"},
		{"issuers_allowed: no issuer", allowed, m{"iss": absent}, "iss"},
		{"domain", domains, m{"hd": "example.com"}, ""},
		{"other domain", domains, m{"hd": "evil.example"}, "hd"},
		{"no domain", domains, m{}, "hd"},
		{"no issuer is expected", AccessRules{VerifyClaims: true}, m{}, "iss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.rules.Check(UseAccess, object(t, changed(base, c.changes)), now)
			if got := claimOf(t, err); got != c.want {
				t.Errorf("refused for %q: %v", got, err)
			}
			if errors.Is(err, ErrExpired) != (c.want == "exp" && strings.Contains(err.Error(), "passed")) {
				t.Errorf("expiry is not told apart: %v", err)
			}
		})
	}
}

func TestEntraTenants(t *testing.T) {
	i := Issuers{Expected: []string{"https://login.microsoftonline.com/{tenantid}/v2.0"}}
	for _, c := range []struct {
		name, iss string
		tid       any
		want      bool
	}{
		{"own tenant", "https://login.microsoftonline.com/72f9-ab/v2.0", "72f9-ab", true},
		{"other tenant", "https://login.microsoftonline.com/72f9-ab/v2.0", "1111", false},
		{"no tid", "https://login.microsoftonline.com/72f9-ab/v2.0", nil, false},
		{"tid with a path", "https://login.microsoftonline.com/a/b/v2.0", "a/b", false},
		{"the template itself", "https://login.microsoftonline.com/{tenantid}/v2.0", "{tenantid}", false},
		{"empty tid", "https://login.microsoftonline.com//v2.0", "", false},
		{"other host", "https://evil.example/72f9-ab/v2.0", "72f9-ab", false},
	} {
		if got := i.Accepts(c.iss, claims.Object{"tid": c.tid}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestIDRules(t *testing.T) {
	sec := func(d int64) int64 { return now.Unix() + d }
	base := m{"iss": issuer, "sub": "alex", "aud": "client", "exp": sec(60), "iat": sec(-60), "nonce": "n"}
	rules := func(f func(*IDRules)) IDRules {
		r := IDRules{VerifyClaims: true, Issuers: Issuers{Expected: []string{issuer}}, ClientID: "client", VerifyNonce: true, Nonce: "n"}
		if f != nil {
			f(&r)
		}
		return r
	}
	strict := rules(nil)
	hour := time.Hour
	maxAge := rules(func(r *IDRules) { r.MaxAge = &hour; r.Leeway = 10 * time.Second })
	lax := rules(func(r *IDRules) { r.VerifyClaims = false })
	trusted := rules(func(r *IDRules) { r.Trusted = []string{"api"} })
	sum := func(s string) string {
		h := sha256.Sum256([]byte(s))
		return base64.RawURLEncoding.EncodeToString(h[:16])
	}
	hashes := rules(func(r *IDRules) { r.AccessToken = "at"; r.Code = "co" })
	hybrid := rules(func(r *IDRules) { r.Code = "co"; r.RequireCodeHash = true })
	for _, c := range []struct {
		name    string
		rules   IDRules
		changes m
		want    string
	}{
		{"good", strict, m{}, ""},
		{"case 1: foreign issuer", strict, m{"iss": "https://evil.example"}, "iss"},
		{"case 1: no issuer", strict, m{"iss": absent}, "iss"},
		{"case 2: other audience", strict, m{"aud": "other"}, "aud"},
		{"case 2: no audience", strict, m{"aud": absent}, "aud"},
		{"case 2: audience is a number", strict, m{"aud": 1}, "aud"},
		{"case 2: audience list with a number", strict, m{"aud": []any{"client", 1}}, "aud"},
		{"case 2: audience is a substring", strict, m{"aud": "clients"}, "aud"},
		{"case 2: no client configured", rules(func(r *IDRules) { r.ClientID = "" }), m{"aud": ""}, "aud"},
		{"audience list of one", strict, m{"aud": []string{"client"}}, ""},
		{"case 3: several audiences without azp", strict, m{"aud": []string{"client", "api"}}, "azp"},
		{"case 3: several audiences, azp is the client", strict, m{"aud": []string{"client", "api"}, "azp": "client"}, ""},
		{"case 3: azp is another client", strict, m{"azp": "other"}, "azp"},
		{"case 3: azp is no string", strict, m{"azp": []string{"client"}}, "azp"},
		{"case 3: several audiences, one untrusted", trusted, m{"aud": []string{"client", "evil"}, "azp": "client"}, "aud"},
		{"case 3: several audiences, all trusted", trusted, m{"aud": []string{"client", "api"}, "azp": "client"}, ""},
		{"case 4: no sub", strict, m{"sub": absent}, "sub"},
		{"case 4: empty sub", strict, m{"sub": ""}, "sub"},
		{"case 4: sub is a number", strict, m{"sub": 1}, "sub"},
		{"case 4: no iat", strict, m{"iat": absent}, "iat"},
		{"case 5: expired", strict, m{"exp": sec(-1)}, "exp"},
		{"case 5: exp at the boundary", strict, m{"exp": sec(0)}, ""},
		{"no exp", strict, m{"exp": absent}, "exp"},
		{"case 5: iat in the future", strict, m{"iat": sec(1)}, "iat"},
		{"case 5: nbf in the future", strict, m{"nbf": sec(1)}, "nbf"},
		{"case 15: wrong nonce", strict, m{"nonce": "x"}, "nonce"},
		{"case 15: no nonce", strict, m{"nonce": absent}, "nonce"},
		{"case 15: nonce is no string", strict, m{"nonce": []string{"n"}}, "nonce"},
		{"case 15: no nonce was kept", rules(func(r *IDRules) { r.Nonce = "" }), m{"nonce": ""}, "nonce"},
		{"case 15: wrong nonce, verify_claims off", lax, m{"nonce": "x"}, "nonce"},
		{"verify_nonce off", rules(func(r *IDRules) { r.VerifyNonce = false }), m{"nonce": "x"}, ""},
		{"case 15: at_hash and c_hash", hashes, m{"at_hash": sum("at"), "c_hash": sum("co")}, ""},
		{"case 15: no hashes", hashes, m{}, ""},
		{"case 15: wrong at_hash", hashes, m{"at_hash": sum("x")}, "at_hash"},
		{"case 15: at_hash is no string", hashes, m{"at_hash": 1}, "at_hash"},
		{"case 15: empty at_hash", hashes, m{"at_hash": ""}, "at_hash"},
		{"case 15: wrong c_hash", hashes, m{"c_hash": sum("x")}, "c_hash"},
		{"case 15: c_hash required", hybrid, m{}, "c_hash"},
		{"max_age: fresh", maxAge, m{"auth_time": sec(-3610)}, ""},
		{"max_age: too old", maxAge, m{"auth_time": sec(-3611)}, "auth_time"},
		{"max_age: no auth_time", maxAge, m{}, "auth_time"},
		{"auth_time in the future", maxAge, m{"auth_time": sec(11)}, "auth_time"},
		{"domain", rules(func(r *IDRules) { r.Domains = []string{"example.com"} }), m{"hd": "example.com"}, ""},
		{"no domain", rules(func(r *IDRules) { r.Domains = []string{"example.com"} }), m{}, "hd"},
		{"verify_claims off", lax, m{"iss": "x", "aud": "x", "iat": absent, "sub": absent}, ""},
		{"verify_claims off: expired", lax, m{"exp": sec(-1)}, "exp"},
		{"verify_claims off: issuers_allowed", rules(func(r *IDRules) { r.VerifyClaims = false; r.Issuers.Enforced = true }), m{"iss": "x"}, "iss"},
		{"kept token: expired", rules(func(r *IDRules) { r.SkipExpiry = true }), m{"exp": sec(-1)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok := &Token{Header: Header{Algorithm: "RS256"}, Claims: object(t, changed(base, c.changes))}
			err := c.rules.Check(tok, now)
			if got := claimOf(t, err); got != c.want {
				t.Errorf("refused for %q: %v", got, err)
			}
			if err != nil && (c.want == "nonce" || strings.HasSuffix(c.want, "_hash")) && strings.Contains(err.Error(), "(") {
				t.Errorf("shows the value: %v", err)
			}
		})
	}
}

func TestHashByAlgorithm(t *testing.T) {
	e := base64.RawURLEncoding.EncodeToString
	s256, s384, s512 := sha256.Sum256([]byte("v")), sha512.Sum384([]byte("v")), sha512.Sum512([]byte("v"))
	ed := &jose.JSONWebKey{Key: Ed448(make([]byte, ed448.PublicKeySize))}
	for _, c := range []struct {
		alg  string
		key  *jose.JSONWebKey
		want string
	}{
		{"RS256", nil, e(s256[:16])}, {"ES256", nil, e(s256[:16])}, {"PS384", nil, e(s384[:24])}, {"ES512", nil, e(s512[:32])},
		{"HS256", nil, e(s256[:16])}, {"EdDSA", nil, e(s512[:32])}, {"EdDSA", ed, e(sha3.SumSHAKE256([]byte("v"), 114)[:57])},
	} {
		if !MatchesHash(&Token{Header: Header{Algorithm: c.alg}, Key: c.key}, "v", c.want) {
			t.Errorf("%s does not match", c.alg)
		}
	}
	if MatchesHash(&Token{Header: Header{Algorithm: "unknown"}}, "v", "") {
		t.Error("an unknown algorithm matches")
	}
}
