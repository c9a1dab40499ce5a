package certcheck

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(start.UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// entity is a certificate with its key.
type entity struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

var serial atomic.Int64

// issue makes a certificate by parent, self-signed if that is nil.
func issue(t testing.TB, name string, parent *entity, edit func(*x509.Certificate)) *entity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1) + 1000), Subject: pkix.Name{CommonName: name},
		NotBefore: start.Add(-time.Hour), NotAfter: start.Add(24 * time.Hour), BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(tmpl)
	}
	by, signer := tmpl, crypto.Signer(key)
	if parent != nil {
		by, signer = parent.Certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &entity{c, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature
}

func forClients(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }

// world is a root, an intermediate, a client and the servers that are asked.
type world struct {
	*clock
	root, inter, leaf *entity
	server            *httptest.Server

	mu       sync.Mutex
	handlers map[string]http.HandlerFunc
	calls    map[string]int
}

func newWorld(t testing.TB, sources bool) *world {
	t.Helper()
	w := &world{clock: newClock(), handlers: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		h := w.handlers[r.URL.Path]
		w.calls[r.URL.Path]++
		w.mu.Unlock()
		if h == nil {
			http.Error(rw, "down", http.StatusServiceUnavailable)
			return
		}
		h(rw, r)
	}))
	t.Cleanup(w.server.Close)
	w.root = issue(t, "root", nil, authority)
	w.inter = issue(t, "intermediate", w.root, authority)
	w.leaf = issue(t, "client", w.inter, func(c *x509.Certificate) {
		forClients(c)
		if sources {
			c.OCSPServer = []string{"ldap://ignored.example", w.server.URL + "/ocsp"}
			c.CRLDistributionPoints = []string{"ldap://ignored.example", w.server.URL + "/crl"}
		}
	})
	return w
}

func (w *world) handle(path string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers[path] = h
}

func (w *world) count(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[path]
}

func (w *world) checker(t testing.TB, edit func(*Options)) *Checker {
	t.Helper()
	o := Options{Authorities: []*x509.Certificate{w.root.Certificate, w.inter.Certificate}, Mode: Strict, TTL: time.Minute, Timeout: 5 * time.Second, Now: w.Now}
	if edit != nil {
		edit(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func (w *world) presented() *Presented { return &Presented{Leaf: w.leaf.Certificate} }

// ocsp makes the responder answer with a template, signed by an entity whose
// certificate goes along unless it is the issuer.
func (w *world) ocsp(t testing.TB, template ocsp.Response, issuer, by *entity) {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = w.leaf.SerialNumber
	}
	if template.ThisUpdate.IsZero() {
		template.ThisUpdate = w.Now().Add(-time.Minute)
	}
	if by != issuer {
		template.Certificate = by.Certificate
	}
	b, err := ocsp.CreateResponse(issuer.Certificate, by.Certificate, template, by.key)
	if err != nil {
		t.Fatal(err)
	}
	w.answer("/ocsp", b)
}

func (w *world) answer(path string, b []byte) {
	w.handle(path, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = rw.Write(b)
	})
}

// crl makes the list name serial numbers.
func (w *world) crl(t testing.TB, by *entity, edit func(*x509.RevocationList), serials ...*big.Int) {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: w.Now().Add(-time.Minute), NextUpdate: w.Now().Add(time.Hour)}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: w.Now()})
	}
	if edit != nil {
		edit(l)
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, by.Certificate, by.key)
	if err != nil {
		t.Fatal(err)
	}
	w.answer("/crl", b)
}
