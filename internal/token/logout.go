package token

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
)

// logoutEvent is the member of `events` that makes a token a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// maxLogoutAge is how old a logout token may be, so that one need not be
// remembered for longer, whatever its `exp`.
const maxLogoutAge = time.Hour

// maxLogoutName bounds `sid`, `sub` and `jti` in bytes.
const maxLogoutName = 1 << 10

// LogoutRules are the claims of logout tokens (OpenID Connect Back-Channel
// Logout 1.0 section 2.6).
type LogoutRules struct {
	Issuers  Issuers
	ClientID string
	Leeway   time.Duration
	// Algorithms are those with which the provider signs ID tokens; nil where it
	// does not say.
	Algorithms []string
}

// Logout is what a logout token says: the end of a login, or, without SID, of
// every login of the subject.
type Logout struct {
	Issuer   string
	ClientID string // whose token it is
	Subject  string
	SID      string
	JTI      string
	Until    time.Time // until then the token has to be remembered
}

// VerifyLogout judges a parsed logout token. The signature is checked whatever
// v leaves out elsewhere. Errors are those of Verify, or a *ClaimError.
func VerifyLogout(ctx context.Context, v *Verifier, u *Unverified, r *LogoutRules, now time.Time) (*Logout, error) {
	switch strings.TrimPrefix(strings.ToLower(u.Header.Type), "application/") {
	case "", "jwt", "logout+jwt":
	default:
		return nil, fmt.Errorf("%w: header type %.32q is not one of a %s", ErrMalformed, u.Header.Type, UseLogout)
	}
	if r.Algorithms != nil && !slices.Contains(r.Algorithms, u.Header.Algorithm) {
		return nil, fmt.Errorf("%w: %s is not among those of the provider's ID tokens", ErrAlgorithm, u.Header.Algorithm)
	}
	strict := *v
	strict.SkipSignature = false
	t, err := strict.VerifyParsed(ctx, u, UseLogout)
	if err != nil {
		return nil, err
	}
	k := checker{UseLogout, t.Claims, now, r.Leeway}
	if err := k.issuer(Issuers{Expected: r.Issuers.Expected, Enforced: true}, true, true); err != nil {
		return nil, err
	}
	for _, check := range []func() error{
		func() error { return k.audience(r.ClientID, nil) },
		func() error { return k.issuedAt(true) },
		func() error { return k.expiry(false) },
		k.notBefore,
		k.logoutEvent,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if _, ok := t.Claims["nonce"]; ok {
		return nil, k.fail("nonce", "a logout token has none")
	}
	out := &Logout{Issuer: u.Issuer(), ClientID: r.ClientID}
	for _, name := range []struct {
		claim    string
		to       *string
		required bool
	}{{"sub", &out.Subject, false}, {"sid", &out.SID, false}, {"jti", &out.JTI, true}} {
		v, present := t.Claims[name.claim]
		if !present && !name.required {
			continue
		}
		s, ok := v.(string)
		if !ok || s == "" || len(s) > maxLogoutName {
			return nil, k.fail(name.claim, fmt.Sprintf("it is not a text of 1 to %d bytes", maxLogoutName))
		}
		*name.to = s
	}
	if out.Subject == "" && out.SID == "" {
		return nil, k.fail("sub", "one of sub and sid is required")
	}
	iat, _, err := k.date("iat", true)
	if err != nil {
		return nil, err
	}
	out.Until = iat.Add(maxLogoutAge + r.Leeway)
	if !now.Before(out.Until) {
		e := k.fail("iat", "it is more than an hour ago")
		e.Expired = true
		return nil, e
	}
	return out, nil
}

// logoutEvent demands `events` with the member of back-channel logout, an object.
func (k *checker) logoutEvent() error {
	events, ok := k.claims["events"].(map[string]any)
	if ok {
		_, ok = events[logoutEvent].(map[string]any)
	}
	if !ok {
		return &ClaimError{Token: k.what.String(), Claim: "events", Reason: "it has no object " + logoutEvent}
	}
	return nil
}

// Audience returns the `aud` of an unverified token; nil where there is none.
func (u *Unverified) Audience() []string {
	aud, _ := claims.Strings(u.Claims["aud"])
	return aud
}
