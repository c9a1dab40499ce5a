package redisconn

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// dialer opens connections, TLS included, within one timeout.
type dialer struct {
	connect time.Duration
	config  *tls.Config // nil: no TLS
	proxied bool
}

func (o *Options) tlsConfig() *tls.Config {
	if !o.TLS {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: o.ServerName, InsecureSkipVerify: o.TLSSkipVerify}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.connect)
	defer cancel()
	nd := net.Dialer{KeepAlive: time.Minute}
	raw, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := raw
	if d.config != nil {
		if conn, err = d.handshake(ctx, raw, network, addr); err != nil {
			raw.Close()
			return nil, err
		}
	}
	if d.proxied {
		conn = &plainStart{Conn: conn, raw: raw}
	}
	return conn, nil
}

func (d *dialer) handshake(ctx context.Context, raw net.Conn, network, addr string) (net.Conn, error) {
	config := d.config.Clone()
	if config.ServerName == "" && network != "unix" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		config.ServerName = host
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return &tlsConn{c, raw}, nil
}

// tlsConn lets the pool look at the socket below: go-redis checks an idle
// connection by a read that must not block, and skips the check where there is
// no socket. Unchecked, a restart would leave a whole pool of dead connections.
type tlsConn struct {
	*tls.Conn
	raw net.Conn
}

// SyscallConn implements syscall.Conn.
func (c *tlsConn) SyscallConn() (syscall.RawConn, error) { return socketOf(c.raw) }

func socketOf(c net.Conn) (syscall.RawConn, error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, net.UnknownNetworkError("no socket")
	}
	return s.SyscallConn()
}

// plainStart is a connection to a proxy. go-redis begins with HELLO, which
// proxies refuse, some by closing; so HELLO is refused here, in the proxy's
// place, and go-redis falls back to AUTH.
type plainStart struct {
	net.Conn
	raw     net.Conn
	begun   atomic.Bool
	refusal []byte
}

// Write drops what is written before the first read, which is HELLO alone.
func (c *plainStart) Write(b []byte) (int, error) {
	if !c.begun.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Read gives the refusal first.
func (c *plainStart) Read(b []byte) (int, error) {
	if !c.begun.Swap(true) {
		c.refusal = []byte("-ERR unknown command\r\n")
	}
	if len(c.refusal) > 0 {
		n := copy(b, c.refusal)
		c.refusal = c.refusal[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// SyscallConn implements syscall.Conn.
func (c *plainStart) SyscallConn() (syscall.RawConn, error) { return socketOf(c.raw) }
