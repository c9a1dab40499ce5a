package plugin

import (
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/certcheck"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/param"
)

// slowEntities answers about CA certificates as it is told to.
type slowEntities struct {
	entities.None

	mu    sync.Mutex
	pem   string
	err   error
	hangs bool // until the lookup's own time is over
	looks int
	atRun int // lookups that run at this time
	most  int
}

func (e *slowEntities) For(entities.Loader) entities.Lookups { return e }

func (e *slowEntities) CACertificate(ctx context.Context, _ string) (*entities.CACertificate, error) {
	e.mu.Lock()
	e.looks++
	e.atRun++
	e.most = max(e.most, e.atRun)
	hangs := e.hangs
	e.mu.Unlock()
	if hangs {
		<-ctx.Done()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.atRun--
	if hangs {
		return nil, &entities.LookupError{What: "CA certificate", Err: ctx.Err()}
	}
	if e.err != nil {
		return nil, e.err
	}
	return &entities.CACertificate{Cert: e.pem}, nil
}

func (e *slowEntities) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// asked is how many lookups began since the last question.
func (e *slowEntities) asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.looks
	e.looks = 0
	return n
}

func authorityPEM(t *testing.T) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newAuthority(t).cert.Raw}))
}

func newCertificateHeader(e *slowEntities) *certificateHeader {
	return &certificateHeader{
		config: &CertificateHeader{CACertificates: []param.UUID{"a"}, RevocationCheckMode: RevocationModeSkip},
		env:    &Environment{Now: time.Now, Connections: NewConnections(nil, time.Now, nil), Entities: e, Log: slog.New(slog.DiscardHandler)},
	}
}

// A request with a certificate in a header waits for no lookup while the last
// authorities may serve, and no request waits behind another's.
func TestAuthoritiesServeWhileTheyAreLookedUp(t *testing.T) {
	text := authorityPEM(t)
	synctest.Test(t, func(t *testing.T) {
		e := &slowEntities{pem: text}
		h := newCertificateHeader(e)
		first, err := h.current(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// many returns how long the slowest of many requests at once takes.
		many := func(want *certcheck.Checker, fails bool) time.Duration {
			t.Helper()
			start := time.Now()
			var slowest time.Duration
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					c, err := h.current(t.Context())
					if fails != (err != nil) || c != want {
						t.Errorf("checker %p, want %p, error %v", c, want, err)
					}
					mu.Lock()
					defer mu.Unlock()
					slowest = max(slowest, time.Since(start))
				})
			}
			wg.Wait()
			return slowest
		}
		e.asked()
		many(first, false)
		if n := e.asked(); n != 0 {
			t.Errorf("%d lookups while the authorities are kept", n)
		}

		e.set(func() { e.hangs = true })
		time.Sleep(authoritiesKept)
		for range 3 { // the look hangs
			if d := many(first, false); d != 0 {
				t.Fatalf("requests waited %v for a lookup", d)
			}
			time.Sleep(authoritiesLook / 5)
		}
		synctest.Wait()
		if n := e.asked(); n != 1 || e.most != 1 {
			t.Errorf("%d lookups, %d at a time", n, e.most)
		}
		time.Sleep(authoritiesLook) // it has failed, and the pause is over
		many(first, false)
		synctest.Wait()
		if n := e.asked(); n != 1 {
			t.Errorf("%d lookups after the first that failed", n)
		}

		time.Sleep(authoritiesServe) // too old
		if d := many(nil, true); d == 0 || d > authoritiesLook {
			t.Errorf("requests waited %v behind one another", d)
		}
		if n := e.asked(); n != 1 {
			t.Errorf("%d lookups for many requests at once", n)
		}

		e.set(func() { e.hangs = false })
		many(first, false) // the same authorities: what was learned of certificates is kept
		e.set(func() { e.pem = authorityPEM(t) })
		time.Sleep(authoritiesKept)
		if c, err := h.current(t.Context()); err != nil || c != first {
			t.Errorf("the last authorities do not serve: %v", err)
		}
		synctest.Wait()
		if c, err := h.current(t.Context()); err != nil || c == first {
			t.Errorf("other authorities have the same checker (%v)", err)
		}
	})
}

// Lookups that fail at once are not repeated by each request.
func TestAuthoritiesAreLookedUpWithAPauseWhileThatFails(t *testing.T) {
	text := authorityPEM(t)
	synctest.Test(t, func(t *testing.T) {
		e := &slowEntities{pem: text}
		h := newCertificateHeader(e)
		if _, err := h.current(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.set(func() { e.err = &entities.LookupError{What: "CA certificate", Err: errors.New("away")} })
		time.Sleep(authoritiesKept)
		e.asked()
		for range 1000 {
			if _, err := h.current(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		if n := e.asked(); n != 2 {
			t.Errorf("%d lookups in ten seconds", n)
		}
	})
}

// Kong's word counts at once: only an outage is bridged.
func TestAuthoritiesThatAreGoneServeNoLonger(t *testing.T) {
	text := authorityPEM(t)
	for name, gone := range map[string]func(*slowEntities){
		"the certificate was deleted": func(e *slowEntities) { e.err = entities.ErrNotFound },
		"it is no certificate":        func(e *slowEntities) { e.pem = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &slowEntities{pem: text}
				h := newCertificateHeader(e)
				if _, err := h.current(t.Context()); err != nil {
					t.Fatal(err)
				}
				e.set(func() { gone(e) })
				time.Sleep(authoritiesKept)
				_, _ = h.current(t.Context())
				synctest.Wait()
				for range 2 {
					if c, err := h.current(t.Context()); err == nil || c != nil {
						t.Fatal("authorities that are gone serve on")
					}
				}
				e.set(func() { e.err, e.pem = nil, text })
				if _, err := h.current(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A caller who gives up before the first lookup ends gets no checker, and the
// lookup goes on for the others.
func TestACallerWhoGivesUpEndsNoLookup(t *testing.T) {
	text := authorityPEM(t)
	synctest.Test(t, func(t *testing.T) {
		e := &slowEntities{pem: text, hangs: true}
		h := newCertificateHeader(e)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if c, err := h.current(ctx); c != nil || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v, %v after %v", c, err, time.Since(start))
		}
		if _, err := h.current(t.Context()); err == nil || time.Since(start) != authoritiesLook {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if e.looks != 1 {
			t.Errorf("%d lookups", e.looks)
		}
	})
}
