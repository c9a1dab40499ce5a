package redis_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/redis"
)

// scripted is a server whose answers to reads are given by key, in the words of
// the protocol; "hang" and "close" are what they say. Other keys are missing.
type scripted struct {
	redisconn.Address
	listener net.Listener
	slots    string // the answer to CLUSTER SLOTS

	answers map[string]string
}

func newScripted(t *testing.T) *scripted {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &scripted{Address: redisconn.Address{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}, listener: l, answers: map[string]string{}}
}

// start serves; slots and answers are set by then.
func (s *scripted) start(t *testing.T) {
	l := s.listener
	over := make(chan struct{})
	var serving sync.WaitGroup
	t.Cleanup(func() { close(over); _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { <-over; _ = c.Close() })
			serving.Go(func() { s.serve(c, over); _ = c.Close() })
		}
	})
}

func (s *scripted) serve(c net.Conn, over chan struct{}) {
	for in := bufio.NewReader(c); ; {
		args, err := command(in)
		if err != nil {
			return
		}
		text := "+OK\r\n"
		switch strings.ToUpper(args[0]) {
		case "HELLO":
			text = "-ERR unknown command\r\n"
		case "CLUSTER":
			text = s.slots
		case "GETRANGE":
			var known bool
			if text, known = s.answers[args[1]]; !known {
				text = "$0\r\n\r\n"
				if strings.HasPrefix(args[1], "sessions:id") {
					text = "$4\r\n1one\r\n"
				}
			}
		}
		switch text {
		case "hang":
			<-over
			return
		case "close":
			return
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

// command reads an array of strings.
func command(in *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	args := make([]string, n)
	for i := range args {
		size, err := number()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, err
}

// TestWhatCannotBeReadIsNeverMissing: of the keys that are read in one turn one
// gets no good answer. Neither is a session then, nor the lack of one.
func TestWhatCannotBeReadIsNeverMissing(t *testing.T) {
	texts := []string{
		"-LOADING Redis is loading the dataset in memory\r\n",
		"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
		"-CLUSTERDOWN The cluster is down\r\n",
		"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
		"-MASTERDOWN Link with MASTER is down\r\n",
		"-NOPERM this user has no permissions\r\n",
		"-MOVED 1 %s\r\n", "-ASK 1 %s\r\n", // to where it came from
		"$-1\r\n", ":0\r\n", "*0\r\n", "$3\r\n", "\r\n", "hang", "close",
	}
	names := []string{"id%d", "revoked:subject%d", "revoked:one%d", "revoked:two%d"}
	a, b := newScripted(t), newScripted(t)
	a.slots = "*2\r\n" + slotRange(0, 8191, a) + slotRange(8192, 16383, b)
	b.slots = a.slots
	answers := a.answers
	b.answers = answers
	var keys []string
	for _, text := range texts {
		for _, name := range names {
			if strings.Contains(text, "%s") {
				text = fmt.Sprintf(text, a.Address)
			}
			key := "sessions:" + fmt.Sprintf(name, len(keys))
			answers[key], keys = text, append(keys, key)
		}
	}
	a.start(t)
	b.start(t)
	o := redisconn.Options{PoolSize: len(keys) + 1, ConnectTimeout: time.Second, SendTimeout: 200 * time.Millisecond, ReadTimeout: 200 * time.Millisecond}
	one, many := o, o
	one.Address = a.Address
	many.Cluster = []redisconn.Address{a.Address, b.Address}
	for kind, o := range map[string]redisconn.Options{"one server": one, "cluster": many} {
		t.Run(kind, func(t *testing.T) {
			store := redis.New(connect(t, o), "", nil)
			named := func(i int) (id, subject, one, two string) {
				return fmt.Sprint("id", i), fmt.Sprint("subject", i), fmt.Sprint("one", i), fmt.Sprint("two", i)
			}
			id, subject, one, two := named(len(keys))
			if v, ended, err := store.GetEnded(t.Context(), id, time.Now(), subject, one, two); string(v) != "one" || ended || err != nil {
				t.Fatalf("where all is well: %q, %v, %v", v, ended, err)
			}
			var wg sync.WaitGroup
			for i, key := range keys {
				wg.Go(func() {
					id, subject, one, two := named(i)
					v, ended, err := store.GetEnded(t.Context(), id, time.Now(), subject, one, two)
					if err == nil || errors.Is(err, session.ErrNotFound) || v != nil || ended {
						t.Errorf("%s answered with %q: %q, %v, %v", key, answers[key], v, ended, err)
					}
				})
				if i%len(names) == 0 {
					continue // the session's own
				}
				wg.Go(func() {
					_, subject, one, two := named(i)
					if _, err := store.Ended(t.Context(), time.Now(), subject, one, two); err == nil {
						t.Errorf("%s answered with %q: the list is read", key, answers[key])
					}
				})
			}
			wg.Wait()
		})
	}
}

func slotRange(from, to int, s *scripted) string {
	return fmt.Sprintf("*3\r\n:%d\r\n:%d\r\n*2\r\n$%d\r\n%s\r\n:%d\r\n", from, to, len(s.Host), s.Host, s.Port)
}
