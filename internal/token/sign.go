package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// Signer makes signed JWTs: client assertions, request objects. It never
// prints its key.
type Signer struct {
	alg    string
	kid    string
	key    jose.SigningKey
	signer jose.Signer // of JWTs
}

// Algorithm returns the JWS algorithm that the signer uses.
func (s *Signer) Algorithm() string { return s.alg }

// String names the signer without its key.
func (s *Signer) String() string { return "signer(" + s.alg + ")" }

// NewSecretSigner signs with a client secret. alg is HS256, HS384 or HS512; ""
// is HS256.
func NewSecretSigner(key Opaque, alg string) (*Signer, error) {
	if alg == "" {
		alg = "HS256"
	}
	if !isHMAC(alg) {
		return nil, fmt.Errorf("algorithm %s does not sign with a client secret: use HS256, HS384 or HS512", alg)
	}
	if !usableSecret(key) {
		return nil, errors.New("client secret is too short to sign with")
	}
	return newSigner(secret{key, alg}, alg, "")
}

// NewKeySigner signs with the private JWK (RSA, EC or OKP). alg "" is the
// key's own `alg`, else the default of its type: RS256, or what the curve demands.
func NewKeySigner(jwk []byte, alg string) (*Signer, error) {
	var m struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		Kid string `json:"kid"`
		Alg string `json:"alg"`
		D   string `json:"d"`
		X   string `json:"x"`
	}
	if err := json.Unmarshal(jwk, &m); err != nil {
		return nil, errors.New("private key is not a JWK object")
	}
	if alg == "" {
		alg = m.Alg
	}
	if m.Kty == "OKP" && m.Crv == "Ed448" {
		d, err := base64.RawURLEncoding.DecodeString(m.D)
		if err != nil || len(d) != ed448.SeedSize {
			return nil, errors.New("private Ed448 key has no valid d")
		}
		if alg == "" {
			alg = "EdDSA"
		}
		if alg != "EdDSA" {
			return nil, fmt.Errorf("algorithm %s does not fit an Ed448 key", alg)
		}
		return newSigner(ed448Signer(ed448.NewKeyFromSeed(d)), alg, m.Kid)
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(jwk); err != nil {
		return nil, fmt.Errorf("private key of type %.8q is not a valid JWK", m.Kty)
	}
	if alg == "" {
		alg = defaultAlgorithm(key.Key)
	}
	public := key.Public()
	if key.IsPublic() || public.Key == nil {
		return nil, errors.New("JWK holds no private key")
	}
	if err := checkPublic(public.Key); err != nil {
		return nil, err
	}
	public.Algorithm, public.Use = "", ""
	if !Fits(&public, alg) {
		return nil, fmt.Errorf("algorithm %s does not fit a key of type %s", alg, m.Kty)
	}
	return newSigner(key.Key, alg, m.Kid)
}

func defaultAlgorithm(key any) string {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return "RS256"
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		case elliptic.P521():
			return "ES512"
		}
	case ed25519.PrivateKey:
		return "EdDSA"
	}
	return ""
}

func newSigner(key any, alg, kid string) (*Signer, error) {
	s := &Signer{alg: alg, kid: kid, key: jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: key}}
	var err error
	if s.signer, err = s.typed("JWT", nil); err != nil {
		return nil, fmt.Errorf("cannot sign with %s: the key does not fit", alg)
	}
	return s, nil
}

// typed returns a signer that writes header `typ`, and `jwk` if one is given.
func (s *Signer) typed(typ jose.ContentType, jwk *jose.JSONWebKey) (jose.Signer, error) {
	opts := (&jose.SignerOptions{}).WithType(typ)
	if jwk != nil {
		opts = opts.WithHeader("jwk", jwk)
	} else if s.kid != "" {
		opts = opts.WithHeader("kid", s.kid)
	}
	return jose.NewSigner(s.key, opts)
}

// GoString keeps %#v from printing the key.
func (s *Signer) GoString() string { return s.String() }

// Sign returns the claims as a signed JWT in compact form.
func (s *Signer) Sign(c map[string]any) (Opaque, error) { return s.sign(s.signer, c) }

// SignRequest returns the claims as a signed request object (RFC 9101 section
// 10.8 names its type).
func (s *Signer) SignRequest(c map[string]any) (Opaque, error) {
	signer, err := s.typed("oauth-authz-req+jwt", nil)
	if err != nil {
		return "", fmt.Errorf("signing with %s failed", s.alg)
	}
	return s.sign(signer, c)
}

func (s *Signer) sign(signer jose.Signer, c map[string]any) (Opaque, error) {
	payload, err := claims.JSON(c)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing with %s failed", s.alg)
	}
	raw, err := jws.CompactSerialize()
	return Opaque(raw), err
}

// ed448Signer signs with Ed448 through go-jose's interface for foreign keys.
type ed448Signer ed448.PrivateKey

func (k ed448Signer) Public() *jose.JSONWebKey { return nil }

func (k ed448Signer) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.EdDSA}
}

func (k ed448Signer) SignPayload(payload []byte, alg jose.SignatureAlgorithm) ([]byte, error) {
	if alg != jose.EdDSA {
		return nil, ErrAlgorithm
	}
	return ed448.Sign(ed448.PrivateKey(k), payload, ""), nil
}
