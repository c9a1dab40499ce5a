package plugin

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/certcheck"
	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/param"
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

// certificateHeader reads and verifies the certificate that a proxy in front
// leaves in a header.
type certificateHeader struct {
	config *CertificateHeader
	env    *Environment

	flight singleflight.Group
	held   atomic.Pointer[heldChecker]
	pause  atomic.Int64 // Unix nanoseconds before which nobody looks again behind a checker that serves
	failed atomic.Bool  // the last look failed, and the log says so
}

// heldChecker is a checker with the authorities as Kong had them at a time.
type heldChecker struct {
	*certcheck.Checker
	authorities []*x509.Certificate
	read        time.Time
}

const (
	// authoritiesKept is how long Kong's CA certificates are used without a look.
	authoritiesKept = time.Minute
	// authoritiesServe is how long they serve while a look is under way, or fails.
	authoritiesServe = 5 * time.Minute
	// authoritiesPause lies between looks that fail.
	authoritiesPause = 5 * time.Second
	// authoritiesLook bounds one look, which the requests share.
	authoritiesLook = 15 * time.Second
)

// certificate returns the header's certificate; nil where there is none that counts.
func (h *certificateHeader) certificate(ctx context.Context, r *rp.Request) ([]byte, error) {
	name := rp.Canonical(h.config.CertificateHeaderName)
	values := r.Header[name]
	if len(values) == 0 {
		return nil, nil
	}
	if h.config.SecureSource {
		g, ok := r.Gateway.(interface {
			TrustedPeer(ctx context.Context) (bool, error)
		})
		if !ok {
			return nil, nil
		}
		trusted, err := g.TrustedPeer(ctx)
		if err != nil {
			return nil, &rp.Error{Description: "the peer's address could not be read from the gateway", Reason: "gateway", Err: err}
		}
		if !trusted {
			return nil, nil // as if it were not there
		}
	}
	if len(values) > 1 {
		return nil, notProven("certificate_header", "the certificate header occurs twice")
	}
	format := certcheck.URLEncoded
	if h.config.CertificateHeaderFormat == CertificateFormatBase64 {
		format = certcheck.Base64Encoded
	}
	presented, err := certcheck.ParseHeader(values[0], format)
	if err != nil {
		return nil, notProven("certificate_header", "the certificate header cannot be read")
	}
	checker, err := h.current(ctx)
	if err != nil {
		return nil, &rp.Error{Description: "the authorities of client certificates could not be looked up", Reason: "ca_certificates", Err: err}
	}
	if err := checker.Check(ctx, presented); err != nil {
		if ctx.Err() != nil {
			return nil, &rp.Error{Description: "the client certificate could not be checked in time", Reason: "certificate_check", Err: err}
		}
		return nil, &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "the client certificate is not accepted", Reason: "certificate_check", Final: true, Err: err}
	}
	return presented.Leaf.Raw, nil
}

// current returns a checker with the authorities as Kong has them. The last one
// serves while one goroutine looks them up anew, so that no request waits for a
// database that is away; where there is none, or it is too old, requests wait.
func (h *certificateHeader) current(ctx context.Context) (*certcheck.Checker, error) {
	held, now := h.held.Load(), h.env.Now()
	if held != nil && now.Before(held.read.Add(authoritiesKept)) {
		return held.Checker, nil
	}
	serves := held != nil && now.Before(held.read.Add(authoritiesServe))
	if serves && now.UnixNano() < h.pause.Load() {
		return held.Checker, nil
	}
	look := h.flight.DoChan("", func() (v any, err error) {
		defer fault.Recover(&err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), authoritiesLook)
		defer cancel()
		return h.look(ctx)
	})
	if serves {
		return held.Checker, nil
	}
	select {
	case r := <-look:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*heldChecker).Checker, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look makes a checker of what Kong holds. One at a time runs. Whatever Kong
// does answer counts at once: a certificate that is gone serves no longer.
func (h *certificateHeader) look(ctx context.Context) (*heldChecker, error) {
	old := h.held.Load()
	next, err := h.build(ctx, old)
	if err == nil {
		h.held.Store(next)
		h.failed.Store(false)
		if old != nil && old.Checker != next.Checker {
			old.Close()
		}
		return next, nil
	}
	h.pause.Store(h.env.Now().Add(authoritiesPause).UnixNano())
	if _, away := errors.AsType[*entities.LookupError](err); !away {
		h.held.Store(nil)
	}
	if old != nil && !h.failed.Swap(true) {
		h.env.Log.Warn("openid-connect: the authorities of client certificates cannot be looked up again; the last ones serve for some minutes if Kong's database is away", "error", err)
	}
	return nil, err
}

// build returns old with the time of this look where the authorities are the same.
func (h *certificateHeader) build(ctx context.Context, old *heldChecker) (*heldChecker, error) {
	read := h.env.Now()
	var authorities []*x509.Certificate
	for _, id := range h.config.CACertificates {
		ca, err := h.env.Entities.CACertificate(ctx, string(id))
		if err != nil {
			return nil, fmt.Errorf("CA certificate %s: %w", id, err)
		}
		block, _ := pem.Decode([]byte(ca.Cert))
		if block == nil {
			return nil, fmt.Errorf("CA certificate %s is not PEM", id)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CA certificate %s: %w", id, err)
		}
		authorities = append(authorities, cert)
	}
	if old != nil && slices.EqualFunc(old.authorities, authorities, (*x509.Certificate).Equal) {
		return &heldChecker{old.Checker, authorities, read}, nil // with the verdicts that it keeps
	}
	c := h.config
	checker, err := certcheck.New(certcheck.Options{
		Authorities: authorities, AllowPartialChain: c.AllowPartialChain, Mode: certcheck.Mode(c.RevocationCheckMode),
		TTL: time.Duration(c.CertCacheTTL) * time.Millisecond, Timeout: time.Duration(c.HTTPTimeout) * time.Millisecond,
		HTTPProxy: hostPort(c.HTTPProxyHost, c.HTTPProxyPort), HTTPSProxy: hostPort(c.HTTPSProxyHost, c.HTTPSProxyPort),
		InsecureSkipVerify: !c.SSLVerify, Roots: h.env.Connections.roots, Now: h.env.Now, Log: h.env.Log,
	})
	if err != nil {
		return nil, err
	}
	return &heldChecker{checker, authorities, read}, nil
}

func hostPort(host string, port *param.Port) string {
	if host == "" {
		return ""
	}
	p := 80
	if port != nil {
		p = int(*port)
	}
	return net.JoinHostPort(host, strconv.Itoa(p))
}
