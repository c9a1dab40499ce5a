package postgres

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

// lines takes what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Nodes read a row again when its version has grown, so the last of two
// writers must never leave the lower one: it asks for the number when it has
// the row, not before it waits for it.
func TestVersionOfARowOnlyGrows(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	a := openStore(t, s.Kong(name), Options{})
	ready(t, a)
	for what, write := range map[string]func() error{
		"object": func() error { return a.PutObject(t.Context(), object(`{"v":2}`)) },
		"secret": func() error { _, err := a.SessionSecret(t.Context(), issuer, issuer.Issuer); return err },
	} {
		t.Run(what, func(t *testing.T) {
			if err := a.DeleteObjects(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := a.PutObject(t.Context(), object(`{"v":1}`)); err != nil {
				t.Fatal(err)
			}
			c, err := a.db.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			tx, err := c.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const other = `UPDATE oidc_discovery SET version = nextval('oidc_version') RETURNING version`
			var last int64
			if err := tx.QueryRow(t.Context(), other).Scan(&last); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- write() }()
			within(t, 2*time.Second, "the writer waits for the row", func() bool {
				n, err := s.SQL(name, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`)
				return err == nil && n == "1"
			})
			if err := tx.QueryRow(t.Context(), other).Scan(&last); err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var version int64
			if err := c.QueryRow(t.Context(), `SELECT version FROM oidc_discovery`).Scan(&version); err != nil || version <= last {
				t.Errorf("version %d after %d, %v", version, last, err)
			}
		})
	}
}

// What a node could not write is not written any more when another node has
// deleted it meanwhile: DELETE forgets.
func TestDeletedObjectsAreNotWrittenLater(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	a, b := openStore(t, s.Kong(name), Options{}), openStore(t, s.Kong(name), Options{})
	ready(t, a, b)
	if err := a.PutObject(t.Context(), object(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Object(t.Context(), issuer); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteObjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()                               // nobody else looks
	b.pending.putObject(object(`{"old":true}`)) // as while the database was away
	b.mirror.put(&entry{d: &store.Discovery{Key: issuer, ID: "00000000-0000-4000-8000-000000000000"}, version: 1})
	if err := b.update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.SQL(name, `SELECT count(*) FROM oidc_discovery`); err != nil || n != "0" {
		t.Errorf("%s objects after the deletion, %v", n, err)
	}
}

// A row that was read before a deletion and arrives after it changes nothing:
// its secret would sign sessions still.
func TestDeletedObjectsDoNotComeBack(t *testing.T) {
	s := pgtest.Need(t, server)
	st := openStore(t, s.Kong(s.Database(t)), Options{})
	ready(t, st)
	before, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	late := st.mirror.object(issuer)
	if err := st.DeleteObject(t.Context(), late.d.ID); err != nil {
		t.Fatal(err)
	}
	st.took(late)
	if after, err := st.SessionSecret(t.Context(), issuer, issuer.Issuer); err != nil || after.Equal(before) {
		t.Errorf("the secret outlived its object: %v", err)
	}
}

func TestSealingAnewIsTriedAgain(t *testing.T) {
	s := pgtest.Need(t, server)
	st := openStore(t, s.Kong(s.Database(t)), Options{})
	ready(t, st)
	var fail error = errors.New("not now")
	ran := 0
	for range 2 {
		st.pending.reseal(func(context.Context, pgdb.Querier) error { ran++; return fail })
	}
	_ = st.Close() // nobody else looks
	st.flush(t.Context())
	fail = nil
	st.flush(t.Context())
	if ran != 3 || !st.pending.empty() {
		t.Errorf("%d attempts, want one that failed and two", ran)
	}
}

func TestRoleThatMayNotCreateTables(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	if out, err := s.SQL(name, `REVOKE CREATE ON SCHEMA public FROM PUBLIC; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD $pw$`+pgtest.Password+`$pw$`); err != nil {
		t.Fatal(out)
	}
	kong := s.Kong(name)
	kong["pg_user"] = "reader"
	log := &lines{}
	openStore(t, kong, Options{Log: log.logger()})
	within(t, 20*time.Second, "the log says what is missing", func() bool { return strings.Contains(log.String(), "CREATE") })
	if strings.Contains(log.String(), pgtest.Password) {
		t.Error("the log shows the password")
	}
}

// While a database takes no writes, as one that has become a standby, it is
// read from, and each write may find the new master by a new connection.
func TestDatabaseThatTakesNoWrites(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	first := openStore(t, s.Kong(name), Options{})
	ready(t, first)
	_ = first.Close()
	if out, err := s.SQL(name, `ALTER DATABASE "`+name+`" SET default_transaction_read_only = on`); err != nil {
		t.Fatal(out)
	}
	settings, err := pgdb.FromKong(s.Kong(name))
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	db, err := pgdb.Open(settings, log.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	st := Open(db, Options{Log: log.logger()})
	t.Cleanup(func() { _ = st.Close() })
	ready(t, st)
	var u *store.Unavailable
	before := strings.Count(log.String(), "does not answer")
	for range 20 {
		if err := st.PutObject(t.Context(), object(`{}`)); !errors.As(err, &u) {
			t.Fatalf("a write: %v", err)
		}
		if err := st.Check(t.Context()); err != nil {
			t.Fatalf("a read after a write that failed: %v", err)
		}
	}
	if after := strings.Count(log.String(), "does not answer"); after != before {
		t.Errorf("it was given up %d times:\n%s", after-before, log)
	}
	if out, err := s.SQL(name, `SET default_transaction_read_only = off; ALTER DATABASE "`+name+`" SET default_transaction_read_only = off`); err != nil {
		t.Fatal(out)
	}
	within(t, 10*time.Second, "writes go on, on new connections", func() bool {
		return st.PutObject(t.Context(), object(`{}`)) == nil
	})
}
