package testservers

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RedisOptions say what kind of server is wanted; the zero value is a plain one.
type RedisOptions struct {
	TLS      bool     // on the port; certificates are made
	Password string   // of the default user
	ACL      []string // `user ...` rules as in a users file
	Socket   bool     // listen on a Unix socket too
	Persist  bool     // keep the data over Kill and Start
	Args     []string // more arguments

	shared *pair // certificate in place of one of its own
}

// Redis is a redis-server.
type Redis struct {
	Host   string
	Port   int
	Socket string         // path; "" without RedisOptions.Socket
	Roots  *x509.CertPool // of its certificate; nil without TLS

	t        testing.TB
	path     string
	args     []string
	password string
	p        *process
}

// Addr is host:port.
func (r *Redis) Addr() string { return net.JoinHostPort(r.Host, strconv.Itoa(r.Port)) }

// StartRedis starts a server that ends with the test.
func StartRedis(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	r := prepare(t, o)
	for range 4 { // another process may take the port first
		if err := r.start(); err == nil {
			return r
		} else if !strings.Contains(err.Error(), "in use") {
			t.Fatal(err)
		}
		r = prepare(t, o)
	}
	t.Fatal("no port is free")
	return nil
}

func prepare(t testing.TB, o RedisOptions) *Redis {
	t.Helper()
	r := &Redis{Host: "127.0.0.1", t: t, path: find(t, "redis-server"), password: o.Password}
	dir, err := os.MkdirTemp("", "redis") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	r.Port = port(t)
	number := strconv.Itoa(r.Port)
	r.args = []string{"--bind", r.Host, "--dir", dir, "--save", "", "--daemonize", "no", "--enable-debug-command", "yes"}
	if o.Persist {
		r.args = append(r.args, "--appendonly", "yes", "--appendfsync", "always")
	}
	if o.TLS {
		p := o.shared
		if p == nil {
			p = newPair(t)
		}
		r.Roots = p.roots
		r.args = append(r.args, "--port", "0", "--tls-port", number, "--tls-cert-file", p.cert, "--tls-key-file", p.key,
			"--tls-ca-cert-file", p.cert, "--tls-auth-clients", "no")
	} else {
		r.args = append(r.args, "--port", number)
	}
	if o.Password != "" {
		r.args = append(r.args, "--requirepass", o.Password)
	}
	if o.Socket {
		r.Socket = filepath.Join(dir, "s")
		r.args = append(r.args, "--unixsocket", r.Socket, "--unixsocketperm", "700")
	}
	if len(o.ACL) > 0 {
		file := filepath.Join(dir, "users.acl")
		if err := os.WriteFile(file, []byte(strings.Join(o.ACL, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.args = append(r.args, "--aclfile", file)
	}
	r.args = append(r.args, o.Args...)
	t.Cleanup(func() {
		if r.p != nil {
			r.p.kill()
		}
		os.RemoveAll(dir)
	})
	return r
}

func (r *Redis) start() error {
	p, err := start(r.path, r.args...)
	if err != nil {
		return err
	}
	r.p = p
	return p.await(func() error {
		_, err := r.Do("PING")
		if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
			return nil
		}
		return err
	})
}

// Kill ends the server as a crash would. Start brings it back on the same port.
func (r *Redis) Kill() { r.p.kill() }

// Start starts a killed server again.
func (r *Redis) Start() {
	r.t.Helper()
	if err := r.start(); err != nil {
		r.t.Fatal(err)
	}
}

// Do sends one command on a connection of its own, as the default user, and
// returns the reply as text; items of an array stand in lines of their own.
func (r *Redis) Do(args ...string) (string, error) {
	c, err := net.DialTimeout("tcp", r.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if r.Roots != nil {
		c = tls.Client(c, &tls.Config{RootCAs: r.Roots, ServerName: ServerName})
	}
	in := bufio.NewReader(c)
	if r.password != "" {
		if _, err := roundTrip(c, in, "AUTH", r.password); err != nil {
			return "", err
		}
	}
	return roundTrip(c, in, args...)
}

// MustDo is Do for commands that succeed.
func (r *Redis) MustDo(args ...string) string {
	r.t.Helper()
	s, err := r.Do(args...)
	if err != nil {
		r.t.Fatalf("%s: %v", args[0], err)
	}
	return s
}

func roundTrip(c net.Conn, in *bufio.Reader, args ...string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	return reply(in)
}

func reply(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '-':
		return "", errors.New(rest)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return "", err
		}
		b := make([]byte, n+2)
		for got := 0; got < len(b); {
			m, err := in.Read(b[got:])
			if err != nil {
				return "", err
			}
			got += m
		}
		return string(b[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil {
			return "", err
		}
		items := make([]string, 0, max(n, 0))
		for range n {
			s, err := reply(in)
			if err != nil {
				return "", err
			}
			items = append(items, s)
		}
		return strings.Join(items, "\n"), nil
	}
	return rest, nil
}
