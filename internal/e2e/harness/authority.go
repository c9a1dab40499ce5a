package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Authority is a certification authority of a test. It issues certificates and
// tells over HTTP which of them it has revoked.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	srv  *httptest.Server

	mu      sync.Mutex
	revoked []*big.Int
	down    bool
}

// NewAuthority starts an authority; Close ends it. Its certificate is signed by
// parent, or by itself where that is nil.
func NewAuthority(name string, parent *Authority) (*Authority, error) {
	a := &Authority{}
	key, der, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}, parent)
	if err != nil {
		return nil, err
	}
	a.key = key
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	a.srv = httptest.NewServer(a)
	return a, nil
}

// Close ends the revocation server.
func (a *Authority) Close() { a.srv.Close() }

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Sources of revocation that a certificate can name.
const (
	OCSP = "/ocsp"
	CRL  = "/crl"
)

// Issue makes a client certificate that is good for an hour and names the given
// sources. edit, if any, changes it before it is signed.
func (a *Authority) Issue(name string, edit func(*x509.Certificate), sources ...string) (tls.Certificate, error) {
	t := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, s := range sources {
		// An address of its own: whoever asks may keep a list by its address.
		at := a.srv.URL + s + "/" + rand.Text()
		if s == OCSP {
			t.OCSPServer = append(t.OCSPServer, at)
		} else {
			t.CRLDistributionPoints = append(t.CRLDistributionPoints, at)
		}
	}
	if edit != nil {
		edit(t)
	}
	return Certificate(t, a)
}

// Certificate makes a certificate of a template, signed by an authority or, if
// that is nil, by itself. Its times are from an hour ago to in an hour, unless
// the template says others.
func Certificate(template *x509.Certificate, by *Authority) (tls.Certificate, error) {
	key, der, err := issue(template, by)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

func issue(t *x509.Certificate, by *Authority) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, err
	}
	if t.NotBefore.IsZero() {
		t.NotBefore = time.Now().Add(-time.Hour)
	}
	if t.NotAfter.IsZero() {
		t.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := t, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	return key, der, err
}

// Revoke makes the authority say that a certificate is revoked.
func (a *Authority) Revoke(c tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked = append(a.revoked, c.Leaf.SerialNumber)
}

// SetDown makes the authority answer 503 until it is called with false.
func (a *Authority) SetDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// ServeHTTP answers questions about revocation (RFC 6960, RFC 5280 section 5).
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	answer, err := a.list, error(nil)
	if strings.HasPrefix(r.URL.Path, OCSP+"/") {
		var question []byte
		if question, err = io.ReadAll(io.LimitReader(r.Body, 64<<10)); err == nil {
			answer = func() ([]byte, error) { return a.status(question) }
		}
	}
	body, err := answer()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(body)
}

func (a *Authority) status(question []byte) ([]byte, error) {
	q, err := ocsp.ParseRequest(question)
	if err != nil {
		return nil, err
	}
	t := ocsp.Response{Status: ocsp.Good, SerialNumber: q.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range a.revoked {
		if s.Cmp(q.SerialNumber) == 0 {
			t.Status, t.RevokedAt = ocsp.Revoked, time.Now()
		}
	}
	return ocsp.CreateResponse(a.cert, a.cert, t, a.key)
}

func (a *Authority) list() ([]byte, error) {
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, s := range a.revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	return x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
}

// Thumbprint returns the value of x5t#S256 for a certificate (RFC 8705 section 3.1).
func Thumbprint(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// URLEncoded returns certificates as a proxy writes them into a header: PEM,
// percent-encoded, the client's first.
func URLEncoded(chain ...[]byte) string {
	var b bytes.Buffer
	for _, der := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return strings.ReplaceAll(url.QueryEscape(b.String()), "+", "%20")
}

// Base64Encoded returns a certificate as the base64 of its DER form.
func Base64Encoded(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// Chain returns the authority's certificate in DER form, for headers that hold a chain.
func (a *Authority) Chain() []byte { return a.cert.Raw }
