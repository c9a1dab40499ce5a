package certcheck

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

func TestChain(t *testing.T) {
	w := newWorld(t, false)
	stranger := issue(t, "root", nil, authority)
	certs := func(es ...*entity) (out []*x509.Certificate) {
		for _, e := range es {
			out = append(out, e.Certificate)
		}
		return out
	}
	noCA := issue(t, "no authority", w.root, nil)
	for _, c := range []struct {
		name        string
		authorities []*x509.Certificate
		partial     bool
		p           *Presented
		ok          bool
	}{
		{"root and intermediate configured", certs(w.root, w.inter), false, w.presented(), true},
		{"intermediate presented", certs(w.root), false, &Presented{w.leaf.Certificate, certs(w.inter)}, true},
		{"intermediate missing", certs(w.root), false, w.presented(), false},
		{"chain ends at an intermediate", certs(stranger, w.inter), false, w.presented(), false},
		{"partial chain allowed", certs(w.inter), true, w.presented(), true},
		{"presented root is no anchor", certs(stranger), false, &Presented{w.leaf.Certificate, certs(w.inter, w.root)}, false},
		{"partial chain does not trust what is presented", certs(stranger), true, &Presented{w.leaf.Certificate, certs(w.inter)}, false},
		{"without extended key usage", certs(w.root), false, &Presented{Leaf: issue(t, "x", w.root, nil).Certificate}, true},
		{"any extended key usage", certs(w.root), false, &Presented{Leaf: issue(t, "x", w.root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }).Certificate}, true},
		{"for servers only", certs(w.root), false, &Presented{Leaf: issue(t, "x", w.root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).Certificate}, false},
		{"self-signed", certs(w.root), false, &Presented{Leaf: issue(t, "x", nil, forClients).Certificate}, false},
		{"issued by no authority", certs(w.root), false, &Presented{issue(t, "x", noCA, forClients).Certificate, certs(noCA)}, false},
		{"an unknown critical extension", certs(w.root), false, &Presented{Leaf: issue(t, "x", w.root, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}).Certificate}, false},
		{"none", certs(w.root), false, &Presented{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := w.checker(t, func(o *Options) { o.Authorities, o.AllowPartialChain, o.Mode = c.authorities, c.partial, Skip })
			err := ch.Check(t.Context(), c.p)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUntrusted) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, o := range []Options{{}, {Authorities: certs(w.inter)}, {Authorities: certs(w.root), Mode: "STRICTLY"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestValidity(t *testing.T) {
	w := newWorld(t, false)
	ch := w.checker(t, func(o *Options) { o.Mode, o.TTL = Skip, 48*time.Hour })
	if err := ch.Check(t.Context(), w.presented()); err != nil {
		t.Fatal(err)
	}
	// What is kept does not outlive the certificate.
	w.Advance(24*time.Hour + time.Second)
	if err := ch.Check(t.Context(), w.presented()); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	w.Advance(-26 * time.Hour)
	if err := w.checker(t, nil).Check(t.Context(), w.presented()); !errors.Is(err, ErrUntrusted) {
		t.Errorf("not valid yet: %v", err)
	}
}

func TestModes(t *testing.T) {
	good := func(t *testing.T, w *world) { w.ocsp(t, ocsp.Response{Status: ocsp.Good}, w.inter, w.inter) }
	revoked := func(t *testing.T, w *world) {
		w.ocsp(t, ocsp.Response{Status: ocsp.Revoked, RevokedAt: w.Now().Add(-time.Hour)}, w.inter, w.inter)
	}
	down := func(*testing.T, *world) {}
	for _, c := range []struct {
		name    string
		sources bool
		set     func(*testing.T, *world)
		want    map[Mode]error
	}{
		{"good", true, good, map[Mode]error{Skip: nil, IgnoreCAError: nil, Strict: nil}},
		{"revoked", true, revoked, map[Mode]error{Skip: nil, IgnoreCAError: ErrRevoked, Strict: ErrRevoked}},
		{"down", true, down, map[Mode]error{Skip: nil, IgnoreCAError: nil, Strict: ErrUnchecked}},
		{"nobody to ask", false, down, map[Mode]error{Skip: nil, IgnoreCAError: nil, Strict: ErrUnchecked}},
	} {
		for mode, want := range c.want {
			w := newWorld(t, c.sources)
			c.set(t, w)
			err := w.checker(t, func(o *Options) { o.Mode = mode }).Check(t.Context(), w.presented())
			if !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%s, %s: %v", c.name, mode, err)
			}
			if mode == Skip && w.count("/ocsp")+w.count("/crl") > 0 {
				t.Errorf("%s: somebody was asked", c.name)
			}
		}
	}
}

// Each answer under STRICT: only a good one lets the certificate pass.
func TestOCSP(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*testing.T, *world)
		want error
	}{
		{"good", func(t *testing.T, w *world) { w.ocsp(t, ocsp.Response{}, w.inter, w.inter) }, nil},
		{"good by a delegate", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{}, w.inter, issue(t, "responder", w.inter, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }))
		}, nil},
		{"signed by another client of the authority", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{}, w.inter, issue(t, "client 2", w.inter, forClients))
		}, ErrUnchecked},
		{"signed by a delegate that has expired", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{}, w.inter, issue(t, "responder", w.inter, func(c *x509.Certificate) {
				c.ExtKeyUsage, c.NotAfter = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, start.Add(-time.Minute)
			}))
		}, ErrUnchecked},
		{"signed by a stranger", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{}, w.inter, issue(t, "stranger", nil, authority))
		}, ErrUnchecked},
		{"about another serial number", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{SerialNumber: big.NewInt(7)}, w.inter, w.inter)
		}, ErrUnchecked},
		{"about another authority", func(t *testing.T, w *world) {
			// Two authorities may give the same serial number; one that answers for
			// both says which it means.
			other := issue(t, "other", w.root, authority)
			b, err := ocsp.CreateResponse(other.Certificate, w.inter.Certificate, ocsp.Response{SerialNumber: w.leaf.SerialNumber, ThisUpdate: w.Now()}, w.inter.key)
			if err != nil {
				t.Fatal(err)
			}
			w.answer("/ocsp", b)
		}, ErrUnchecked},
		{"unknown", func(t *testing.T, w *world) { w.ocsp(t, ocsp.Response{Status: ocsp.Unknown}, w.inter, w.inter) }, ErrUnchecked},
		{"out of date", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{ThisUpdate: w.Now().Add(-time.Hour), NextUpdate: w.Now().Add(-6 * time.Minute)}, w.inter, w.inter)
		}, ErrUnchecked},
		{"out of date within the skew", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{ThisUpdate: w.Now().Add(-time.Hour), NextUpdate: w.Now().Add(-4 * time.Minute)}, w.inter, w.inter)
		}, nil},
		{"old without an end", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{ThisUpdate: w.Now().Add(-25 * time.Hour)}, w.inter, w.inter)
		}, ErrUnchecked},
		{"from the future", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{ThisUpdate: w.Now().Add(6 * time.Minute)}, w.inter, w.inter)
		}, ErrUnchecked},
		{"revoked", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{Status: ocsp.Revoked, RevokedAt: start}, w.inter, w.inter)
		}, ErrRevoked},
		{"try later", func(_ *testing.T, w *world) { w.answer("/ocsp", ocsp.TryLaterErrorResponse) }, ErrUnchecked},
		{"HTML", func(_ *testing.T, w *world) { w.answer("/ocsp", []byte("<html>")) }, ErrUnchecked},
		{"empty", func(_ *testing.T, w *world) { w.answer("/ocsp", nil) }, ErrUnchecked},
		{"too large", func(_ *testing.T, w *world) { w.answer("/ocsp", make([]byte, maxOCSP+1)) }, ErrUnchecked},
		{"a redirect", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{}, w.inter, w.inter)
			w.handle("/ocsp2", w.handlers["/ocsp"])
			w.handle("/ocsp", func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "/ocsp2", http.StatusTemporaryRedirect)
			})
		}, ErrUnchecked},
		{"down, and the list is good", func(t *testing.T, w *world) { w.crl(t, w.inter, nil) }, nil},
		{"down, and the list names it", func(t *testing.T, w *world) { w.crl(t, w.inter, nil, w.leaf.SerialNumber) }, ErrRevoked},
		{"revoked, and the list does not name it", func(t *testing.T, w *world) {
			w.ocsp(t, ocsp.Response{Status: ocsp.Revoked, RevokedAt: start}, w.inter, w.inter)
			w.crl(t, w.inter, nil)
		}, ErrRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, true)
			c.set(t, w)
			err := w.checker(t, nil).Check(t.Context(), w.presented())
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// point encodes an issuing distribution point.
func point(t *testing.T, p any) pkix.Extension {
	t.Helper()
	b, err := asn1.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidIssuingDistributionPoint, Critical: true, Value: b}
}

// at is a distribution point of one address.
func at(address string) asn1.RawValue {
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(address)}
	inner, _ := asn1.Marshal(uri)
	full, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner})
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: full}
}

func TestCRL(t *testing.T) {
	type only struct {
		Point    asn1.RawValue  `asn1:"optional"`
		Users    bool           `asn1:"optional,tag:1"`
		CAs      bool           `asn1:"optional,tag:2"`
		Reasons  asn1.BitString `asn1:"optional,tag:3"`
		Indirect bool           `asn1:"optional,tag:4"`
		Attrs    bool           `asn1:"optional,tag:5"`
	}
	scoped := func(f func(w *world) only) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.crl(t, w.inter, func(l *x509.RevocationList) { l.ExtraExtensions = append(l.ExtraExtensions, point(t, f(w))) })
		}
	}
	for _, c := range []struct {
		name string
		set  func(*testing.T, *world)
		want error
	}{
		{"not named", func(t *testing.T, w *world) { w.crl(t, w.inter, nil, big.NewInt(5), big.NewInt(6)) }, nil},
		{"named", func(t *testing.T, w *world) { w.crl(t, w.inter, nil, big.NewInt(5), w.leaf.SerialNumber) }, ErrRevoked},
		{"PEM", func(t *testing.T, w *world) {
			w.crl(t, w.inter, nil, w.leaf.SerialNumber)
			rec := httptest.NewRecorder()
			w.handlers["/crl"](rec, httptest.NewRequest("GET", "/crl", nil))
			w.answer("/crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: rec.Body.Bytes()}))
		}, ErrRevoked},
		{"signed by a stranger of the name", func(t *testing.T, w *world) { w.crl(t, issue(t, "intermediate", nil, authority), nil) }, ErrUnchecked},
		{"signed by another authority", func(t *testing.T, w *world) { w.crl(t, w.root, nil) }, ErrUnchecked},
		{"out of date", func(t *testing.T, w *world) {
			w.crl(t, w.inter, func(l *x509.RevocationList) {
				l.NextUpdate = w.Now().Add(-6 * time.Minute)
				l.ThisUpdate = w.Now().Add(-time.Hour)
			})
		}, ErrUnchecked},
		{"from the future", func(t *testing.T, w *world) {
			w.crl(t, w.inter, func(l *x509.RevocationList) { l.ThisUpdate = w.Now().Add(6 * time.Minute) })
		}, ErrUnchecked},
		{"a delta", func(t *testing.T, w *world) {
			w.crl(t, w.inter, func(l *x509.RevocationList) {
				l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}})
			})
		}, ErrUnchecked},
		{"an entry of another issuer", func(t *testing.T, w *world) {
			w.crl(t, w.inter, func(l *x509.RevocationList) {
				l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}}
			}, big.NewInt(5))
		}, ErrUnchecked},
		{"for this address", scoped(func(w *world) only { return only{Point: at(w.server.URL + "/crl")} }), nil},
		{"for another address", scoped(func(w *world) only { return only{Point: at(w.server.URL + "/other")} }), ErrUnchecked},
		{"for users", scoped(func(*world) only { return only{Users: true} }), nil},
		{"for authorities", scoped(func(*world) only { return only{CAs: true} }), ErrUnchecked},
		{"for some reasons", scoped(func(*world) only { return only{Reasons: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}} }), ErrUnchecked},
		{"indirect", scoped(func(*world) only { return only{Indirect: true} }), ErrUnchecked},
		{"for attributes", scoped(func(*world) only { return only{Attrs: true} }), ErrUnchecked},
		{"junk", func(_ *testing.T, w *world) { w.answer("/crl", []byte("junk")) }, ErrUnchecked},
		{"empty", func(_ *testing.T, w *world) { w.answer("/crl", nil) }, ErrUnchecked},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, true)
			c.set(t, w)
			err := w.checker(t, nil).Check(t.Context(), w.presented())
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestVerdictsAreKept(t *testing.T) {
	w := newWorld(t, true)
	w.ocsp(t, ocsp.Response{NextUpdate: w.Now().Add(time.Hour)}, w.inter, w.inter)
	ch := w.checker(t, nil)
	check := func(want error, calls int) {
		t.Helper()
		if err := ch.Check(t.Context(), w.presented()); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("got %v", err)
		}
		if got := w.count("/ocsp"); got != calls {
			t.Errorf("%d calls, not %d", got, calls)
		}
	}
	check(nil, 1)
	w.ocsp(t, ocsp.Response{Status: ocsp.Revoked, RevokedAt: start}, w.inter, w.inter)
	w.Advance(59 * time.Second)
	check(nil, 1)
	w.Advance(2 * time.Second)
	check(ErrRevoked, 2)
	check(ErrRevoked, 2)
	w.handle("/ocsp", nil)
	w.Advance(61 * time.Second)
	check(ErrUnchecked, 3)
	check(ErrUnchecked, 3)
	w.ocsp(t, ocsp.Response{}, w.inter, w.inter)
	w.Advance(errorPause + time.Second)
	check(nil, 4)
	// Without a TTL every request asks.
	ch = w.checker(t, func(o *Options) { o.TTL = 0 })
	check(nil, 5)
	check(nil, 6)
}

func TestOneQuestionAtATime(t *testing.T) {
	w := newWorld(t, true)
	w.ocsp(t, ocsp.Response{}, w.inter, w.inter)
	answer, arrived, release := w.handlers["/ocsp"], make(chan struct{}, 9), make(chan struct{})
	w.handle("/ocsp", func(rw http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release; answer(rw, r) })
	ch := w.checker(t, nil)
	// The first to ask leaves; the others get the answer nevertheless.
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- ch.Check(ctx, w.presented()) }()
	<-arrived
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := ch.Check(t.Context(), w.presented()); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	group.Wait()
	if n := w.count("/ocsp"); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestRevokedIntermediate(t *testing.T) {
	w := newWorld(t, true)
	w.inter = issue(t, "intermediate 2", w.root, func(c *x509.Certificate) {
		authority(c)
		c.OCSPServer = []string{w.server.URL + "/root-ocsp"}
	})
	w.leaf = issue(t, "client", w.inter, func(c *x509.Certificate) { c.OCSPServer = []string{w.server.URL + "/ocsp"} })
	w.ocsp(t, ocsp.Response{}, w.inter, w.inter)
	if err := w.checker(t, nil).Check(t.Context(), w.presented()); !errors.Is(err, ErrUnchecked) {
		t.Errorf("nobody knows of the intermediate: %v", err)
	}
	b, err := ocsp.CreateResponse(w.root.Certificate, w.root.Certificate, ocsp.Response{SerialNumber: w.inter.SerialNumber, Status: ocsp.Revoked, RevokedAt: start, ThisUpdate: w.Now()}, w.root.key)
	if err != nil {
		t.Fatal(err)
	}
	w.answer("/root-ocsp", b)
	for _, mode := range []Mode{Strict, IgnoreCAError} {
		if err := w.checker(t, func(o *Options) { o.Mode = mode }).Check(t.Context(), w.presented()); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestListIsFetchedOnceForAll(t *testing.T) {
	w := newWorld(t, true)
	w.crl(t, w.inter, nil, big.NewInt(5))
	ch := w.checker(t, nil)
	for range 5 {
		leaf := issue(t, "client", w.inter, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{w.server.URL + "/crl"} })
		if err := ch.Check(t.Context(), &Presented{Leaf: leaf.Certificate}); err != nil {
			t.Error(err)
		}
	}
	if n := w.count("/crl"); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestTimeoutAndProxy(t *testing.T) {
	w := newWorld(t, true)
	hang := make(chan struct{})
	defer close(hang)
	w.handle("/ocsp", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	w.handle("/crl", w.handlers["/ocsp"])
	began := time.Now()
	if err := w.checker(t, func(o *Options) { o.Timeout = 50 * time.Millisecond }).Check(t.Context(), w.presented()); !errors.Is(err, ErrUnchecked) || time.Since(began) > 4*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	// A proxy for http is asked for http only.
	w = newWorld(t, false)
	w.leaf = issue(t, "client", w.inter, func(c *x509.Certificate) { c.OCSPServer = []string{"http://ocsp.invalid/ocsp"} })
	w.ocsp(t, ocsp.Response{}, w.inter, w.inter)
	proxy := w.server.Listener.Addr().String()
	if err := w.checker(t, func(o *Options) { o.HTTPProxy = proxy }).Check(t.Context(), w.presented()); err != nil {
		t.Errorf("by the proxy: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := w.checker(t, func(o *Options) { o.HTTPSProxy, o.HTTPProxy = proxy, l.Addr().String() }).Check(t.Context(), w.presented()); !errors.Is(err, ErrUnchecked) {
		t.Errorf("by the wrong proxy: %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	c := newClock()
	m := newMemory[int, int](4, c.Now)
	for i := range 100 {
		m.put(i, i, c.Now().Add(time.Duration(i%7)*time.Second))
	}
	if len(m.entries) > 4 {
		t.Errorf("%d entries", len(m.entries))
	}
	m.put(7, 7, c.Now().Add(time.Second))
	if v, ok := m.get(7); !ok || v != 7 {
		t.Error("the newest is gone")
	}
	c.Advance(time.Second)
	if _, ok := m.get(7); ok {
		t.Error("it is kept for too long")
	}
}

func BenchmarkCheckKept(b *testing.B) {
	w := newWorld(b, false)
	ch := w.checker(b, func(o *Options) { o.Mode = Skip })
	p := w.presented()
	for b.Loop() {
		if err := ch.Check(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}
