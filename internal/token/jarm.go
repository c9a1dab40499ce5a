package token

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"kong-openid-connect/internal/claims"
)

// ResponseRules are the claims of a JWT authorization response (JARM section 2.4).
type ResponseRules struct {
	Issuers  Issuers
	ClientID string
	Leeway   time.Duration
}

// VerifyJARM reads the `response` of a JWT-secured authorization response and
// returns its members as the parameters that a plain response would have had,
// `iss` among them. The signature is checked whatever v leaves out elsewhere:
// an unsigned response is not one of this mode. Errors are those of Verify, or
// a *ClaimError.
func VerifyJARM(ctx context.Context, v *Verifier, raw string, r *ResponseRules, now time.Time) (url.Values, error) {
	strict := *v
	strict.SkipSignature = false
	t, err := strict.Verify(ctx, raw, UseAuthorization)
	if err != nil {
		return nil, err
	}
	k := checker{UseAuthorization, t.Claims, now, r.Leeway}
	if err := k.issuer(Issuers{Expected: r.Issuers.Expected, Enforced: true}, true, true); err != nil {
		return nil, err
	}
	aud, ok := claims.Strings(t.Claims["aud"])
	if !ok || r.ClientID == "" || !slices.Contains(aud, r.ClientID) {
		return nil, k.fail("aud", "it does not name the client")
	}
	if err := k.expiry(true); err != nil {
		return nil, err
	}
	if err := k.notBefore(); err != nil {
		return nil, err
	}
	if err := k.issuedAt(false); err != nil {
		return nil, err
	}
	params := url.Values{}
	for name, v := range t.Claims {
		switch name {
		case "aud", "exp", "iat", "nbf", "jti":
			continue // of the envelope
		}
		if slices.Contains([]string{"code", "state", "error", "iss"}, name) {
			if _, ok := v.(string); !ok {
				return nil, fmt.Errorf("%w: member %s of the authorization response is not a string", ErrMalformed, name)
			}
		}
		switch v.(type) {
		case []any, map[string]any:
			continue // no parameter has such a value
		}
		if text, ok := claims.Text(v); ok {
			params.Set(name, text)
		}
	}
	return params, nil
}
