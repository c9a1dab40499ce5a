package plugin

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"kong-openid-connect/internal/clustercache"
	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/replays"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memcached"
	"kong-openid-connect/internal/session/redis"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// Connections shares connections to Redis and memcached between policies.
type Connections struct {
	roots *x509.CertPool
	now   func() time.Time
	log   *slog.Logger

	mu    sync.Mutex
	redis map[[sha256.Size]byte]*redisconn.Client
}

// NewConnections returns no connections yet. roots are the trusted authorities;
// nil stands for the system's.
func NewConnections(roots *x509.CertPool, now func() time.Time, log *slog.Logger) *Connections {
	return &Connections{roots: roots, now: now, log: log, redis: map[[sha256.Size]byte]*redisconn.Client{}}
}

// maxRedis bounds the different connections that are shared; further ones are
// their policy's own.
const maxRedis = 256

// Redis returns the connections of a record. It performs no I/O.
func (k *Connections) Redis(r *Redis, socket string) (*redisconn.Client, error) {
	o := redisOptions(r, socket)
	key := redisKey(r, socket)
	o.Roots, o.Now, o.Getenv = k.roots, k.now, os.Getenv
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.redis[key]; ok {
		return c, nil
	}
	c, err := redisconn.New(o)
	if err != nil {
		return nil, err
	}
	if len(k.redis) < maxRedis {
		k.redis[key] = c
	}
	return c, nil
}

// redisKey identifies a record by all of its values, secrets among them, by
// their hash alone.
func redisKey(r *Redis, socket string) [sha256.Size]byte {
	c := Config{}
	c.Redis.Redis, c.Redis.Socket = *r, socket
	return c.Digest()
}

func redisOptions(r *Redis, socket string) redisconn.Options {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	ca := &r.CloudAuthentication
	o := redisconn.Options{
		Address: redisconn.Address{Host: r.Host, Port: int(r.Port)}, Socket: socket,
		SentinelMaster: r.SentinelMaster, SentinelRole: redisconn.Role(r.SentinelRole), SentinelUsername: r.SentinelUsername,
		SentinelPassword:       redisconn.Secret(r.SentinelPassword.Reveal()),
		ClusterMaxRedirections: r.ClusterMaxRedirections, Username: r.Username, Password: redisconn.Secret(r.Password.Reveal()), Database: r.Database,
		Cloud: redisconn.Cloud{
			Provider: redisconn.Provider(ca.AuthProvider), AWSCacheName: ca.AWSCacheName, AWSRegion: ca.AWSRegion, AWSServerless: ca.AWSIsServerless,
			AWSAccessKeyID: redisconn.Secret(ca.AWSAccessKeyID.Reveal()), AWSSecretAccessKey: redisconn.Secret(ca.AWSSecretAccessKey.Reveal()),
			AWSAssumeRoleARN: redisconn.Secret(ca.AWSAssumeRoleARN.Reveal()), AWSRoleSessionName: redisconn.Secret(ca.AWSRoleSessionName.Reveal()),
			AzureClientID: redisconn.Secret(ca.AzureClientID.Reveal()), AzureClientSecret: redisconn.Secret(ca.AzureClientSecret.Reveal()),
			AzureTenantID: redisconn.Secret(ca.AzureTenantID.Reveal()), GCPServiceAccountJSON: redisconn.Secret(ca.GCPServiceAccountJSON.Reveal()),
		},
		TLS: r.SSL, TLSSkipVerify: !r.SSLVerify, ServerName: r.ServerName,
		ConnectTimeout: ms(r.ConnectTimeout), SendTimeout: ms(r.SendTimeout), ReadTimeout: ms(r.ReadTimeout),
		PoolSize: r.KeepalivePoolSize, Backlog: r.KeepaliveBacklog, Proxied: r.ConnectionIsProxied,
	}
	for _, n := range r.SentinelNodes {
		o.Sentinels = append(o.Sentinels, redisconn.Address{Host: n.Host, Port: int(n.Port)})
	}
	for _, n := range r.ClusterNodes {
		o.Cluster = append(o.Cluster, redisconn.Address{Host: n.IP, Port: int(n.Port)})
	}
	return o
}

// openReplays returns what remembers DPoP proofs: the Redis that the nodes
// share for the cluster cache or for sessions, else Kong's database, else this
// process. It performs no I/O.
func openReplays(c *Config, env *Environment) (token.Replays, error) {
	record, socket, prefix := &c.ClusterCacheRedis, "", clustercache.DefaultPrefix
	switch {
	case env.Replays == nil:
		return nil, nil // none is accepted
	case c.ClusterCacheStrategy == ClusterCacheStrategyRedis:
	case c.SessionStorage == SessionStorageRedis || c.SessionRevocationStorage == RevocationStorageRedis:
		record, socket, prefix = &c.Redis.Redis, c.Redis.Socket, c.Redis.Prefix
	case env.Proofs != nil:
		return replays.New(env.Replays, env.Proofs, env.Now), nil
	default:
		return env.Replays, nil
	}
	conn, err := env.Connections.Redis(record, socket)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return replays.New(env.Replays, redis.NewLocks(conn, prefix, env.Log), env.Now), nil
}

// storage is where the sessions of a configuration live, and what nodes agree by.
type storage struct {
	store       session.Store // nil: in the cookie
	revocations session.Revocations
	agreement
	name   string // of the list of revocations, equal for equal ones
	kind   string // session_storage
	shared bool   // other nodes read the list too
}

// agreement is what nodes agree by: one refresh of a session at a time, one use
// of a login.
type agreement struct {
	locks  store.Locks  // nil: this process is alone
	claims store.Claims // nil: nodes share nothing
}

// agree returns the agreement of a configuration: in the Redis that keeps its
// sessions, else in Kong's database, else in the Redis of its cluster cache. It
// performs no I/O.
func agree(c *Config, env *Environment) (agreement, error) {
	record, socket, prefix := &c.Redis.Redis, c.Redis.Socket, c.Redis.Prefix
	switch {
	case c.SessionStorage == SessionStorageRedis, c.SessionRevocationStorage == RevocationStorageRedis:
	case env.Claims == nil && c.ClusterCacheStrategy == ClusterCacheStrategyRedis:
		record, socket, prefix = &c.ClusterCacheRedis, "", clustercache.DefaultPrefix
	default:
		return agreement{env.Locks, env.Claims}, nil
	}
	conn, err := env.Connections.Redis(record, socket)
	if err != nil {
		return agreement{}, fmt.Errorf("redis: %w", err)
	}
	l := redis.NewLocks(conn, prefix, env.Log)
	return agreement{l, l}, nil
}

// agreedName names what nodes agree on, without the id itself, which is secret.
func agreedName(what, id string) string {
	sum := sha256.Sum256([]byte(id))
	return what + "-" + hex.EncodeToString(sum[:16])
}

// openStorage returns the storage of session_storage. It performs no I/O.
func openStorage(c *Config, env *Environment) (storage, error) {
	s := storage{revocations: env.Revocations, name: "node", kind: string(c.SessionStorage), shared: env.SharedList}
	var err error
	if s.agreement, err = agree(c, env); err != nil {
		return s, err
	}
	if c.SessionStorage == SessionStorageRedis || c.SessionRevocationStorage == RevocationStorageRedis {
		conn, err := env.Connections.Redis(&c.Redis.Redis, c.Redis.Socket)
		if err != nil {
			return s, fmt.Errorf("redis: %w", err)
		}
		r := redis.New(conn, c.Redis.Prefix, env.Now)
		s.revocations, s.shared = r, true
		key := redisKey(&c.Redis.Redis, c.Redis.Socket)
		s.name = "redis/" + hex.EncodeToString(key[:]) + c.Redis.Prefix
		if c.SessionStorage == SessionStorageRedis {
			s.store = r
		}
	}
	switch c.SessionStorage {
	case SessionStorageMemcached, SessionStorageMemcache:
		o := memcached.Options{
			Host: c.SessionMemcachedHost, Port: int(c.SessionMemcachedPort), Socket: c.SessionMemcachedSocket, Prefix: c.SessionMemcachedPrefix,
			TLS: c.SessionMemcachedSSL != nil && *c.SessionMemcachedSSL, TLSSkipVerify: !c.SessionMemcachedSSLVerify, Roots: env.Connections.roots, Now: env.Now,
		}
		m, err := memcached.New(o)
		if err != nil {
			return s, fmt.Errorf("session_memcached: %w", err)
		}
		s.store = m
	}
	return s, nil
}
