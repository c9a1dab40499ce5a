package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/revoked"
)

// Revoke implements store.Revocations.
func (s *Store) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if err := store.CheckName(key); err != nil {
		return err
	}
	if err := store.CheckSpan(from, until); err != nil {
		return err
	}
	span := revoked.Span{From: from, Latest: from, Until: until}
	if _, err := s.revoked.Add(key, span); err != nil {
		return err
	}
	if !until.After(s.now()) {
		return nil
	}
	err := s.writeRevocation(ctx, key, span)
	if err != nil {
		s.pending.revoke(key, span)
	}
	return err
}

func (s *Store) writeRevocation(ctx context.Context, key string, span revoked.Span) error {
	return s.do(ctx, "revoke", func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, s.q(`WITH w AS (
  INSERT INTO {s}oidc_revocations AS r (key, valid_from, latest, until, written_at) VALUES ($1, $2, $3, $4, clock_timestamp())
  ON CONFLICT (key) DO UPDATE SET valid_from = least(r.valid_from, excluded.valid_from), latest = greatest(r.latest, excluded.latest),
    until = greatest(r.until, excluded.until), written_at = excluded.written_at RETURNING 1)
SELECT 1 FROM w, pg_notify($5, $6)`), key, span.From, span.Latest, span.Until, s.channel, formatRevocation(key, span))
		return err
	})
}

// formatRevocation is the notification that carries a revocation to the other nodes.
func formatRevocation(key string, s revoked.Span) string {
	return fmt.Sprintf("r %d %d %d %s", s.From.UnixMicro(), s.Latest.UnixMicro(), s.Until.UnixMicro(), key)
}

func parseRevocation(payload string) (key string, s revoked.Span, ok bool) {
	parts := strings.SplitN(payload, " ", 5)
	if len(parts) != 5 || parts[0] != "r" || parts[4] == "" {
		return "", s, false
	}
	for i, at := range []*time.Time{&s.From, &s.Latest, &s.Until} {
		n, err := strconv.ParseInt(parts[i+1], 10, 64)
		if err != nil {
			return "", s, false
		}
		*at = time.UnixMicro(n)
	}
	return parts[4], s, true
}

// Listed returns how many revocations this node holds in memory.
func (s *Store) Listed() int { return s.revoked.Len() }

// Revoked implements store.Revocations. It asks nothing: this node's list is
// what it was told. Before the list was read once it is an error.
func (s *Store) Revoked(_ context.Context, keys ...string) (bool, error) {
	if s.revoked.Revoked(keys...) {
		return true, nil
	}
	if !s.loaded.Load() {
		return false, &store.Unavailable{Op: "read revocations", Err: errNotReady}
	}
	return false, nil
}

// Ended implements store.Revocations, as Revoked does.
func (s *Store) Ended(_ context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	if s.revoked.Ended(began, subject, keys...) {
		return true, nil
	}
	if !s.loaded.Load() {
		return false, &store.Unavailable{Op: "read revocations", Err: errNotReady}
	}
	return false, nil
}

// overlap is how far back a look goes beyond the last one: statements that
// ran at once may become visible in another order than they were written.
const overlap = time.Minute

// pageRevocations is how many are read at a time.
const pageRevocations = 20_000

// syncRevocations reads what was written since the last look, page by page.
func (s *Store) syncRevocations(ctx context.Context, since time.Time) (time.Time, error) {
	at, key := since.Add(-overlap), ""
	latest := since
	for {
		n := 0
		err := s.do(ctx, "read revocations", func(ctx context.Context, q pgdb.Querier) error {
			n = 0
			rows, err := q.Query(ctx, s.q(`SELECT key, valid_from, latest, until, written_at FROM {s}oidc_revocations
WHERE (written_at, key) > ($1, $2) AND until > clock_timestamp() ORDER BY written_at, key LIMIT $3`), at, key, pageRevocations)
			if err != nil {
				return err
			}
			var k string
			var span revoked.Span
			var written time.Time
			_, err = pgx.ForEachRow(rows, []any{&k, &span.From, &span.Latest, &span.Until, &written}, func() error {
				n++
				at, key = written, k
				return s.revoked.Learn(k, span)
			})
			return err
		})
		if err != nil {
			return since, err
		}
		if at.After(latest) {
			latest = at
		}
		if n < pageRevocations {
			return latest, nil
		}
	}
}

// pageExpired is how many rows are removed at a time.
const pageExpired = 10_000

// clean removes what has expired. Any node may do it; rows that another one is
// at are left to it.
func (s *Store) clean(ctx context.Context) {
	for _, table := range []string{"oidc_revocations", "oidc_locks"} {
		for more := true; more; {
			err := s.do(ctx, "remove what has expired", func(ctx context.Context, q pgdb.Querier) error {
				tag, err := q.Exec(ctx, s.q(`DELETE FROM {s}`+table+` WHERE key IN (SELECT key FROM {s}`+table+` WHERE until < now() - interval '1 minute' LIMIT $1 FOR UPDATE SKIP LOCKED)`), pageExpired)
				more = tag.RowsAffected() == pageExpired
				return err
			})
			if err != nil {
				return
			}
		}
	}
}
