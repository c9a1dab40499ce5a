package memcached_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memcached"
	"kong-openid-connect/internal/session/storetest"
	"kong-openid-connect/internal/testservers"
)

func open(t testing.TB, o memcached.Options) *memcached.Store {
	t.Helper()
	s, err := memcached.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// wait lets real time go by: memcached's clock cannot be moved.
func wait(d time.Duration) { <-time.After(d) }

func suite(t *testing.T, o memcached.Options) {
	t.Helper()
	s := open(t, o)
	var n atomic.Int32
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		t.Parallel()
		return storetest.Backend{Store: s, Now: time.Now, Pass: wait, Prefix: fmt.Sprintf("run%d-", n.Add(1))}
	}, storetest.Needs{})
}

func TestSuite(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{})
	suite(t, memcached.Options{Host: m.Host, Port: m.Port})
}

func TestSuiteSocket(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{Socket: true})
	suite(t, memcached.Options{Host: "elsewhere.invalid", Socket: m.Socket})
}

func TestSuiteTLS(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{TLS: true})
	suite(t, memcached.Options{Host: m.Host, Port: m.Port, TLS: true, Roots: m.Roots})
}

func TestTLSIsVerified(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{TLS: true})
	base := memcached.Options{Host: m.Host, Port: m.Port, TLS: true}
	for name, c := range map[string]struct {
		change func(*memcached.Options)
		works  bool
	}{
		"trusted":             {func(o *memcached.Options) { o.Roots = m.Roots }, true},
		"server name":         {func(o *memcached.Options) { o.Roots, o.ServerName = m.Roots, testservers.ServerName }, true},
		"another server name": {func(o *memcached.Options) { o.Roots, o.ServerName = m.Roots, "other.test" }, false},
		"unknown authority":   {func(o *memcached.Options) {}, false},
		"not verified":        {func(o *memcached.Options) { o.TLSSkipVerify = true }, true},
		"no TLS":              {func(o *memcached.Options) { o.TLS = false }, false},
	} {
		o := base
		c.change(&o)
		err := open(t, o).Check(t.Context())
		if (err == nil) != c.works {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{})
	s := open(t, memcached.Options{Host: m.Host, Port: m.Port, Prefix: "app"})
	for _, key := range []string{"a", "with blank", "line\r\nset x 0 0 1", strings.Repeat("k", 300), "\x00", "é", ""} {
		if err := s.Set(t.Context(), key, []byte(key), time.Minute); err != nil {
			t.Errorf("Set(%q): %v", key, err)
		}
	}
	for _, key := range []string{"a", "with blank", "line\r\nset x 0 0 1", strings.Repeat("k", 300), "\x00", "é", ""} {
		if v, err := s.Get(t.Context(), key); err != nil || string(v) != key {
			t.Errorf("Get(%q) = %q, %v", key, v, err)
		}
	}
	if _, err := open(t, memcached.Options{Host: m.Host, Port: m.Port}).Get(t.Context(), "a"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("under another prefix: %v", err)
	}
}

// TestLongLives: memcached reads more than 30 days as a date.
func TestLongLives(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{})
	s := open(t, memcached.Options{Host: m.Host, Port: m.Port})
	for _, days := range []int{29, 31, 400} {
		key := fmt.Sprint(days)
		if err := s.Set(t.Context(), key, []byte("v"), time.Duration(days)*24*time.Hour); err != nil {
			t.Fatal(err)
		}
		if v, err := s.Get(t.Context(), key); err != nil || string(v) != "v" {
			t.Errorf("%d days: %q, %v", days, v, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	m := testservers.StartMemcached(t, testservers.MemcachedOptions{})
	s := open(t, memcached.Options{Host: m.Host, Port: m.Port})
	if err := s.Set(t.Context(), "k", make([]byte, memcached.MaxValue+1), time.Minute); err == nil || !strings.Contains(err.Error(), "use redis") {
		t.Error(err)
	}
	value := bytes.Repeat([]byte("x"), memcached.MaxValue)
	if err := s.Set(t.Context(), "k", value, time.Minute); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get(t.Context(), "k"); err != nil || !bytes.Equal(v, value) {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	if err := s.Set(t.Context(), "k", nil, 0); err == nil {
		t.Error("a session without time was stored")
	}
}

// TestCase47PooledConnectionsDie is case 47.
func TestCase47PooledConnectionsDie(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			m := testservers.StartMemcached(t, testservers.MemcachedOptions{TLS: tls})
			s := open(t, memcached.Options{Host: m.Host, Port: m.Port, TLS: tls, Roots: m.Roots})
			for range 3 {
				var wg sync.WaitGroup
				for i := range 32 {
					wg.Go(func() {
						if err := s.Set(t.Context(), fmt.Sprint(i), []byte("v"), time.Minute); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				m.Kill()
				_, err := s.Get(t.Context(), "7")
				if err == nil || errors.Is(err, session.ErrNotFound) {
					t.Fatalf("while it is down: %v", err)
				}
				m.Start()
				if _, err := s.Get(t.Context(), "7"); !errors.Is(err, session.ErrNotFound) {
					t.Fatalf("back, and empty: %v", err)
				}
			}
		})
	}
}

func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, memcached.Options{Port: l.Addr().(*net.TCPAddr).Port, Timeout: 200 * time.Millisecond})
	began := time.Now()
	if err := s.Set(t.Context(), "k", nil, time.Minute); err == nil || time.Since(began) > time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began = time.Now()
	if _, err := s.Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 150*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// TestErrorsShowNoValues: memcached and its client repeat parts of an exchange.
func TestErrorsShowNoValues(t *testing.T) {
	const secret = "s3cret"
	for _, answer := range []string{"SERVER_ERROR " + secret + "\r\n", "VALUE " + secret + "\r\n", secret + "\r\n", "VALUE sessions:k 0 99 1\r\n" + secret + "\r\nEND\r\n"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					b := make([]byte, 4096)
					_, _ = c.Read(b)
					_, _ = c.Write([]byte(answer))
					c.Close()
				}()
			}
		}()
		s := open(t, memcached.Options{Port: l.Addr().(*net.TCPAddr).Port})
		_, err1 := s.Get(t.Context(), "k")
		err2 := s.Set(t.Context(), "k", []byte(secret), time.Minute)
		for _, err := range []error{err1, err2} {
			if err == nil || errors.Is(err, session.ErrNotFound) || strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %v", answer, err)
			}
		}
		l.Close()
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for _, o := range []memcached.Options{{Port: -1}, {Port: 70000}, {Timeout: -1}, {Socket: "s"}, {Socket: "/s", TLS: true}} {
		if _, err := memcached.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func BenchmarkStore(b *testing.B) {
	m := testservers.StartMemcached(b, testservers.MemcachedOptions{})
	s := open(b, memcached.Options{Host: m.Host, Port: m.Port})
	value := make([]byte, 4096)
	if err := s.Set(b.Context(), "id", value, time.Hour); err != nil {
		b.Fatal(err)
	}
	for name, op := range map[string]func() error{
		"Get": func() error { _, err := s.Get(b.Context(), "id"); return err },
		"Set": func() error { return s.Set(b.Context(), "id", value, time.Hour) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := op(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
