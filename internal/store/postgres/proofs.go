package postgres

import (
	"context"
	"crypto/sha256"
	"time"

	"kong-openid-connect/internal/store/postgres/pgdb"
)

// RememberProof implements store.Proofs by a row that only one caller inserts.
// All times are the database's.
func (s *Store) RememberProof(ctx context.Context, id [sha256.Size]byte, keep time.Duration) (fresh bool, err error) {
	err = s.do(ctx, "remember proof", func(ctx context.Context, q pgdb.Querier) error {
		tag, err := q.Exec(ctx, s.q(`INSERT INTO {s}oidc_proofs AS p (id, until) VALUES ($1, clock_timestamp() + $2::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET until = excluded.until WHERE p.until <= clock_timestamp()`), id[:], keep.Seconds())
		fresh = err == nil && tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, err
	}
	s.proofs.Store(true)
	return fresh, nil
}

// pageProofs is how many are removed at a time.
const pageProofs = 10_000

// cleanProofs removes those that have expired. Any node may do it; rows that
// another one is at are left to it.
func (s *Store) cleanProofs(ctx context.Context) {
	for ctx.Err() == nil {
		var n int64
		err := s.do(ctx, "remove proofs that have expired", func(ctx context.Context, q pgdb.Querier) error {
			tag, err := q.Exec(ctx, s.q(`DELETE FROM {s}oidc_proofs WHERE id IN (SELECT id FROM {s}oidc_proofs WHERE until < now() LIMIT $1 FOR UPDATE SKIP LOCKED)`), pageProofs)
			n = tag.RowsAffected()
			return err
		})
		if err != nil || n < pageProofs {
			return
		}
	}
}
