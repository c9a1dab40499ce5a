package redisconn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

// Secret is text that prints itself nowhere.
type Secret string

const redacted = "[redacted]"

// String returns a placeholder.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString returns a placeholder.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText returns a placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Address is where a server listens.
type Address struct {
	Host string
	Port int // 0 means 6379
}

func (a Address) String() string {
	host, port := a.Host, a.Port
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = 6379
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// Role is the kind of server that sentinels are asked for.
type Role string

// The roles. A replica takes no writes, so Replica serves reads alone.
const (
	Master  Role = "master" // also what "" means
	Replica Role = "slave"
	Any     Role = "any" // the master, or a replica while there is none
)

// Options say where Redis is and how to log in. Sentinels come before Cluster,
// Cluster before Socket, Socket before Host and Port.
type Options struct {
	Address
	Socket string // absolute path

	Sentinels        []Address
	SentinelMaster   string // the name that sentinels know the master by
	SentinelRole     Role
	SentinelUsername string // login to the sentinels themselves
	SentinelPassword Secret

	Cluster                []Address // some nodes; the others are learned from them
	ClusterMaxRedirections int       // 0 means 5

	Username string // ACL user
	Password Secret // none: no AUTH is sent
	Database int    // a cluster and a proxy have one only: not selected there
	Cloud    Cloud  // a cloud's login in place of Password

	TLS           bool           // to Redis and to the sentinels
	TLSSkipVerify bool           // accept any certificate
	ServerName    string         // sent and verified in place of the host
	Roots         *x509.CertPool // trusted; nil: the system's

	ConnectTimeout time.Duration // TCP and TLS handshake; 0 means 2 s, as do the other two
	SendTimeout    time.Duration
	ReadTimeout    time.Duration

	PoolSize int  // idle connections kept for each server; 0 means 256
	Backlog  *int // commands that may wait beyond PoolSize running ones; nil: no such bound
	Proxied  bool // Address is a proxy (Envoy, Twemproxy): only plain commands are sent

	HTTP   *http.Client        // to the endpoints of clouds; nil: one with a timeout
	Getenv func(string) string // environment of cloud logins; nil: none
	Now    func() time.Time    // nil means time.Now
}

const (
	defaultTimeout  = 2 * time.Second
	maxTimeout      = 10 * time.Minute
	defaultPoolSize = 256
	maxPoolSize     = 1 << 16
	maxNodes        = 1024
)

func (o *Options) setDefaults() {
	for _, d := range []*time.Duration{&o.ConnectTimeout, &o.SendTimeout, &o.ReadTimeout} {
		if *d == 0 {
			*d = defaultTimeout
		}
		*d = min(*d, maxTimeout)
	}
	if o.PoolSize == 0 {
		o.PoolSize = defaultPoolSize
	}
	o.PoolSize = min(o.PoolSize, maxPoolSize)
	if o.ClusterMaxRedirections == 0 {
		o.ClusterMaxRedirections = 5
	}
	if o.SentinelRole == "" {
		o.SentinelRole = Master
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
}

func (o *Options) check() error {
	switch {
	case o.ConnectTimeout < 0 || o.SendTimeout < 0 || o.ReadTimeout < 0:
		return errors.New("a timeout is negative: write milliseconds from 1 up")
	case o.PoolSize < 0 || o.Backlog != nil && *o.Backlog < 0:
		return errors.New("keepalive_pool_size or keepalive_backlog is negative")
	case o.Database < 0:
		return errors.New("database is negative: write a number from 0 up")
	case (o.SentinelMaster == "") != (len(o.Sentinels) == 0):
		return errors.New("sentinel_master and sentinel_nodes belong together: give both or neither")
	case len(o.Sentinels) > maxNodes || len(o.Cluster) > maxNodes:
		return fmt.Errorf("more than %d nodes are listed: a few suffice, the others are learned from them", maxNodes)
	case o.ClusterMaxRedirections < 0:
		return errors.New("cluster_max_redirections is negative")
	}
	for _, list := range [][]Address{{o.Address}, o.Sentinels, o.Cluster} {
		for _, a := range list {
			if a.Port < 0 || a.Port > 65535 {
				return fmt.Errorf("port %d does not exist", a.Port)
			}
		}
	}
	switch o.SentinelRole {
	case "", Master, Replica, Any:
	default:
		return fmt.Errorf("sentinel_role %.20q is none of master, slave, any", o.SentinelRole)
	}
	direct := len(o.Sentinels)+len(o.Cluster) == 0
	if o.Proxied && !direct {
		return errors.New("connection_is_proxied goes with host and port: take the sentinel and cluster nodes out")
	}
	if direct && o.Socket != "" {
		if !filepath.IsAbs(o.Socket) {
			return errors.New("socket is not an absolute path")
		}
		if o.TLS && !o.TLSSkipVerify && o.ServerName == "" {
			return errors.New("TLS over a socket has no host to verify: write server_name")
		}
	}
	return o.Cloud.check(o)
}

// where says which Redis this is, for errors and logs.
func (o *Options) where() string {
	switch {
	case len(o.Sentinels) > 0:
		return fmt.Sprintf("%s of sentinels %s", printable(o.SentinelMaster, 64), addresses(o.Sentinels))
	case len(o.Cluster) > 0:
		return "cluster " + addresses(o.Cluster)
	case o.Socket != "":
		return o.Socket
	}
	return o.Address.String()
}

func addresses(list []Address) string {
	s := list[0].String()
	if n := len(list) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
