package harness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Holder is a client with a DPoP key.
type Holder struct {
	t   testing.TB
	key *ecdsa.PrivateKey
}

// NewHolder returns a holder with a key of its own.
func NewHolder(t testing.TB) *Holder {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &Holder{t, k}
}

// On returns the same holder for a subtest.
func (h *Holder) On(t testing.TB) *Holder { return &Holder{t, h.key} }

// Thumbprint returns the key's (RFC 7638), as tokens name it in cnf.jkt.
func (h *Holder) Thumbprint() string {
	h.t.Helper()
	sum, err := (&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		h.t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Proof returns a DPoP proof (RFC 9449 section 4.2) for a request with an
// access token, or for a token request where that is "". change is laid over
// its claims; nil removes one.
func (h *Holder) Proof(method, url, access string, change map[string]any) string {
	h.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		h.t.Fatal(err)
	}
	signed, err := signer.Sign(h.claims(method, url, access, change))
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

func (h *Holder) claims(method, url, access string, change map[string]any) []byte {
	h.t.Helper()
	claims := map[string]any{"htm": method, "htu": url, "iat": time.Now().Unix(), "jti": rand.Text()}
	if access != "" {
		ath := sha256.Sum256([]byte(access))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(ath[:])
	}
	for k, v := range change {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// A Forgery is a way to write a proof that no server may take (RFC 9449
// section 4.3, RFC 8725).
type Forgery string

// The forgeries.
const (
	PrivateKey  Forgery = "a private key in jwk"
	NoAlgorithm Forgery = "alg none"
	Symmetric   Forgery = "alg HS256"
	WrongType   Forgery = "another typ"
	BadSign     Forgery = "a bad signature"
)

// Forged returns a proof with one fault of its header or signature.
func (h *Holder) Forged(how Forgery, method, url, access string) string {
	h.t.Helper()
	public, private := jose.JSONWebKey{Key: h.key.Public()}, jose.JSONWebKey{Key: h.key}
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": public}
	sign := h.es256
	switch how {
	case PrivateKey:
		header["jwk"] = private
	case NoAlgorithm:
		header["alg"] = "none"
		sign = func([]byte) []byte { return nil }
	case Symmetric:
		header["alg"] = "HS256"
		header["jwk"] = map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}
		sign = func(input []byte) []byte {
			m := hmac.New(sha256.New, make([]byte, 32))
			m.Write(input)
			return m.Sum(nil)
		}
	case WrongType:
		header["typ"] = "JWT"
	case BadSign:
		sign = func([]byte) []byte { return make([]byte, 64) }
	default:
		h.t.Fatalf("no forgery %q", how)
	}
	head, err := json.Marshal(header)
	if err != nil {
		h.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64(head) + "." + b64(h.claims(method, url, access, nil))
	return input + "." + b64(sign([]byte(input)))
}

// es256 signs as RFC 7518 section 3.4 says.
func (h *Holder) es256(input []byte) []byte {
	h.t.Helper()
	sum := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, h.key, sum[:])
	if err != nil {
		h.t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}
