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
)

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
