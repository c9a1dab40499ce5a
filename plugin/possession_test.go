package plugin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.key, a.cert = certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	return a
}

func certificate(t *testing.T, c *x509.Certificate, by *authority) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, out
}

func (a *authority) client(t *testing.T) *x509.Certificate {
	_, c := certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a)
	return c
}

// certEntities knows one CA certificate.
type certEntities struct {
	entities.None
	pem string
}

func (e certEntities) For(entities.Loader) entities.Lookups { return e }

func (e certEntities) CACertificate(context.Context, string) (*entities.CACertificate, error) {
	return &entities.CACertificate{Cert: e.pem}, nil
}

// tlsGateway has a client certificate, and a peer that is trusted or not.
type tlsGateway struct {
	rp.Gateway
	cert    *x509.Certificate
	trusted bool
}

func (g tlsGateway) Variable(context.Context, string) (string, error) {
	if g.cert == nil {
		return "", nil
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.cert.Raw})), nil
}

func (g tlsGateway) TrustedPeer(context.Context) (bool, error) { return g.trusted, nil }

func TestCertificateBoundTokens(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	own, other, foreign := ca.client(t), ca.client(t), stranger.client(t)
	bound := func(c *x509.Certificate) claims.Object {
		return claims.Object{"cnf": map[string]any{"x5t#S256": token.CertificateThumbprint(c.Raw)}}
	}
	b64 := func(c *x509.Certificate) string { return base64.StdEncoding.EncodeToString(c.Raw) }
	env := &Environment{
		Now: time.Now, Connections: NewConnections(nil, time.Now, nil),
		Entities: certEntities{pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))},
	}
	for _, c := range []struct {
		name       string
		mode       PossessionMode
		fromHeader bool
		claims     claims.Object
		tls        *x509.Certificate
		header     []string
		trusted    bool
		ok         bool
	}{
		{name: "strict: the TLS certificate fits", mode: PossessionModeStrict, claims: bound(own), tls: own, ok: true},
		{name: "case 56: x5t#S256 differs", mode: PossessionModeStrict, claims: bound(own), tls: other},
		{name: "strict: no certificate", mode: PossessionModeStrict, claims: bound(own)},
		{name: "strict: an unbound token", mode: PossessionModeStrict, claims: claims.Object{}, tls: own},
		{name: "optional: an unbound token", mode: PossessionModeOptional, claims: claims.Object{}, ok: true},
		{name: "optional: a bound token without a certificate", mode: PossessionModeOptional, claims: bound(own)},
		{name: "a confirmation that is malformed", mode: PossessionModeOptional, claims: claims.Object{"cnf": "x"}, tls: own},
		{name: "the header of a trusted proxy", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{b64(own)}, trusted: true, ok: true},
		{name: "case 56: the header of a stranger is ignored", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{b64(own)}},
		{name: "case 56: that of a stranger is ignored, the TLS certificate counts", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{b64(other)}, tls: own, ok: true},
		{name: "the header wins over TLS", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{b64(other)}, tls: own, trusted: true},
		{name: "a certificate of another authority", mode: PossessionModeStrict, fromHeader: true, claims: bound(foreign), header: []string{b64(foreign)}, trusted: true},
		{name: "the header twice", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{b64(own), b64(own)}, trusted: true},
		{name: "a header that is no certificate", mode: PossessionModeStrict, fromHeader: true, claims: bound(own), header: []string{"x"}, trusted: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &Config{}
			cfg.ProofOfPossessionMTLS, cfg.ProofOfPossessionDPoP = c.mode, PossessionModeOff
			if c.fromHeader {
				cfg.ProofOfPossessionMTLSFromHeader = &CertificateHeader{
					CACertificates: []param.UUID{"a"}, CertificateHeaderName: "X-Client-Cert", CertificateHeaderFormat: CertificateFormatBase64,
					SecureSource: true, RevocationCheckMode: RevocationModeSkip,
				}
			}
			h := rp.Header{}
			if c.header != nil {
				h["x-client-cert"] = c.header
			}
			r := rp.NewRequest(tlsGateway{cert: c.tls, trusted: c.trusted}, h, 0)
			p, err := newPossession(cfg, env)
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.Prove(t.Context(), r, rp.Proof{Claims: c.claims})
			if c.ok != (err == nil) {
				t.Fatalf("error %v", err)
			}
			var e *rp.Error
			if err != nil && (!errors.As(err, &e) || e.Kind != rp.Unauthorized || !e.Final) {
				t.Errorf("the refusal is not a final 401: %v", err)
			}
		})
	}
}
