package token

import (
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// MatchesHash reports whether got is the left half of the hash of value by the
// algorithm that signed t (at_hash, c_hash, s_hash: OpenID Connect Core
// sections 3.1.3.6 and 3.3.2.11).
func MatchesHash(t *Token, value Opaque, got string) bool {
	sum := halfHash(t, value.Reveal())
	if sum == nil {
		return false
	}
	want := base64.RawURLEncoding.EncodeToString(sum)
	return subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}

func halfHash(t *Token, value string) []byte {
	alg := t.Header.Algorithm
	switch {
	case alg == "EdDSA":
		if t.Key != nil {
			if _, ok := t.Key.Key.(Ed448); ok {
				// Ed448 hashes with SHAKE256 to 114 bytes (RFC 8032 section 5.2).
				return sha3.SumSHAKE256([]byte(value), 114)[:57]
			}
		}
		sum := sha512.Sum512([]byte(value))
		return sum[:32]
	case strings.HasSuffix(alg, "256"):
		sum := sha256.Sum256([]byte(value))
		return sum[:16]
	case strings.HasSuffix(alg, "384"):
		sum := sha512.Sum384([]byte(value))
		return sum[:24]
	case strings.HasSuffix(alg, "512"):
		sum := sha512.Sum512([]byte(value))
		return sum[:32]
	}
	return nil
}
