package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"
)

// asJSON returns a JWK of a private or public key, members changed.
func asJSON(t testing.TB, key any, changes m) []byte {
	t.Helper()
	b, err := (&jose.JSONWebKey{Key: key}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var doc m
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(changed(doc, changes))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParsePublicKey(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	even := rsa.PublicKey{N: keyring()["rsa"].(*rsa.PrivateKey).N, E: 65536}
	huge := rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), MaxRSABits, 1), E: 65537}
	rsaKey, ecKey, edKey := keyring()["rsa"].Public(), keyring()["p256"].Public(), keyring()["ed25519"].Public()
	e := base64.RawURLEncoding.EncodeToString
	ed448Key := []byte(keyring()["ed448"].Public().(ed448.PublicKey))
	for _, c := range []struct {
		name string
		jwk  []byte
		ok   bool
	}{
		{"RSA", asJSON(t, rsaKey, m{"use": "sig", "kid": "k", "alg": "RS256"}), true},
		{"EC", asJSON(t, ecKey, nil), true},
		{"Ed25519", asJSON(t, edKey, nil), true},
		{"Ed448", []byte(`{"kty":"OKP","crv":"Ed448","x":"` + e(ed448Key) + `"}`), true},
		{"Ed448 too short", []byte(`{"kty":"OKP","crv":"Ed448","x":"` + e(ed448Key[1:]) + `"}`), false},
		{"private key", asJSON(t, keyring()["rsa"], nil), true},
		{"unknown members", asJSON(t, rsaKey, m{"x-extra": m{"a": 1}}), true},
		{"broken x5c is not read", asJSON(t, rsaKey, m{"x5c": []string{"?"}}), true},
		{"x5u is not read", asJSON(t, rsaKey, m{"x5u": "http://127.0.0.1:1/"}), true},
		{"key_ops verify", asJSON(t, rsaKey, m{"key_ops": []string{"verify"}}), true},
		{"key_ops encrypt", asJSON(t, rsaKey, m{"key_ops": []string{"encrypt"}}), false},
		{"use enc", asJSON(t, rsaKey, m{"use": "enc"}), false},
		{"use of another case", asJSON(t, rsaKey, m{"use": "SIG"}), false},
		{"symmetric", asJSON(t, []byte("0123456789abcdef"), nil), false},
		{"RSA of 1024 bits", asJSON(t, &small.PublicKey, nil), false},
		{"RSA that is too large", asJSON(t, &huge, nil), false},
		{"RSA with an even exponent", asJSON(t, &even, nil), false},
		{"RSA without a modulus", asJSON(t, rsaKey, m{"n": absent}), false},
		{"EC off its curve", asJSON(t, ecKey, m{"y": e(make([]byte, 32))}), false},
		{"EC on another curve", asJSON(t, ecKey, m{"crv": "P-384"}), false},
		{"secp256k1", asJSON(t, ecKey, m{"crv": "secp256k1"}), false},
		{"X25519", asJSON(t, edKey, m{"crv": "X25519"}), false},
		{"unknown type", []byte(`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`), false},
		{"no type", []byte(`{}`), false},
		{"no object", []byte(`"key"`), false},
		{"wrong types", []byte(`{"kty":1}`), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := ParsePublicKey(c.jwk)
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil && !k.IsPublic() && !isEd448(k.Key) {
				t.Error("holds a private key")
			}
		})
	}
}

func isEd448(k any) bool { _, ok := k.(Ed448); return ok }

// Case 63: what is published has public members only.
func TestCase63PublicMembersOnly(t *testing.T) {
	for name, k := range keyring() {
		key := jose.JSONWebKey{Key: k, KeyID: "k"}
		if p, ok := k.(ed448.PrivateKey); ok {
			key.Key = Ed448(p.Public().(ed448.PublicKey))
		}
		b, err := MarshalPublicKey(&key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var doc m
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, ok := doc[member]; ok {
				t.Errorf("%s: shows %s", name, member)
			}
		}
		again, err := ParsePublicKey(b)
		if err != nil || again.KeyID != "k" {
			t.Errorf("%s: cannot be read back: %v", name, err)
		}
	}
}

func TestSigners(t *testing.T) {
	for _, c := range []struct {
		name, key, alg, want string
	}{
		{"RSA by default", "rsa", "", "RS256"}, {"RSA PS384", "rsa", "PS384", "PS384"}, {"P-256", "p256", "", "ES256"},
		{"P-384", "p384", "", "ES384"}, {"P-521", "p521", "", "ES512"}, {"Ed25519", "ed25519", "", "EdDSA"}, {"Ed448", "ed448", "", "EdDSA"},
		{"RSA for ES256", "rsa", "ES256", ""}, {"P-256 for ES384", "p256", "ES384", ""}, {"RSA for HS256", "rsa", "HS256", ""}, {"none", "rsa", "none", ""},
		{"Ed448 for RS256", "ed448", "RS256", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var jwk []byte
			if k, ok := keyring()[c.key].(ed448.PrivateKey); ok {
				e := base64.RawURLEncoding.EncodeToString
				jwk = []byte(`{"kty":"OKP","crv":"Ed448","kid":"k","d":"` + e(k.Seed()) + `","x":"` + e(k.Public().(ed448.PublicKey)) + `"}`)
			} else {
				jwk = asJSON(t, keyring()[c.key], m{"kid": "k"})
			}
			s, err := NewKeySigner(jwk, c.alg)
			if (err == nil) != (c.want != "") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			raw, err := s.Sign(m{"iss": issuer})
			if err != nil {
				t.Fatal(err)
			}
			v := Verifier{Keys: keys(public(t, c.key, "k", ""))}
			tok, err := v.Verify(t.Context(), raw.Reveal(), UseAccess)
			if err != nil || tok.Header.Algorithm != c.want || tok.Header.KeyID != "k" || s.Algorithm() != c.want {
				t.Errorf("got %v, %v", tok, err)
			}
		})
	}
	for name, jwk := range map[string][]byte{
		"public key": asJSON(t, keyring()["rsa"].Public(), nil), "symmetric": asJSON(t, []byte("0123456789abcdef0123456789abcdef"), nil), "no key": []byte(`{}`), "no JSON": []byte(`x`),
	} {
		if _, err := NewKeySigner(jwk, ""); err == nil {
			t.Errorf("%s signs", name)
		}
	}
	for _, c := range []struct {
		secret Opaque
		alg    string
		ok     bool
	}{{"secret", "", true}, {"secret", "HS512", true}, {"x", "", false}, {"secret", "RS256", false}} {
		s, err := NewSecretSigner(c.secret, c.alg)
		if (err == nil) != c.ok {
			t.Fatalf("%s: %v", c.alg, err)
		}
		if err != nil {
			continue
		}
		raw, err := s.Sign(m{})
		if err != nil {
			t.Fatal(err)
		}
		v := Verifier{HMACSecret: c.secret}
		if _, err := v.Verify(t.Context(), raw.Reveal(), UseAccess); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, k := range []any{keyring()["rsa"].Public(), keyring()["p256"].Public(), keyring()["ed25519"].Public(), keyring()["rsa"]} {
		f.Add(asJSON(f, k, nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParsePublicKey(b)
		if err != nil {
			return
		}
		switch key := k.Key.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() < MinRSABits {
				t.Fatal("a small key")
			}
		case *ecdsa.PublicKey, ed25519.PublicKey, Ed448:
		default:
			t.Fatalf("a key of type %T", k.Key)
		}
		out, err := MarshalPublicKey(&k)
		if err != nil || strings.Contains(string(out), `"d":`) {
			t.Fatalf("published as %s, %v", out, err)
		}
	})
}
