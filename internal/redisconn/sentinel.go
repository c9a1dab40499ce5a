package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// sentinels finds the server to connect to, anew for every connection: after a
// failover the old connections die or are refused with READONLY, and their
// successors go to the new master.
type sentinels struct {
	addrs  []string
	master string
	role   Role
	base   redis.Options
	d      *dialer
	now    func() time.Time

	turn  chan struct{} // held while the fields below are used
	first int           // the sentinel that answered last
	found []string      // what it answered
	at    time.Time
}

// foundFor is how long an answer serves other connections that open at the same time.
const foundFor = time.Second

func newSentinels(o *Options, d *dialer) *sentinels {
	s := &sentinels{master: o.SentinelMaster, role: o.SentinelRole, d: d, now: o.Now, turn: make(chan struct{}, 1)}
	for _, a := range o.Sentinels {
		s.addrs = append(s.addrs, a.String())
	}
	s.base = redis.Options{
		Protocol: 2, Dialer: d.dial, Network: "tcp", Username: o.SentinelUsername, Password: string(o.SentinelPassword),
		DialTimeout: o.ConnectTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.SendTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: 1, DisableIndentity: true,
	}
	return s
}

// dial connects to a server of the wanted role.
func (s *sentinels) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	addrs, err := s.lookup(ctx)
	if err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		var conn net.Conn
		if conn, err = s.d.dial(ctx, "tcp", addr); err == nil {
			return conn, nil
		}
	}
	s.forget()
	return nil, again{fmt.Errorf("the server that the sentinels name: %w", err)}
}

// verify refuses a server whose role is not the wanted one: a sentinel may not
// have learned of a failover yet. The next attempt asks again.
func (s *sentinels) verify(ctx context.Context, conn *redis.Conn) error {
	if s.role == Any {
		return nil
	}
	role := redis.NewSliceCmd(ctx, "role")
	_ = conn.Process(ctx, role)
	reply, err := role.Result()
	var refused redis.Error
	if errors.As(err, &refused) {
		return nil // an ACL user may lack the right to ask; a write to a replica is refused anyhow
	}
	if err != nil {
		return err
	}
	if len(reply) == 0 || reply[0] != string(s.role) && s.role == Master {
		s.forget()
		return again{errors.New("the server that the sentinels name as master is none")}
	}
	return nil
}

// again is an error after which another attempt makes sense.
type again struct{ error }

// Timeout tells go-redis, which asks for it, to try once more.
func (again) Timeout() bool { return false }

func (e again) publicReason() string { return printable(e.Error(), 300) }

func (s *sentinels) forget() {
	select {
	case s.turn <- struct{}{}:
		s.found = nil
		<-s.turn
	default: // somebody is asking right now
	}
}

// lookup returns the servers to try in order.
func (s *sentinels) lookup(ctx context.Context) ([]string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if len(s.found) > 0 && s.now().Sub(s.at) < foundFor {
		return s.found, nil
	}
	var last error
	for i := range s.addrs {
		n := (s.first + i) % len(s.addrs)
		found, err := s.ask(ctx, s.addrs[n])
		if err == nil {
			s.first, s.found, s.at = n, found, s.now()
			return found, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		last = sentinelError{s.addrs[n], err}
	}
	return nil, last
}

// ask queries one sentinel.
func (s *sentinels) ask(ctx context.Context, addr string) ([]string, error) {
	opt := s.base
	opt.Addr = addr
	c := redis.NewSentinelClient(&opt)
	defer c.Close()
	var found []string
	if s.role != Replica {
		parts, err := c.GetMasterAddrByName(ctx, s.master).Result()
		if errors.Is(err, redis.Nil) || err == nil && len(parts) != 2 {
			return nil, errUnknownMaster
		}
		if err != nil {
			return nil, err
		}
		found = append(found, net.JoinHostPort(parts[0], parts[1]))
	}
	if s.role != Master {
		replicas, err := c.Replicas(ctx, s.master).Result()
		if err != nil && len(found) == 0 {
			return nil, err
		}
		for _, r := range replicas {
			if !unusable(r["flags"]) {
				found = append(found, net.JoinHostPort(r["ip"], r["port"]))
			}
		}
	}
	if len(found) == 0 {
		return nil, errNoReplica
	}
	return found, nil
}

func unusable(flags string) bool {
	for _, f := range []string{"s_down", "o_down", "disconnected"} {
		if strings.Contains(flags, f) {
			return true
		}
	}
	return false
}

var (
	errUnknownMaster = errors.New("it does not know sentinel_master")
	errNoReplica     = errors.New("it knows no replica that is up")
)

// sentinelError tells failures of sentinels from those of Redis: their logins are different ones.
type sentinelError struct {
	addr string
	err  error
}

func (e sentinelError) Error() string { return e.publicReason() }
func (e sentinelError) Timeout() bool { return false }

func (e sentinelError) publicReason() string {
	reason := "no answer"
	var refused redis.Error
	switch {
	case errors.Is(e.err, errUnknownMaster), errors.Is(e.err, errNoReplica):
		reason = e.err.Error()
	case errors.As(e.err, &refused):
		reason = "refused: " + code(refused.Error()) + ": check sentinel_username and sentinel_password"
	default:
		reason = printable(e.err.Error(), 200)
	}
	return "sentinel " + e.addr + ": " + reason
}
