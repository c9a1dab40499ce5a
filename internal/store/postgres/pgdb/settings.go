package pgdb

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"kong-openid-connect/internal/roots"
	"kong-openid-connect/internal/store"
)

// Settings say how to reach Kong's database.
type Settings struct {
	Host     string // name, address, or directory of a Unix socket
	Port     int
	User     string
	Password store.Secret
	Database string
	Schema   string // "" for the role's own search path
	Timeout  time.Duration

	TLS TLS
	// MaxConns bounds the connections of this process.
	MaxConns int
}

// TLS says how the connection is encrypted.
type TLS struct {
	On bool
	// Optional goes on in clear where the server speaks no TLS. Never with Verify.
	Optional bool
	// Verify checks the server's certificate and its name.
	Verify     bool
	MinVersion uint16
	// CAFiles are files of authorities; "system" stands for the system's. None
	// are the system's too.
	CAFiles []string
	// CertFile and KeyFile are the client's certificate, if any.
	CertFile, KeyFile string
}

// DefaultMaxConns is what MaxConns is where nothing is said.
const DefaultMaxConns = 8

// UnresolvedError says that a setting is known by its vault reference only.
type UnresolvedError struct{ Name string }

func (e *UnresolvedError) Error() string {
	return fmt.Sprintf("%s of Kong is a vault reference, which Kong resolves for itself only: give the value by -%s or by KONG_%s in nginx_main_env",
		e.Name, strings.ReplaceAll(e.Name, "_", "-"), strings.ToUpper(e.Name))
}

// FromKong reads the settings under their names in kong.conf (pg_*,
// lua_ssl_trusted_certificate). What is absent has Kong's default.
func FromKong(kong map[string]string) (Settings, error) {
	s := Settings{
		Host: cmp.Or(kong["pg_host"], "127.0.0.1"), User: cmp.Or(kong["pg_user"], "kong"), Database: cmp.Or(kong["pg_database"], "kong"),
		Schema: kong["pg_schema"], MaxConns: DefaultMaxConns,
	}
	for _, name := range []string{"pg_host", "pg_port", "pg_user", "pg_password", "pg_database", "pg_schema"} {
		if strings.HasPrefix(kong[name], "{vault://") {
			return s, &UnresolvedError{name}
		}
	}
	if p := kong["pg_password"]; p != "" {
		s.Password = store.NewSecret([]byte(p))
	}
	port, err := number(kong, "pg_port", 5432, 1, 65535)
	if err != nil {
		return s, err
	}
	s.Port = port
	ms, err := number(kong, "pg_timeout", 5000, 1, 3_600_000)
	if err != nil {
		return s, err
	}
	s.Timeout = time.Duration(ms) * time.Millisecond
	// Kong's bound is for one of its workers; ours is never above it.
	if n, err := number(kong, "pg_max_concurrent_queries", 0, 0, 1_000_000); err != nil {
		return s, err
	} else if n > 0 {
		s.MaxConns = max(2, min(n, DefaultMaxConns))
	}
	return s, s.TLS.fromKong(kong)
}

func (t *TLS) fromKong(kong map[string]string) error {
	var err error
	if t.On, err = flag(kong, "pg_ssl", false); err != nil {
		return err
	}
	if t.Verify, err = flag(kong, "pg_ssl_verify", false); err != nil {
		return err
	}
	required, err := flag(kong, "pg_ssl_required", true)
	if err != nil {
		return err
	}
	t.Optional = !required && !t.Verify
	switch v := strings.ToLower(strings.ReplaceAll(kong["pg_ssl_version"], ".", "_")); v {
	case "", "any", "tlsv1_2":
		t.MinVersion = tls.VersionTLS12
	case "tlsv1_3":
		t.MinVersion = tls.VersionTLS13
	case "tlsv1_1", "tlsv1":
		return fmt.Errorf("pg_ssl_version %s is not safe and not supported: use tlsv1_2 or tlsv1_3", kong["pg_ssl_version"])
	default:
		return fmt.Errorf("pg_ssl_version %.20q is unknown: use tlsv1_2 or tlsv1_3", kong["pg_ssl_version"])
	}
	for f := range strings.SplitSeq(kong["lua_ssl_trusted_certificate"], ",") {
		if f = strings.TrimSpace(f); f != "" {
			t.CAFiles = append(t.CAFiles, f)
		}
	}
	t.CertFile, t.KeyFile = kong["pg_ssl_cert"], kong["pg_ssl_cert_key"]
	return nil
}

func number(kong map[string]string, name string, otherwise, low, high int) (int, error) {
	v := kong[name]
	if v == "" {
		return otherwise, nil
	}
	// Kong prints numbers as Lua does: 5432 may come as 5432.0.
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || f != float64(int(f)) || int(f) < low || int(f) > high {
		return 0, fmt.Errorf("%s %.20q is not an integer from %d to %d", name, v, low, high)
	}
	return int(f), nil
}

func flag(kong map[string]string, name string, otherwise bool) (bool, error) {
	switch strings.ToLower(kong[name]) {
	case "":
		return otherwise, nil
	case "on", "true":
		return true, nil
	case "off", "false":
		return false, nil
	}
	return false, fmt.Errorf("%s %.20q is neither on nor off", name, kong[name])
}

// String names the database without the password.
func (s Settings) String() string {
	return fmt.Sprintf("%s@%s:%d/%s", s.User, s.Host, s.Port, s.Database)
}

// config returns the settings in pgx's form. Nothing of this process's
// environment (PGHOST, PGPASSFILE ...) goes in.
func (s Settings) config() (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig("host=invalid sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, err
	}
	cc := c.ConnConfig
	cc.Host, cc.Port, cc.User, cc.Database = s.Host, uint16(s.Port), s.User, s.Database
	cc.Password = string(s.Password.Reveal())
	cc.ConnectTimeout = s.Timeout
	if cc.ConnectTimeout <= 0 || cc.ConnectTimeout > 5*time.Second {
		cc.ConnectTimeout = 5 * time.Second
	}
	cc.RuntimeParams = map[string]string{"application_name": "kong-openid-connect"}
	cc.Fallbacks = nil
	// Statements are not prepared: a pooler may stand between.
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	if s.TLS.On && !strings.HasPrefix(s.Host, "/") {
		if cc.TLSConfig, err = s.TLS.config(s.Host); err != nil {
			return nil, err
		}
		if s.TLS.Optional {
			cc.Fallbacks = append(cc.Fallbacks, &pgconn.FallbackConfig{Host: s.Host, Port: uint16(s.Port)})
		}
	} else {
		cc.TLSConfig = nil
	}
	c.MaxConns = int32(s.MaxConns)
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	c.MinConns = 0
	c.MaxConnIdleTime = time.Minute
	c.MaxConnLifetime = 30 * time.Minute
	c.HealthCheckPeriod = 30 * time.Second
	return c, nil
}

func (t TLS) config(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: t.MinVersion, ServerName: host}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, errors.New("pg_ssl_cert and pg_ssl_cert_key cannot be loaded: they must be readable PEM files that belong together")
		}
		c.Certificates = []tls.Certificate{cert}
	}
	if !t.Verify {
		c.InsecureSkipVerify = true // as Kong's own pg_ssl_verify=off
		return c, nil
	}
	var err error
	c.RootCAs, err = roots.Load(t.CAFiles)
	return c, err
}
