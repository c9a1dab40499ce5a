package token

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// asymmetric are the algorithms that are accepted unless configured otherwise.
var asymmetric = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA",
}

// Verifier checks who signed a token. The zero value accepts nothing. A
// Verifier is safe for concurrent use once it is set up.
type Verifier struct {
	// Algorithms that are accepted; nil for all asymmetric ones of section 3.5
	// of the specification. HMAC needs HMACSecret besides.
	Algorithms []string
	// HMACSecret is the client secret, set only with enable_hs_signatures. A
	// secret of less than two characters is never a key.
	HMACSecret Opaque
	// Keys finds the public keys.
	Keys Keys
	// SkipSignature turns the check off (verify_signature, ignore_signature).
	// A token must be well-formed even so, and `none` stays refused.
	SkipSignature bool
	// Decrypter opens encrypted ID tokens, answers and logout tokens; nil refuses
	// them. What it yields is the token that was signed.
	Decrypter *Decrypter
	// Limit bounds the token's length in bytes; 0 for DefaultLimit.
	Limit int
}

// Verify reads raw as a token for use and checks its signature. Claims are not
// judged here: see AccessRules and IDRules. Errors are ErrMalformed,
// ErrAlgorithm, ErrSignature, ErrNoKey (the caller's fault) or
// ErrKeysUnavailable (the provider's).
func (v *Verifier) Verify(ctx context.Context, raw string, use Use) (*Token, error) {
	u, err := v.Parse(ctx, raw, use)
	if err != nil {
		return nil, err
	}
	return v.VerifyParsed(ctx, u, use)
}

// Parse reads raw as a token for use and decrypts it where that is called for.
// Nothing is verified.
func (v *Verifier) Parse(ctx context.Context, raw string, use Use) (*Unverified, error) {
	raw, err := v.unwrap(ctx, raw, use)
	if err != nil {
		return nil, err
	}
	return Parse(raw, v.Limit)
}

// VerifyParsed is Verify for a token that was parsed already.
func (v *Verifier) VerifyParsed(ctx context.Context, u *Unverified, use Use) (*Token, error) {
	if !use.accepts(u.Header.Type) {
		return nil, fmt.Errorf("%w: header type %.32q is not one of an %s", ErrMalformed, u.Header.Type, use)
	}
	if _, event := u.Claims["events"].(map[string]any); event && use != UseLogout {
		return nil, fmt.Errorf("%w: a security event token is no %s", ErrMalformed, use)
	}
	t := &Token{Raw: u.Raw, Header: u.Header, Claims: u.Claims}
	if exp, ok := u.Claims["exp"]; ok {
		// A date that cannot be read is refused by the claim rules.
		t.Expiry, _ = claims.Time(exp)
	}
	if v.SkipSignature {
		return t, nil
	}
	if isHMAC(u.Header.Algorithm) {
		if err := v.verifyHMAC(u); err != nil {
			return nil, err
		}
		return t, nil
	}
	allowed := v.Algorithms
	if allowed == nil {
		allowed = asymmetric
	}
	if !slices.Contains(allowed, u.Header.Algorithm) {
		return nil, fmt.Errorf("%w: %s", ErrAlgorithm, u.Header.Algorithm)
	}
	key, err := v.findKey(ctx, u)
	if err != nil {
		return nil, err
	}
	t.Key = key
	return t, nil
}

// findKey returns the key that signed u. A token that names its key is judged
// by the keys of that name; only when no key has it, even after one
// rediscovery, are the others tried by algorithm. So a forged token with a
// known kid causes no call to the provider.
func (v *Verifier) findKey(ctx context.Context, u *Unverified) (*jose.JSONWebKey, error) {
	if v.Keys == nil {
		return nil, ErrKeysUnavailable
	}
	keys, err := v.candidates(ctx, u, false)
	if err != nil {
		return nil, err
	}
	if key, tried := try(u, keys, true); key != nil {
		return key, nil
	} else if tried {
		return nil, ErrSignature
	}
	// Without a name every key that fits may be the one.
	named := u.Header.KeyID != "" || u.Header.X5T != ""
	if !named {
		if key, _ := try(u, keys, false); key != nil {
			return key, nil
		}
	}
	if keys, err = v.candidates(ctx, u, true); err != nil {
		return nil, err
	}
	if key, tried := try(u, keys, true); key != nil {
		return key, nil
	} else if tried {
		return nil, ErrSignature
	}
	key, tried := try(u, keys, false)
	switch {
	case key != nil:
		return key, nil
	case tried:
		return nil, ErrSignature
	}
	return nil, fmt.Errorf("%w: kid %.64q, algorithm %s", ErrNoKey, u.Header.KeyID, u.Header.Algorithm)
}

func (v *Verifier) candidates(ctx context.Context, u *Unverified, refresh bool) ([]jose.JSONWebKey, error) {
	keys, err := v.Keys.Candidates(ctx, u.Issuer(), u.Header, refresh)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
	}
	return keys, nil
}

// maxTried bounds the signature checks that one token may cause.
const maxTried = 16

// try verifies u with those of keys that fit: only with those that match the
// header's kid, else its x5t, if named is set. It reports whether any was tried.
func try(u *Unverified, keys []jose.JSONWebKey, named bool) (found *jose.JSONWebKey, tried bool) {
	if !named {
		found, n := tryEach(u, keys, func(*jose.JSONWebKey) bool { return true })
		return found, n > 0
	}
	if kid := u.Header.KeyID; kid != "" {
		found, n := tryEach(u, keys, func(k *jose.JSONWebKey) bool { return k.KeyID == kid })
		if n > 0 {
			return found, true
		}
	}
	if u.Header.X5T == "" {
		return nil, false
	}
	x5t, err := base64.RawURLEncoding.DecodeString(u.Header.X5T)
	if err != nil || len(x5t) == 0 {
		return nil, false
	}
	found, n := tryEach(u, keys, func(k *jose.JSONWebKey) bool { return string(k.CertificateThumbprintSHA1) == string(x5t) })
	return found, n > 0
}

func tryEach(u *Unverified, keys []jose.JSONWebKey, match func(*jose.JSONWebKey) bool) (*jose.JSONWebKey, int) {
	tried := 0
	for i := range keys {
		key := &keys[i]
		if !match(key) || !Fits(key, u.Header.Algorithm) {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		if _, err := u.jws.Verify(key.Key); err == nil {
			return key, tried
		}
	}
	return nil, tried
}
