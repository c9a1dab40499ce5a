package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // crypto.SHA512, which EdDSA hashes with
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// draft is a JWT before it is signed. Faults change it; a library would refuse
// to write most of what they ask for, so the compact form is put together here.
type draft struct {
	header map[string]any
	claims map[string]any
	// alg and key say how it is really signed; the header may claim otherwise.
	alg    string
	key    crypto.Signer
	secret []byte
	// parts are what at_hash and c_hash are of.
	parts idTokenParts
	// finish changes the compact form, if set.
	finish func(string) string
}

// bind sets at_hash and c_hash by the algorithm that it is signed with.
func (d *draft) bind() {
	if d.parts.access != "" {
		d.claims["at_hash"] = leftHash(d.alg, d.parts.access)
	}
	if d.parts.code != "" {
		d.claims["c_hash"] = leftHash(d.alg, d.parts.code)
	}
}

// sign returns the compact serialization (RFC 7515 section 7.1).
func (d *draft) sign() (string, error) {
	header, err := json.Marshal(d.header)
	if err != nil {
		return "", fmt.Errorf("provider: encoding a token's header: %w", err)
	}
	payload, err := json.Marshal(d.claims)
	if err != nil {
		return "", fmt.Errorf("provider: encoding a token's claims: %w", err)
	}
	input := b64(header) + "." + b64(payload)
	signature, err := d.signature([]byte(input))
	if err != nil {
		return "", err
	}
	compact := input + "." + b64(signature)
	if d.finish != nil {
		compact = d.finish(compact)
	}
	return compact, nil
}

func (d *draft) signature(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch d.alg {
	case "none":
		return nil, nil
	case HS256:
		mac := hmac.New(sha256.New, d.secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	case RS256:
		return d.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	case PS256:
		return d.key.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	case EdDSA:
		return d.key.Sign(rand.Reader, input, crypto.Hash(0))
	case ES256:
		key, ok := d.key.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("provider: signing with ES256: the key is no elliptic-curve key")
		}
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, fmt.Errorf("provider: signing with ES256: %w", err)
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	}
	return nil, fmt.Errorf("provider: signing: algorithm %q is not supported", d.alg)
}

// leftHash is at_hash, c_hash and s_hash (OpenID Connect Core section 3.1.3.6).
// All algorithms here hash with SHA-256, except EdDSA with SHA-512.
func leftHash(alg, value string) string {
	h := crypto.SHA256
	if alg == EdDSA {
		h = crypto.SHA512
	}
	w := h.New()
	w.Write([]byte(value))
	sum := w.Sum(nil)
	return b64(sum[:len(sum)/2])
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// random returns 192 random bits in base64url.
func random() string {
	b := make([]byte, 24)
	rand.Read(b)
	return b64(b)
}
