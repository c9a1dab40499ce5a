package token

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

var someClaims = map[string]any{"iss": issuer, "sub": "alex", "exp": now.Unix() + 60}

func TestEveryAlgorithm(t *testing.T) {
	for alg, name := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed25519",
	} {
		t.Run(alg, func(t *testing.T) {
			v := Verifier{Keys: keys(public(t, name, "k", ""))}
			tok, err := v.Verify(t.Context(), sign(t, alg, private(t, name), head{"kid": "k"}, someClaims), UseAccess)
			if err != nil {
				t.Fatal(err)
			}
			if tok.Key == nil || tok.Key.KeyID != "k" || tok.Claims["sub"] != "alex" || !tok.Expiry.Equal(now.Add(60e9)) {
				t.Errorf("token is incomplete: %+v", tok)
			}
		})
	}
	t.Run("Ed448", func(t *testing.T) {
		v := Verifier{Keys: keys(public(t, "ed448", "k", "EdDSA"))}
		raw := sign(t, "EdDSA", private(t, "ed448"), head{"kid": "k"}, someClaims)
		if _, err := v.Verify(t.Context(), raw, UseAccess); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), tamper(raw), UseAccess); !errors.Is(err, ErrSignature) {
			t.Errorf("tampered: %v", err)
		}
	})
}

// tamper changes the payload and leaves the signature.
func tamper(raw string) string {
	parts := strings.Split(raw, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + issuer + `","sub":"mallory"}`))
	return strings.Join(parts, ".")
}

func TestTamperedPayloadIsRefused(t *testing.T) {
	v := Verifier{Keys: keys(public(t, "rsa", "k", ""))}
	raw := sign(t, "RS256", private(t, "rsa"), head{"kid": "k"}, someClaims)
	if _, err := v.Verify(t.Context(), tamper(raw), UseAccess); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
	if _, err := v.Verify(t.Context(), raw[:len(raw)-4], UseAccess); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}

// Case 7: alg none, in any spelling, or missing, even where signatures are not checked.
func TestCase07AlgNone(t *testing.T) {
	for _, header := range []string{
		`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE"}`, `{"alg":""}`, `{}`, `{"alg":null}`,
		`{"alg":["none"]}`, `{"alg":"none ","typ":"JWT"}`, `{"ALG":"RS256"}`, `{"alg":"RS256","alg":"none"}`, `{"alg":"RSA1_5"}`, `{"alg":"ES256K"}`,
	} {
		for _, signature := range []string{"", "x"} {
			raw := forge(header, `{"iss":"`+issuer+`"}`, signature)
			for _, v := range []Verifier{{Keys: keys(public(t, "rsa", "", ""))}, {SkipSignature: true}, {HMACSecret: "secret"}} {
				if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, ErrAlgorithm) && !errors.Is(err, ErrMalformed) {
					t.Errorf("%s (skip %v): %v", header, v.SkipSignature, err)
				}
			}
		}
	}
}

// Case 8: an RSA public key is never an HMAC secret, in whatever encoding.
func TestCase08RSAPublicKeyAsHMACSecret(t *testing.T) {
	jwk := public(t, "rsa", "k", "")
	der, err := x509.MarshalPKIXPublicKey(jwk.Key)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, _ := jwk.MarshalJSON()
	for name, guess := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": asJSON, "modulus": jwk.Key.(*rsa.PublicKey).N.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			raw := sign(t, "HS256", secret{Opaque(guess), "HS256"}, head{"kid": "k"}, someClaims)
			for _, v := range []Verifier{
				{Keys: keys(jwk)},
				{Keys: keys(jwk), HMACSecret: "the client's secret"},
				{Keys: keys(jwk), Algorithms: []string{"HS256", "RS256"}},
			} {
				if _, err := v.Verify(t.Context(), raw, UseAccess); err == nil {
					t.Error("accepted")
				}
			}
		})
	}
}

// Case 9: HMAC only with a secret, and a secret is longer than one character.
func TestCase09HMAC(t *testing.T) {
	for _, c := range []struct {
		name           string
		signed, secret Opaque
		want           error
	}{
		{"not enabled", "secret", "", ErrAlgorithm},
		{"empty secret", "", "", ErrAlgorithm},
		{"one character", "x", "x", ErrAlgorithm},
		{"two characters", "xy", "xy", nil},
		{"other secret", "secret", "another", ErrSignature},
		{"the secret", "secret", "secret", nil},
	} {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			t.Run(c.name+" "+alg, func(t *testing.T) {
				v := Verifier{HMACSecret: c.secret}
				raw := sign(t, alg, secret{c.signed, alg}, nil, someClaims)
				if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, c.want) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// Case 10: the algorithm must fit the key's type, curve, alg and use.
func TestCase10AlgorithmMustFitTheKey(t *testing.T) {
	with := func(k jose.JSONWebKey, use string) jose.JSONWebKey { k.Use = use; return k }
	for _, c := range []struct {
		name string
		alg  string
		sign string
		key  jose.JSONWebKey
		want error
	}{
		{"alg says otherwise", "RS256", "rsa", public(t, "rsa", "k", "RS512"), ErrNoKey},
		{"alg of another family", "PS256", "rsa", public(t, "rsa", "k", "RS256"), ErrNoKey},
		{"use enc", "RS256", "rsa", with(public(t, "rsa", "k", ""), "enc"), ErrNoKey},
		{"EC key for RS256", "RS256", "rsa", public(t, "p256", "k", ""), ErrNoKey},
		{"RSA key for ES256", "ES256", "p256", public(t, "rsa", "k", ""), ErrNoKey},
		{"P-384 key for ES256", "ES256", "p256", public(t, "p384", "k", ""), ErrNoKey},
		{"EC key for EdDSA", "EdDSA", "ed25519", public(t, "p256", "k", ""), ErrNoKey},
		{"Ed448 key for an Ed25519 signature", "EdDSA", "ed25519", public(t, "ed448", "k", ""), ErrSignature},
		{"symmetric key", "RS256", "rsa", jose.JSONWebKey{Key: []byte("secret"), KeyID: "k"}, ErrNoKey},
		{"alg agrees", "RS256", "rsa", public(t, "rsa", "k", "RS256"), nil},
		{"alg Ed25519 (RFC 9864)", "EdDSA", "ed25519", public(t, "ed25519", "k", "Ed25519"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Verifier{Keys: keys(c.key)}
			raw := sign(t, c.alg, private(t, c.sign), head{"kid": "k"}, someClaims)
			if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Case 11: keys and addresses of keys in the header are ignored.
func TestCase11KeysInTheHeader(t *testing.T) {
	evil := public(t, "rsa2", "k", "")
	evilJSON, _ := evil.MarshalJSON()
	var jwk map[string]any
	if err := json.Unmarshal(evilJSON, &jwk); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]head{
		"jwk": {"jwk": jwk, "kid": "k"}, "jku": {"jku": "http://127.0.0.1:1/keys", "kid": "k"}, "x5u": {"x5u": "http://127.0.0.1:1/cert", "kid": "k"},
	} {
		t.Run(name, func(t *testing.T) {
			v := Verifier{Keys: keys(public(t, "rsa", "k", ""))}
			if _, err := v.Verify(t.Context(), sign(t, "RS256", private(t, "rsa2"), h, someClaims), UseAccess); !errors.Is(err, ErrSignature) {
				t.Errorf("key of the header: %v", err)
			}
			if _, err := v.Verify(t.Context(), sign(t, "RS256", private(t, "rsa"), h, someClaims), UseAccess); err != nil {
				t.Errorf("trusted key: %v", err)
			}
		})
	}
}

// Case 12: every crit is unknown.
func TestCase12Crit(t *testing.T) {
	v := Verifier{Keys: keys(public(t, "rsa", "", ""))}
	for _, crit := range []any{[]string{"exp"}, []string{"b64"}, []string{}, "b64"} {
		raw := sign(t, "RS256", private(t, "rsa"), head{"crit": crit, "exp": 1}, someClaims)
		if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, ErrMalformed) {
			t.Errorf("crit %v: %v", crit, err)
		}
	}
}

// Case 13: without a kid the keys of the fitting type are tried.
func TestCase13NoKid(t *testing.T) {
	one := sign(t, "RS256", private(t, "rsa"), nil, someClaims)
	for _, c := range []struct {
		name string
		keys *fakeKeys
		want error
	}{
		{"one key", keys(public(t, "rsa", "a", "")), nil},
		{"several keys", keys(public(t, "p256", "a", ""), public(t, "rsa2", "b", ""), public(t, "rsa", "c", "")), nil},
		{"none of the type", keys(public(t, "p256", "a", "")), ErrNoKey},
		{"none of the keys", keys(public(t, "rsa2", "a", "")), ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Verifier{Keys: c.keys}
			if _, err := v.Verify(t.Context(), one, UseAccess); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Case 14: of two keys with one kid the algorithm chooses.
func TestCase14SameKidTwice(t *testing.T) {
	k := keys(public(t, "rsa", "k", "RS512"), public(t, "p256", "k", ""), public(t, "rsa2", "k", ""), public(t, "rsa", "k", "RS256"))
	v := Verifier{Keys: k}
	for alg, name := range map[string]string{"RS256": "rsa", "ES256": "p256"} {
		if _, err := v.Verify(t.Context(), sign(t, alg, private(t, name), head{"kid": "k"}, someClaims), UseAccess); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	if k.refreshed != 0 {
		t.Error("the provider was asked again")
	}
}

// Case 16: length is bounded before anything is decoded.
func TestCase16HugeToken(t *testing.T) {
	v := Verifier{Keys: keys(public(t, "rsa", "", ""))}
	raw := sign(t, "RS256", private(t, "rsa"), nil, map[string]any{"pad": strings.Repeat("x", 1<<20)})
	if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = v.Verify(t.Context(), raw, UseAccess) }); n > 20 {
		t.Errorf("refusing it took %v allocations", n)
	}
	v.Limit = 4 << 20
	if _, err := v.Verify(t.Context(), raw, UseAccess); err != nil {
		t.Errorf("within a higher limit: %v", err)
	}
}

// Case 57: which tokens make the provider be asked again.
func TestCase57WhenKeysAreAskedForAgain(t *testing.T) {
	old, fresh := public(t, "rsa2", "old", ""), public(t, "rsa", "new", "")
	x5t := sha1.Sum([]byte("certificate"))
	thumb := base64.RawURLEncoding.EncodeToString(x5t[:])
	withX5T := func(k jose.JSONWebKey) jose.JSONWebKey { k.CertificateThumbprintSHA1 = x5t[:]; return k }
	for _, c := range []struct {
		name      string
		head      head
		keys      fakeKeys
		refreshed int
		want      error
	}{
		{"known kid", head{"kid": "new"}, fakeKeys{before: []jose.JSONWebKey{fresh}}, 0, nil},
		{"known kid, forged", head{"kid": "old"}, fakeKeys{before: []jose.JSONWebKey{old, fresh}}, 0, ErrSignature},
		{"rotated", head{"kid": "new"}, fakeKeys{before: []jose.JSONWebKey{old}, after: []jose.JSONWebKey{old, fresh}}, 1, nil},
		{"unknown kid, forged", head{"kid": "x"}, fakeKeys{before: []jose.JSONWebKey{old}}, 1, ErrSignature},
		{"unknown kid, accepted by algorithm after one rediscovery", head{"kid": "x"}, fakeKeys{before: []jose.JSONWebKey{fresh}}, 1, nil},
		{"unknown kid, no key fits", head{"kid": "x"}, fakeKeys{before: []jose.JSONWebKey{public(t, "p256", "e", "")}}, 1, ErrNoKey},
		{"no kid, a key fits", nil, fakeKeys{before: []jose.JSONWebKey{old, fresh}}, 0, nil},
		{"no kid, rotated", nil, fakeKeys{before: []jose.JSONWebKey{old}, after: []jose.JSONWebKey{fresh}}, 1, nil},
		{"x5t", head{"x5t": thumb}, fakeKeys{before: []jose.JSONWebKey{old, withX5T(fresh)}}, 0, nil},
		{"x5t of another key", head{"x5t": thumb}, fakeKeys{before: []jose.JSONWebKey{withX5T(old), fresh}}, 0, ErrSignature},
		{"kid unknown, x5t known", head{"kid": "x", "x5t": thumb}, fakeKeys{before: []jose.JSONWebKey{withX5T(fresh)}}, 0, nil},
		{"provider down", head{"kid": "x"}, fakeKeys{err: errors.New("down")}, 0, ErrKeysUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Verifier{Keys: &c.keys}
			_, err := v.Verify(t.Context(), sign(t, "RS256", private(t, "rsa"), c.head, someClaims), UseAccess)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			if c.keys.refreshed != c.refreshed {
				t.Errorf("refreshed %d times", c.keys.refreshed)
			}
			if c.keys.issuer != issuer {
				t.Errorf("keys of issuer %q were asked for", c.keys.issuer)
			}
		})
	}
}

func TestSignatureChecksAreBounded(t *testing.T) {
	var many []jose.JSONWebKey
	for range 100 {
		many = append(many, public(t, "rsa2", "k", ""))
	}
	many = append(many, public(t, "rsa", "k", ""))
	v := Verifier{Keys: keys(many...)}
	if _, err := v.Verify(t.Context(), sign(t, "RS256", private(t, "rsa"), head{"kid": "k"}, someClaims), UseAccess); !errors.Is(err, ErrSignature) {
		t.Error(err)
	}
}

func TestTypes(t *testing.T) {
	v := Verifier{Keys: keys(public(t, "rsa", "", ""))}
	accepted := map[Use][]string{
		UseAccess:        {"", "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"},
		UseID:            {"", "JWT"},
		UseLogout:        {"", "JWT", "logout+jwt"},
		UseIntrospection: {"", "JWT", "token-introspection+jwt"},
		UseUserinfo:      {"", "JWT"},
		UseAuthorization: {"", "JWT"},
	}
	for _, typ := range []string{"", "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT", "logout+jwt", "dpop+jwt", "DPoP+JWT", "application/dpop+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "secevent+jwt"} {
		h := head{}
		if typ != "" {
			h["typ"] = typ
		}
		raw := sign(t, "RS256", private(t, "rsa"), h, someClaims)
		for use, types := range accepted {
			_, err := v.Verify(t.Context(), raw, use)
			want := false
			for _, a := range types {
				want = want || strings.EqualFold(a, typ)
			}
			if (err == nil) != want {
				t.Errorf("type %q as %s: %v", typ, use, err)
			}
		}
	}
	if _, err := v.Verify(t.Context(), sign(t, "RS256", private(t, "rsa"), head{"typ": 1}, someClaims), UseAccess); !errors.Is(err, ErrMalformed) {
		t.Errorf("typ that is a number: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	good := sign(t, "RS256", private(t, "rsa"), nil, someClaims)
	for name, raw := range map[string]string{
		"empty": "", "dots": "..", "two parts": "a.b", "four parts": good + ".x", "text": "opaque", "padding": good + "=", "newline": good + "\n",
		"space": " " + good, "standard base64": strings.ReplaceAll(good, "-", "+") + "+", "JSON serialization": `{"payload":"","signatures":[]}`,
		"JWE": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..a.b.c", "claims are an array": forge(`{"alg":"RS256"}`, `[]`, "x"),
		"claims are null": forge(`{"alg":"RS256"}`, `null`, "x"), "header is an array": forge(`[]`, `{}`, "x"), "claims twice": forge(`{"alg":"RS256"}`, `{}{}`, "x"),
		"deep claims": forge(`{"alg":"RS256"}`, strings.Repeat(`{"a":`, 5000)+"1"+strings.Repeat("}", 5000), "x"),
	} {
		t.Run(name, func(t *testing.T) {
			v := Verifier{SkipSignature: true}
			if _, err := v.Verify(t.Context(), raw, UseAccess); !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
		})
	}
}

func TestForms(t *testing.T) {
	jws := sign(t, "RS256", private(t, "rsa"), nil, someClaims)
	e := base64.RawURLEncoding.EncodeToString
	jwe := e([]byte(`{"alg":"dir","enc":"A128GCM"}`)) + "..a.b.c"
	for _, c := range []struct {
		name     string
		raw      string
		jws, jwe bool
	}{
		{"JWS", jws, true, false},
		{"JWS with alg none", forge(`{"alg":"none"}`, `{}`, ""), true, false},
		{"JWE", jwe, false, true},
		{"opaque", "2YotnFZFEjr1zCsicMWpAA", false, false},
		{"opaque with dots", "abc.def.ghi", false, false},
		{"five parts without enc", forge(`{"alg":"x"}`, "", "") + ".a.b", false, false},
		{"empty", "", false, false},
		{"header too large", e([]byte(`{"x":"`+strings.Repeat("x", maxHeader)+`"}`)) + ".a.b", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if LooksJWS(c.raw) != c.jws || IsJWE(c.raw) != c.jwe {
				t.Errorf("JWS %v, JWE %v", LooksJWS(c.raw), IsJWE(c.raw))
			}
		})
	}
}

func TestSkipSignature(t *testing.T) {
	v := Verifier{SkipSignature: true}
	tok, err := v.Verify(t.Context(), tamper(sign(t, "RS256", private(t, "rsa"), nil, someClaims)), UseAccess)
	if err != nil || tok.Key != nil || tok.Claims["sub"] != "mallory" {
		t.Errorf("got %v, %v", tok, err)
	}
}

// Case 62: errors and values print no token.
func TestCase62ErrorsHoldNoToken(t *testing.T) {
	raw := sign(t, "RS256", private(t, "rsa"), head{"kid": "k"}, someClaims)
	parts := strings.Split(raw, ".")
	v := Verifier{Keys: keys(public(t, "rsa2", "k", ""))}
	tok := &Token{Raw: Opaque(raw)}
	for _, err := range []error{
		second(v.Verify(t.Context(), raw, UseAccess)),
		second(v.Verify(t.Context(), parts[0]+"."+parts[1]+"."+parts[2]+"x!", UseAccess)),
		second(v.Verify(t.Context(), "x"+raw, UseAccess)),
		fmt.Errorf("%v %+v %#v %s", tok.Raw, tok, tok, tok.Raw),
	} {
		for _, p := range parts {
			if err == nil || strings.Contains(err.Error(), p[:20]) {
				t.Errorf("shows a token: %v", err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzParse(f *testing.F) {
	f.Add(forge(`{"alg":"RS256","kid":"k","typ":"JWT"}`, `{"iss":"x","exp":1e300}`, "sig"))
	f.Add(forge(`{"alg":"none"}`, `{}`, ""))
	f.Add("eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..a.b.c")
	f.Add(`{"payload":"e30","signature":""}`)
	rsaKey := public(f, "rsa", "k", "")
	f.Fuzz(func(t *testing.T, raw string) {
		LooksJWS(raw)
		IsJWE(raw)
		u, err := Parse(raw, 0)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAlgorithm) {
				t.Fatalf("unclassified error: %v", err)
			}
			return
		}
		if !LooksJWS(raw) {
			t.Fatal("parsed, but does not look like a JWS")
		}
		rules := AccessRules{VerifyClaims: true, Issuers: Issuers{Expected: []string{issuer}}}
		_ = rules.Check(UseAccess, u.Claims, now)
		id := IDRules{VerifyClaims: true, ClientID: "c", VerifyNonce: true, Nonce: "n"}
		if id.Check(&Token{Header: u.Header, Claims: u.Claims}, now) == nil {
			t.Fatal("accepted without an issuer")
		}
		v := Verifier{Keys: keys(rsaKey)}
		if _, err := v.VerifyParsed(t.Context(), u, UseAccess); err == nil {
			t.Fatal("a signature was forged")
		}
	})
}
