package op

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// recipient is a client's key for encryption.
func recipient(t *testing.T) (encrypt func(plain string) string, d *token.Decrypter) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := (&jose.JSONWebKey{Key: k}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if d, err = token.NewDecrypter(token.DecrypterOptions{JWKs: [][]byte{jwk}}); err != nil {
		t.Fatal(err)
	}
	return func(plain string) string {
		e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.ECDH_ES_A256KW, Key: k.Public()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jwe, err := e.Encrypt([]byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwe.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}, d
}

func TestEncryptedAnswers(t *testing.T) {
	k := newKey(t, "k")
	i, p := newServices(t, k)
	encrypt, d := recipient(t)
	v := &token.Verifier{Keys: p.Keys(nil), Decrypter: d}
	cl := client1(t, clientauth.Options{Secret: "secret"})
	signed := map[string]any{"iss": i.URL, "sub": "alex", "active": true, "token_introspection": map[string]any{"active": true, "sub": "alex"}}
	for _, c := range []struct {
		name, body string
		verifier   *token.Verifier
		ok         bool
	}{
		{"signed and encrypted", encrypt(k.sign(t, signed)), v, true},
		{"encrypted only", encrypt(`{"active":true,"sub":"alex"}`), v, true},
		{"forged and encrypted", encrypt(newKey(t, "k").sign(t, signed)), v, false},
		{"not JSON within", encrypt(`alex`), v, false},
		{"for somebody else", func() string { other, _ := recipient(t); return other(`{"active":true,"sub":"alex"}`) }(), v, false},
		{"no key configured", encrypt(`{"active":true,"sub":"alex"}`), &token.Verifier{Keys: p.Keys(nil)}, false},
		{"not asked for", encrypt(`{"active":true,"sub":"alex"}`), nil, false},
	} {
		i.answer("/introspection", 200, c.body)
		i.answer("/userinfo", 200, c.body)
		a, err := p.Introspect(t.Context(), IntrospectionRequest{Client: cl, Token: "at", Verifier: c.verifier})
		if (err == nil) != c.ok || c.ok && (!a.Active() || a.Claims["sub"] != "alex") {
			t.Errorf("%s: introspection: %+v, %v", c.name, a, err)
		}
		a, err = p.Userinfo(t.Context(), UserinfoRequest{AccessToken: "at", Subject: "alex", Verifier: c.verifier})
		if (err == nil) != c.ok || c.ok && a.Claims["sub"] != "alex" {
			t.Errorf("%s: userinfo: %+v, %v", c.name, a, err)
		}
	}
}

func TestEncryptedIDToken(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	encrypt, d := recipient(t)
	now := w.Now().Unix()
	inner := k.sign(t, map[string]any{"iss": i.URL, "sub": "alex", "aud": "client", "iat": now, "exp": now + 60, "nonce": "n"})
	rules := &token.IDRules{Issuers: token.Issuers{Expected: []string{i.URL}}, ClientID: "client", VerifyClaims: true, VerifyNonce: true, Nonce: "n"}
	v := &token.Verifier{Keys: p.Keys(nil), Decrypter: d}
	got, err := p.VerifyIDToken(t.Context(), v, token.Opaque(encrypt(inner)), rules)
	if err != nil || got.Raw.Reveal() != inner || got.Claims["sub"] != "alex" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := p.VerifyIDToken(t.Context(), &token.Verifier{Keys: p.Keys(nil)}, token.Opaque(encrypt(inner)), rules); !errors.Is(err, token.ErrDecryption) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := p.VerifyIDToken(t.Context(), v, token.Opaque(encrypt(`{"sub":"alex"}`)), rules); !errors.Is(err, token.ErrMalformed) {
		t.Errorf("not signed: %v", err)
	}
	w.Advance(time.Hour)
	if _, err := p.VerifyIDToken(t.Context(), v, token.Opaque(encrypt(inner)), rules); !errors.Is(err, token.ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}
