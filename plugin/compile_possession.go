package plugin

import (
	"context"
	"encoding/pem"
	"errors"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// possession checks DPoP proofs and certificate-bound tokens for one
// configuration (behaviour.md 8.7).
type possession struct {
	dpopMode, mtlsMode PossessionMode
	dpop               *token.DPoPVerifier // nil: off
	header             *certificateHeader  // nil: the certificate of the TLS layer alone
}

// newPossession returns nil where proof of possession is off.
func newPossession(c *Config, env *Environment) (*possession, error) {
	p := &possession{dpopMode: c.ProofOfPossessionDPoP, mtlsMode: c.ProofOfPossessionMTLS}
	if p.dpopMode == PossessionModeOff && p.mtlsMode == PossessionModeOff {
		return nil, nil
	}
	if p.dpopMode != PossessionModeOff {
		seen, err := openReplays(c, env)
		if err != nil {
			return nil, err
		}
		p.dpop = &token.DPoPVerifier{Lifetime: seconds(c.DPoPProofLifetime), Leeway: seconds(c.Leeway), Replays: seen, Now: env.Now}
		if c.DPoPUseNonce {
			secret := sessionSecret(c, env)
			p.dpop.Nonces = token.NewDPoPNonces(func(ctx context.Context) ([]token.Opaque, error) {
				s, err := secret(ctx)
				if err != nil {
					return nil, err
				}
				return []token.Opaque{token.Opaque(s)}, nil
			})
		}
	}
	if h := c.ProofOfPossessionMTLSFromHeader; h != nil && p.mtlsMode != PossessionModeOff {
		p.header = &certificateHeader{config: h, env: env}
	}
	return p, nil
}

// Algorithms implements rp.Possession.
func (p *possession) Algorithms() string {
	if p.dpop == nil {
		return ""
	}
	return p.dpop.AcceptedAlgorithms()
}

// Required implements rp.Possession.
func (p *possession) Required() bool { return p.dpopMode == PossessionModeStrict }

func notProven(reason rp.Reason, description string) error {
	return &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: description, Reason: reason, Final: true}
}

// Prove implements rp.Possession.
func (p *possession) Prove(ctx context.Context, r *rp.Request, q rp.Proof) ([]rp.Field, error) {
	use := token.UseAccess
	if q.Introspect {
		use = token.UseIntrospection
	}
	cnf, err := token.ReadConfirmation(use, q.Claims)
	if err != nil {
		return nil, notProven("confirmation", "the token's confirmation cannot be read")
	}
	if cnf.Other {
		return nil, notProven("confirmation", "the token is bound in a way that is not known here")
	}
	if p.mtlsMode == PossessionModeStrict && cnf.X5T == "" {
		return nil, notProven("unbound", "the token is not bound to a client certificate")
	}
	if p.mtlsMode != PossessionModeOff && cnf.X5T != "" {
		if err := p.certificate(ctx, r, cnf); err != nil {
			return nil, err
		}
	}
	return p.proof(ctx, r, q, cnf)
}

// proof checks the DPoP half.
func (p *possession) proof(ctx context.Context, r *rp.Request, q rp.Proof, cnf token.Confirmation) ([]rp.Field, error) {
	if p.dpop == nil {
		return nil, nil
	}
	refuse := func(reason rp.Reason, text string) error {
		return &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: text, Reason: reason, Final: true, DPoP: true}
	}
	switch {
	case cnf.JKT == "" && (p.dpopMode == PossessionModeStrict || q.Scheme):
		return nil, refuse("unbound", "the token is not bound to a DPoP key")
	case cnf.JKT == "":
		return nil, nil
	case !q.Scheme && !q.Session:
		return nil, refuse("dpop_as_bearer", "a token that is bound to a DPoP key came with another scheme")
	}
	res, err := p.dpop.Verify(ctx, token.DPoPRequest{Proofs: r.Header["dpop"], Method: r.Method, URL: q.URL, AccessToken: q.AccessToken, JKT: cnf.JKT})
	var d *token.DPoPError
	switch {
	case errors.As(err, &d):
		e := &rp.Error{Kind: rp.Unauthorized, Code: d.Code, Description: d.Error(), Reason: rp.Reason(d.Code), Final: true, DPoP: true, Err: err}
		if d.Nonce != "" {
			e.Fields = []rp.Field{{Name: "DPoP-Nonce", Value: d.Nonce}}
		}
		return nil, e
	case err != nil:
		return nil, &rp.Error{Kind: rp.Unavailable, Description: "DPoP proofs cannot be checked at present", Reason: "dpop_unavailable", Err: err}
	case res.Nonce != "":
		return []rp.Field{{Name: "DPoP-Nonce", Value: res.Nonce}}, nil
	}
	return nil, nil
}

// certificate compares the caller's certificate with the token's (RFC 8705 3).
func (p *possession) certificate(ctx context.Context, r *rp.Request, cnf token.Confirmation) error {
	if p.header != nil {
		der, err := p.header.certificate(ctx, r)
		if err != nil {
			return err
		}
		if der != nil {
			return fits(cnf, der)
		}
	}
	raw, err := r.Gateway.Variable(ctx, "ssl_client_raw_cert")
	if err != nil {
		return &rp.Error{Description: "the client certificate could not be read from the gateway", Reason: "gateway", Err: err}
	}
	block, _ := pem.Decode([]byte(raw))
	if block == nil || block.Type != "CERTIFICATE" {
		return notProven("no_certificate", "the request has no client certificate")
	}
	return fits(cnf, block.Bytes)
}

func fits(cnf token.Confirmation, der []byte) error {
	if !cnf.MatchesCertificate(der) {
		return notProven("certificate", "the token is bound to another client certificate")
	}
	return nil
}
