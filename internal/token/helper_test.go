package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"
)

const issuer = "https://idp.example/realms/x"

var now = time.Unix(1_700_000_000, 0)

// keyring makes each private key once.
var keyring = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for _, name := range []string{"rsa", "rsa2"} {
		keys[name], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		keys[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	_, keys["ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	_, k448, _ := ed448.GenerateKey(rand.Reader)
	keys["ed448"] = k448
	return keys
})

func private(t testing.TB, name string) any {
	t.Helper()
	k, ok := keyring()[name]
	if !ok {
		t.Fatalf("no key %s", name)
	}
	if e, ok := k.(ed448.PrivateKey); ok {
		return ed448Signer(e)
	}
	return k
}

// public returns the JWK of a key under a kid, "" for none.
func public(t testing.TB, name, kid, alg string) jose.JSONWebKey {
	t.Helper()
	p := keyring()[name].Public()
	if e, ok := p.(ed448.PublicKey); ok {
		return jose.JSONWebKey{Key: Ed448(e), KeyID: kid, Algorithm: alg}
	}
	return jose.JSONWebKey{Key: p, KeyID: kid, Algorithm: alg}
}

type head map[string]any

// sign makes a JWT. Header members of h are added.
func sign(t testing.TB, alg string, key any, h head, c map[string]any) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for k, v := range h {
		o = o.WithHeader(jose.HeaderKey(k), v)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// forge joins parts without signing anything.
func forge(header, payload, signature string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(header)) + "." + e([]byte(payload)) + "." + e([]byte(signature))
}

// fakeKeys answers with before until it is refreshed, then with after.
type fakeKeys struct {
	before, after []jose.JSONWebKey
	err           error
	refreshed     int
	issuer        string
}

func (f *fakeKeys) Candidates(_ context.Context, issuer string, _ Header, refresh bool) ([]jose.JSONWebKey, error) {
	f.issuer = issuer
	if f.err != nil {
		return nil, f.err
	}
	if refresh {
		f.refreshed++
	}
	if f.refreshed > 0 && f.after != nil {
		return f.after, nil
	}
	return f.before, nil
}

func (f *fakeKeys) Generation() uint64 { return uint64(f.refreshed) }

func keys(k ...jose.JSONWebKey) *fakeKeys { return &fakeKeys{before: k} }
