package backing

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/jwks/own"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/kong/entities/adminapi"
	entitypg "kong-openid-connect/internal/kong/entities/postgres"
	"kong-openid-connect/internal/kong/env"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/memory"
	"kong-openid-connect/internal/store/postgres"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/seal"
)

// StateDir is the name of the state directory below Kong's prefix.
const StateDir = "openid-connect-state"

// Options say where a process keeps what it keeps.
type Options struct {
	// Prefix is Kong's; the state directory is below it.
	Prefix string
	// Kong is what is known of Kong's settings; nil where nothing is.
	Kong env.Settings
	// StateDir is the state directory; "" for the one below Prefix.
	StateDir string
	// SealKeyFile holds the keys that seal secrets and private keys; "" for none.
	SealKeyFile string
	// KeysFile holds own keys as a JWKS; "" has them made and stored.
	KeysFile string
	// AdminAPI is how Kong's entities are found without a database.
	AdminAPI adminapi.Options
	// Roots are the authorities of the Admin API where AdminAPI names none.
	Roots *x509.CertPool
	Now   func() time.Time // nil for time.Now
	Log   *slog.Logger     // nil for nowhere
}

// Backing is all that a process keeps, and what it knows of Kong's own data.
type Backing struct {
	Store store.Store
	// Claims are those of all nodes; nil where this process shares nothing.
	Claims store.Claims
	// Proofs are Claims for what is refused where it cannot be claimed: where it
	// is not known whether nodes share a store, every claim fails.
	Proofs store.Claims
	// Keys are the plugin's own. Run makes them.
	Keys *own.Set
	// Entities are Kong's, kept for db_update_frequency.
	Entities *entities.Cache
	// Mode is "postgres", "memory" or "broken".
	Mode string

	db   *pgdb.DB
	stop []func()
}

// Open opens what the settings say. Only files that the operator named and
// that cannot be used are an error. Where it is not known whether Kong has a
// database, or its settings cannot be used, everything that needs the store
// fails with *store.Unavailable until the process is started with what lacks:
// a secret of its own would tear the nodes apart.
func Open(o Options) (*Backing, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	sealer, err := loadSealer(&o)
	if err != nil {
		return nil, err
	}
	b := &Backing{}
	lookups, err := b.open(&o, sealer)
	if err != nil {
		b.Close()
		return nil, err
	}
	b.Proofs = b.Claims
	if s, ok := b.Store.(store.Broken); ok {
		b.Proofs = s
	}
	b.Entities = entities.NewCache(lookups, updateFrequency(o.Kong), o.Now)
	var keys own.Store = OwnKeys{b.Store}
	if o.KeysFile != "" {
		file, err := own.OpenFile(o.KeysFile)
		if err != nil {
			b.Close()
			return nil, err
		}
		if file.Loose() {
			o.Log.Warn("openid-connect: the file of private keys can be read by others than its owner", "file", o.KeysFile)
		}
		keys = file
	}
	b.Keys = own.New(own.Options{Store: keys, Now: o.Now, Log: o.Log})
	b.stop = append(b.stop, Connect(b.Store, nil, b.Keys))
	return b, nil
}

func loadSealer(o *Options) (*seal.Sealer, error) {
	if o.SealKeyFile == "" {
		return nil, nil
	}
	s, loose, err := seal.Load(o.SealKeyFile)
	if err != nil {
		return nil, err
	}
	if loose {
		o.Log.Warn("openid-connect: the seal key file can be read by others than its owner", "file", o.SealKeyFile)
	}
	return s, nil
}

// open chooses the store, and with it how Kong's entities are found.
func (b *Backing) open(o *Options, sealer *seal.Sealer) (entities.Lookups, error) {
	database, err := databaseOf(o.Kong)
	var settings pgdb.Settings
	if err == nil && database {
		settings, err = pgdb.FromKong(o.Kong)
	}
	if err == nil && database {
		b.db, err = pgdb.Open(settings, o.Log)
	}
	switch {
	case err != nil:
		o.Log.Error("openid-connect: the store cannot be opened: logins are answered 503", "error", err)
		b.Store, b.Mode = store.Broken{Err: err}, "broken"
	case database:
		if !sealer.Seals() {
			o.Log.Warn("openid-connect: session secrets and private keys stand in Kong's database in clear: set -seal-key-file, the same on all nodes")
		}
		s := postgres.Open(b.db, postgres.Options{Sealer: sealer, Now: o.Now, Log: o.Log})
		b.Store, b.Claims, b.Mode = s, s, "postgres"
		return entitypg.New(b.db), nil
	default:
		dir := o.StateDir
		if dir == "" {
			dir = filepath.Join(o.Prefix, StateDir)
		}
		s, err := memory.Open(memory.Options{Dir: dir, Sealer: sealer, Now: o.Now})
		if err != nil {
			o.Log.Error("openid-connect: the state directory cannot be used: logins are answered 503", "error", err)
			b.Store, b.Mode = store.Broken{Err: err}, "broken"
			break
		}
		if !sealer.Seals() {
			o.Log.Info("openid-connect: generated secrets and keys stand in the state directory in clear: -seal-key-file seals them", "directory", dir)
		}
		b.Store, b.Mode = s, "memory"
	}
	return adminLookups(o)
}

func adminLookups(o *Options) (entities.Lookups, error) {
	if o.AdminAPI.URL == "" {
		return entities.None{}, nil
	}
	if o.AdminAPI.Roots == nil {
		o.AdminAPI.Roots = o.Roots
	}
	return adminapi.New(o.AdminAPI)
}

// errUnknown says that it is not known whether Kong has a database.
var errUnknown = errors.New("it is not known whether this Kong has a database: let this process read .kong_env in Kong's prefix, or set -kong-setting database=off (or KONG_DATABASE by nginx_main_env)")

// databaseOf reports whether Kong has a database.
func databaseOf(kong env.Settings) (bool, error) {
	if kong["role"] == "data_plane" {
		return false, nil // it has none, whatever the settings say
	}
	switch kong["database"] {
	case "postgres":
		return true, nil
	case "off":
		return false, nil
	case "":
		return false, errUnknown
	}
	return false, fmt.Errorf("database %.20q of Kong is not supported: it is postgres or off", kong["database"])
}

// updateFrequency is how long Kong's own nodes take to see a change.
func updateFrequency(kong env.Settings) time.Duration {
	s, err := strconv.ParseFloat(kong["db_update_frequency"], 64)
	if err != nil || s <= 0 || s > 3600 {
		return entities.DefaultTTL
	}
	return time.Duration(s * float64(time.Second))
}

// Connect has deleted discovery objects forgotten by a registry.
func (b *Backing) Connect(r Registry) {
	b.stop = append(b.stop, Connect(b.Store, r, nil))
}

// Run makes the own keys in the background and returns when they are there or
// the context ends.
func (b *Backing) Run(ctx context.Context) { b.Keys.Run(ctx) }

// WaitReady waits until this process knows what the other nodes and its
// predecessor know, or the context ends. A store that asks nobody is ready.
func (b *Backing) WaitReady(ctx context.Context) error {
	if w, ok := b.Store.(interface{ WaitReady(context.Context) error }); ok {
		return w.WaitReady(ctx)
	}
	return nil
}

// healthWait is how long the store may take to say how it is.
const healthWait = 2 * time.Second

// Health tells how the store is, for the admin endpoint.
func (b *Backing) Health(ctx context.Context) admin.Health {
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	return admin.Health{Ready: true, Parts: map[string]error{"store": b.Store.Check(ctx)}}
}

// Close ends everything.
func (b *Backing) Close() {
	for _, stop := range b.stop {
		stop()
	}
	if b.Store != nil {
		_ = b.Store.Close()
	}
	if b.db != nil {
		b.db.Close()
	}
}

// Secrets gives session secrets to configurations that name none.
type Secrets struct{ Store store.Secrets }

// SessionSecret returns the secret of a discovery object: that of an issuer as
// it is configured, and a scope (op.Config.Scope). It asks memory as a rule, so
// callers ask each time they need it: after a deletion it is another one. An
// error means that it cannot be learned now.
func (s Secrets) SessionSecret(ctx context.Context, issuer, scope string) ([]byte, error) {
	v, err := s.Store.SessionSecret(ctx, store.Key{Issuer: op.NormaliseIssuer(issuer), Scope: scope}, issuer)
	if err != nil {
		return nil, err
	}
	return v.Reveal(), nil
}
