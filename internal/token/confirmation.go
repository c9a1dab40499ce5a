package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"kong-openid-connect/internal/claims"
)

// Confirmation is how a token is bound to its holder: the `cnf` claim (RFC
// 7800) of a JWT or of an introspection answer. The zero value is a token that
// whoever bears it may use.
type Confirmation struct {
	// JKT is the thumbprint of a key for DPoP (RFC 9449 section 6).
	JKT string
	// X5T is the SHA-256 thumbprint of a certificate (RFC 8705 section 3.1).
	X5T string
	// Other says that the token is bound in a way that this program cannot check.
	Other bool
}

// ReadConfirmation reads `cnf`. What is there and cannot be read is a
// *ClaimError: a binding is never overlooked.
func ReadConfirmation(what Use, c claims.Object) (Confirmation, error) {
	var out Confirmation
	v, present := c["cnf"]
	if !present || v == nil {
		return out, nil
	}
	fail := func() (Confirmation, error) {
		return Confirmation{}, &ClaimError{Token: what.String(), Claim: "cnf", Reason: "it is not a confirmation"}
	}
	cnf, ok := v.(map[string]any)
	if !ok {
		return fail()
	}
	for name, v := range cnf {
		var to *string
		switch name {
		case "jkt":
			to = &out.JKT
		case "x5t#S256":
			to = &out.X5T
		default:
			out.Other = true
			continue
		}
		s, ok := v.(string)
		if !ok || s == "" {
			return fail()
		}
		*to = s
	}
	return out, nil
}

// CertificateThumbprint returns the base64url SHA-256 of a certificate in DER
// form: the `x5t#S256` of a token that is bound to it (RFC 8705 section 3.1).
func CertificateThumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// MatchesCertificate reports whether the token is bound to the certificate in
// DER form. No certificate matches nothing.
func (c Confirmation) MatchesCertificate(der []byte) bool {
	return len(der) > 0 && c.X5T != "" && equal(CertificateThumbprint(der), c.X5T)
}

// equal compares in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
