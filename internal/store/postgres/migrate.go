package postgres

import (
	"context"
	"fmt"
	"strings"

	"kong-openid-connect/internal/store/postgres/pgdb"
)

// migrations are applied in order, once for all nodes. They only ever add, so
// that nodes of two versions can run at once. {s} is the schema.
var migrations = []string{
	`CREATE SEQUENCE {s}oidc_version;

CREATE TABLE {s}oidc_discovery (
  id            uuid PRIMARY KEY,
  key_hash      bytea NOT NULL UNIQUE,
  issuer        text NOT NULL,
  scope         text NOT NULL,
  configured    text NOT NULL,
  created_at    timestamptz NOT NULL,
  updated_at    timestamptz NOT NULL,
  configuration bytea,
  key_sets      bytea,
  secret        bytea,
  version       bigint NOT NULL
);

CREATE TABLE {s}oidc_keys (
  kid        text PRIMARY KEY,
  alg        text NOT NULL,
  slot       smallint NOT NULL,
  created_at timestamptz NOT NULL,
  private    bytea NOT NULL
);
CREATE UNIQUE INDEX oidc_keys_current ON {s}oidc_keys (alg) WHERE slot = 0;

CREATE TABLE {s}oidc_revocations (
  key        text PRIMARY KEY,
  valid_from timestamptz NOT NULL,
  latest     timestamptz NOT NULL,
  until      timestamptz NOT NULL,
  written_at timestamptz NOT NULL
);
CREATE INDEX oidc_revocations_written ON {s}oidc_revocations (written_at);
CREATE INDEX oidc_revocations_until ON {s}oidc_revocations (until);

CREATE TABLE {s}oidc_locks (
  key     text PRIMARY KEY,
  attempt uuid NOT NULL,
  state   smallint NOT NULL,
  until   timestamptz NOT NULL,
  result  bytea
);
CREATE INDEX oidc_locks_until ON {s}oidc_locks (until);`,
}

// migrationLock is the advisory lock under which one node migrates.
const migrationLock int64 = 0x6f6964635f6d6967 // "oidc_mig"

// migrate brings the tables up to date. Only the first of many nodes that
// start at once does the work; it returns how many steps it took.
func migrate(ctx context.Context, db *pgdb.DB) (applied int, err error) {
	err = db.Tx(ctx, "migrate", func(ctx context.Context, q pgdb.Querier) error {
		applied = 0
		if v, err := version(ctx, q, db.Schema(), db.SchemaName()); err != nil || v >= len(migrations) {
			return err
		}
		if _, err := q.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
			return fmt.Errorf("wait for another node's migration: %w", err)
		}
		v, err := version(ctx, q, db.Schema(), db.SchemaName())
		if err != nil {
			return err
		}
		table := db.Schema() + "oidc_migrations"
		if v == 0 {
			if _, err := q.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"); err != nil {
				return fmt.Errorf("create tables in Kong's database: %w", err)
			}
		}
		for ; v < len(migrations); v++ {
			for stmt := range strings.SplitSeq(strings.ReplaceAll(migrations[v], "{s}", db.Schema()), ";") {
				if strings.TrimSpace(stmt) == "" {
					continue
				}
				if _, err := q.Exec(ctx, stmt); err != nil {
					return fmt.Errorf("migration %d: %w", v+1, err)
				}
			}
			if _, err := q.Exec(ctx, "INSERT INTO "+table+" (version) VALUES ($1)", v+1); err != nil {
				return fmt.Errorf("migration %d: %w", v+1, err)
			}
			applied++
		}
		return nil
	})
	return applied, err
}

// version is how many migrations the tables have had; more than this program
// knows when a later one was here.
func version(ctx context.Context, q pgdb.Querier, schema, name string) (int, error) {
	// The catalogue is read as a table: to_regclass would answer from a cache of
	// the connection's, which knows nothing of another node's tables yet.
	var there bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'oidc_migrations' AND n.nspname = CASE WHEN $1 = '' THEN current_schema() ELSE $1 END)`, name).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var v int
	err = q.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+schema+"oidc_migrations").Scan(&v)
	return v, err
}
