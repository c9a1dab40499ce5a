package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
)

// rotationLock is the advisory lock under which one node rotates.
const rotationLock int64 = 0x6f6964635f726f74 // "oidc_rot"

func keyLabel(k *store.OwnKey) string { return "own key\x00" + k.KID + "\x00" + k.Algorithm }

// OwnKeys implements store.OwnKeys.
func (s *Store) OwnKeys(ctx context.Context) ([]store.OwnKey, error) {
	if err := s.look(ctx, syncKeys); err != nil {
		return nil, err
	}
	return s.mirror.ownKeys()
}

func (s *Store) insertKey(ctx context.Context, q pgdb.Querier, k *store.OwnKey, conflict string) error {
	sealed, err := s.sealer.Seal(keyLabel(k), k.Private)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, s.q(`INSERT INTO {s}oidc_keys (kid, alg, slot, created_at, private) VALUES ($1, $2, 0, $3, $4) `+conflict),
		k.KID, k.Algorithm, k.CreatedAt, sealed)
	return err
}

// AddOwnKey implements store.OwnKeys.
func (s *Store) AddOwnKey(ctx context.Context, k store.OwnKey) (store.OwnKey, error) {
	k.Slot = store.Current
	var kept store.OwnKey
	err := s.tx(ctx, "add own key", func(ctx context.Context, q pgdb.Querier) error {
		// A rotation that is under way decides what is current.
		if _, err := q.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, rotationLock); err != nil {
			return err
		}
		if err := s.insertKey(ctx, q, &k, `ON CONFLICT (alg) WHERE slot = 0 DO NOTHING`); err != nil {
			return err
		}
		keys, err := s.readKeys(ctx, q, `WHERE alg = $1 AND slot = 0`, k.Algorithm)
		if err != nil {
			return err
		}
		if len(keys) != 1 {
			return errors.New("the key that was added is not there")
		}
		kept = keys[0]
		_, err = q.Exec(ctx, `SELECT pg_notify($1, 'k')`, s.channel)
		return err
	})
	if err != nil {
		return store.OwnKey{}, err
	}
	return kept, s.changedKeys(ctx)
}

// RotateOwnKeys implements store.OwnKeys.
func (s *Store) RotateOwnKeys(ctx context.Context, next []store.OwnKey) error {
	err := s.tx(ctx, "rotate own keys", func(ctx context.Context, q pgdb.Querier) error {
		for _, sql := range []string{
			`DELETE FROM {s}oidc_keys WHERE slot = 1`,
			`UPDATE {s}oidc_keys SET slot = 1`,
		} {
			if _, err := q.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, rotationLock); err != nil {
				return err
			}
			if _, err := q.Exec(ctx, s.q(sql)); err != nil {
				return err
			}
		}
		for i := range next {
			if err := s.insertKey(ctx, q, &next[i], ""); err != nil {
				return err
			}
		}
		_, err := q.Exec(ctx, `SELECT pg_notify($1, 'k')`, s.channel)
		return err
	})
	if err != nil {
		return err
	}
	return s.changedKeys(ctx)
}

// DeleteOwnKey implements store.OwnKeys.
func (s *Store) DeleteOwnKey(ctx context.Context, kid string) error {
	if store.CheckName(kid) != nil {
		return store.ErrNotFound
	}
	err := s.do(ctx, "delete own key", func(ctx context.Context, q pgdb.Querier) error {
		var n int
		err := q.QueryRow(ctx, s.q(`WITH w AS (DELETE FROM {s}oidc_keys WHERE kid = $1 RETURNING 1) SELECT count(*) FROM w, pg_notify($2, 'k')`), kid, s.channel).Scan(&n)
		if err == nil && n == 0 {
			return store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.changedKeys(ctx)
}

// changedKeys reads the keys that this node has just changed. Should that
// fail, the next look at the table makes up for it.
func (s *Store) changedKeys(ctx context.Context) error {
	if err := s.sync(ctx, syncKeys); err != nil {
		s.log.Warn("openid-connect: own keys that this node changed cannot be read again yet; the next look makes up for it", "error", err)
	}
	return nil
}

// readKeys reads the keys of a condition, current ones first. One that cannot
// be opened is an error of type *store.Unreadable.
func (s *Store) readKeys(ctx context.Context, q pgdb.Querier, where string, args ...any) ([]store.OwnKey, error) {
	rows, err := q.Query(ctx, s.q(`SELECT kid, alg, slot, created_at, private FROM {s}oidc_keys `+where+` ORDER BY slot, created_at, kid`), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (k store.OwnKey, err error) {
		var slot int16
		var sealed []byte
		if err := r.Scan(&k.KID, &k.Algorithm, &slot, &k.CreatedAt, &sealed); err != nil {
			return k, err
		}
		k.Slot = store.Slot(slot)
		v, stale, err := s.sealer.Open(keyLabel(&k), sealed)
		if err != nil {
			return k, &store.Unreadable{What: "own key " + k.KID, Err: err}
		}
		k.Private = v
		if stale {
			s.pending.reseal(func(ctx context.Context, q pgdb.Querier) error { return s.resealKey(ctx, q, k, sealed) })
		}
		return k, nil
	})
}

func (s *Store) resealKey(ctx context.Context, q pgdb.Querier, k store.OwnKey, old []byte) error {
	sealed, err := s.sealer.Seal(keyLabel(&k), k.Private)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, s.q(`UPDATE {s}oidc_keys SET private = $3 WHERE kid = $1 AND private = $2`), k.KID, old, sealed)
	return err
}

func (s *Store) syncOwnKeys(ctx context.Context) error {
	var keys []store.OwnKey
	err := s.do(ctx, "read own keys", func(ctx context.Context, q pgdb.Querier) error {
		var err error
		keys, err = s.readKeys(ctx, q, "")
		return err
	})
	unreadable, broken := errors.AsType[*store.Unreadable](err)
	if err != nil && !broken {
		return err
	}
	var why error
	if broken {
		keys, why = nil, unreadable
	}
	if s.mirror.setKeys(keys, why) {
		s.Tell(store.Change{Kind: store.KeysChanged})
	}
	return nil
}
