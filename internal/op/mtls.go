package op

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"
)

// ClientCertificate is what the client proves itself with in tls_client_auth
// and self_signed_tls_client_auth (RFC 8705 section 2). The zero value is none.
type ClientCertificate struct {
	// ID is `tls_client_auth_cert_id`. It names the certificate: configurations
	// of one ID share connections.
	ID string
	// Load returns the certificate of that ID with its private key. It is asked
	// at every call, so that a replaced certificate is taken up, and is to keep
	// what it read.
	Load func(context.Context) (*tls.Certificate, error)
	// InsecureSkipVerify is tls_client_auth_ssl_verify=false.
	InsecureSkipVerify bool
}

// mtls keeps the connections that carry the client's certificate, apart from
// all others. A certificate that was replaced gets connections of its own.
type mtls struct {
	config  HTTP
	roots   *x509.CertPool
	observe func(call string, status int, took time.Duration)

	mu   sync.Mutex
	of   [sha256.Size]byte // the certificate of held
	held *client
}

// errNoCertificate says what the configuration lacks.
var errNoCertificate = errors.New("there is no client certificate: set tls_client_auth_cert_id to a certificate with its private key")

// client returns the connections for the certificate as it is now.
func (m *mtls) client(ctx context.Context) (*client, error) {
	load := m.config.Certificate.Load
	if load == nil {
		return nil, errNoCertificate
	}
	cert, err := load(ctx)
	if err != nil {
		return nil, err
	}
	if cert == nil || len(cert.Certificate) == 0 || cert.PrivateKey == nil {
		return nil, errNoCertificate
	}
	of := fingerprint(cert)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil && m.of == of {
		return m.held, nil
	}
	c := m.config
	c.InsecureSkipVerify = c.Certificate.InsecureSkipVerify
	next, err := newClient(c, m.roots, cert)
	if err != nil {
		return nil, err
	}
	next.observe = m.observe
	if m.held != nil {
		m.held.close()
	}
	m.of, m.held = of, next
	return next, nil
}

func (m *mtls) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil {
		m.held.close()
	}
}

// fingerprint hashes the chain.
func fingerprint(c *tls.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, der := range c.Certificate {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(der))))
		h.Write(der)
	}
	h.Sum(sum[:0])
	return sum
}

// isHTTPS reports whether a connection to address can carry a certificate.
func isHTTPS(address string) bool {
	return len(address) > 8 && strings.EqualFold(address[:8], "https://")
}
