package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/session"
)

// DefaultPrefix is what keys begin with where nothing is configured.
const DefaultPrefix = "sessions"

// MaxValue is the longest session in bytes.
const MaxValue = 2 << 20

// Conn is what this package needs of Redis; *redisconn.Client implements it.
type Conn interface {
	Get(ctx context.Context, key string, limit int) ([]byte, error)
	GetAll(ctx context.Context, keys ...redisconn.Read) ([][]byte, error)
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	Delete(ctx context.Context, key string) error
	Run(ctx context.Context, s *redisconn.Script, key string, args ...any) (any, error)
}

// Store implements session.Store, session.Index, session.Revocations and
// session.Joint, and store.Revocations beside. It is safe for concurrent use.
type Store struct {
	conn   Conn
	prefix string
	now    func() time.Time
}

var (
	_ session.Store       = (*Store)(nil)
	_ session.Index       = (*Store)(nil)
	_ session.Revocations = (*Store)(nil)
	_ session.Joint       = (*Store)(nil)
)

// New returns the Store of a prefix ("" means DefaultPrefix). now nil means time.Now.
func New(conn Conn, prefix string, now func() time.Time) *Store {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if now == nil {
		now = time.Now
	}
	return &Store{conn: conn, prefix: prefix + ":", now: now}
}

// mark stands before every value: Redis does not tell an empty string from a missing one.
const mark = "1"

func marked(value []byte) []byte { return append([]byte(mark), value...) }

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	v, err := s.conn.Get(ctx, s.prefix+key, MaxValue+len(mark))
	if err != nil {
		return nil, err
	}
	return unmarked(v)
}

func unmarked(v []byte) ([]byte, error) {
	switch {
	case v == nil:
		return nil, session.ErrNotFound
	case string(v[:len(mark)]) != mark:
		return nil, errors.New("redis: a session is not of this program's making: set redis.prefix to one of your own")
	}
	return v[len(mark):], nil
}

// Set implements session.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := check(value, ttl); err != nil {
		return err
	}
	return s.conn.Set(ctx, s.prefix+key, marked(value), ttl)
}

func check(value []byte, ttl time.Duration) error {
	if len(value) > MaxValue {
		return fmt.Errorf("redis: a session of %d bytes: %w: at most %d", len(value), redisconn.ErrTooLarge, MaxValue)
	}
	if ttl <= 0 {
		return errors.New("redis: a session whose time is over cannot be stored")
	}
	return nil
}

// swap finds its own value already there when it is run again after a lost reply.
var swap = redisconn.NewScript(`
local v = redis.call('get', KEYS[1])
if not v or (v ~= ARGV[1] and v ~= ARGV[2]) then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
return 1`)

// Swap implements session.Store.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if err := check(value, ttl); err != nil {
		return false, err
	}
	v, err := s.conn.Run(ctx, swap, s.prefix+key, marked(old), marked(value), redisconn.Milliseconds(ttl))
	return v == int64(1), err
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.conn.Delete(ctx, s.prefix+key)
}
