package backing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/jwks/own"
	"kong-openid-connect/internal/kong/env"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

func open(t *testing.T, o Options) (*Backing, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, log
}

func TestOpenMemory(t *testing.T) {
	prefix := t.TempDir()
	o := Options{Prefix: prefix, Kong: env.Settings{"database": "off"}}
	b, _ := open(t, o)
	if b.Mode != "memory" {
		t.Fatal(b.Mode)
	}
	first, err := Secrets{b.Store}.SessionSecret(t.Context(), "https://idp.test", "")
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	next, _ := open(t, o)
	again, err := Secrets{next.Store}.SessionSecret(t.Context(), "https://idp.test/", "")
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("a reload changed the secret: %v", err)
	}
	if _, err := os.Stat(filepath.Join(prefix, StateDir)); err != nil {
		t.Error(err)
	}
	if h := next.Health(t.Context()); !h.Ready || h.Parts["store"] != nil {
		t.Errorf("%+v", h)
	}
}

func TestSecretAndMetadataAreOneObject(t *testing.T) {
	b, _ := open(t, Options{Prefix: t.TempDir(), Kong: env.Settings{"database": "off"}})
	p := newIDP(t)
	r := op.NewRegistry(op.Environment{Store: Objects{b.Store}})
	b.Connect(r)
	provider, err := r.Provider(op.Config{
		Issuer: p.URL, RediscoveryLifetime: 30 * time.Second, CacheTTL: time.Hour,
		DiscoveryHeaders: []op.Field{{Name: "X-Tenant", Value: "a"}}, // a trust of its own
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := Secrets{b.Store}
	first, err := s.SessionSecret(t.Context(), p.URL, provider.Scope())
	if err != nil {
		t.Fatal(err)
	}
	d := Discovery{b.Store, r}
	all, err := d.List(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].Configuration == nil {
		t.Fatalf("%d objects, %v", len(all), err)
	}
	if err := d.Delete(t.Context(), p.URL); err != nil {
		t.Fatal(err)
	}
	if provider.Object() != nil {
		t.Error("the provider remembers")
	}
	second, err := s.SessionSecret(t.Context(), p.URL, provider.Scope())
	if err != nil || bytes.Equal(first, second) {
		t.Errorf("the secret outlived its object: %v", err)
	}
}

func TestNothingIsMadeUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"nothing known":      {Prefix: t.TempDir()},
		"unknown database":   {Prefix: t.TempDir(), Kong: env.Settings{"database": "cassandra"}},
		"unresolved":         {Prefix: t.TempDir(), Kong: env.Settings{"database": "postgres", "pg_password": "{vault://env/pg}"}},
		"bad setting":        {Prefix: t.TempDir(), Kong: env.Settings{"database": "postgres", "pg_port": "x"}},
		"state is a file":    {StateDir: file, Kong: env.Settings{"database": "off"}},
		"no place for state": {Prefix: filepath.Join(file, "x"), Kong: env.Settings{"role": "data_plane", "database": "postgres"}},
	} {
		t.Run(name, func(t *testing.T) {
			b, log := open(t, o)
			var u *store.Unavailable
			if _, err := (Secrets{b.Store}).SessionSecret(t.Context(), "https://idp.test", ""); !errors.As(err, &u) || b.Mode != "broken" {
				t.Errorf("%s: %v", b.Mode, err)
			}
			if _, err := b.Store.Revoked(t.Context(), "x"); !errors.As(err, &u) {
				t.Errorf("revoked: %v", err)
			}
			if _, err := b.Keys.Signer(t.Context(), "ES256"); !errors.As(err, &u) {
				t.Errorf("signer: %v", err)
			}
			if _, err := (Keys{Set: b.Keys}).Public(t.Context()); !errors.Is(err, admin.ErrUnavailable) {
				t.Errorf("public: %v", err)
			}
			if !strings.Contains(log.String(), "503") {
				t.Errorf("log: %s", log)
			}
			// What needs no store goes on.
			p := newIDP(t)
			pr, err := op.NewRegistry(op.Environment{Store: Objects{b.Store}}).Provider(op.Config{Issuer: p.URL})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pr.Metadata(t.Context()); err != nil {
				t.Errorf("discovery: %v", err)
			}
		})
	}
}

func TestOpenPostgres(t *testing.T) {
	pgtest.Need(t, server)
	name := server.Database(t)
	b, log := open(t, Options{Prefix: t.TempDir(), Kong: server.Kong(name)})
	if b.Mode != "postgres" || !strings.Contains(log.String(), "-seal-key-file") {
		t.Errorf("%s, log: %s", b.Mode, log)
	}
	within(t, 20*time.Second, "a secret can be had", func() bool {
		_, err := Secrets{b.Store}.SessionSecret(t.Context(), "https://idp.test", "")
		return err == nil
	})
	if strings.Contains(log.String(), pgtest.Password) {
		t.Error("the log shows the password")
	}
}

func TestKeysFile(t *testing.T) {
	k, err := own.Generate("ES256", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(`{"keys":[`+k.Private.Reveal()+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	b, log := open(t, Options{Prefix: t.TempDir(), Kong: env.Settings{"database": "off"}, KeysFile: file})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	b.Run(ctx)
	if ctx.Err() != nil {
		t.Error("Run does not end")
	}
	s, err := b.Keys.Signer(t.Context(), "ES256")
	if err != nil || kidOf(t, s) != k.KID {
		t.Errorf("%v, %v", s, err)
	}
	if err := (Keys{Set: b.Keys}).Rotate(t.Context()); !errors.Is(err, admin.ErrReadOnly) {
		t.Errorf("rotate: %v", err)
	}
	if strings.Contains(log.String(), file) {
		t.Errorf("a file that its owner alone reads is spoken of: %s", log.String())
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, log := open(t, Options{Prefix: t.TempDir(), Kong: env.Settings{"database": "off"}, KeysFile: file}); !strings.Contains(log.String(), file) {
		t.Errorf("nothing is said of private keys that others may read: %s", log.String())
	}
	if _, err := Open(Options{Prefix: t.TempDir(), Kong: env.Settings{"database": "off"}, KeysFile: file + ".none"}); err == nil {
		t.Error("a keys file that is not there was taken")
	}
	if _, err := Open(Options{Prefix: t.TempDir(), Kong: env.Settings{"database": "off"}, SealKeyFile: file + ".none"}); err == nil {
		t.Error("a seal key file that is not there was taken")
	}
}
