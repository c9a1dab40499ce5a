package postgres

import (
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

func proofID(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// Case 53: a jti that was used on another node which shares the database.
func TestAProofIsRememberedOnceAmongNodes(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	a, b := openStore(t, kong, Options{}), openStore(t, kong, Options{})
	ready(t, a, b)
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		n := a
		if i%2 == 1 {
			n = b
		}
		wg.Go(func() {
			ok, err := n.RememberProof(t.Context(), proofID("one"), time.Minute)
			if err != nil {
				t.Error(err)
			}
			if ok {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d were first", fresh.Load())
	}
	if ok, err := b.RememberProof(t.Context(), proofID("two"), time.Minute); err != nil || !ok {
		t.Errorf("another proof: %t, %v", ok, err)
	}
}

func TestProofsAreForgottenAndRemoved(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	if _, err := st.RememberProof(t.Context(), proofID("live"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if out, err := s.SQL(name, `INSERT INTO oidc_proofs SELECT sha256(('k' || i)::bytea), now() - interval '1 second' FROM generate_series(1, 25000) i;
INSERT INTO oidc_proofs VALUES (sha256('old'), now() - interval '1 second')`); err != nil {
		t.Fatal(out)
	}
	if ok, err := st.RememberProof(t.Context(), proofID("old"), time.Hour); err != nil || !ok {
		t.Errorf("an id whose time is over: %t, %v", ok, err)
	}
	if ok, err := st.RememberProof(t.Context(), proofID("old"), time.Hour); err != nil || ok {
		t.Errorf("and noted again: %t, %v", ok, err)
	}
	st.clean(t.Context())
	if out, err := s.SQL(name, `SELECT count(*) FROM oidc_proofs`); err != nil || out != "2" {
		t.Errorf("left: %s, %v", out, err)
	}
}

func TestProofsWithoutADatabase(t *testing.T) {
	s := pgtest.Need(t, server)
	st := openStore(t, s.Kong(s.Database(t)), Options{})
	ready(t, st)
	s.Stop()
	defer func() {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}()
	var u *store.Unavailable
	if ok, err := st.RememberProof(t.Context(), proofID("one"), time.Minute); !errors.As(err, &u) || ok {
		t.Errorf("got %t, %v, want Unavailable", ok, err)
	}
}

// Nodes of the version before have made the tables and run on.
func TestTablesOfTheFirstVersionGrow(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	if out, err := s.SQL(name, strings.ReplaceAll(migrations[0], "{s}", "")+`;
CREATE TABLE oidc_migrations (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
INSERT INTO oidc_migrations (version) VALUES (1);
INSERT INTO oidc_revocations VALUES ('k', now() - interval '1 minute', now(), now() + interval '1 hour', now())`); err != nil {
		t.Fatal(out)
	}
	st := openStore(t, s.Kong(name), Options{})
	ready(t, st)
	if ok, err := st.RememberProof(t.Context(), proofID("one"), time.Minute); err != nil || !ok {
		t.Errorf("got %t, %v", ok, err)
	}
	if ok, err := st.Revoked(t.Context(), "k"); err != nil || !ok {
		t.Errorf("a revocation of before: %t, %v", ok, err)
	}
}
