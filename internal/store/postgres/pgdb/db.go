// Package pgdb reaches Kong's PostgreSQL: the settings as Kong has them, and
// a pool that fails fast while the database is away. Imported by
// store/postgres, kong/entities/postgres and the wiring.
package pgdb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"kong-openid-connect/internal/store"
)

// MaxWait bounds one operation, whatever its caller's context allows.
const MaxWait = 3 * time.Second

const (
	firstPause = 100 * time.Millisecond
	longPause  = 3 * time.Second
)

var (
	errSlow = errors.New("no answer within the time for one operation")
	errBusy = errors.New("all connections are busy")
)

// Querier is a connection or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// DB is a database that may be away. While it is, operations fail at once, and
// one goroutine looks for it with growing pauses.
type DB struct {
	settings Settings
	pool     *pgxpool.Pool
	log      *slog.Logger

	up     atomic.Bool
	cause  atomic.Pointer[error] // why it is away
	kick   chan struct{}
	stop   context.CancelFunc
	closed sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed when up changes
}

// Open returns the database without asking it. The error says which setting
// cannot be used.
func Open(s Settings, log *slog.Logger) (*DB, error) {
	c, err := s.config()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	pool, err := pgxpool.NewWithConfig(ctx, c)
	if err != nil {
		stop()
		return nil, errors.New("settings of the database cannot be used")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db := &DB{settings: s, pool: pool, log: log, kick: make(chan struct{}, 1), stop: stop, changed: make(chan struct{})}
	first := errors.New("not connected yet")
	db.cause.Store(&first)
	db.closed.Go(func() { db.look(ctx) })
	return db, nil
}

// Close ends all connections.
func (db *DB) Close() {
	db.stop()
	db.closed.Wait()
	db.pool.Close()
}

// Schema is the schema of the tables, quoted and with its dot, or "".
func (db *DB) Schema() string {
	if db.settings.Schema == "" {
		return ""
	}
	return pgx.Identifier{db.settings.Schema}.Sanitize() + "."
}

// SchemaName is the schema of the tables as it was configured, or "".
func (db *DB) SchemaName() string { return db.settings.Schema }

// Up reports whether the database answered last.
func (db *DB) Up() bool { return db.up.Load() }

// Cause is why the database is away; nil while it answers.
func (db *DB) Cause() error {
	if db.up.Load() {
		return nil
	}
	return *db.cause.Load()
}

// WaitUp waits until the database answers, or the context ends.
func (db *DB) WaitUp(ctx context.Context) error {
	for {
		db.mu.Lock()
		changed := db.changed
		db.mu.Unlock()
		if db.up.Load() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &store.Unavailable{Op: "connect to the database", Err: *db.cause.Load()}
		}
	}
}

func (db *DB) set(up bool, cause error) {
	if cause != nil {
		db.cause.Store(&cause)
	}
	if db.up.Swap(up) == up {
		return
	}
	db.mu.Lock()
	close(db.changed)
	db.changed = make(chan struct{})
	db.mu.Unlock()
	if up {
		db.log.Info("openid-connect: database answers", "database", db.settings.String())
	} else {
		db.log.Error("openid-connect: database does not answer; what is in memory serves on", "database", db.settings.String(), "error", cause)
	}
}

// look looks for the database while it is away.
func (db *DB) look(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		if db.up.Load() {
			select {
			case <-db.kick:
			case <-ctx.Done():
				return
			}
		}
		if err := db.ping(ctx); err != nil {
			db.set(false, err)
			t := time.NewTimer(pause/2 + rand.N(pause))
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			pause = min(2*pause, longPause)
			continue
		}
		pause = firstPause
		db.set(true, nil)
	}
}

func (db *DB) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	return Clean(db.pool.Ping(ctx))
}

// down notes that the database does not answer.
func (db *DB) down(err error) {
	if !db.up.Load() {
		return
	}
	db.set(false, err)
	db.pool.Reset()
	db.Suspect()
}

// Do runs f on a connection. It fails with *store.Unavailable: at once while
// the database is away, else when the connection or the time is lost. Errors
// of f that are not the connection's come back as they are.
func (db *DB) Do(ctx context.Context, op string, f func(ctx context.Context, q Querier) error) error {
	return db.run(ctx, op, func(ctx context.Context, c *pgxpool.Conn) error { return f(ctx, c) })
}

// Tx is Do in one transaction, in which every statement sees what others have
// committed before it, whatever the database's default is.
func (db *DB) Tx(ctx context.Context, op string, f func(ctx context.Context, q Querier) error) error {
	return db.run(ctx, op, func(ctx context.Context, c *pgxpool.Conn) error {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return f(ctx, tx) })
	})
}

func (db *DB) run(ctx context.Context, op string, f func(context.Context, *pgxpool.Conn) error) error {
	if !db.up.Load() {
		return &store.Unavailable{Op: op, Err: *db.cause.Load()}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxWait, errSlow)
	defer cancel()
	c, err := db.pool.Acquire(ctx)
	if err != nil {
		if st := db.pool.Stat(); context.Cause(ctx) != nil && st.AcquiredConns() >= st.MaxConns() {
			return &store.Unavailable{Op: op, Err: errBusy}
		}
		return db.failed(ctx, op, err)
	}
	defer c.Release()
	err = f(ctx, c)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == readOnly {
		db.pool.Reset() // it is a standby now: new connections may find the master
		return &store.Unavailable{Op: op, Err: Clean(err)}
	}
	if err == nil || !broken(ctx, err) && !c.Conn().IsClosed() {
		return err
	}
	return db.failed(ctx, op, err)
}

func (db *DB) failed(ctx context.Context, op string, err error) error {
	err = Clean(err)
	// A caller who gave up says nothing of the database; our own bound does.
	if cause := context.Cause(ctx); cause == nil || cause == errSlow {
		db.down(err)
	}
	return &store.Unavailable{Op: op, Err: err}
}

// broken reports whether an error is the connection's and not the statement's.
func broken(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case strings.HasPrefix(pe.Code, "08"), strings.HasPrefix(pe.Code, "57P"), pe.Code == "53300":
			return true // connection, shutdown, too many connections
		}
		return false
	}
	_, connect := errors.AsType[*pgconn.ConnectError](err)
	return connect || pgconn.SafeToRetry(err) || pgconn.Timeout(err) || isNetwork(err)
}

// SQLSTATEs that need more than a word of the server's.
const (
	readOnly     = "25006"
	noPermission = "42501"
)

func isNetwork(err error) bool {
	var n interface{ Timeout() bool }
	return errors.As(err, &n) || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed")
}

// Clean keeps what an operator needs of an error, and nothing that could hold
// a value: details of the server may quote parameters.
func Clean(err error) error {
	if err == nil {
		return nil
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		advice := ""
		if pe.Code == noPermission {
			advice = ": the role of pg_user must own Kong's tables and may CREATE the plugin's own in the schema"
		}
		return fmt.Errorf("PostgreSQL: %s (SQLSTATE %s)%s", pe.Message, pe.Code, advice)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return err
}

// Connect opens a connection of its own beside the pool, for LISTEN.
func (db *DB) Connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	return c, Clean(err)
}

// Suspect has the database asked whether it is still there.
func (db *DB) Suspect() {
	select {
	case db.kick <- struct{}{}:
	default:
	}
}
