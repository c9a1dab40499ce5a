package token

import (
	"crypto/rsa"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func jarmRules() *ResponseRules {
	return &ResponseRules{Issuers: Issuers{Expected: []string{issuer}}, ClientID: "client", Leeway: 5 * time.Second}
}

func response(edit func(map[string]any)) map[string]any {
	c := map[string]any{"iss": issuer, "aud": "client", "exp": now.Unix() + 60, "code": "c", "state": "s", "expires_in": 60}
	if edit != nil {
		edit(c)
	}
	return c
}

// The negative cases are those of the OpenID Foundation's FAPI 2 client plan.
func TestVerifyJARM(t *testing.T) {
	k := private(t, "p256")
	good := keys(public(t, "p256", "k", ""))
	ok := func(edit func(map[string]any)) string { return sign(t, "ES256", k, head{"kid": "k"}, response(edit)) }
	d := decrypter(t, DecrypterOptions{JWKs: [][]byte{privateJWK(t, "rsa", "", "", "")}})
	to := private(t, "rsa").(*rsa.PrivateKey).Public()
	for _, c := range []struct {
		name string
		raw  string
		v    Verifier
		err  error
	}{
		{"good", ok(nil), Verifier{Keys: good}, nil},
		{"several audiences", ok(func(c map[string]any) { c["aud"] = []string{"other", "client"} }), Verifier{Keys: good}, nil},
		{"exp within leeway", ok(func(c map[string]any) { c["exp"] = now.Unix() - 5 }), Verifier{Keys: good}, nil},
		{"encrypted", encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", ok(nil)), Verifier{Keys: good, Decrypter: d}, nil},
		{"an error", ok(func(c map[string]any) { delete(c, "code"); c["error"] = "access_denied" }), Verifier{Keys: good}, nil},
		{"invalid iss", ok(func(c map[string]any) { c["iss"] = "https://evil.example" }), Verifier{Keys: good}, ErrClaims},
		{"no iss", ok(func(c map[string]any) { delete(c, "iss") }), Verifier{Keys: good}, ErrClaims},
		{"invalid aud", ok(func(c map[string]any) { c["aud"] = "other" }), Verifier{Keys: good}, ErrClaims},
		{"no aud", ok(func(c map[string]any) { delete(c, "aud") }), Verifier{Keys: good}, ErrClaims},
		{"expired", ok(func(c map[string]any) { c["exp"] = now.Unix() - 6 }), Verifier{Keys: good}, ErrExpired},
		{"no exp", ok(func(c map[string]any) { delete(c, "exp") }), Verifier{Keys: good}, ErrClaims},
		{"not yet valid", ok(func(c map[string]any) { c["nbf"] = now.Unix() + 60 }), Verifier{Keys: good}, ErrClaims},
		{"from the future", ok(func(c map[string]any) { c["iat"] = now.Unix() + 60 }), Verifier{Keys: good}, ErrClaims},
		{"invalid signature", ok(nil)[:len(ok(nil))-6] + "AAAAAA", Verifier{Keys: good}, ErrSignature},
		{"another's signature", sign(t, "ES384", private(t, "p384"), head{"kid": "k"}, response(nil)), Verifier{Keys: good}, ErrNoKey},
		{"alg none", forge(`{"alg":"none"}`, `{"iss":"`+issuer+`","aud":"client","exp":1700000060,"code":"c"}`, ""), Verifier{Keys: good}, ErrAlgorithm},
		{"alg none, signatures skipped", forge(`{"alg":"none"}`, `{"iss":"`+issuer+`","aud":"client","exp":1700000060,"code":"c"}`, ""), Verifier{Keys: good, SkipSignature: true}, ErrAlgorithm},
		{"invalid signature, signatures skipped", ok(nil)[:len(ok(nil))-6] + "AAAAAA", Verifier{Keys: good, SkipSignature: true}, ErrSignature},
		{"HS256 without leave", sign(t, "HS256", []byte("a secret that is long enough, really"), nil, response(nil)), Verifier{Keys: good}, ErrAlgorithm},
		{"an access token", sign(t, "ES256", k, head{"kid": "k", "typ": "at+jwt"}, response(nil)), Verifier{Keys: good}, ErrMalformed},
		{"a logout token", sign(t, "ES256", k, head{"kid": "k", "typ": "logout+jwt"}, response(nil)), Verifier{Keys: good}, ErrMalformed},
		{"code is no string", ok(func(c map[string]any) { c["code"] = []string{"c"} }), Verifier{Keys: good}, ErrMalformed},
		{"state is a number", ok(func(c map[string]any) { c["state"] = 1 }), Verifier{Keys: good}, ErrMalformed},
		{"encrypted only", encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", `{"iss":"`+issuer+`","aud":"client","exp":1700000060}`), Verifier{Keys: good, Decrypter: d}, ErrMalformed},
		{"encrypted, no key", encrypt(t, jose.RSA_OAEP_256, jose.A256GCM, to, "", ok(nil)), Verifier{Keys: good}, ErrDecryption},
		{"a plain code", "abc", Verifier{Keys: good}, ErrMalformed},
		{"nothing", "", Verifier{Keys: good}, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := VerifyJARM(t.Context(), &c.v, c.raw, jarmRules(), now)
			if c.err != nil {
				if !errors.Is(err, c.err) || p != nil {
					t.Errorf("got %v, %v", p, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if p.Get("state") != "s" || p.Get("iss") != issuer || p.Get("expires_in") != "60" || p.Has("aud") || p.Has("exp") || p.Get("code") == "" && p.Get("error") == "" {
				t.Errorf("got %v", p)
			}
		})
	}
	r := jarmRules()
	r.ClientID = ""
	if _, err := VerifyJARM(t.Context(), &Verifier{Keys: good}, ok(func(c map[string]any) { c["aud"] = "" }), r, now); !errors.Is(err, ErrClaims) {
		t.Errorf("without a client: %v", err)
	}
}

func FuzzJARM(f *testing.F) {
	f.Add(sign(f, "ES256", private(f, "p256"), head{"kid": "k"}, response(nil)))
	f.Add(forge(`{"alg":"none"}`, `{"code":"c"}`, ""))
	f.Add(encrypt(f, jose.RSA_OAEP_256, jose.A256GCM, private(f, "rsa").(*rsa.PrivateKey).Public(), "", "plain"))
	v := &Verifier{Keys: keys(public(f, "p256", "k", "")), SkipSignature: true, Decrypter: decrypter(f, DecrypterOptions{JWKs: [][]byte{privateJWK(f, "rsa", "", "", "")}})}
	original := sign(f, "ES256", private(f, "p256"), head{"kid": "k"}, response(nil))
	f.Add(original)
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := VerifyJARM(t.Context(), v, raw, jarmRules(), now)
		if err == nil && p.Get("code") != "c" {
			t.Errorf("accepted %q", raw)
		}
	})
}
