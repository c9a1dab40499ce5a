package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/postgres/pgtest"
	"kong-openid-connect/internal/store/seal"
	"kong-openid-connect/internal/store/storetest"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }

func openDB(t testing.TB, kong map[string]string) *pgdb.DB {
	t.Helper()
	settings, err := pgdb.FromKong(kong)
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgdb.Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func openStore(t testing.TB, kong map[string]string, o Options) *Store {
	t.Helper()
	s := Open(openDB(t, kong), o)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func ready(t testing.TB, stores ...*Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, s := range stores {
		if err := s.WaitReady(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually polls: what is waited for happens in other processes.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	within(t, time.Second, what, f)
}

func within(t *testing.T, d time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("within %v: %s", d, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func sealer(t testing.TB, keys ...string) *seal.Sealer {
	t.Helper()
	var material [][]byte
	for _, k := range keys {
		material = append(material, []byte(strings.Repeat(k, 40)))
	}
	s, err := seal.New(material...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSuite(t *testing.T) {
	s := pgtest.Need(t, server)
	storetest.Run(t, func(t *testing.T) storetest.Nodes {
		kong := s.Kong(s.Database(t))
		a := openStore(t, kong, Options{Sealer: sealer(t, "a")})
		b := openStore(t, kong, Options{Sealer: sealer(t, "a")})
		ready(t, a, b)
		return storetest.Nodes{A: a, B: b, Eventually: eventually}
	})
}

// As behind a transaction pooler: nothing is ever heard.
func TestSuiteWithoutNotifications(t *testing.T) {
	s := pgtest.Need(t, server)
	storetest.Run(t, func(t *testing.T) storetest.Nodes {
		kong := s.Kong(s.Database(t))
		a := openStore(t, kong, Options{Poll: 100 * time.Millisecond})
		b := openStore(t, kong, Options{Poll: 100 * time.Millisecond})
		ready(t, a, b)
		for _, n := range []*Store{a, b} {
			n.deafen(t)
		}
		return storetest.Nodes{A: a, B: b, Eventually: eventually}
	})
}

// deafen ends the connection that listens, for good.
func (s *Store) deafen(t *testing.T) {
	t.Helper()
	s.stopListening()
	if s.hears.Load() {
		t.Fatal("still listening")
	}
	s.note(syncAll)
}

// Between two looks nothing tells a node of a change: it must look by itself.
func TestPolling(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a := openStore(t, kong, Options{Poll: 100 * time.Millisecond})
	b := openStore(t, kong, Options{Poll: 100 * time.Millisecond})
	ready(t, a, b)
	a.deafen(t)
	b.deafen(t)
	for i := range 5 {
		key := string(rune('a' + i))
		if err := a.Revoke(t.Context(), key, time.Now(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "revocation "+key+" is seen", func() bool {
			ok, err := b.Revoked(t.Context(), key)
			return ok && err == nil
		})
	}
}

func TestOneOfManyOnTwoNodes(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	for round := range 100 {
		key := fmt.Sprint("refresh ", round)
		var runs atomic.Int32
		var wg sync.WaitGroup
		for i := range 20 {
			st := []*Store{a, b}[i%2]
			wg.Go(func() {
				v, err := st.Once(context.Background(), key, 10*time.Second, 10*time.Second, func(context.Context) ([]byte, error) {
					runs.Add(1)
					return []byte(key), nil
				})
				if err != nil || string(v) != key {
					t.Errorf("%s: %q, %v", key, v, err)
				}
			})
		}
		wg.Wait()
		if runs.Load() != 1 {
			t.Fatalf("%s ran %d times", key, runs.Load())
		}
	}
}

// A node that dies at its work holds the others up no longer than its lease,
// and what it says afterwards no longer counts.
func TestLeaseEnds(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	begun, stuck := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = a.Once(context.Background(), "k", 500*time.Millisecond, time.Minute, func(context.Context) ([]byte, error) {
			close(begun)
			<-stuck
			return []byte("late"), nil
		})
	})
	<-begun
	_, err := b.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) {
		t.Error("a waiter ran")
		return nil, nil
	})
	if !errors.Is(err, store.ErrLost) {
		t.Errorf("waiter: %v", err)
	}
	v, err := b.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("second"), nil })
	if err != nil || string(v) != "second" {
		t.Errorf("after the lease: %q, %v", v, err)
	}
	close(stuck)
	wg.Wait()
	v, err = b.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return nil, errors.New("ran again") })
	if err != nil || string(v) != "second" {
		t.Errorf("after the late one: %q, %v", v, err)
	}
}

var issuer = store.Key{Issuer: "https://idp.test"}

func object(doc string) store.Discovery {
	return store.Discovery{Key: issuer, Configured: issuer.Issuer, Configuration: json.RawMessage(doc),
		KeySets: []store.KeySet{{Issuer: issuer.Issuer, URI: issuer.Issuer + "/jwks", JWKS: json.RawMessage(`{"keys":[]}`)}}}
}

func TestTenStoresMigrateOnce(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	var migrated, failed atomic.Int32
	log := slog.New(countMigrations{slog.DiscardHandler, &migrated, &failed})
	var stores []*Store
	for range 10 {
		stores = append(stores, openStore(t, s.Kong(name), Options{Log: log}))
	}
	ready(t, stores...)
	if migrated.Load() != 1 || failed.Load() != 0 {
		t.Errorf("%d stores migrated, %d failed at it", migrated.Load(), failed.Load())
	}
	out, err := s.SQL(name, "SELECT count(*), max(version) FROM oidc_migrations")
	if err != nil || out != "1|1" {
		t.Errorf("migrations: %s, %v", out, err)
	}
	secrets := make([]store.Secret, len(stores))
	var wg sync.WaitGroup
	for i, st := range stores {
		wg.Go(func() {
			var err error
			if secrets[i], err = st.SessionSecret(context.Background(), issuer, issuer.Issuer); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range secrets {
		if !secrets[i].Equal(secrets[0]) {
			t.Fatal("nodes have different secrets")
		}
	}
}

type countMigrations struct {
	slog.Handler
	n, failed *atomic.Int32
}

func (countMigrations) Enabled(context.Context, slog.Level) bool { return true }

func (c countMigrations) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "tables in Kong's database") {
		c.n.Add(1)
	}
	if r.Level >= slog.LevelError {
		c.failed.Add(1)
	}
	return nil
}

func TestSchemaOfItsOwn(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	if out, err := s.SQL(name, `CREATE SCHEMA "odd ""schema"`); err != nil {
		t.Fatal(out)
	}
	kong := s.Kong(name)
	other := openStore(t, kong, Options{})
	kong["pg_schema"] = `odd "schema`
	st := openStore(t, kong, Options{})
	ready(t, other, st)
	if err := st.PutObject(t.Context(), object(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Object(t.Context(), issuer); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another schema sees the object: %v", err)
	}
	out, err := s.SQL(name, `SELECT count(*) FROM information_schema.tables WHERE table_schema = 'odd "schema' AND table_name LIKE 'oidc\_%'`)
	if err != nil || out != "5" {
		t.Errorf("tables: %s, %v", out, err)
	}
}

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

// A database that hangs is worse than one that is gone: connections stay open.
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
	if err := st.Check(t.Context()); !errors.As(err, &u) || time.Since(start) > 100*time.Millisecond {
		t.Errorf("second check: %v after %v, want at once", err, time.Since(start))
	}
	thaw()
	within(t, 10*time.Second, "it answers again", func() bool {
		_, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer)
		return err == nil
	})
}

func TestSealedAtRest(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	ctx := t.Context()
	private := "the private key"
	get := func(sl *seal.Sealer) (secret store.Secret, keys []store.OwnKey, err error) {
		st := openStore(t, s.Kong(name), Options{Sealer: sl})
		ready(t, st)
		if secret, err = st.SessionSecret(ctx, issuer, issuer.Issuer); err != nil {
			return secret, nil, err
		}
		if _, err = st.AddOwnKey(ctx, store.OwnKey{KID: "k", Algorithm: "ES256", Private: store.NewSecret([]byte(private)), CreatedAt: time.Now()}); err != nil {
			return secret, nil, err
		}
		keys, err = st.OwnKeys(ctx)
		return secret, keys, err
	}
	dump := func() []byte {
		out, err := s.SQL(name, `SELECT encode(secret, 'escape') FROM oidc_discovery; SELECT encode(private, 'escape') FROM oidc_keys`)
		if err != nil {
			t.Fatal(out)
		}
		return []byte(out)
	}
	first, _, err := get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(dump(), []byte(private)) {
		t.Fatal("the test does not see what is stored in clear")
	}
	// A node with a key seals what it finds in clear.
	v, keys, err := get(sealer(t, "a"))
	if err != nil || !v.Equal(first) || string(keys[0].Private.Reveal()) != private {
		t.Fatalf("in clear before: %v", err)
	}
	within(t, 5*time.Second, "the values are sealed", func() bool { return !bytes.Contains(dump(), []byte(private)) })
	// A new key seals anew what an older one sealed.
	before := dump()
	if v, _, err := get(sealer(t, "b", "a")); err != nil || !v.Equal(first) {
		t.Errorf("rotation of the seal key: %v", err)
	}
	within(t, 5*time.Second, "the values are sealed anew", func() bool { return !bytes.Equal(dump(), before) })
	var unreadable *store.Unreadable
	if _, _, err := get(sealer(t, "a")); !errors.As(err, &unreadable) {
		t.Errorf("with the old key only: %v", err)
	}
	if _, _, err := get(nil); !errors.As(err, &unreadable) {
		t.Errorf("without a key: %v", err)
	}
	if v, _, err := get(sealer(t, "b")); err != nil || !v.Equal(first) {
		t.Errorf("a node without the key spoilt the values: %v", err)
	}
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

func TestExpiredRowsAreRemoved(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	if out, err := s.SQL(name, `INSERT INTO oidc_revocations SELECT 'k' || i, now() - interval '2 hours', now(), now() - interval '1 hour', now() FROM generate_series(1, 100) i;
INSERT INTO oidc_locks SELECT 'k' || i, gen_random_uuid(), 1, now() - interval '1 hour', NULL FROM generate_series(1, 100) i;
INSERT INTO oidc_revocations VALUES ('live', now(), now(), now() + interval '1 hour', now())`); err != nil {
		t.Fatal(out)
	}
	st.clean(t.Context())
	out, err := s.SQL(name, `SELECT (SELECT count(*) FROM oidc_revocations), (SELECT count(*) FROM oidc_locks)`)
	if err != nil || out != "1|0" {
		t.Errorf("left: %s, %v", out, err)
	}
}

func TestManyRevocationsAreReadInPages(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	first := openStore(t, s.Kong(name), Options{})
	ready(t, first)
	// All of one statement have the same written_at: pages must not lose any.
	if out, err := s.SQL(name, `INSERT INTO oidc_revocations SELECT 'k' || i, now(), now(), now() + interval '1 hour', now() FROM generate_series(1, 50000) i`); err != nil {
		t.Fatal(out)
	}
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	if n := st.revoked.Len(); n != 50000 {
		t.Errorf("%d of 50000 were read", n)
	}
}

func FuzzRevocation(f *testing.F) {
	f.Add("r 1 2 3 key with spaces")
	f.Fuzz(func(t *testing.T, payload string) {
		key, span, ok := parseRevocation(payload)
		if !ok {
			return
		}
		again, span2, ok := parseRevocation(formatRevocation(key, span))
		if !ok || again != key || span != span2 {
			t.Errorf("%q does not come back", payload)
		}
	})
}
