package certcheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/fault"
)

// Mode says what a missing answer about revocation means (revocation_check_mode).
type Mode string

// The modes.
const (
	// Skip asks nobody.
	Skip Mode = "SKIP"
	// IgnoreCAError refuses what is known to be revoked, and nothing else.
	IgnoreCAError Mode = "IGNORE_CA_ERROR"
	// Strict refuses what is not known to be good.
	Strict Mode = "STRICT"
)

// Why a certificate is refused. All are the caller's fault (401).
var (
	ErrUntrusted = errors.New("client certificate is not trusted")
	ErrRevoked   = errors.New("client certificate is revoked")
	// ErrUnchecked is for Strict only: nobody could say whether it is revoked.
	ErrUnchecked = errors.New("revocation of the client certificate could not be checked")
)

// Options set a Checker up.
type Options struct {
	// Authorities are ca_certificates: roots, and intermediates to build chains
	// with. At least one is required.
	Authorities []*x509.Certificate
	// AllowPartialChain lets a chain end at any of the authorities, not only at
	// a self-signed one.
	AllowPartialChain bool
	Mode              Mode // "" for IgnoreCAError
	// TTL is how long a verdict is kept (cert_cache_ttl); 0 keeps none.
	TTL time.Duration
	// Timeout bounds all questions to authorities about one certificate together
	// (http_timeout); 0 for DefaultTimeout.
	Timeout time.Duration
	// HTTPProxy and HTTPSProxy are host:port of proxies for URLs of each scheme;
	// "" for none.
	HTTPProxy, HTTPSProxy string
	// InsecureSkipVerify is ssl_verify=false; Roots, nil for the system's, sign
	// the certificates of the servers that are asked.
	InsecureSkipVerify bool
	Roots              *x509.CertPool
	Now                func() time.Time // nil for time.Now
	Log                *slog.Logger     // nil for nowhere
}

// DefaultTimeout is the default of http_timeout.
const DefaultTimeout = 30 * time.Second

// Checker judges client certificates for one configuration. It is safe for
// concurrent use.
type Checker struct {
	options       Options
	roots         *x509.CertPool
	intermediates []*x509.Certificate
	http          *http.Client
	verdicts      *memory[[sha256.Size]byte, verdict]
	lists         *memory[listKey, *list]
	flight        singleflight.Group
}

// New returns a checker. It asks nobody yet. The error says which option cannot
// be used.
func New(o Options) (*Checker, error) {
	if len(o.Authorities) == 0 {
		return nil, errors.New("ca_certificates names no certificate: client certificates need an authority")
	}
	switch o.Mode {
	case "":
		o.Mode = IgnoreCAError
	case Skip, IgnoreCAError, Strict:
	default:
		return nil, fmt.Errorf("revocation_check_mode %.32q is unknown: use SKIP, IGNORE_CA_ERROR or STRICT", o.Mode)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Checker{
		options: o, roots: x509.NewCertPool(), http: newHTTP(&o),
		verdicts: newMemory[[sha256.Size]byte, verdict](maxVerdicts, o.Now), lists: newMemory[listKey, *list](maxLists, o.Now),
	}
	anchors := 0
	for _, a := range o.Authorities {
		if o.AllowPartialChain || isSelfSigned(a) {
			c.roots.AddCert(a)
			anchors++
		}
		if !isSelfSigned(a) {
			c.intermediates = append(c.intermediates, a)
		}
	}
	if anchors == 0 {
		return nil, errors.New("ca_certificates holds no root certificate: add the root, or set allow_partial_chain")
	}
	return c, nil
}

func isSelfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// verdict is what was found about a certificate.
type verdict struct{ err error }

// Check reports whether the certificate is trusted, valid now, meant for
// clients and, as far as the mode asks, not revoked. Errors are ErrUntrusted,
// ErrRevoked, ErrUnchecked, or the end of ctx.
func (c *Checker) Check(ctx context.Context, p *Presented) error {
	if p == nil || p.Leaf == nil {
		return fmt.Errorf("%w: there is none", ErrUntrusted)
	}
	key := keyOf(p)
	if v, ok := c.verdicts.get(key); ok {
		return v.err
	}
	chain, err := c.chain(p)
	if err != nil {
		return err
	}
	until := c.options.Now().Add(c.options.TTL)
	for _, cert := range chain {
		// What expires meanwhile is judged anew.
		until = earlier(until, cert.NotAfter)
	}
	if c.options.Mode == Skip {
		c.verdicts.put(key, verdict{}, until)
		return nil
	}
	// One question at a time about a certificate; whoever asked first may leave.
	answer := c.flight.DoChan(string(key[:]), func() (_ any, err error) {
		defer fault.Recover(&err)
		if v, ok := c.verdicts.get(key); ok {
			return nil, v.err // the one before has just found out
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		err, good := c.revocation(ctx, chain)
		if !good.IsZero() {
			until = earlier(until, good)
		}
		c.verdicts.put(key, verdict{err}, until)
		return nil, err
	})
	select {
	case r := <-answer:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("client certificate: %w", ctx.Err())
	}
}

// chain returns the certificates from the client's to the authority's.
func (c *Checker) chain(p *Presented) ([]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, list := range [][]*x509.Certificate{c.intermediates, p.Intermediates} {
		for _, cert := range list {
			between.AddCert(cert)
		}
	}
	chains, err := p.Leaf.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: c.options.Now(),
		// A certificate without extended key usage is good for any.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUntrusted, reasonOf(err))
	}
	return chains[0], nil
}

// reasonOf names the failure without what the certificate says of itself.
func reasonOf(err error) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch e.Reason {
		case x509.Expired:
			return "it, or one above it, has expired or is not valid yet"
		case x509.IncompatibleUsage:
			return "it is not meant for clients"
		}
		return "its chain breaks a constraint"
	}
	return "no chain leads to one of ca_certificates"
}

// keyOf names what was presented.
func keyOf(p *Presented) (key [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range append([]*x509.Certificate{p.Leaf}, p.Intermediates...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(c.Raw))))
		h.Write(c.Raw)
	}
	h.Sum(key[:0])
	return key
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Close gives idle connections back.
func (c *Checker) Close() { c.http.CloseIdleConnections() }
