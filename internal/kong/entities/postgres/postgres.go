// Package postgres finds Kong's entities in Kong's own tables. It only reads.
// Imported by the wiring.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/store/postgres/pgdb"
)

// Lookups implements entities.Lookups.
type Lookups struct{ db *pgdb.DB }

var _ entities.Lookups = (*Lookups)(nil)

// New returns the lookups on Kong's database.
func New(db *pgdb.DB) *Lookups { return &Lookups{db} }

// query runs a statement and reads at most a few rows.
func query[T any](ctx context.Context, l *Lookups, what, sql string, scan func(pgx.CollectableRow) (T, error), args ...any) ([]T, error) {
	for _, a := range args {
		if s, ok := a.(string); ok && strings.ContainsRune(s, 0) {
			return nil, nil // no text of PostgreSQL holds a NUL
		}
	}
	var all []T
	err := l.db.Do(ctx, "look up "+what, func(ctx context.Context, q pgdb.Querier) error {
		rows, err := q.Query(ctx, strings.ReplaceAll(sql, "{s}", l.db.Schema()), args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, scan)
		return err
	})
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pe.Code, "22") {
		return nil, nil // a value that the encoding cannot hold is in no row
	}
	if err != nil {
		return nil, &entities.LookupError{What: what, Err: pgdb.Clean(err)}
	}
	return all, nil
}

func one[T any](all []T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, entities.ErrNotFound
	}
	return &all[0], nil
}

// inWorkspace is the condition on ws_id: the workspace, or any where that is
// not known. n is the number of the parameter.
func inWorkspace(n int) string {
	return fmt.Sprintf(`($%d::text = '' OR ws_id::text = $%d)`, n, n)
}

const consumerColumns = `SELECT id::text, coalesce(username, ''), coalesce(custom_id, ''), coalesce(tags, '{}') FROM {s}consumers `

func scanConsumer(r pgx.CollectableRow) (c entities.Consumer, err error) {
	err = r.Scan(&c.ID, &c.Username, &c.CustomID, &c.Tags)
	return c, err
}

// ConsumerByID implements entities.Lookups.
func (l *Lookups) ConsumerByID(ctx context.Context, ws, id string) (*entities.Consumer, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	return one(query(ctx, l, "consumer by id", consumerColumns+`WHERE id = $1::text::uuid AND `+inWorkspace(2), scanConsumer, id, ws))
}

// ConsumerByUsername implements entities.Lookups.
func (l *Lookups) ConsumerByUsername(ctx context.Context, ws, name string, ignoreCase bool) (*entities.Consumer, error) {
	return l.consumer(ctx, ws, "username", name, ignoreCase, func(c *entities.Consumer) string { return c.Username })
}

// ConsumerByCustomID implements entities.Lookups.
func (l *Lookups) ConsumerByCustomID(ctx context.Context, ws, id string, ignoreCase bool) (*entities.Consumer, error) {
	return l.consumer(ctx, ws, "custom_id", id, ignoreCase, func(c *entities.Consumer) string { return c.CustomID })
}

func (l *Lookups) consumer(ctx context.Context, ws, column, value string, ignoreCase bool, of func(*entities.Consumer) string) (*entities.Consumer, error) {
	what := "consumer by " + column
	if value == "" {
		return nil, entities.ErrNotFound
	}
	all, err := query(ctx, l, what, consumerColumns+`WHERE `+column+` = $1 AND `+inWorkspace(2)+` LIMIT 3`, scanConsumer, value, ws)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 && ignoreCase {
		all, err = query(ctx, l, what, consumerColumns+`WHERE lower(`+column+`) = lower($1) AND `+inWorkspace(2)+` LIMIT 3`, scanConsumer, value, ws)
		if err != nil {
			return nil, err
		}
	}
	if len(all) > 1 && of(&all[0]) == of(&all[1]) {
		// The same name in two workspaces, and which of them is meant is not known.
		return nil, &entities.LookupError{What: what, Err: errors.New("several workspaces have it")}
	}
	return entities.Pick(all, value, column, of)
}

// Certificate implements entities.Lookups.
func (l *Lookups) Certificate(ctx context.Context, ws, id string) (*entities.Certificate, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	c, err := one(query(ctx, l, "certificate", `SELECT id::text, coalesce(cert, ''), coalesce(key, '') FROM {s}certificates WHERE id = $1::text::uuid AND `+inWorkspace(2),
		func(r pgx.CollectableRow) (c entities.Certificate, err error) {
			var key string
			err = r.Scan(&c.ID, &c.Cert, &key)
			c.Key = entities.NewPEM(key)
			return c, err
		}, id, ws))
	if err == nil && (vaulted(c.Cert) || vaulted(c.Key.Reveal())) {
		return nil, &entities.LookupError{What: "certificate", Err: errVault}
	}
	return c, err
}

var errVault = errors.New("it is a vault reference, which only Kong resolves: store certificate and key themselves")

func vaulted(s string) bool { return strings.HasPrefix(s, "{vault://") }

// CACertificate implements entities.Lookups.
func (l *Lookups) CACertificate(ctx context.Context, id string) (*entities.CACertificate, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	return one(query(ctx, l, "CA certificate", `SELECT id::text, coalesce(cert, '') FROM {s}ca_certificates WHERE id = $1::text::uuid`,
		func(r pgx.CollectableRow) (c entities.CACertificate, err error) {
			err = r.Scan(&c.ID, &c.Cert)
			return c, err
		}, id))
}

// OAuth2Token implements entities.Lookups.
func (l *Lookups) OAuth2Token(ctx context.Context, ws, accessToken string) (*entities.OAuth2Token, error) {
	return one(query(ctx, l, "OAuth2 token", `SELECT t.id::text, t.created_at, coalesce(t.expires_in, 0), coalesce(t.scope, ''), coalesce(t.authenticated_userid, ''),
  coalesce(t.service_id::text, ''), c.id::text, coalesce(c.name, ''), coalesce(c.client_id, ''), coalesce(c.consumer_id::text, '')
FROM (SELECT * FROM {s}oauth2_tokens WHERE access_token = $1 AND `+inWorkspace(2)+` AND (ttl IS NULL OR ttl >= now())) t
JOIN {s}oauth2_credentials c ON c.id = t.credential_id`,
		func(r pgx.CollectableRow) (t entities.OAuth2Token, err error) {
			c := &t.Credential
			err = r.Scan(&t.ID, &t.CreatedAt, &t.ExpiresIn, &t.Scope, &t.AuthenticatedUserID, &t.ServiceID, &c.ID, &c.Name, &c.ClientID, &c.ConsumerID)
			return t, err
		}, accessToken, ws))
}

// KnowsGroups implements entities.Lookups. Kong's open-source edition has no such table.
func (l *Lookups) KnowsGroups(ctx context.Context) (bool, error) {
	v, err := one(query(ctx, l, "consumer groups", `SELECT to_regclass($1) IS NOT NULL`, pgx.RowTo[bool], l.db.Schema()+"consumer_groups"))
	if err != nil {
		return false, err
	}
	return *v, nil
}

// GroupByName implements entities.Lookups.
func (l *Lookups) GroupByName(ctx context.Context, ws, name string) (*entities.Group, error) {
	return one(query(ctx, l, "consumer group", `SELECT id::text, name FROM {s}consumer_groups WHERE name = $1 AND `+inWorkspace(2),
		func(r pgx.CollectableRow) (g entities.Group, err error) {
			err = r.Scan(&g.ID, &g.Name)
			return g, err
		}, name, ws))
}
