package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudflare/circl/sign/ed448"
	"github.com/go-jose/go-jose/v4"
)

const (
	// MinRSABits is the size below which an RSA key is refused (RFC 7518 section 3.3).
	MinRSABits = 2048
	// MaxRSABits bounds what one verification may cost.
	MaxRSABits = 8192
)

// Ed448 is a public Ed448 key (RFC 8037). go-jose does not know the curve, so
// it verifies through go-jose's interface for foreign keys.
type Ed448 ed448.PublicKey

// VerifyPayload implements jose.OpaqueVerifier.
func (k Ed448) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	if alg != jose.EdDSA || len(k) != ed448.PublicKeySize || !ed448.Verify(ed448.PublicKey(k), payload, signature, "") {
		return ErrSignature
	}
	return nil
}

// publicJWK holds the members of a public JWK that matter to a verifier. What
// is not named here, private members first of all, is never read.
type publicJWK struct {
	Kty    string   `json:"kty"`
	Use    string   `json:"use,omitempty"`
	KeyOps []string `json:"key_ops,omitempty"`
	Kid    string   `json:"kid,omitempty"`
	Alg    string   `json:"alg,omitempty"`
	Crv    string   `json:"crv,omitempty"`
	N      string   `json:"n,omitempty"`
	E      string   `json:"e,omitempty"`
	X      string   `json:"x,omitempty"`
	Y      string   `json:"y,omitempty"`
	X5T    string   `json:"x5t,omitempty"`
}

// ParsePublicKey reads one JWK (RFC 7517 section 4) as a key that verifies
// signatures. Keys for encryption, symmetric keys, unknown types, RSA keys of
// less than MinRSABits and points off their curve are errors. Private members
// are dropped.
func ParsePublicKey(data []byte) (jose.JSONWebKey, error) {
	var m publicJWK
	var key jose.JSONWebKey
	if err := json.Unmarshal(data, &m); err != nil {
		return key, errors.New("key is not a JWK object")
	}
	if m.Use != "" && m.Use != "sig" {
		return key, fmt.Errorf("key is for use %.16q, not for signatures", m.Use)
	}
	if len(m.KeyOps) > 0 && !slices.Contains(m.KeyOps, "verify") {
		return key, errors.New("key_ops of the key do not contain verify")
	}
	thumbprint := decodeX5T(m.X5T)
	if m.Kty == "OKP" && m.Crv == "Ed448" {
		x, err := base64.RawURLEncoding.DecodeString(m.X)
		if err != nil || len(x) != ed448.PublicKeySize {
			return key, errors.New("Ed448 key has no valid x")
		}
		key = jose.JSONWebKey{Key: Ed448(x), KeyID: m.Kid, Algorithm: m.Alg, Use: m.Use}
	} else {
		if m.Kty != "RSA" && m.Kty != "EC" && m.Kty != "OKP" {
			return key, fmt.Errorf("key type %.16q is not for verifying", m.Kty)
		}
		m.KeyOps, m.X5T = nil, ""
		b, err := json.Marshal(m)
		if err != nil {
			return key, err
		}
		if err := key.UnmarshalJSON(b); err != nil {
			return jose.JSONWebKey{}, fmt.Errorf("key of type %s is not valid", m.Kty)
		}
	}
	key.CertificateThumbprintSHA1 = thumbprint
	if err := checkPublic(key.Key); err != nil {
		return jose.JSONWebKey{}, err
	}
	return key, nil
}

// decodeX5T reads a thumbprint; some providers write it in hexadecimal.
func decodeX5T(s string) []byte {
	if b, err := base64.RawURLEncoding.DecodeString(s); err == nil && len(b) == sha1.Size {
		return b
	}
	if b, err := hex.DecodeString(s); err == nil && len(b) == sha1.Size {
		return b
	}
	return nil
}

// isEd448JWK reports a key of the curve that go-jose does not know.
func isEd448JWK(jwk []byte) bool {
	var m publicJWK
	return json.Unmarshal(jwk, &m) == nil && m.Kty == "OKP" && m.Crv == "Ed448"
}

func checkPublic(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < MinRSABits || n > MaxRSABits {
			return fmt.Errorf("RSA key has %d bits, allowed are %d to %d", n, MinRSABits, MaxRSABits)
		}
		if k.E < 3 || k.E&1 == 0 {
			return errors.New("RSA key has no valid exponent")
		}
	case *ecdsa.PublicKey:
		// Conversion to ECDH fails for points that are not on the curve.
		if _, err := k.ECDH(); err != nil {
			return errors.New("EC key is not a point on its curve")
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("Ed25519 key has a wrong length")
		}
	case Ed448:
		if len(k) != ed448.PublicKeySize {
			return errors.New("Ed448 key has a wrong length")
		}
	default:
		return errors.New("key is not one that verifies signatures")
	}
	return nil
}

// Fits reports whether key may verify a signature made with alg: its type and
// curve are the algorithm's own, and its `alg` and `use` do not say otherwise.
// A symmetric key fits nothing, so a public key is never taken for a secret.
func Fits(key *jose.JSONWebKey, alg string) bool {
	if key.Algorithm != "" && key.Algorithm != alg && !(alg == "EdDSA" && (key.Algorithm == "Ed25519" || key.Algorithm == "Ed448")) {
		return false
	}
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		_, ok := key.Key.(*rsa.PublicKey)
		return ok
	case "ES256":
		return onCurve(key.Key, elliptic.P256())
	case "ES384":
		return onCurve(key.Key, elliptic.P384())
	case "ES512":
		return onCurve(key.Key, elliptic.P521())
	case "EdDSA":
		switch key.Key.(type) {
		case ed25519.PublicKey, Ed448:
			return true
		}
	}
	return false
}

func onCurve(key any, curve elliptic.Curve) bool {
	k, ok := key.(*ecdsa.PublicKey)
	return ok && k.Curve == curve
}

// MarshalPublicKey renders key as a JWK, public members only.
func MarshalPublicKey(key *jose.JSONWebKey) ([]byte, error) {
	if k, ok := key.Key.(Ed448); ok {
		return json.Marshal(publicJWK{
			Kty: "OKP", Crv: "Ed448", X: base64.RawURLEncoding.EncodeToString(k),
			Kid: key.KeyID, Alg: key.Algorithm, Use: key.Use,
		})
	}
	public := key.Public()
	if !public.Valid() {
		return nil, errors.New("key has no public form")
	}
	return public.MarshalJSON()
}
