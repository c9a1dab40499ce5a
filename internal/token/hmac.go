package token

import (
	"crypto"
	"crypto/hmac"
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512" // linked for crypto.Hash
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// hashes of the HMAC algorithms (RFC 7518 section 3.2).
func hmacHash(alg string) (crypto.Hash, bool) {
	switch alg {
	case "HS256":
		return crypto.SHA256, true
	case "HS384":
		return crypto.SHA384, true
	case "HS512":
		return crypto.SHA512, true
	}
	return 0, false
}

func isHMAC(alg string) bool {
	_, ok := hmacHash(alg)
	return ok
}

// secret is an HMAC key. go-jose refuses secrets shorter than the hash, which
// client secrets often are, so it signs and verifies through go-jose's
// interface for foreign keys.
type secret struct {
	key Opaque
	alg string
}

func (s secret) sum(payload []byte) []byte {
	hash, _ := hmacHash(s.alg)
	h := hmac.New(hash.New, []byte(s.key.Reveal()))
	h.Write(payload)
	return h.Sum(nil)
}

// VerifyPayload implements jose.OpaqueVerifier.
func (s secret) VerifyPayload(payload, signature []byte, alg jose.SignatureAlgorithm) error {
	if string(alg) != s.alg || !isHMAC(s.alg) || !hmac.Equal(s.sum(payload), signature) {
		return ErrSignature
	}
	return nil
}

// Public, Algs and SignPayload implement jose.OpaqueSigner.
func (s secret) Public() *jose.JSONWebKey { return nil }

func (s secret) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.SignatureAlgorithm(s.alg)}
}

func (s secret) SignPayload(payload []byte, alg jose.SignatureAlgorithm) ([]byte, error) {
	if string(alg) != s.alg || !isHMAC(s.alg) {
		return nil, ErrAlgorithm
	}
	return s.sum(payload), nil
}

// usableSecret reports whether s may be an HMAC key at all.
func usableSecret(s Opaque) bool { return len(s) > 1 }

func (v *Verifier) verifyHMAC(u *Unverified) error {
	alg := u.Header.Algorithm
	if !usableSecret(v.HMACSecret) || v.Algorithms != nil && !slices.Contains(v.Algorithms, alg) {
		return fmt.Errorf("%w: %s", ErrAlgorithm, alg)
	}
	if _, err := u.jws.Verify(secret{v.HMACSecret, alg}); err != nil {
		return ErrSignature
	}
	return nil
}
