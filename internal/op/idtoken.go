package op

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-oidc/v3/oidc"

	"kong-openid-connect/internal/token"
)

// VerifyIDToken verifies an ID token of a login (OpenID Connect Core section
// 3.1.3.7). go-oidc judges envelope, audience and access-token hash over this
// program's keys; what it leaves open (nonce, azp, iat, leeway, several
// issuers, c_hash, hd, auth_time) and what is configured is judged by
// token.IDRules. An encrypted one is opened by the verifier's Decrypter; Raw of
// the result is the signed token within, which is what id_token_hint wants.
// Errors are those of package token.
func (p *Provider) VerifyIDToken(ctx context.Context, v *token.Verifier, raw token.Opaque, rules *token.IDRules) (*token.Token, error) {
	u, err := v.Parse(ctx, raw.Reveal(), token.UseID)
	if err != nil {
		return nil, err
	}
	set := &keySet{verifier: v}
	checked, err := oidc.NewVerifier("", set, &oidc.Config{
		SupportedSigningAlgs: idTokenAlgorithms,
		ClientID:             rules.ClientID,
		SkipClientIDCheck:    !rules.VerifyClaims || rules.ClientID == "",
		// Several issuers may be allowed, and leeway is configured: token.IDRules.
		SkipIssuerCheck: true,
		SkipExpiryCheck: true,
		Now:             p.env.Now,
	}).Verify(ctx, u.Raw.Reveal())
	switch {
	case set.err != nil:
		// go-oidc flattens the error of a key set into text, which would hide an outage.
		return nil, set.err
	case err != nil && set.token == nil:
		// Its text may quote the token.
		return nil, fmt.Errorf("%w: it is no ID token", token.ErrMalformed)
	}
	if rerr := rules.Check(set.token, p.env.Now()); rerr != nil {
		return nil, rerr
	}
	if err != nil {
		return nil, &token.ClaimError{Token: token.UseID.String(), Claim: "aud", Reason: "it does not name the client, or a claim has a wrong type"}
	}
	if rules.VerifyClaims && rules.AccessToken != "" && checked.AccessTokenHash != "" && !isEd448(set.token) {
		if err := checked.VerifyAccessToken(rules.AccessToken.Reveal()); err != nil {
			return nil, &token.ClaimError{Token: token.UseID.String(), Claim: "at_hash", Reason: "it does not match"}
		}
	}
	return set.token, nil
}

// isEd448 reports a curve whose hash go-oidc takes for that of Ed25519.
func isEd448(t *token.Token) bool {
	if t.Key == nil {
		return false
	}
	_, ok := t.Key.Key.(token.Ed448)
	return ok
}

// idTokenAlgorithms is what go-oidc may read; which of them are accepted is
// the verifier's decision.
var idTokenAlgorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
	"HS256", "HS384", "HS512",
}

// keySet lets go-oidc verify with a token.Verifier, and keeps what that said.
type keySet struct {
	verifier *token.Verifier
	token    *token.Token
	err      error
}

var errNotVerified = errors.New("not verified")

// VerifySignature implements oidc.KeySet.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	u, err := token.Parse(raw, s.verifier.Limit)
	if err == nil {
		s.token, err = s.verifier.VerifyParsed(ctx, u, token.UseID)
	}
	if err != nil {
		s.err = err
		return nil, errNotVerified
	}
	return u.Payload(), nil
}
