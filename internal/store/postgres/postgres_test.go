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

func TestCase48OneOfManyOnTwoNodes(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	for round := range 100 {
		storetest.OneRun(t, 20, fmt.Sprint("refresh ", round), nil, a, b)
	}
}

func TestAClaimIsMadeOnceOnTwoNodes(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	for round := range 20 {
		storetest.FirstOfMany(t, 10, func(i int) (bool, error) {
			return []*Store{a, b}[i%2].Claim(context.Background(), fmt.Sprint("login ", round), time.Minute)
		})
	}
	if ok, err := a.Claim(t.Context(), "short", time.Millisecond); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	within(t, 5*time.Second, "a claim ends", func() bool {
		ok, err := b.Claim(t.Context(), "short", time.Minute)
		return ok && err == nil
	})
	for _, key := range []string{"", strings.Repeat("x", store.MaxKey+1)} {
		if _, err := a.Claim(t.Context(), key, time.Minute); err == nil {
			t.Errorf("key %.8q was taken", key)
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

// A database that hangs is worse than one that is gone: connections stay open.
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

func TestExpiredRowsAreRemoved(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	if out, err := s.SQL(name, `INSERT INTO oidc_revocations SELECT 'k' || i, now() - interval '2 hours', now(), now() - interval '1 hour', now() FROM generate_series(1, 100) i;
INSERT INTO oidc_locks SELECT 'k' || i, gen_random_uuid(), 1, now() - interval '1 hour', NULL FROM generate_series(1, 25000) i;
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
