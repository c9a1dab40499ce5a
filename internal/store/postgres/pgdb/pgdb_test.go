package pgdb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }

func TestFromKong(t *testing.T) {
	s, err := FromKong(map[string]string{})
	if err != nil || s.String() != "kong@127.0.0.1:5432/kong" || s.TLS.On || s.Timeout != 5*time.Second || s.Schema != "" || s.MaxConns != DefaultMaxConns {
		t.Errorf("Kong's defaults: %v, %v", s, err)
	}
	s, err = FromKong(map[string]string{
		"pg_host": "db", "pg_port": "6543.0", "pg_user": "u", "pg_password": "hush", "pg_database": "d", "pg_schema": "s",
		"pg_timeout": "1500", "pg_ssl": "true", "pg_ssl_verify": "on", "pg_ssl_required": "off", "pg_ssl_version": "tlsv1_3",
		"lua_ssl_trusted_certificate": "system, /etc/ca.pem", "pg_max_concurrent_queries": "4",
	})
	if err != nil || s.String() != "u@db:6543/d" || string(s.Password.Reveal()) != "hush" || s.Schema != "s" || s.Timeout != 1500*time.Millisecond || s.MaxConns != 4 {
		t.Errorf("settings: %v, %v", s, err)
	}
	if l := s.TLS; !l.On || !l.Verify || l.Optional || l.MinVersion != tls.VersionTLS13 || len(l.CAFiles) != 2 || l.CAFiles[1] != "/etc/ca.pem" {
		t.Errorf("TLS: %+v", l)
	}
	if text := fmt.Sprintf("%v %+v %#v", s, s, s.Password); strings.Contains(text, "hush") {
		t.Errorf("settings print %q", text)
	}
	for name, bad := range map[string]map[string]string{
		"port":    {"pg_port": "x"},
		"range":   {"pg_port": "70000"},
		"timeout": {"pg_timeout": "-1"},
		"switch":  {"pg_ssl": "maybe"},
		"version": {"pg_ssl_version": "tlsv1_1"},
		"ssl v3":  {"pg_ssl_version": "sslv3"},
	} {
		if _, err := FromKong(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	var unresolved *UnresolvedError
	if _, err := FromKong(map[string]string{"pg_password": "{vault://env/pg}"}); !errors.As(err, &unresolved) || unresolved.Name != "pg_password" {
		t.Errorf("vault reference: %v", err)
	}
}

// Nothing of this process's environment decides where secrets go.
func TestEnvironmentIsNotRead(t *testing.T) {
	for k, v := range map[string]string{"PGHOST": "evil", "PGUSER": "evil", "PGPASSWORD": "evil", "PGSSLMODE": "disable", "PGDATABASE": "evil", "PGOPTIONS": "-c x=y", "PGTARGETSESSIONATTRS": "standby"} {
		t.Setenv(k, v)
	}
	s, err := FromKong(map[string]string{"pg_ssl": "on"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.config()
	if err != nil {
		t.Fatal(err)
	}
	cc := c.ConnConfig
	if text := fmt.Sprint(cc.Host, cc.User, cc.Password, cc.Database, cc.RuntimeParams); strings.Contains(text, "evil") || strings.Contains(text, "x=y") {
		t.Errorf("%s", text)
	}
	if cc.TLSConfig == nil || len(cc.Fallbacks) != 0 || cc.ValidateConnect != nil {
		t.Error("the environment changed how the connection is made")
	}
}

// authority makes a CA and certificates for the server, beside its data.
func authority(t *testing.T, dir string) (ca string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(filepath.Join(dir, "data")); err == nil {
			pgtest.ChownLike(t, path, fi)
		}
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "db"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, root, &key.PublicKey, caKey); err != nil {
		t.Fatal(err)
	}
	write("server.crt", "CERTIFICATE", der)
	if der, err = x509.MarshalECPrivateKey(key); err != nil {
		t.Fatal(err)
	}
	write("server.key", "EC PRIVATE KEY", der)
	return ca
}

func TestTLS(t *testing.T) {
	s := pgtest.Need(t, server)
	ca := authority(t, s.Dir)
	name := s.Database(t)
	set := func(on string) {
		t.Helper()
		for _, sql := range []string{
			"ALTER SYSTEM SET ssl_cert_file = '" + filepath.Join(s.Dir, "server.crt") + "'",
			"ALTER SYSTEM SET ssl_key_file = '" + filepath.Join(s.Dir, "server.key") + "'",
			"ALTER SYSTEM SET ssl = " + on,
			"SELECT pg_reload_conf()",
		} {
			if out, err := s.SQL(name, sql); err != nil {
				t.Fatal(out)
			}
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			if out, _ := s.SQL(name, "SHOW ssl"); out == on {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the server does not take its setting over")
			}
		}
	}
	// encrypted tells whether the connection is, or why there is none.
	encrypted := func(kong map[string]string) (string, error) {
		settings, err := FromKong(kong)
		if err != nil {
			return "", err
		}
		db, err := Open(settings, nil)
		if err != nil {
			return "", err
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := db.WaitUp(ctx); err != nil {
			return "", err
		}
		var on string
		err = db.Do(ctx, "look", func(ctx context.Context, q Querier) error {
			return q.QueryRow(ctx, "SELECT ssl::text || ' ' || coalesce(version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&on)
		})
		return on, err
	}
	for _, c := range []struct {
		name, server string
		kong         map[string]string
		want         string
	}{
		{"off", "off", nil, "false "},
		{"off, though the server could", "on", nil, "false "},
		{"on", "on", map[string]string{"pg_ssl": "on"}, "true TLSv1.3"},
		{"on, and the server cannot", "off", map[string]string{"pg_ssl": "on"}, ""},
		{"on but not required, and the server cannot", "off", map[string]string{"pg_ssl": "on", "pg_ssl_required": "off"}, "false "},
		{"on but not required, and the server can", "on", map[string]string{"pg_ssl": "on", "pg_ssl_required": "off"}, "true TLSv1.3"},
		{"verified", "on", map[string]string{"pg_ssl": "on", "pg_ssl_verify": "on", "lua_ssl_trusted_certificate": ca}, "true TLSv1.3"},
		{"verified, by authorities that did not sign it", "on", map[string]string{"pg_ssl": "on", "pg_ssl_verify": "on", "lua_ssl_trusted_certificate": "system"}, ""},
		{"verified, under another name", "on", map[string]string{"pg_ssl": "on", "pg_ssl_verify": "on", "lua_ssl_trusted_certificate": ca, "pg_host": "localhost"}, ""},
		{"verified is never optional", "off", map[string]string{"pg_ssl": "on", "pg_ssl_verify": "on", "pg_ssl_required": "off", "lua_ssl_trusted_certificate": ca}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			set(c.server)
			kong := s.Kong(name)
			for k, v := range c.kong {
				kong[k] = v
			}
			got, err := encrypted(kong)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), pgtest.Password) {
				t.Error("the error shows the password")
			}
		})
	}
	set("off")
}

func TestWrongPassword(t *testing.T) {
	s := pgtest.Need(t, server)
	kong := s.Kong(s.Database(t))
	kong["pg_password"] = "not-the-password"
	settings, err := FromKong(kong)
	if err != nil {
		t.Fatal(err)
	}
	db, err := Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = db.WaitUp(ctx)
	var u *store.Unavailable
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "28P01") || strings.Contains(err.Error(), "not-the-password") {
		t.Errorf("%v", err)
	}
}

func TestCallerWhoGivesUpSaysNothingOfTheDatabase(t *testing.T) {
	s := pgtest.Need(t, server)
	settings, err := FromKong(s.Kong(s.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	settings.MaxConns = 2
	db, err := Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wait, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := db.WaitUp(wait); err != nil {
		t.Fatal(err)
	}
	ctx, giveUp := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer giveUp()
	var u *store.Unavailable
	err = db.Do(ctx, "sleep", func(ctx context.Context, q Querier) error {
		_, err := q.Exec(ctx, "SELECT pg_sleep(10)")
		return err
	})
	if !errors.As(err, &u) || !db.Up() {
		t.Errorf("%v, up %t", err, db.Up())
	}
	// All connections busy is no outage either.
	done := make(chan struct{})
	for range 2 {
		go func() {
			_ = db.Do(t.Context(), "sleep", func(ctx context.Context, q Querier) error {
				_, err := q.Exec(ctx, "SELECT pg_sleep(0.5)")
				return err
			})
			done <- struct{}{}
		}()
	}
	short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	<-time.After(20 * time.Millisecond)
	err = db.Do(short, "ask", func(ctx context.Context, q Querier) error { _, err := q.Exec(ctx, "SELECT 1"); return err })
	if !errors.As(err, &u) || !db.Up() {
		t.Errorf("busy: %v, up %t", err, db.Up())
	}
	<-done
	<-done
	// An error of the statement is the statement's.
	err = db.Do(t.Context(), "nonsense", func(ctx context.Context, q Querier) error { _, err := q.Exec(ctx, "SELECT 1/0"); return err })
	if err == nil || errors.As(err, &u) || !db.Up() {
		t.Errorf("statement: %v, up %t", err, db.Up())
	}
}
