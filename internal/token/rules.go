package token

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
)

// Issuers says which `iss` values are accepted. A trailing slash is ignored on
// both sides; an expected value that contains {tenantid} (Microsoft Entra,
// multi-tenant) stands for the one with the token's own `tid`.
type Issuers struct {
	// Expected values: issuers_allowed if it is set, else the provider's issuer.
	Expected []string
	// Enforced is set when Expected came from issuers_allowed: the check then
	// stands even with verify_claims=false.
	Enforced bool
}

// tenant is the placeholder in the issuer of Entra's multi-tenant documents.
const tenant = "{tenantid}"

// Accepts reports whether iss, with the claims c that it came with, is expected.
func (i Issuers) Accepts(iss string, c claims.Object) bool {
	iss = claims.BareIssuer(iss)
	if iss == "" {
		return false
	}
	for _, want := range i.Expected {
		want = claims.BareIssuer(want)
		if strings.Contains(want, tenant) {
			tid, _ := c["tid"].(string)
			if !isTenant(tid) {
				continue
			}
			want = strings.ReplaceAll(want, tenant, tid)
		}
		if want == iss {
			return true
		}
	}
	return false
}

// isTenant keeps a `tid` from smuggling separators into an issuer.
func isTenant(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-') {
			return false
		}
	}
	return true
}

// AccessRules are the standard claims of JWT access tokens, introspection
// results and userinfo JWTs: what is present must be right (sections 8.3, 8.5).
type AccessRules struct {
	Issuers      Issuers
	Leeway       time.Duration
	VerifyClaims bool     // verify_claims; false leaves only expiry and enforced issuers
	Domains      []string // acceptable `hd`; for bearer tokens only. nil for no check
}

// Check judges the claims c of what (for messages) at now. The error is a *ClaimError.
func (r *AccessRules) Check(what Use, c claims.Object, now time.Time) error {
	k := checker{what, c, now, r.Leeway}
	if err := k.expiry(false); err != nil {
		return err
	}
	if err := k.issuer(r.Issuers, r.VerifyClaims, false); err != nil {
		return err
	}
	if !r.VerifyClaims {
		return nil
	}
	if err := k.notBefore(); err != nil {
		return err
	}
	if err := k.issuedAt(false); err != nil {
		return err
	}
	return k.domain(r.Domains)
}

// IDRules are the claims of ID tokens (OpenID Connect Core section 3.1.3.7).
type IDRules struct {
	Issuers      Issuers
	ClientID     string // the chosen client
	Leeway       time.Duration
	VerifyClaims bool // verify_claims
	Domains      []string
	// Trusted, if not nil, lists the audiences beside the client that a token
	// may name; nil leaves that to `azp`.
	Trusted []string
	// VerifyNonce demands that `nonce` is Nonce (verify_nonce, code flow). It is
	// independent of VerifyClaims.
	VerifyNonce bool
	Nonce       Opaque
	// MaxAge, if not nil, demands an `auth_time` of at most that age.
	MaxAge *time.Duration
	// AccessToken and Code, where at hand, are held against `at_hash` and
	// `c_hash` if the token has them.
	AccessToken Opaque
	Code        Opaque
	// RequireCodeHash demands `c_hash`: the token came by the front channel
	// together with a code (Core section 3.3.2.10).
	RequireCodeHash bool
	// SkipExpiry leaves `exp` alone: the token of a session is checked again
	// long after it served its purpose.
	SkipExpiry bool
}

// Check judges the ID token t at now. The error is a *ClaimError.
func (r *IDRules) Check(t *Token, now time.Time) error {
	k := checker{UseID, t.Claims, now, r.Leeway}
	if r.VerifyNonce {
		if err := k.nonce(r.Nonce); err != nil {
			return err
		}
	}
	if !r.SkipExpiry {
		if err := k.expiry(r.VerifyClaims); err != nil {
			return err
		}
	}
	if err := k.issuer(r.Issuers, r.VerifyClaims, true); err != nil {
		return err
	}
	if !r.VerifyClaims {
		return nil
	}
	for _, check := range []func() error{
		k.subject,
		func() error { return k.audience(r.ClientID, r.Trusted) },
		k.notBefore,
		func() error { return k.issuedAt(true) },
		func() error { return k.authTime(r.MaxAge) },
		func() error { return k.hash(t, "at_hash", r.AccessToken, false) },
		func() error { return k.hash(t, "c_hash", r.Code, r.RequireCodeHash) },
		func() error { return k.domain(r.Domains) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checker holds one token against one rule at a time.
type checker struct {
	what   Use
	claims claims.Object
	now    time.Time
	leeway time.Duration
}

func (k *checker) fail(claim, reason string) *ClaimError {
	return &ClaimError{Token: k.what.String(), Claim: claim, Value: show(k.claims[claim]), Reason: reason}
}

// show renders a claim for a message, shortened.
func show(v any) string {
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		s = fmt.Sprint(v)
	}
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return fmt.Sprintf("%q", s)
}

func (k *checker) issuer(i Issuers, verify, required bool) error {
	if !verify && !i.Enforced {
		return nil
	}
	iss, present := k.claims["iss"]
	if !present && !required && !i.Enforced {
		return nil
	}
	if s, ok := iss.(string); ok && i.Accepts(s, k.claims) {
		return nil
	}
	return k.fail("iss", fmt.Sprintf("expected is one of %q", i.Expected))
}

// date reads a time claim; ok is false when it is absent.
func (k *checker) date(claim string, required bool) (at time.Time, ok bool, err error) {
	v, present := k.claims[claim]
	if !present {
		if required {
			return at, false, k.fail(claim, "it is required")
		}
		return at, false, nil
	}
	if at, err = claims.Time(v); err != nil {
		return at, false, k.fail(claim, "it is not a numeric date")
	}
	return at, true, nil
}

func (k *checker) expiry(required bool) error {
	exp, ok, err := k.date("exp", required)
	if err != nil || !ok {
		return err
	}
	if claims.Expired(exp, k.now, k.leeway) {
		e := k.fail("exp", "it has passed")
		e.Expired = true
		return e
	}
	return nil
}

func (k *checker) notBefore() error {
	nbf, ok, err := k.date("nbf", false)
	if err == nil && ok && claims.Future(nbf, k.now, k.leeway) {
		return k.fail("nbf", "it has not come yet")
	}
	return err
}

func (k *checker) issuedAt(required bool) error {
	iat, ok, err := k.date("iat", required)
	if err == nil && ok && claims.Future(iat, k.now, k.leeway) {
		return k.fail("iat", "it lies in the future")
	}
	return err
}

func (k *checker) authTime(maxAge *time.Duration) error {
	at, ok, err := k.date("auth_time", maxAge != nil)
	if err != nil || !ok {
		return err
	}
	if claims.Future(at, k.now, k.leeway) {
		return k.fail("auth_time", "it lies in the future")
	}
	if maxAge != nil && k.now.Sub(at) > *maxAge+k.leeway {
		return k.fail("auth_time", "the login is older than max_age")
	}
	return nil
}

func (k *checker) subject() error {
	if sub, ok := k.claims["sub"].(string); !ok || sub == "" {
		return k.fail("sub", "it is required")
	}
	return nil
}

// audience is Core section 3.1.3.7, points 3 to 5.
func (k *checker) audience(client string, trusted []string) error {
	aud, ok := claims.Strings(k.claims["aud"])
	if !ok || client == "" || !slices.Contains(aud, client) {
		return k.fail("aud", "it does not name the client")
	}
	if trusted != nil {
		for _, a := range aud {
			if a != client && !slices.Contains(trusted, a) {
				return k.fail("aud", "it names an audience that is not trusted")
			}
		}
	}
	azp, present := k.claims["azp"]
	if !present {
		if len(aud) > 1 {
			return k.fail("azp", "it is required beside several audiences")
		}
		return nil
	}
	if azp != client {
		return k.fail("azp", "it is not the client")
	}
	return nil
}

func (k *checker) nonce(want Opaque) error {
	got, ok := k.claims["nonce"].(string)
	if !ok || want == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want.Reveal())) != 1 {
		return &ClaimError{Token: k.what.String(), Claim: "nonce", Reason: "it is not the one of this login"}
	}
	return nil
}

func (k *checker) hash(t *Token, claim string, of Opaque, required bool) error {
	v, present := k.claims[claim]
	if !present {
		if required {
			return &ClaimError{Token: k.what.String(), Claim: claim, Reason: "it is required"}
		}
		return nil
	}
	if of == "" {
		return nil
	}
	got, ok := v.(string)
	if !ok || !MatchesHash(t, of, got) {
		return &ClaimError{Token: k.what.String(), Claim: claim, Reason: "it does not match"}
	}
	return nil
}

func (k *checker) domain(domains []string) error {
	if len(domains) == 0 {
		return nil
	}
	if hd, ok := k.claims["hd"].(string); ok && slices.Contains(domains, hd) {
		return nil
	}
	return k.fail("hd", "it is not one of the domains")
}
