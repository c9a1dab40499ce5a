package postgres

import (
	"context"
	"testing"
	"time"

	"kong-openid-connect/internal/store/postgres/pgtest"
)

// The work of a lock's holder must be over when the row's lease is, which the
// database counts from when it wrote it, however late the holder hears of that:
// else two nodes use one refresh token.
func TestWorkEndsWithTheLeaseThoughTheLockComesLate(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	a := openStore(t, s.Kong(name), Options{})
	ready(t, a)
	c, err := a.db.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO oidc_locks (key, attempt, state, until) VALUES ('k', gen_random_uuid(), 2, now())`); err != nil {
		t.Fatal(err)
	}
	const lease = time.Minute
	ends := make(chan time.Time, 1)
	done := make(chan error, 1)
	go func() {
		_, err := a.Once(context.Background(), "k", lease, lease, func(ctx context.Context) ([]byte, error) {
			end, _ := ctx.Deadline()
			ends <- end
			return nil, nil
		})
		done <- err
	}()
	within(t, 2*time.Second, "the holder waits for the row", func() bool {
		n, err := s.SQL(name, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`)
		return err == nil && n == "1"
	})
	written := time.Now() // or later
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if end := <-ends; end.IsZero() || end.After(written.Add(lease)) {
		t.Errorf("the work may go on for %v after its lease", end.Sub(written.Add(lease)))
	}
}
