package session_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
)

// TestOneCallersChangesReachNobodyElse: what is kept is shared, sessions are not.
func TestOneCallersChangesReachNobodyElse(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, with(newOpenings()))
		b := newBrowser(t)
		b.login(m, "alex", "data")
		b.has(m, "alex", "data")
		s := b.has(m, "alex", "data")
		s.Subject, s.Issuer, s.SID, s.Data = "mallory", "other", "sid", []byte("changed")
		b.has(m, "alex", "data")
	})
}

// TestParallelRequestsOfOneSession is for the race detector.
func TestParallelRequestsOfOneSession(t *testing.T) {
	stores(t, func(t *testing.T, c *clock, in func(*session.Config)) {
		m := c.manager(t, in, with(newOpenings()), func(o *session.Config) {
			o.Decode = func(data []byte) (any, error) { return string(data), nil }
		})
		b := newBrowser(t)
		b.login(m, "alex", "data")
		c.pass(2 * time.Minute) // due for a touch
		var wg sync.WaitGroup
		for i := range 16 {
			own := b.copy()
			wg.Go(func() {
				s, why, err := m.Open(t.Context(), own.input())
				if s == nil || s.Decoded() != string(s.Data) { // a parallel one may have saved other data
					t.Errorf("no session: %v, %v", why, err)
					return
				}
				switch {
				case i%2 == 0:
					_, err = m.Touch(t.Context(), own.input(), s)
				case i == 1: // more in a row than requests follow would be too many
					s.Data = []byte("other")
					_, err = m.Save(t.Context(), own.input(), s)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestPayloadsAreDecodedOnce(t *testing.T) {
	c := newClock()
	o := newOpenings()
	n := 0
	m := c.manager(t, with(o), func(o *session.Config) {
		o.Decode = func(data []byte) (any, error) { n++; return string(data), nil }
	})
	b := newBrowser(t)
	if s := b.login(m, "alex", "data"); s.Decoded() != nil {
		t.Fatal("a session that was not opened was decoded")
	}
	for range 3 {
		if s := b.has(m, "alex", "data"); s.Decoded() != "data" {
			t.Fatalf("decoded to %v", s.Decoded())
		}
	}
	if n != 1 {
		t.Fatalf("decoded %d times", n)
	}
}

func TestEndedAndRestoredSessionsAreNotKept(t *testing.T) {
	c := newClock()
	o := newOpenings()
	list := c.store()
	m := c.manager(t, remembering, with(o), func(o *session.Config) { o.Revocations = list })
	b := newBrowser(t)
	b.login(m, "alex", "data")
	b.has(m, "alex", "data")
	if o.Len() != 1 {
		t.Fatalf("%d are kept", o.Len())
	}
	restored := b.copy()
	delete(restored.cookies, "session")
	found(t, o, 0, func() { restored.has(m, "alex", "data"); restored.has(m, "alex", "data") })
	copied := b.copy()
	set, err := m.Destroy(t.Context(), b.input(), b.has(m, "alex", "data"))
	b.take(set, err)
	copied.hasNot(m, session.Revoked)
	if o.Len() != 0 {
		t.Fatal("what a session was opened to outlives its logout")
	}
}

func TestOpeningsAreBounded(t *testing.T) {
	o := session.NewOpenings(session.OpeningsOptions{Bytes: 256 << 10, MaxAge: time.Hour})
	c := newClock()
	m := c.manager(t, with(o))
	for i := range 200 {
		b := newBrowser(t)
		data := fmt.Sprint(i) + noise(4000)
		b.login(m, "alex", data)
		b.has(m, "alex", data)
	}
	if w := o.Weight(); w == 0 || w > 256<<10 {
		t.Fatalf("%d bytes are kept", w)
	}
	if n := o.Len(); n == 0 || n > 20 {
		t.Fatalf("%d sessions are kept", n)
	}
}

// TestOpeningsEndWithTheirManager: a policy that is replaced leaves nothing behind.
func TestOpeningsEndWithTheirManager(t *testing.T) {
	o := newOpenings()
	c := newClock()
	stays := c.manager(t, with(o))
	b := newBrowser(t)
	b.login(stays, "alex", "data")
	b.has(stays, "alex", "data")
	func() {
		m := c.manager(t, with(o), func(o *session.Config) { o.Audience = "replaced" })
		b := newBrowser(t)
		b.login(m, "alex", "data")
		b.has(m, "alex", "data")
	}()
	for deadline := time.Now().Add(10 * time.Second); o.Len() != 1; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d are kept", o.Len())
		}
	}
	found(t, o, 1, func() { b.has(stays, "alex", "data") })
}

// TestWhatAnOpeningWeighs holds the estimate against the heap: it must not be less.
func TestWhatAnOpeningWeighs(t *testing.T) {
	const n = 2000
	o := session.NewOpenings(session.OpeningsOptions{Bytes: 1 << 30, MaxAge: time.Hour})
	c := newClock()
	m := c.manager(t, with(o), func(o *session.Config) {
		o.MaxHeaderLine = 16 << 10
		o.Decode = func(data []byte) (any, error) { return string(data), nil } // tokens are text
	})
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	for i := range n {
		b := newBrowser(t)
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		b.login(m, "alex", fmt.Sprintf("%x", sum)+noise(4000))
		b.open(m)
	}
	if o.Len() != n {
		t.Fatalf("%d are kept", o.Len())
	}
	took := heap() - before
	t.Logf("%d bytes each in memory, %d by the estimate", took/n, o.Weight()/n)
	if took > o.Weight() {
		t.Errorf("%d openings take %d bytes, %d by the estimate", n, took, o.Weight())
	}
	runtime.KeepAlive(m)
}
