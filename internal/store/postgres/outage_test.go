package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

func TestDatabaseDownAtStart(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	s.Stop()
	st := openStore(t, kong, Options{})
	var u *store.Unavailable
	start := time.Now()
	for name, f := range map[string]func() error{
		"secret":  func() error { _, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer); return err },
		"object":  func() error { _, err := st.Object(t.Context(), issuer); return err },
		"put":     func() error { return st.PutObject(t.Context(), object(`{"early":true}`)) },
		"list":    func() error { _, err := st.ListObjects(t.Context(), "", 10); return err },
		"revoked": func() error { _, err := st.Revoked(t.Context(), "k"); return err },
		"keys":    func() error { _, err := st.OwnKeys(t.Context()); return err },
		"lock": func() error {
			_, err := st.Once(t.Context(), "k", time.Second, time.Second, func(context.Context) ([]byte, error) { return nil, nil })
			return err
		},
		"check": func() error { return st.Check(t.Context()) },
	} {
		if err := f(); !errors.As(err, &u) {
			t.Errorf("%s: %v, want Unavailable", name, err)
		}
	}
	if err := st.Revoke(t.Context(), "gone", time.Now(), time.Now().Add(time.Hour)); !errors.As(err, &u) {
		t.Errorf("revoke: %v, want Unavailable", err)
	}
	if ok, err := st.Revoked(t.Context(), "gone"); err != nil || !ok {
		t.Errorf("this node does not honour its own revocation: %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("failing took %v", d)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	ready(t, st)
	if _, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer); err != nil {
		t.Errorf("after the start: %v", err)
	}
	other := openStore(t, kong, Options{})
	ready(t, other)
	within(t, 10*time.Second, "what was put and revoked while it was away reaches another node", func() bool {
		d, err := other.Object(t.Context(), issuer)
		ok, rerr := other.Revoked(t.Context(), "gone")
		return err == nil && string(d.Configuration) == `{"early":true}` && rerr == nil && ok
	})
}

func TestDatabaseRestartsUnderLoad(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	ctx := t.Context()
	if err := a.PutObject(ctx, object(`{"v":1}`)); err != nil {
		t.Fatal(err)
	}
	secret, err := a.SessionSecret(ctx, issuer, issuer.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.AddOwnKey(ctx, store.OwnKey{KID: "k", Algorithm: "ES256", Private: store.NewSecret([]byte("x")), CreatedAt: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := a.Revoke(ctx, "gone", time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node knows all of it", func() bool {
		v, err := b.SessionSecret(ctx, issuer, issuer.Issuer)
		ok, rerr := b.Revoked(ctx, "gone")
		keys, kerr := b.OwnKeys(ctx)
		return err == nil && v.Equal(secret) && rerr == nil && ok && kerr == nil && len(keys) == 1
	})

	stop := make(chan struct{})
	var reads atomic.Int64
	var slowest atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		st := []*Store{a, b}[i%2]
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				d, err := st.Object(ctx, issuer)
				if err != nil || string(d.Configuration) == "" {
					t.Errorf("object: %v", err)
					return
				}
				if v, err := st.SessionSecret(ctx, issuer, issuer.Issuer); err != nil || !v.Equal(secret) {
					t.Errorf("secret: %v", err)
					return
				}
				if ok, err := st.Revoked(ctx, "gone"); err != nil || !ok {
					t.Errorf("revoked: %v", err)
					return
				}
				if keys, err := st.OwnKeys(ctx); err != nil || len(keys) != 1 {
					t.Errorf("own keys: %d, %v", len(keys), err)
					return
				}
				if all, err := st.ListObjects(ctx, "", 10); err != nil || len(all) != 1 {
					t.Errorf("list: %d, %v", len(all), err)
					return
				}
				for took := int64(time.Since(start)); ; {
					old := slowest.Load()
					if took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
				reads.Add(1)
				<-time.After(time.Millisecond)
			}
		})
	}
	more := func(n int64) {
		from := reads.Load()
		within(t, 20*time.Second, "readers go on", func() bool { return reads.Load() > from+n })
	}
	more(50)
	s.Stop()
	more(50)
	_ = a.PutObject(ctx, object(`{"v":2}`))
	var u *store.Unavailable
	if err := a.Revoke(ctx, "later", time.Now(), time.Now().Add(time.Hour)); !errors.As(err, &u) {
		t.Errorf("revoke while away: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	more(50)
	within(t, 15*time.Second, "the state converges", func() bool {
		d, err := b.Object(ctx, issuer)
		ok, rerr := b.Revoked(ctx, "later")
		return err == nil && string(d.Configuration) == `{"v":2}` && rerr == nil && ok
	})
	close(stop)
	wg.Wait()
	t.Logf("%d rounds of reads, the slowest took %v", reads.Load(), time.Duration(slowest.Load()))
}

func TestDatabaseThatHangs(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	st := openStore(t, kong, Options{})
	ready(t, st)
	if err := st.PutObject(t.Context(), object(`{}`)); err != nil {
		t.Fatal(err)
	}
	thaw := s.Freeze()
	defer thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	var u *store.Unavailable
	if _, err := st.SessionSecret(ctx, issuer, issuer.Issuer); !errors.As(err, &u) {
		t.Errorf("secret: %v", err)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("waited %v beyond a deadline of 200ms", d)
	}
	if _, err := st.Object(t.Context(), issuer); err != nil {
		t.Errorf("object from memory: %v", err)
	}
	start = time.Now()
	if err := st.Check(t.Context()); !errors.As(err, &u) || time.Since(start) > pgdb.MaxWait+time.Second {
		t.Errorf("check: %v after %v", err, time.Since(start))
	}
	start = time.Now()
	if err := st.Check(t.Context()); !errors.As(err, &u) || time.Since(start) > pgdb.MaxWait/2 {
		t.Errorf("second check: %v after %v, want at once", err, time.Since(start))
	}
	thaw()
	within(t, 10*time.Second, "it answers again", func() bool {
		_, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer)
		return err == nil
	})
}

func TestTablesAreMadeAnewAfterAReset(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	first, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.SQL(name, "DROP SCHEMA public CASCADE; CREATE SCHEMA public"); err != nil {
		t.Fatal(out)
	}
	within(t, 10*time.Second, "the store works again, with another secret", func() bool {
		_ = st.Check(t.Context())
		_, _ = st.ListObjects(t.Context(), "", 1)
		v, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer)
		return err == nil && !v.Equal(first)
	})
}
