package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/seal"
)

// hash names a key in the unique index, which long texts would not fit.
func hash(k store.Key) []byte {
	sum := sha256.Sum256([]byte(k.Issuer + "\x00" + k.Scope))
	return sum[:]
}

func secretLabel(k store.Key) string { return "session secret\x00" + k.Issuer + "\x00" + k.Scope }

const objectColumns = `id::text, issuer, scope, configured, created_at, updated_at, configuration, key_sets, secret, version`

// scan reads a row of objectColumns.
func (s *Store) scan(row pgx.Row) (*entry, error) {
	e := &entry{d: &store.Discovery{}}
	var configuration, sets, secret []byte
	d := e.d
	if err := row.Scan(&d.ID, &d.Issuer, &d.Scope, &d.Configured, &d.CreatedAt, &d.UpdatedAt, &configuration, &sets, &secret, &e.version); err != nil {
		return nil, err
	}
	if configuration != nil {
		d.Configuration = configuration
	}
	var err error
	if d.KeySets, err = decodeKeySets(sets); err != nil {
		d.KeySets = nil // the provider is asked anew
	}
	if secret != nil {
		v, stale, err := s.sealer.Open(secretLabel(d.Key), secret)
		if err == nil && len(v.Reveal()) < store.SecretSize {
			err = seal.ErrBroken
		}
		if err != nil {
			e.broken = &store.Unreadable{What: "the session secret of " + d.Issuer, Err: err}
		} else {
			e.secret = v
			if stale {
				s.pending.reseal(func(ctx context.Context, q pgdb.Querier) error { return s.resealSecret(ctx, q, d, secret, v) })
			}
		}
	}
	return e, nil
}

// Object implements store.Objects.
func (s *Store) Object(ctx context.Context, k store.Key) (*store.Discovery, error) {
	if e := s.mirror.object(k); e != nil {
		return e.d, nil
	}
	if err := s.sync(ctx, syncObjects); err != nil {
		return nil, err
	}
	if e := s.mirror.object(k); e != nil {
		return e.d, nil
	}
	return nil, store.ErrNotFound
}

// PutObject implements store.Objects. While the database is away the object
// is kept in memory and written later; the error says so nevertheless.
func (s *Store) PutObject(ctx context.Context, d store.Discovery) error {
	if err := store.CheckObject(&d); err != nil {
		return err
	}
	if d.UpdatedAt.IsZero() {
		d.UpdatedAt = s.now()
	}
	if len(s.mirror.ids()) >= store.MaxObjects && s.mirror.object(d.Key) == nil {
		return store.ErrFull
	}
	err := s.put(ctx, &d)
	if _, away := errors.AsType[*store.Unavailable](err); away {
		s.pending.putObject(d)
	}
	return err
}

func (s *Store) put(ctx context.Context, d *store.Discovery) error {
	sets, err := encodeKeySets(d.KeySets)
	if err != nil {
		return err
	}
	var configuration []byte
	if d.Configuration != nil {
		configuration = d.Configuration
	}
	var e *entry
	err = s.do(ctx, "keep discovery object", func(ctx context.Context, q pgdb.Querier) error {
		// An update asks for its version when it has the row: the last one has the highest.
		row := q.QueryRow(ctx, s.q(`WITH w AS (
  INSERT INTO {s}oidc_discovery AS d (id, key_hash, issuer, scope, configured, created_at, updated_at, configuration, key_sets, version)
  VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8, $9, nextval('{s}oidc_version'))
  ON CONFLICT (key_hash) DO UPDATE
    SET updated_at = excluded.updated_at, configuration = excluded.configuration, key_sets = excluded.key_sets, version = nextval('{s}oidc_version')
  RETURNING *)
SELECT `+objectColumns+` FROM w, pg_notify($10, 'o')`),
			uuid.NewString(), hash(d.Key), d.Issuer, d.Scope, d.Configured, s.now().Truncate(time.Second), d.UpdatedAt, configuration, sets, s.channel)
		var err error
		e, err = s.scan(row)
		return err
	})
	if err != nil {
		return err
	}
	s.took(e)
	return nil
}

// took puts an entry into memory and tells of it.
func (s *Store) took(e *entry) {
	changed, replaced := s.mirror.put(e)
	if replaced {
		s.Tell(store.Change{Kind: store.ObjectDeleted, Key: e.d.Key})
	}
	if changed {
		s.Tell(store.Change{Kind: store.ObjectPut, Key: e.d.Key})
	}
}

// look makes memory current where the database can be asked; where it cannot,
// memory serves if it was ever read.
func (s *Store) look(ctx context.Context, what syncKind) error {
	err := s.sync(ctx, what)
	if _, away := errors.AsType[*store.Unavailable](err); away && s.loaded.Load() {
		return nil
	}
	return err
}

// ListObjects implements store.Objects.
func (s *Store) ListObjects(ctx context.Context, after string, size int) ([]*store.Discovery, error) {
	if err := s.look(ctx, syncObjects); err != nil {
		return nil, err
	}
	all := s.mirror.list(func(e *entry) bool { return e.d.ID > after }, byID)
	return all[:min(len(all), size, store.MaxPageSize+1)], nil
}

// ObjectByID implements store.Objects.
func (s *Store) ObjectByID(ctx context.Context, id string) (*store.Discovery, error) {
	if err := s.look(ctx, syncObjects); err != nil {
		return nil, err
	}
	if all := s.mirror.list(func(e *entry) bool { return e.d.ID == id }, byID); len(all) == 1 {
		return all[0], nil
	}
	return nil, store.ErrNotFound
}

// ObjectsOf implements store.Objects.
func (s *Store) ObjectsOf(ctx context.Context, issuer string) ([]*store.Discovery, error) {
	if err := s.look(ctx, syncObjects); err != nil {
		return nil, err
	}
	return s.mirror.list(func(e *entry) bool { return e.d.Issuer == issuer }, byAge), nil
}

// DeleteObject implements store.Objects.
func (s *Store) DeleteObject(ctx context.Context, id string) error {
	if uuid.Validate(id) != nil {
		return store.ErrNotFound
	}
	return s.delete(ctx, `DELETE FROM {s}oidc_discovery WHERE id = $2::uuid RETURNING id::text, issuer, scope`, id)
}

// DeleteObjects implements store.Objects.
func (s *Store) DeleteObjects(ctx context.Context) error {
	err := s.delete(ctx, `DELETE FROM {s}oidc_discovery RETURNING id::text, issuer, scope`)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (s *Store) delete(ctx context.Context, sql string, args ...any) error {
	type row struct {
		id string
		k  store.Key
	}
	var gone []row
	err := s.do(ctx, "delete discovery object", func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, s.q(`WITH w AS (`+sql+`) SELECT w.* FROM w, pg_notify($1, 'o')`), append([]any{s.channel}, args...)...)
		if err != nil {
			return err
		}
		gone, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (v row, err error) {
			err = r.Scan(&v.id, &v.k.Issuer, &v.k.Scope)
			return v, err
		})
		return err
	})
	if err != nil {
		return err
	}
	if len(args) == 0 {
		s.pending.dropObjects()
	}
	for _, r := range gone {
		s.pending.dropObject(r.k)
		if _, ok := s.mirror.drop(r.id); ok {
			s.Tell(store.Change{Kind: store.ObjectDeleted, Key: r.k})
		}
	}
	if len(gone) == 0 {
		return store.ErrNotFound
	}
	return nil
}

// SessionSecret implements store.Secrets. One that is not in memory is read,
// and made only by the database's own word that there is none.
func (s *Store) SessionSecret(ctx context.Context, k store.Key, configured string) (store.Secret, error) {
	if e := s.mirror.object(k); e != nil && (e.broken != nil || !e.secret.IsZero()) {
		return e.secret, e.broken
	}
	if err := store.CheckObject(&store.Discovery{Key: k, Configured: configured}); err != nil {
		return store.Secret{}, err
	}
	sealed, err := s.sealer.Seal(secretLabel(k), store.GenerateSecret())
	if err != nil {
		return store.Secret{}, err
	}
	var e *entry
	err = s.do(ctx, "read session secret", func(ctx context.Context, q pgdb.Querier) error {
		// The update takes the row's lock, so the value that comes back is the one that stays.
		row := q.QueryRow(ctx, s.q(`WITH w AS (
  INSERT INTO {s}oidc_discovery AS d (id, key_hash, issuer, scope, configured, created_at, updated_at, secret, version)
  VALUES ($1::uuid, $2, $3, $4, $5, $6, $6, $7, nextval('{s}oidc_version'))
  ON CONFLICT (key_hash) DO UPDATE
    SET secret = coalesce(d.secret, excluded.secret),
        version = CASE WHEN d.secret IS NULL THEN nextval('{s}oidc_version') ELSE d.version END
  RETURNING *)
SELECT `+objectColumns+` FROM w, pg_notify($8, 'o')`),
			uuid.NewString(), hash(k), k.Issuer, k.Scope, configured, s.now().Truncate(time.Second), sealed, s.channel)
		var err error
		e, err = s.scan(row)
		return err
	})
	if err != nil {
		return store.Secret{}, err
	}
	s.took(e)
	return e.secret, e.broken
}

func (s *Store) resealSecret(ctx context.Context, q pgdb.Querier, d *store.Discovery, old []byte, v store.Secret) error {
	sealed, err := s.sealer.Seal(secretLabel(d.Key), v)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, s.q(`UPDATE {s}oidc_discovery SET secret = $3 WHERE id = $1::uuid AND secret = $2`), d.ID, old, sealed)
	return err
}

// syncDiscovery compares memory with the table and reads what differs.
func (s *Store) syncDiscovery(ctx context.Context) error {
	before := s.mirror.ids()
	there := map[string]bool{}
	var want []string
	err := s.do(ctx, "read discovery objects", func(ctx context.Context, q pgdb.Querier) error {
		clear(there)
		want = want[:0]
		rows, err := q.Query(ctx, s.q(`SELECT id::text, version FROM {s}oidc_discovery ORDER BY id LIMIT $1`), 2*store.MaxObjects)
		if err != nil {
			return err
		}
		var id string
		var version int64
		_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
			there[id] = true
			if before[id] < version {
				want = append(want, id)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	for id := range before {
		// What was put after the table was read is not in `before`.
		if !there[id] {
			if k, ok := s.mirror.drop(id); ok {
				s.pending.dropObject(k) // what waits is older than the deletion
				s.Tell(store.Change{Kind: store.ObjectDeleted, Key: k})
			}
		}
	}
	for ids := range slices.Chunk(want, 64) {
		var entries []*entry
		err := s.do(ctx, "read discovery objects", func(ctx context.Context, q pgdb.Querier) error {
			rows, err := q.Query(ctx, s.q(`SELECT `+objectColumns+` FROM {s}oidc_discovery WHERE id::text = ANY($1)`), ids)
			if err != nil {
				return err
			}
			entries, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*entry, error) { return s.scan(r) })
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range entries {
			s.took(e)
		}
	}
	return nil
}
