package plugin

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// clientDPoP is DPoP as a client of the provider (client_dpop, RFC 9449). The
// key follows from the session secret, so that all nodes that share sessions
// and kept tokens can use the tokens that are bound to it; it ends with them.
type clientDPoP struct {
	mode   ClientDPoP
	signer keyed[token.DPoPSigner]
	tag    string // what kept tokens that are bound to the key are told apart by
}

// dpopAlgorithm is what the derived key signs with.
const dpopAlgorithm = "ES256"

// newClientDPoP returns nil where client_dpop is off.
func newClientDPoP(c *Config, env *Environment) *clientDPoP {
	if c.ClientDPoP == ClientDPoPOff || c.ClientDPoP == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(c.SessionSecret.Reveal()))
	d := &clientDPoP{mode: c.ClientDPoP, tag: string(c.ClientDPoP) + string(sum[:])}
	d.signer.secret = sessionSecret(c, env)
	purpose := op.NormaliseIssuer(c.Issuer)
	d.signer.make = func(secret []byte) (*token.DPoPSigner, error) { return token.DeriveDPoPSigner(secret, purpose) }
	return d
}

// prover returns who makes proofs for the provider; nil where none are to be made.
func (p *relyingProvider) prover(ctx context.Context) (*token.DPoPSigner, error) {
	if p.dpop == nil {
		return nil, nil
	}
	m, err := p.provider.Metadata(ctx)
	switch {
	case err != nil && p.dpop.mode == ClientDPoPAuto:
		return nil, providerError(err)
	case err != nil: // an endpoint that is configured needs no metadata
	case p.dpop.mode == ClientDPoPAuto && !slices.Contains(m.DPoPAlgorithms, dpopAlgorithm):
		return nil, nil
	case m.DPoPAlgorithms != nil && !slices.Contains(m.DPoPAlgorithms, dpopAlgorithm):
		return nil, &rp.Error{Description: "client_dpop: the provider takes no DPoP proofs that are signed with " + dpopAlgorithm, Reason: "misconfigured"}
	}
	return p.dpop.signer.get(ctx)
}

// bound refuses an answer that is not bound to the key though it must be: the
// provider's fault, for the proof was good.
func (p *relyingProvider) bound(r *op.TokenResponse) error {
	if p.dpop != nil && p.dpop.mode == ClientDPoPRequired && !isDPoP(r.TokenType) {
		return &rp.Error{Description: "client_dpop: the provider issued a token that is not bound to the DPoP key", Reason: "unbound"}
	}
	return nil
}

// isDPoP compares a token_type (RFC 6749 section 5.1: ignoring case).
func isDPoP(tokenType string) bool { return strings.EqualFold(tokenType, "DPoP") }

// ask asks the token endpoint with a proof where one is due.
func (p *relyingProvider) ask(ctx context.Context, r op.TokenRequest) (*op.TokenResponse, error) {
	var err error
	if r.DPoP, err = p.prover(ctx); err != nil {
		return nil, err
	}
	got, err := p.provider.Token(ctx, r)
	if err != nil {
		return nil, providerError(err)
	}
	return got, p.bound(got)
}
