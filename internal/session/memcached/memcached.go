// Package memcached keeps sessions in memcached, under `<prefix>:<id>`.
// memcached forgets what it likes when its memory is full, and everything when
// it restarts: a session is then made anew by a login. For the same reason it
// keeps no index and no list of revoked sessions, which would silently lose
// entries; those need Redis or Postgres.
//
// It is the only package that imports gomemcache. Imported by the wiring.
package memcached

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	"kong-openid-connect/internal/session"
)

// DefaultPrefix is what keys begin with where nothing is configured.
const DefaultPrefix = "sessions"

// MaxValue is the longest session in bytes: what memcached takes by default,
// less the key and its own bookkeeping. Larger ones need Redis, or memcached's -I raised.
const MaxValue = 1<<20 - 1024

// Options say where memcached is.
type Options struct {
	Host          string // "" means 127.0.0.1
	Port          int    // 0 means 11211
	Socket        string // absolute path, in place of host and port
	Prefix        string // "" means DefaultPrefix
	TLS           bool
	TLSSkipVerify bool           // accept any certificate
	ServerName    string         // verified in place of the host
	Roots         *x509.CertPool // nil: the system's
	Timeout       time.Duration  // of a connect and of a round trip; 0 means 2 s
	Idle          int            // connections kept; 0 means 128
	Now           func() time.Time
}

// Store implements session.Store. It is safe for concurrent use.
type Store struct {
	c      *memcache.Client
	where  string
	prefix string
	now    func() time.Time
}

var _ session.Store = (*Store)(nil)

// New returns a Store and performs no I/O. The error names a setting that cannot work.
func New(o Options) (*Store, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	if o.Port == 0 {
		o.Port = 11211
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = 128
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout < 0 || o.Idle < 0 || o.Port < 0 || o.Port > 65535 {
		return nil, errors.New("memcached: the port, a timeout or a number is out of range")
	}
	at := address{"tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port))}
	if o.Socket != "" {
		if !filepath.IsAbs(o.Socket) {
			return nil, errors.New("memcached: socket is not an absolute path")
		}
		if o.TLS && !o.TLSSkipVerify && o.ServerName == "" {
			return nil, errors.New("memcached: TLS over a socket has no host to verify")
		}
		at = address{"unix", o.Socket}
	}
	c := memcache.NewFromSelector(at)
	c.Timeout, c.MaxIdleConns, c.DialContext = o.Timeout, o.Idle, o.dialer()
	return &Store{c: c, where: at.name, prefix: o.Prefix + ":", now: o.Now}, nil
}

func (o *Options) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	if !o.TLS {
		return new(net.Dialer).DialContext
	}
	name := o.ServerName
	if name == "" {
		name = o.Host
	}
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: name, InsecureSkipVerify: o.TLSSkipVerify}}
	return d.DialContext
}

// address is the one server. Names are looked up when a connection is made, so
// that a name that moves, or that does not resolve yet, does no lasting harm.
type address struct{ network, name string }

// Network implements net.Addr.
func (a address) Network() string { return a.network }

// String implements net.Addr.
func (a address) String() string { return a.name }

// PickServer implements memcache.ServerSelector.
func (a address) PickServer(string) (net.Addr, error) { return a, nil }

// Each implements memcache.ServerSelector.
func (a address) Each(f func(net.Addr) error) error { return f(a) }

// Close ends the idle connections.
func (s *Store) Close() error { return s.c.Close() }

// Check asks whether memcached answers.
func (s *Store) Check(ctx context.Context) error {
	return s.do(ctx, "ping", s.c.Ping)
}

// String says which memcached this is.
func (s *Store) String() string { return "memcached " + s.where }

// attempts bounds how often an operation is tried. Connections that died while
// idle are noticed by the first; it closes the others, and the next is a new one.
const attempts = 3

// do runs an operation, and leaves it to its own timeout when the context ends first.
func (s *Store) do(ctx context.Context, what string, op func() error) error {
	if err := ctx.Err(); err != nil {
		return s.fail(what, err)
	}
	end := make(chan error, 1)
	go func() {
		var err error
		for range attempts {
			if err = op(); !broken(err) || ctx.Err() != nil {
				break
			}
			_ = s.c.Close()
		}
		end <- err
	}()
	select {
	case err := <-end:
		return s.fail(what, err)
	case <-ctx.Done():
		return s.fail(what, ctx.Err())
	}
}

// answered are the errors that are answers of memcached.
var answered = []error{memcache.ErrCacheMiss, memcache.ErrCASConflict, memcache.ErrNotStored, memcache.ErrMalformedKey, memcache.ErrServerError}

// broken says whether an error is one of the connection.
func broken(err error) bool {
	if err == nil || isAny(err, answered) {
		return false
	}
	var timeout net.Error
	var connect *memcache.ConnectTimeoutError
	return !errors.As(err, &connect) && (!errors.As(err, &timeout) || !timeout.Timeout()) && !strings.HasPrefix(err.Error(), "memcache: ")
}

func isAny(err error, list []error) bool {
	for _, known := range list {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// fail turns an error into one that may be printed: memcached repeats keys and values in some.
func (s *Store) fail(what string, err error) error {
	reason := ""
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case isAny(err, answered) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("memcached: %s at %s: %w", what, s.where, err)
	case errors.As(err, &network):
		reason = network.Op + " " + network.Err.Error()
	case strings.HasPrefix(err.Error(), "memcache: connect timeout"):
		reason = "no connection in time"
	case strings.HasPrefix(err.Error(), "memcache: "):
		reason = "an answer that was not expected (the value may be too large for memcached's -I)"
	default:
		reason = err.Error()
	}
	return fmt.Errorf("memcached: %s at %s: %s", what, s.where, reason)
}

// key makes any key one that memcached takes: at most 250 bytes, no blanks.
func (s *Store) key(key string) string {
	k := s.prefix + key
	legal := len(k) <= 250
	for i := 0; i < len(k) && legal; i++ {
		legal = k[i] > ' ' && k[i] < 0x7f
	}
	if legal {
		return k
	}
	sum := sha256.Sum256([]byte(k))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// expiry counts as memcached does: seconds from now up to 30 days, beyond as a date.
func (s *Store) expiry(ttl time.Duration) int32 {
	seconds := int64((ttl + time.Second - 1) / time.Second)
	if seconds > 30*24*3600 {
		seconds += s.now().Unix()
	}
	return int32(min(seconds, 1<<31-1))
}

func check(value []byte, ttl time.Duration) error {
	if len(value) > MaxValue {
		return fmt.Errorf("memcached: a session of %d bytes is larger than the %d that memcached takes: use redis", len(value), MaxValue)
	}
	if ttl <= 0 {
		return errors.New("memcached: a session whose time is over cannot be stored")
	}
	return nil
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	item, err := s.get(ctx, key)
	if err != nil {
		return nil, err
	}
	return item.Value, nil
}

func (s *Store) get(ctx context.Context, key string) (*memcache.Item, error) {
	found := make(chan *memcache.Item, attempts)
	err := s.do(ctx, "get", func() error {
		item, err := s.c.Get(s.key(key))
		if err == nil {
			found <- item
		}
		return err
	})
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil, session.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// Set implements session.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := check(value, ttl); err != nil {
		return err
	}
	item := memcache.Item{Key: s.key(key), Value: bytes.Clone(value), Expiration: s.expiry(ttl)}
	return s.do(ctx, "set", func() error { return s.c.Set(&item) })
}

// Swap implements session.Store. It finds its own value already there when it
// is tried again after a lost answer.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if err := check(value, ttl); err != nil {
		return false, err
	}
	for range attempts {
		item, err := s.get(ctx, key)
		if errors.Is(err, session.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !bytes.Equal(item.Value, old) && !bytes.Equal(item.Value, value) {
			return false, nil
		}
		next := memcache.Item{Key: item.Key, Value: bytes.Clone(value), Expiration: s.expiry(ttl), CasID: item.CasID}
		err = s.do(ctx, "swap", func() error { return s.c.CompareAndSwap(&next) })
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, memcache.ErrCacheMiss), errors.Is(err, memcache.ErrNotStored):
			return false, nil
		case !errors.Is(err, memcache.ErrCASConflict):
			return false, err
		}
	}
	return false, nil
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	err := s.do(ctx, "delete", func() error { return s.c.Delete(s.key(key)) })
	if errors.Is(err, memcache.ErrCacheMiss) {
		return nil
	}
	return err
}
