// Package clustercache shares answers of a provider among nodes through Redis
// (cluster_cache_strategy): introspection results and, where configured, token
// entries. What Redis sees are keyed hashes and sealed values; the secret that
// they are derived from stays with the nodes.
//
// The cache may fail at any time and must never hold a request up: every call
// is short, and after a failure the following calls fail at once for a while.
// A caller logs the error and goes on as if there were no cache.
//
// Imported by the wiring.
package clustercache

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/redisconn"
)

// Conn is what the cache needs of Redis; *redisconn.Client implements it.
type Conn interface {
	Get(ctx context.Context, key string, limit int) ([]byte, error)
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
}

// DefaultPrefix is what keys begin with.
const DefaultPrefix = "oidc-cache"

// Options of a cache.
type Options struct {
	// Secret is the same on all nodes that share entries, at least 16 bytes. Nodes with
	// other secrets see none of them.
	Secret []byte
	// Purpose keeps kinds of entries apart, such as "introspection" and "tokens".
	Purpose string
	// Prefix of the keys in Redis; "" means DefaultPrefix.
	Prefix string
	// MaxValue is the longest value in bytes; 0 means 64 KiB.
	MaxValue int
	// Timeout of a call; 0 means 200 ms.
	Timeout time.Duration
	// Pause is how long calls fail at once after a failure; 0 means 2 s.
	Pause time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Errors by which a caller may tell failures apart; in all cases it goes on without the cache.
var (
	ErrPaused     = errors.New("cluster cache: Redis has just failed and is not asked for a moment")
	ErrTooLarge   = errors.New("cluster cache: the value is too large to be shared")
	ErrUnreadable = errors.New("cluster cache: an entry was not made with this secret, or was changed in Redis")
)

// Cache is a cache of one purpose. It is safe for concurrent use.
type Cache struct {
	conn    Conn
	prefix  string
	max     int
	timeout time.Duration
	pause   time.Duration
	now     func() time.Time

	names  []byte // key of the hash that names entries
	secret []byte // what the keys of values are derived from

	until atomic.Int64 // nanoseconds; calls fail at once before
}

const (
	minSecret = 16
	maxTTL    = 30 * 24 * time.Hour
	saltLen   = 32
	tagLen    = 16
	timeLen   = 8
	overhead  = 1 + saltLen + timeLen + tagLen

	version = 1
)

// New returns a cache and performs no I/O.
func New(conn Conn, o Options) (*Cache, error) {
	if len(o.Secret) < minSecret {
		return nil, fmt.Errorf("cluster cache: the secret has %d bytes and needs %d: entries hold what tokens are worth", len(o.Secret), minSecret)
	}
	c := &Cache{conn: conn, prefix: o.Prefix, max: o.MaxValue, timeout: o.Timeout, pause: o.Pause, now: o.Now}
	if c.prefix == "" {
		c.prefix = DefaultPrefix
	}
	c.prefix += ":"
	if c.max <= 0 {
		c.max = 64 << 10
	}
	if c.timeout <= 0 {
		c.timeout = 200 * time.Millisecond
	}
	if c.pause <= 0 {
		c.pause = 2 * time.Second
	}
	if c.now == nil {
		c.now = time.Now
	}
	var err error
	if c.names, err = hkdf.Key(sha256.New, o.Secret, nil, "cluster cache names "+o.Purpose, 32); err != nil {
		return nil, err
	}
	if c.secret, err = hkdf.Key(sha256.New, o.Secret, nil, "cluster cache values "+o.Purpose, 32); err != nil {
		return nil, err
	}
	return c, nil
}

// Get returns the value of a key and when it ends, beyond which nobody who read
// it is to keep it; a zero end where there is none, or none that has not ended.
func (c *Cache) Get(ctx context.Context, key string) (value []byte, end time.Time, err error) {
	name := c.name(key)
	var sealed []byte
	err = c.call(ctx, func(ctx context.Context) (err error) {
		sealed, err = c.conn.Get(ctx, c.prefix+name, c.max+overhead)
		return err
	})
	if err != nil || sealed == nil {
		return nil, time.Time{}, err
	}
	value, end, err = c.open(name, sealed)
	if err != nil || !c.now().Before(end) {
		return nil, time.Time{}, err
	}
	return value, end, nil
}

// Set keeps a value for ttl, at most 30 days; nothing is kept where ttl is not positive.
func (c *Cache) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if len(value) > c.max {
		return ErrTooLarge
	}
	if ttl <= 0 {
		return nil
	}
	ttl = min(ttl, maxTTL)
	name := c.name(key)
	sealed, err := c.seal(name, value, c.now().Add(ttl))
	if err != nil {
		return err
	}
	return c.call(ctx, func(ctx context.Context) error { return c.conn.Set(ctx, c.prefix+name, sealed, ttl) })
}

// call bounds a call and remembers failures; one that the caller gave up is none.
func (c *Cache) call(ctx context.Context, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cluster cache: %w", err)
	}
	if c.now().UnixNano() < c.until.Load() {
		return ErrPaused
	}
	inner, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := f(inner)
	if err == nil {
		return nil
	}
	if errors.Is(err, redisconn.ErrTooLarge) {
		return ErrUnreadable
	}
	if ctx.Err() == nil {
		c.until.Store(c.now().Add(c.pause).UnixNano())
	}
	return fmt.Errorf("cluster cache: %w", err)
}

// name is what a key is called in Redis: nobody can tell a token by it, or find one's entry.
func (c *Cache) name(key string) string {
	h := hmac.New(sha256.New, c.names)
	h.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// aead derives a key and nonce for one value: a salt is drawn for each, so a
// nonce never meets a key twice however many values are written.
func (c *Cache) aead(salt []byte) (cipher.AEAD, []byte, error) {
	b, err := hkdf.Key(sha256.New, c.secret, salt, "entry", 32+12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(b[:32])
	if err != nil {
		return nil, nil, err
	}
	a, err := cipher.NewGCM(block)
	return a, b[32:], err
}

// seal binds a value to its name and its end: version, salt, AES-256-GCM(end, value).
func (c *Cache) seal(name string, value []byte, end time.Time) ([]byte, error) {
	out := make([]byte, 1+saltLen, overhead+len(value))
	out[0] = version
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, err
	}
	a, nonce, err := c.aead(out[1:])
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, timeLen+len(value)), uint64(end.UnixMilli()))
	return a.Seal(out, nonce, append(plain, value...), []byte(name)), nil
}

func (c *Cache) open(name string, sealed []byte) (value []byte, end time.Time, err error) {
	if len(sealed) < overhead || sealed[0] != version {
		return nil, end, ErrUnreadable
	}
	a, nonce, err := c.aead(sealed[1 : 1+saltLen])
	if err != nil {
		return nil, end, err
	}
	plain, err := a.Open(nil, nonce, sealed[1+saltLen:], []byte(name))
	if err != nil {
		return nil, end, ErrUnreadable
	}
	return plain[timeLen:], time.UnixMilli(int64(binary.BigEndian.Uint64(plain))), nil
}
