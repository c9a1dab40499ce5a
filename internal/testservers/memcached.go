package testservers

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MemcachedOptions say what kind of server is wanted; the zero value is a plain one.
type MemcachedOptions struct {
	TLS    bool
	Socket bool // listen on a Unix socket instead of a port
}

// Memcached is a memcached server.
type Memcached struct {
	Host   string
	Port   int
	Socket string
	Roots  *x509.CertPool

	t    testing.TB
	path string
	args []string
	p    *process
}

// StartMemcached starts a server that ends with the test.
func StartMemcached(t testing.TB, o MemcachedOptions) *Memcached {
	t.Helper()
	for range 4 {
		m := prepareMemcached(t, o)
		err := m.start()
		if err == nil {
			return m
		}
		if !strings.Contains(err.Error(), "in use") {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free")
	return nil
}

func prepareMemcached(t testing.TB, o MemcachedOptions) *Memcached {
	t.Helper()
	m := &Memcached{Host: "127.0.0.1", t: t, path: find(t, "memcached")}
	dir, err := os.MkdirTemp("", "memcached")
	if err != nil {
		t.Fatal(err)
	}
	m.args = []string{"-U", "0", "-m", "64", "-t", "1"}
	if os.Getuid() == 0 {
		m.args = append(m.args, "-u", "root")
	}
	if o.Socket {
		m.Socket = filepath.Join(dir, "s")
		m.args = append(m.args, "-s", m.Socket)
	} else {
		m.Port = port(t)
		m.args = append(m.args, "-l", m.Host, "-p", strconv.Itoa(m.Port))
	}
	if o.TLS {
		p := newPair(t)
		m.Roots = p.roots
		m.args = append(m.args, "-Z", "-o", "ssl_chain_cert="+p.cert+",ssl_key="+p.key)
	}
	t.Cleanup(func() {
		if m.p != nil {
			m.p.kill()
		}
		os.RemoveAll(dir)
	})
	return m
}

func (m *Memcached) start() error {
	p, err := start(m.path, m.args...)
	if err != nil {
		return err
	}
	m.p = p
	return p.await(m.ping)
}

func (m *Memcached) ping() error {
	network, addr := "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port))
	if m.Socket != "" {
		network, addr = "unix", m.Socket
	}
	c, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if m.Roots != nil {
		c = tls.Client(c, &tls.Config{RootCAs: m.Roots, ServerName: ServerName})
	}
	if _, err := c.Write([]byte("version\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "VERSION") {
		err = errors.New(line)
	}
	return err
}

// Kill ends the server as a crash would: all that it holds is lost.
func (m *Memcached) Kill() { m.p.kill() }

// Start starts a killed server again at the same place.
func (m *Memcached) Start() {
	m.t.Helper()
	if err := m.start(); err != nil {
		m.t.Fatal(err)
	}
}
