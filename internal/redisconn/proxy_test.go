package redisconn_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/testservers"
)

// served runs a handler for each connection, which ends with it.
func served(t *testing.T, handle func(net.Conn)) redisconn.Address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return redisconn.Address{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
}

// relayed is served with a connection to a server beside each one.
func relayed(t *testing.T, to string, handle func(c, server net.Conn)) redisconn.Address {
	t.Helper()
	return served(t, func(c net.Conn) {
		server, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer server.Close()
		handle(c, server)
	})
}

// proxy hands commands on as Twemproxy does: a command that it does not know ends the connection.
func proxy(t *testing.T, to string) redisconn.Address {
	t.Helper()
	return relayed(t, to, func(c, server net.Conn) {
		go io.Copy(c, server)
		for in := bufio.NewReader(c); ; {
			raw, name, err := command(in)
			if err != nil || strings.Contains(" hello select client role command ", " "+name+" ") {
				return
			}
			server.Write(raw)
		}
	})
}

func command(in *bufio.Reader) (raw []byte, name string, err error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, "", err
	}
	raw = append(raw, line...)
	n, err := strconv.Atoi(strings.TrimSpace(line[1:]))
	if err != nil {
		return nil, "", err
	}
	for i := range n {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, "", err
		}
		size, err := strconv.Atoi(strings.TrimSpace(line[1:]))
		if err != nil {
			return nil, "", err
		}
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(in, arg); err != nil {
			return nil, "", err
		}
		if i == 0 {
			name = strings.ToLower(string(arg[:size]))
		}
		raw = append(append(raw, line...), arg...)
	}
	return raw, name, nil
}

func TestProxied(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{Password: password, ACL: nil})
	at := proxy(t, s.Addr())
	o := redisconn.Options{Address: at, Password: password, Database: 4, Proxied: true}
	works(t, connect(t, o))
	o.Password = password + "x"
	refused(t, connect(t, o).Check(t.Context()), "WRONGPASS")
	o = redisconn.Options{Address: at, Password: password}
	refused(t, connect(t, o).Check(t.Context()), "closed the connection")
}

// scripted answers every command with a line.
func scripted(t *testing.T, answer string) redisconn.Address {
	t.Helper()
	return served(t, func(c net.Conn) {
		for in := bufio.NewReader(c); ; {
			if _, _, err := command(in); err != nil {
				return
			}
			fmt.Fprint(c, answer)
		}
	})
}

// TestRefusalsEchoNothing holds a server that repeats the arguments of a command that it does not know.
func TestRefusalsEchoNothing(t *testing.T) {
	for _, answer := range []string{
		"-ERR unknown command `auth`, with args beginning with: `" + password + "`, \r\n",
		"-ERR unknown command 'AUTH', with args beginning with: '" + password + "' \r\n",
		"-ERR the password is " + password + "\r\n",
		"-" + password + "\r\n",
		"-ERR \x1b[31m forged\x00 \r\n",
		"-\r\n",
		"!" + password + "\r\n",
		"$99999999999999999999\r\n",
		"*-7\r\n",
		"\r\n",
	} {
		o := redisconn.Options{Address: scripted(t, answer), Password: password, ConnectTimeout: 100 * time.Millisecond, SendTimeout: 100 * time.Millisecond, ReadTimeout: 100 * time.Millisecond}
		err := connect(t, o).Set(t.Context(), "k", []byte(password), time.Minute)
		if answer != "$99999999999999999999\r\n" || err != nil {
			refused(t, err)
		}
		if strings.ContainsAny(err.Error(), "\x1b\x00\r\n") {
			t.Errorf("%q", err)
		}
	}
}

// dropping hands everything on to a server, but closes a connection in place
// of each answer to the named command, as often as left says.
func dropping(t *testing.T, to, drop string, left *atomic.Int32) redisconn.Address {
	t.Helper()
	return relayed(t, to, func(c, server net.Conn) {
		answer := make([]byte, 64<<10)
		for in := bufio.NewReader(c); ; {
			raw, name, err := command(in)
			if err != nil {
				return
			}
			server.Write(raw)
			n, err := server.Read(answer) // the tests' answers come whole
			if err != nil || name == drop && left.Add(-1) >= 0 {
				return
			}
			c.Write(answer[:n])
		}
	})
}

// TestLostAnswers: what a restart swallows is asked for again.
func TestLostAnswers(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	var left atomic.Int32
	for drop, op := range map[string]func(*redisconn.Client) error{
		"getrange": func(c *redisconn.Client) error { _, err := c.Get(t.Context(), "k", 10); return err },
		"set":      func(c *redisconn.Client) error { return c.Set(t.Context(), "k", nil, time.Minute) },
		"del":      func(c *redisconn.Client) error { return c.Delete(t.Context(), "k") },
		"evalsha":  func(c *redisconn.Client) error { _, err := c.Run(t.Context(), twice, "k", "v"); return err },
		"hello":    func(c *redisconn.Client) error { return c.Check(t.Context()) },
	} {
		left.Store(2)
		if err := op(connect(t, redisconn.Options{Address: dropping(t, s.Addr(), drop, &left)})); err != nil || left.Load() >= 0 {
			t.Errorf("%s: %v, %d left", drop, err, left.Load())
		}
	}
}
