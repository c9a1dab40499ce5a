// Package postgres is the store in Kong's own database, in tables of its own
// (oidc_*). Every node holds all of it in memory, learns of changes by
// LISTEN/NOTIFY or by polling, and goes on serving from memory while the
// database is away. Imported by the wiring.
package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/revoked"
	"kong-openid-connect/internal/store/seal"
)

// Options of a Store.
type Options struct {
	// Sealer encrypts secrets and private keys at rest; nil or empty stores them in clear.
	Sealer *seal.Sealer
	// Poll is how often a node looks for changes where notifications do not
	// arrive; 0 for DefaultPoll.
	Poll time.Duration
	// Now is the clock; nil for time.Now.
	Now func() time.Time
	// Log takes what operators should know; nil for nowhere.
	Log *slog.Logger
}

// DefaultPoll is how often a node looks for changes without notifications.
const DefaultPoll = 500 * time.Millisecond

// Store implements store.Store.
type Store struct {
	store.Watchers
	db      *pgdb.DB
	sealer  *seal.Sealer
	now     func() time.Time
	log     *slog.Logger
	poll    time.Duration
	channel string

	ready   atomic.Bool           // the tables are there
	loaded  atomic.Bool           // memory holds what the database held once
	syncing chan struct{}         // one at a time
	opened  chan struct{}         // closed when loaded
	failure atomic.Pointer[error] // of the last attempt to make and read the tables
	since   time.Time             // when the last revocation was written that was read; under syncing

	hears atomic.Bool   // notifications arrive
	deaf  bool          // they do not, and the log says so; of the goroutine that listens
	news  atomic.Uint32 // syncKind to look at
	wake  chan struct{}

	mirror  mirror
	revoked *revoked.List
	pending pending

	stop          context.CancelFunc
	stopListening func() // and waits for its end
	closed        sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open returns a store on the database. It asks nothing: the tables are made
// and read as soon as the database answers, and until then operations fail
// with *store.Unavailable. WaitReady waits for it.
func Open(db *pgdb.DB, o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Poll <= 0 {
		o.Poll = DefaultPoll
	}
	sum := sha256.Sum256([]byte(db.Schema()))
	s := &Store{
		db: db, sealer: o.Sealer, now: o.Now, log: o.Log, poll: o.Poll,
		channel: "oidc_" + hex.EncodeToString(sum[:8]),
		syncing: make(chan struct{}, 1), opened: make(chan struct{}), wake: make(chan struct{}, 1),
		revoked: revoked.NewList(o.Now, 0),
	}
	s.mirror.init(o.Now)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.closed.Go(func() { s.run(ctx) })
	ears, deafen := context.WithCancel(ctx)
	var listening sync.WaitGroup
	s.stopListening = func() { deafen(); listening.Wait() }
	listening.Go(func() { s.listen(ears) })
	return s
}

// WaitReady waits until the store has been read once, or the context ends.
func (s *Store) WaitReady(ctx context.Context) error {
	select {
	case <-s.opened:
		return nil
	case <-ctx.Done():
		return s.notReady("open the store")
	}
}

var errNotReady = errors.New("the database has not been read since this process started")

// notReady says that the tables are not there, and why as far as that is known.
func (s *Store) notReady(op string) error {
	if cause := s.db.Cause(); cause != nil {
		return &store.Unavailable{Op: op, Err: fmt.Errorf("%w: %w", errNotReady, cause)}
	}
	if failure := s.failure.Load(); failure != nil {
		return &store.Unavailable{Op: op, Err: fmt.Errorf("%w: %w", errNotReady, *failure)}
	}
	return &store.Unavailable{Op: op, Err: errNotReady}
}

// Close stops listening. The database stays open.
func (s *Store) Close() error {
	s.stop()
	s.stopListening()
	s.closed.Wait()
	return nil
}

// Check implements store.Store.
func (s *Store) Check(ctx context.Context) error {
	return s.do(ctx, "check", func(ctx context.Context, q pgdb.Querier) error {
		_, err := q.Exec(ctx, "SELECT 1")
		return err
	})
}

// do runs a statement once the tables are there.
func (s *Store) do(ctx context.Context, op string, f func(context.Context, pgdb.Querier) error) error {
	if !s.ready.Load() {
		if err := ctx.Err(); err != nil {
			return &store.Unavailable{Op: op, Err: err}
		}
		return s.notReady(op)
	}
	return s.typed(op, s.db.Do(ctx, op, f))
}

func (s *Store) tx(ctx context.Context, op string, f func(context.Context, pgdb.Querier) error) error {
	if !s.ready.Load() {
		return s.notReady(op)
	}
	return s.typed(op, s.db.Tx(ctx, op, f))
}

// typed makes the store's own errors of whatever else the database refused:
// to callers a statement that fails is a store that cannot be asked.
func (s *Store) typed(op string, err error) error {
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrTooLarge) {
		return err
	}
	if _, ok := errors.AsType[*store.Unavailable](err); ok {
		return err
	}
	if _, ok := errors.AsType[*store.Unreadable](err); ok {
		return err
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == undefinedTable {
		s.ready.Store(false) // someone reset Kong's database: the tables are made anew
		s.note(syncAll)
	}
	return &store.Unavailable{Op: op, Err: pgdb.Clean(err)}
}

const undefinedTable = "42P01"

// q puts the schema into a statement.
func (s *Store) q(sql string) string { return strings.ReplaceAll(sql, "{s}", s.db.Schema()) }
