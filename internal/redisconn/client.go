package redisconn

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Client is a pool of connections. It is safe for concurrent use.
type Client struct {
	uc     redis.UniversalClient
	where  string
	budget time.Duration // of one operation, retries included
	hide   []string      // never printed
	cloud  bool          // a cloud's login is used
	limit  int64         // operations that may run or wait; 0: any number
	busy   atomic.Int64
}

// New prepares a Client and performs no I/O: connections are made when they
// are needed, and a server that is down now is asked again then. The error
// names a setting that cannot work.
func New(o Options) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, &Error{Op: "configure", Where: "redis", reason: err.Error()}
	}
	o.setDefaults()
	quiet()
	c := &Client{where: o.where(), budget: o.ConnectTimeout + o.SendTimeout + o.ReadTimeout,
		hide: []string{string(o.Password), string(o.SentinelPassword)}, cloud: o.Cloud.Provider != ""}
	d := &dialer{connect: o.ConnectTimeout, config: o.tlsConfig(), proxied: o.Proxied}
	login := o.credentials()
	size := o.poolSize()
	if o.Backlog != nil {
		c.limit = int64(o.PoolSize+*o.Backlog) * int64(max(1, len(o.Cluster)))
	}
	switch {
	case len(o.Sentinels) > 0:
		opt := o.base(size, c.budget, login)
		s := newSentinels(&o, d)
		opt.Dialer, opt.OnConnect = s.dial, s.verify
		opt.Addr = o.SentinelMaster
		c.uc = redis.NewClient(opt)
	case len(o.Cluster) > 0:
		opt := o.base(size, c.budget, login)
		cluster := &redis.ClusterOptions{
			MaxRedirects: o.ClusterMaxRedirections, Dialer: d.dial, Protocol: opt.Protocol,
			Username: opt.Username, Password: opt.Password, CredentialsProviderContext: opt.CredentialsProviderContext,
			DialTimeout: opt.DialTimeout, ReadTimeout: opt.ReadTimeout, WriteTimeout: opt.WriteTimeout,
			ContextTimeoutEnabled: true, PoolSize: opt.PoolSize, PoolTimeout: opt.PoolTimeout, MaxIdleConns: opt.MaxIdleConns,
			ConnMaxIdleTime: opt.ConnMaxIdleTime, ConnMaxLifetime: opt.ConnMaxLifetime, DisableIndentity: true,
		}
		for _, a := range o.Cluster {
			cluster.Addrs = append(cluster.Addrs, a.String())
		}
		c.uc = redis.NewClusterClient(cluster)
	default:
		opt := o.base(size, c.budget, login)
		opt.Dialer = d.dial
		if opt.Network, opt.Addr = "tcp", o.Address.String(); o.Socket != "" {
			opt.Network, opt.Addr = "unix", o.Socket
		}
		c.uc = redis.NewClient(opt)
	}
	return c, nil
}

// base returns the options that all kinds of clients have in common.
func (o *Options) base(size int, budget time.Duration, login credentials) *redis.Options {
	opt := &redis.Options{
		Protocol: 2, Username: o.Username, Password: string(o.Password), DB: o.Database,
		DialTimeout: o.ConnectTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.SendTimeout, ContextTimeoutEnabled: true,
		MaxRetries: 3, PoolSize: size, PoolTimeout: budget, MaxIdleConns: o.PoolSize,
		ConnMaxIdleTime: 5 * time.Minute, DisableIndentity: true,
	}
	if o.Proxied {
		opt.DB = 0 // proxies know no databases
	}
	if login != nil {
		opt.CredentialsProviderContext = login
		opt.Username, opt.Password = "", ""
		// A connection outlives its token nowhere: logins are good for longer than this (cloud.go).
		opt.ConnMaxLifetime = connLifetime
	}
	return opt
}

// poolSize returns how many connections may be open to a server.
func (o *Options) poolSize() int {
	if o.Backlog != nil {
		return o.PoolSize
	}
	return max(o.PoolSize, defaultPoolSize)
}

// quiet keeps go-redis from writing lines of its own to standard error: what
// fails is returned to the caller.
var quiet = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// String says which Redis this is, without secrets.
func (c *Client) String() string { return "redis " + c.where }

// Close ends all connections. Operations fail from then on.
func (c *Client) Close() error {
	if err := c.uc.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return c.fail("close", err)
	}
	return nil
}

// begin opens an operation, and bounds it: no caller waits longer than one
// connect, one send and one read may take, whatever is retried meanwhile.
func (c *Client) begin(ctx context.Context, op string) (context.Context, func(), error) {
	if n := c.busy.Add(1); c.limit > 0 && n > c.limit {
		c.busy.Add(-1)
		return nil, nil, c.fail(op, ErrBusy)
	}
	ctx, cancel := context.WithTimeout(ctx, c.budget)
	return ctx, func() { cancel(); c.busy.Add(-1) }, nil
}

// Check asks whether Redis answers.
func (c *Client) Check(ctx context.Context) error {
	ctx, end, err := c.begin(ctx, "ping")
	if err != nil {
		return err
	}
	defer end()
	return c.fail("ping", c.uc.Ping(ctx).Err())
}

// Get returns the string under key; nil for a missing one, and for an empty
// one. A string longer than limit bytes is an error and is not transferred whole.
func (c *Client) Get(ctx context.Context, key string, limit int) ([]byte, error) {
	ctx, end, err := c.begin(ctx, "get")
	if err != nil {
		return nil, err
	}
	defer end()
	v, err := c.uc.GetRange(ctx, key, 0, int64(limit)).Bytes()
	if err != nil {
		return nil, c.fail("get", err)
	}
	return c.bounded(v, limit)
}

func (c *Client) bounded(v []byte, limit int) ([]byte, error) {
	switch {
	case len(v) == 0:
		return nil, nil
	case len(v) > limit:
		return nil, &Error{Op: "get", Where: c.where, reason: "the value is longer than anything that was written: another program uses the same keys", err: ErrTooLarge}
	}
	return v, nil
}

// Read is a key and the bytes that its string has at most.
type Read struct {
	Key   string
	Limit int
}

// GetAll is Get for several keys in one turn; results are in the keys' order.
func (c *Client) GetAll(ctx context.Context, keys ...Read) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	ctx, end, err := c.begin(ctx, "get")
	if err != nil {
		return nil, err
	}
	defer end()
	pipe := c.uc.Pipeline()
	replies := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		replies[i] = pipe.GetRange(ctx, key.Key, 0, int64(key.Limit))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, c.fail("get", err)
	}
	out := make([][]byte, len(keys))
	for i, r := range replies {
		v, err := r.Bytes()
		if err != nil {
			return nil, c.fail("get", err)
		}
		if out[i], err = c.bounded(v, keys[i].Limit); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Set writes a string that Redis forgets after ttl, which is at least a millisecond.
func (c *Client) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, end, err := c.begin(ctx, "set")
	if err != nil {
		return err
	}
	defer end()
	return c.fail("set", c.uc.Do(ctx, "set", key, value, "px", Milliseconds(ttl)).Err())
}

// Milliseconds rounds a time to live up to what Redis counts in; at least 1.
func Milliseconds(ttl time.Duration) int64 {
	return max(1, int64((ttl+time.Millisecond-1)/time.Millisecond))
}

// Delete forgets a key; a missing one is no error.
func (c *Client) Delete(ctx context.Context, key string) error {
	ctx, end, err := c.begin(ctx, "delete")
	if err != nil {
		return err
	}
	defer end()
	return c.fail("delete", c.uc.Del(ctx, key).Err())
}

// Script is a Lua script on one key. Every script must come to the same end
// when it is run twice in a row, because a lost reply is asked for again.
type Script struct{ s *redis.Script }

// NewScript returns the script of a source text, in which KEYS[1] is its key.
func NewScript(source string) *Script { return &Script{redis.NewScript(source)} }

// Run runs a script and returns its reply: an int64, a string, a []any of
// these, or nil. Arguments are strings, []byte or integers.
func (c *Client) Run(ctx context.Context, s *Script, key string, args ...any) (any, error) {
	ctx, end, err := c.begin(ctx, "run a script")
	if err != nil {
		return nil, err
	}
	defer end()
	v, err := s.s.Run(ctx, c.uc, []string{key}, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, c.fail("run a script", err)
	}
	return v, nil
}
