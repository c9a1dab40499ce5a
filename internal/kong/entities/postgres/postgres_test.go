package postgres

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }

const (
	ws1   = "00000000-0000-4000-8000-0000000000a1"
	ws2   = "00000000-0000-4000-8000-0000000000a2"
	bob   = "00000000-0000-4000-8000-000000000001"
	bob2  = "00000000-0000-4000-8000-000000000002"
	carol = "00000000-0000-4000-8000-000000000003"
	upper = "00000000-0000-4000-8000-000000000004"
	cert  = "00000000-0000-4000-8000-0000000000c1"
	vault = "00000000-0000-4000-8000-0000000000c2"
	ca    = "00000000-0000-4000-8000-0000000000c3"
	cred  = "00000000-0000-4000-8000-0000000000d1"
)

// The columns of Kong 3.9 that are read here, with their types.
const kongTables = `
CREATE TABLE consumers (id uuid PRIMARY KEY, created_at timestamptz, updated_at timestamptz, username text, custom_id text, tags text[], ws_id uuid, UNIQUE (ws_id, username), UNIQUE (ws_id, custom_id));
CREATE TABLE certificates (id uuid PRIMARY KEY, created_at timestamptz, cert text, key text, tags text[], ws_id uuid, cert_alt text, key_alt text);
CREATE TABLE ca_certificates (id uuid PRIMARY KEY, created_at timestamptz, cert text NOT NULL, tags text[], cert_digest text NOT NULL UNIQUE);
CREATE TABLE oauth2_credentials (id uuid PRIMARY KEY, created_at timestamptz, name text, consumer_id uuid, client_id text, client_secret text, redirect_uris text[], tags text[], client_type text, hash_secret boolean, ws_id uuid);
CREATE TABLE oauth2_tokens (id uuid PRIMARY KEY, created_at timestamptz, credential_id uuid, service_id uuid, access_token text, refresh_token text, token_type text, expires_in integer, authenticated_userid text, scope text, ttl timestamptz, ws_id uuid);
INSERT INTO consumers (id, username, custom_id, tags, ws_id) VALUES
 ('` + bob + `', 'bob', 'c-1', '{vip}', '` + ws1 + `'),
 ('` + bob2 + `', 'bob', NULL, NULL, '` + ws2 + `'),
 ('` + carol + `', 'carol', NULL, NULL, '` + ws1 + `'),
 ('` + upper + `', 'CAROL', 'C-1', NULL, '` + ws1 + `');
INSERT INTO certificates (id, cert, key, ws_id) VALUES ('` + cert + `', 'CERT', 'KEY', '` + ws1 + `'), ('` + vault + `', 'CERT', '{vault://env/key}', '` + ws1 + `');
INSERT INTO ca_certificates (id, cert, cert_digest) VALUES ('` + ca + `', 'CA', 'x');
INSERT INTO oauth2_credentials (id, name, consumer_id, client_id, ws_id) VALUES ('` + cred + `', 'app', '` + bob + `', 'client', '` + ws1 + `');
INSERT INTO oauth2_tokens (id, created_at, credential_id, access_token, expires_in, scope, authenticated_userid, ttl, ws_id) VALUES
 (gen_random_uuid(), '2026-01-01T00:00:00Z', '` + cred + `', 'good', 7200, 'email', 'user', now() + interval '1 hour', '` + ws1 + `'),
 (gen_random_uuid(), now(), '` + cred + `', 'forever', 0, NULL, NULL, NULL, '` + ws1 + `'),
 (gen_random_uuid(), now(), '` + cred + `', 'over', 1, NULL, NULL, now() - interval '1 second', '` + ws1 + `');
`

func open(t *testing.T, kong map[string]string) *Lookups {
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := db.WaitUp(ctx); err != nil {
		t.Fatal(err)
	}
	return New(db)
}

func TestLookups(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	if out, err := s.SQL(name, kongTables); err != nil {
		t.Fatal(out)
	}
	l := open(t, s.Kong(name))
	ctx := t.Context()
	consumer := func(f func() (*entities.Consumer, error)) func() (string, error) {
		return func() (string, error) {
			c, err := f()
			if err != nil {
				return "", err
			}
			return c.ID, nil
		}
	}
	id := func(ws, v string) func() (string, error) {
		return consumer(func() (*entities.Consumer, error) { return l.ConsumerByID(ctx, ws, v) })
	}
	user := func(ws, v string, ic bool) func() (string, error) {
		return consumer(func() (*entities.Consumer, error) { return l.ConsumerByUsername(ctx, ws, v, ic) })
	}
	custom := func(ws, v string, ic bool) func() (string, error) {
		return consumer(func() (*entities.Consumer, error) { return l.ConsumerByCustomID(ctx, ws, v, ic) })
	}
	for _, c := range []struct {
		name string
		f    func() (string, error)
		want string
		err  any // nil, ErrNotFound, or a pointer for errors.As
	}{
		{"id", id(ws1, bob), bob, nil},
		{"id without workspace", id("", bob), bob, nil},
		{"id of another workspace", id(ws2, bob), "", entities.ErrNotFound},
		{"unknown id", id(ws1, cert), "", entities.ErrNotFound},
		{"no id at all", id(ws1, "bob'"), "", entities.ErrNotFound},
		{"user", user(ws1, "bob", false), bob, nil},
		{"user of the other workspace", user(ws2, "bob", false), bob2, nil},
		{"user of two workspaces", user("", "bob", false), "", new(*entities.LookupError)},
		{"user in another case", user(ws1, "BOB", false), "", entities.ErrNotFound},
		{"user, ignoring case", user(ws1, "BoB", true), bob, nil},
		{"user, exact of two", user(ws1, "CAROL", true), upper, nil},
		{"user, neither of two", user(ws1, "Carol", true), "", new(*entities.AmbiguousError)},
		{"user with a wildcard", user(ws1, "b%", true), "", entities.ErrNotFound},
		{"user with NUL", user(ws1, "bob\x00", true), "", entities.ErrNotFound},
		{"user that is no text", user(ws1, "bob\xff", true), "", entities.ErrNotFound},
		{"empty user", user(ws1, "", true), "", entities.ErrNotFound},
		{"custom_id", custom(ws1, "c-1", false), bob, nil},
		{"custom_id, exact of two", custom(ws1, "C-1", true), upper, nil},
		{"unknown custom_id", custom(ws1, "x", true), "", entities.ErrNotFound},
		{"empty custom_id", custom(ws1, "", false), "", entities.ErrNotFound},
		{"certificate", func() (string, error) {
			c, err := l.Certificate(ctx, ws1, cert)
			if err != nil {
				return "", err
			}
			return c.Cert + c.Key.Reveal(), nil
		}, "CERTKEY", nil},
		{"certificate of another workspace", func() (string, error) { _, err := l.Certificate(ctx, ws2, cert); return "", err }, "", entities.ErrNotFound},
		{"certificate by vault reference", func() (string, error) { _, err := l.Certificate(ctx, ws1, vault); return "", err }, "", new(*entities.LookupError)},
		{"CA certificate", func() (string, error) {
			c, err := l.CACertificate(ctx, ca)
			if err != nil {
				return "", err
			}
			return c.Cert, nil
		}, "CA", nil},
		{"unknown CA certificate", func() (string, error) { _, err := l.CACertificate(ctx, cert); return "", err }, "", entities.ErrNotFound},
		{"token", func() (string, error) {
			v, err := l.OAuth2Token(ctx, ws1, "good")
			if err != nil {
				return "", err
			}
			return v.CreatedAt.UTC().Format(time.RFC3339) + v.Scope + v.AuthenticatedUserID + v.Credential.ClientID + v.Credential.ConsumerID, nil
		}, "2026-01-01T00:00:00Zemailuserclient" + bob, nil},
		{"token that never expires", func() (string, error) { _, err := l.OAuth2Token(ctx, ws1, "forever"); return "", err }, "", nil},
		{"token whose time is over", func() (string, error) { _, err := l.OAuth2Token(ctx, ws1, "over"); return "", err }, "", entities.ErrNotFound},
		{"token of another workspace", func() (string, error) { _, err := l.OAuth2Token(ctx, ws2, "good"); return "", err }, "", entities.ErrNotFound},
		{"group on a Kong without groups", func() (string, error) { _, err := l.GroupByName(ctx, ws1, "gold"); return "", err }, "", new(*entities.LookupError)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.f()
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			switch want := c.err.(type) {
			case nil:
				if err != nil {
					t.Error(err)
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			default:
				if !errors.As(err, want) || errors.Is(err, entities.ErrNotFound) {
					t.Errorf("%v, want %T", err, want)
				}
			}
		})
	}
	if ok, err := l.KnowsGroups(ctx); ok || err != nil {
		t.Errorf("knows groups: %t, %v", ok, err)
	}
	if out, err := s.SQL(name, `CREATE TABLE consumer_groups (id uuid PRIMARY KEY, name text, ws_id uuid); INSERT INTO consumer_groups VALUES ('`+ca+`', 'gold', '`+ws1+`')`); err != nil {
		t.Fatal(out)
	}
	if ok, err := l.KnowsGroups(ctx); !ok || err != nil {
		t.Errorf("knows groups: %t, %v", ok, err)
	}
	if g, err := l.GroupByName(ctx, ws1, "gold"); err != nil || g.ID != ca {
		t.Errorf("group: %v, %v", g, err)
	}
}

func TestDatabaseAwayIsNotNotFound(t *testing.T) {
	s := pgtest.Need(t, server)
	name := s.Database(t)
	if out, err := s.SQL(name, kongTables); err != nil {
		t.Fatal(out)
	}
	l := open(t, s.Kong(name))
	s.Stop()
	defer func() {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}()
	var failed *entities.LookupError
	for range 3 {
		start := time.Now()
		_, err := l.ConsumerByUsername(t.Context(), ws1, "bob", true)
		if !errors.As(err, &failed) || errors.Is(err, entities.ErrNotFound) || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	}
}

// A database that Kong never migrated has none of the tables.
func TestMissingTablesAreNotNotFound(t *testing.T) {
	s := pgtest.Need(t, server)
	l := open(t, s.Kong(s.Database(t)))
	var failed *entities.LookupError
	if _, err := l.OAuth2Token(t.Context(), ws1, "x"); !errors.As(err, &failed) {
		t.Errorf("%v", err)
	}
}
