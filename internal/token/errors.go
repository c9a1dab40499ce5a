package token

import (
	"errors"
	"fmt"
)

// What can be wrong with a token. Every error of this package is one of these
// by errors.Is; all but ErrKeysUnavailable are the caller's fault (401).
var (
	// ErrMalformed says that the text is no compact JWS that this program reads.
	ErrMalformed = errors.New("malformed token")
	// ErrDecryption is the case of ErrMalformed in which a JWE cannot be opened.
	ErrDecryption = fmt.Errorf("%w: the JWE cannot be decrypted", ErrMalformed)
	// ErrAlgorithm says that the algorithm is unknown or not allowed here.
	ErrAlgorithm = errors.New("signature algorithm is not allowed")
	// ErrSignature says that the key that the header names did not sign the token.
	ErrSignature = errors.New("invalid signature")
	// ErrNoKey says that no trusted key fits the token's header.
	ErrNoKey = errors.New("no trusted key fits the token")
	// ErrKeysUnavailable says that keys could not be had: the provider's fault (500).
	ErrKeysUnavailable = errors.New("keys are not available")
	// ErrClaims says that a claim is missing or not acceptable; the error is a *ClaimError.
	ErrClaims = errors.New("claims are not acceptable")
	// ErrExpired is the case of ErrClaims in which the token was good once.
	ErrExpired = errors.New("token is expired")
)

// ClaimError says which claim of which token was refused. It prints names,
// dates and identifiers, never nonces or hashes.
type ClaimError struct {
	Token   string // "access token", "id token" ...
	Claim   string
	Value   string // as given, shortened; "" when absent or not to be shown
	Reason  string // what was expected
	Expired bool
}

func (e *ClaimError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("invalid %s claim was specified for %s: %s", e.Claim, e.Token, e.Reason)
	}
	return fmt.Sprintf("invalid %s claim (%s) was specified for %s: %s", e.Claim, e.Value, e.Token, e.Reason)
}

// Is makes a ClaimError an ErrClaims, and an ErrExpired where it is one.
func (e *ClaimError) Is(target error) bool {
	return target == ErrClaims || e.Expired && target == ErrExpired
}
