package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kong-openid-connect/internal/claims"
)

// Exchange says which bearer tokens are exchanged before they are used
// (`token_exchange`). It is immutable.
type Exchange struct {
	Issuers []ExchangeIssuer // subject_token_issuers
	// Audience and Scopes are audience_claim and scopes_claim.
	Audience claims.Path
	Scopes   claims.Path
	Leeway   time.Duration
}

// ExchangeIssuer is one of subject_token_issuers.
type ExchangeIssuer struct {
	Issuer string
	// Verifier judges the signature before anything is exchanged; nil leaves
	// that to the provider (verify_signature=false).
	Verifier *Verifier
	// Conditions say which tokens of the target issuer itself are exchanged.
	Conditions ExchangeConditions
}

// ExchangeConditions must all hold. The zero value holds for no token.
type ExchangeConditions struct {
	HasAudience, MissingAudience []string
	HasScopes, MissingScopes     []string
}

// Decide reports whether the token u, of which nothing has been verified, is to
// be exchanged at a provider whose own issuer is target. A token that is not
// goes on as an ordinary one. Errors are those of Verify, or a *ClaimError: the
// token is not to be used at all.
func (e *Exchange) Decide(ctx context.Context, u *Unverified, target string, now time.Time) (bool, error) {
	iss := claims.BareIssuer(u.Issuer())
	i := slices.IndexFunc(e.Issuers, func(x ExchangeIssuer) bool { return iss != "" && claims.SameIssuer(x.Issuer, iss) })
	if i < 0 {
		return false, nil
	}
	x := &e.Issuers[i]
	if !UseAccess.accepts(u.Header.Type) {
		return false, fmt.Errorf("%w: header type %.32q is not one of an access token", ErrMalformed, u.Header.Type)
	}
	k := checker{UseAccess, u.Claims, now, e.Leeway}
	if err := k.expiry(false); err != nil {
		return false, err
	}
	if err := k.notBefore(); err != nil {
		return false, err
	}
	if x.Verifier != nil {
		if _, err := x.Verifier.VerifyParsed(ctx, u, UseAccess); err != nil {
			return false, err
		}
	}
	if !claims.SameIssuer(iss, target) {
		return true, nil
	}
	return x.Conditions.hold(e.words(u, e.Audience), e.words(u, e.Scopes)), nil
}

func (e *Exchange) words(u *Unverified, path claims.Path) []string {
	v, ok := claims.Lookup(u.Claims, path)
	if !ok {
		return nil
	}
	return claims.Words(v)
}

func (c *ExchangeConditions) hold(audience, scopes []string) bool {
	if len(c.HasAudience)+len(c.MissingAudience)+len(c.HasScopes)+len(c.MissingScopes) == 0 {
		return false
	}
	in := func(list []string) func(string) bool { return func(s string) bool { return slices.Contains(list, s) } }
	all := func(want []string, has func(string) bool) bool {
		return !slices.ContainsFunc(want, func(s string) bool { return !has(s) })
	}
	return all(c.HasAudience, in(audience)) && !slices.ContainsFunc(c.MissingAudience, in(audience)) &&
		all(c.HasScopes, in(scopes)) && !slices.ContainsFunc(c.MissingScopes, in(scopes))
}
