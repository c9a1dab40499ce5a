package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options says what is served and within which bounds. Zero durations and
// counts stand for their defaults.
type Options struct {
	Info   Info
	Plugin Plugin
	Logger *slog.Logger

	EventTimeout   time.Duration // the deadline of one event: 30 s; Kong gives up after 60 s
	VolatileAge    time.Duration // how long an instance with vault references is used: 60 s
	IdleAge        time.Duration // how long an unused instance is kept: 24 h
	MaxInstances   int           // how many instances are kept, those in use aside: 10,000
	MaxFrame       int           // bytes of an incoming frame: wire.DefaultMaxFrame
	MaxConnections int           // connections at a time, one for each event under way: 16,384

	Now func() time.Time // time.Now
}

// Bounds on waiting for Kong.
const (
	decisionGrace = 5 * time.Second        // for writing a decision that was made at the deadline
	exitWait      = 5 * time.Second        // for Kong to close after an exit
	idleWait      = 5 * time.Minute        // for the next event; Kong closes after 60 s
	lingerWait    = 100 * time.Millisecond // for a call on its way when the server stops
)

// Server serves the protocol.
type Server struct {
	opt       Options
	log       *slog.Logger
	now       func() time.Time
	instances *instances
	slots     chan struct{}
	base      context.Context
	stop      context.CancelFunc
	noise     limiter

	mu        sync.Mutex
	draining  bool
	listeners map[net.Listener]struct{}
	conns     map[*session]struct{}
	empty     chan struct{} // closed when draining and no connection is left

	stats counters
}

type counters struct {
	events, failures, exits, refused, unknown, starts atomic.Uint64
	writes, turns                                     atomic.Uint64
}

// Stats is what a server has done since its start.
type Stats struct {
	Events      uint64 // requests decided
	Exits       uint64 // of these, answered at the gateway
	Failures    uint64 // of these, answered by 500 as no decision could be made or written
	Refused     uint64 // decisions that Kong refused and answered by 500 itself
	Unknown     uint64 // events for an unknown instance id, answered by closing
	Starts      uint64 // instances started
	Writes      uint64 // write calls
	Turns       uint64 // round trips
	Instances   int
	Connections int
}

// New returns a server. It needs Plugin and Info.Name.
func New(o Options) *Server {
	o.EventTimeout = or(o.EventTimeout, 30*time.Second)
	o.VolatileAge = or(o.VolatileAge, time.Minute)
	o.IdleAge = or(o.IdleAge, 24*time.Hour)
	o.MaxInstances = or(o.MaxInstances, 10_000)
	o.MaxConnections = or(o.MaxConnections, 16_384)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	base, stop := context.WithCancel(context.Background())
	return &Server{
		opt: o, log: o.Logger, now: o.Now,
		instances: newInstances(retention{volatileAge: o.VolatileAge, idleAge: o.IdleAge, max: o.MaxInstances}),
		slots:     make(chan struct{}, o.MaxConnections),
		base:      base, stop: stop,
		listeners: map[net.Listener]struct{}{},
		conns:     map[*session]struct{}{},
		empty:     make(chan struct{}),
	}
}

func or[T int | time.Duration](v, preset T) T {
	if v <= 0 {
		return preset
	}
	return v
}

// ErrStopped is what Serve returns after Shutdown.
var ErrStopped = errors.New("the plugin server was stopped")

// Serve accepts connections until Shutdown, then returns ErrStopped.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		l.Close()
		return errors.Join(ErrStopped, removeSocket(l))
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()

	var pause time.Duration
	for {
		select {
		case s.slots <- struct{}{}:
		case <-s.base.Done():
			return ErrStopped
		}
		c, err := l.Accept()
		if err != nil {
			<-s.slots
			if s.stopping() {
				return ErrStopped
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accepting connections of kong: %w", err)
			}
			// Such as too many open files: it ends when connections do.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Error("openid-connect: a connection of kong could not be accepted: where too many files are open, raise the limit of this process", "error", err, "retry_in", pause)
			select {
			case <-time.After(pause):
			case <-s.base.Done():
				return ErrStopped
			}
			continue
		}
		pause = 0
		go func() {
			defer func() { <-s.slots }()
			s.ServeConn(c)
		}()
	}
}

// ServeConn serves one connection until it ends, and closes it.
func (s *Server) ServeConn(c net.Conn) {
	defer c.Close()
	t := newSession(s, c)
	if !s.track(t) {
		return
	}
	defer s.untrack(t)
	t.run()
}

// Stats returns what was counted.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns := len(s.conns)
	s.mu.Unlock()
	c := &s.stats
	return Stats{
		Events: c.events.Load(), Exits: c.exits.Load(), Failures: c.failures.Load(), Refused: c.refused.Load(),
		Unknown: c.unknown.Load(), Starts: c.starts.Load(), Writes: c.writes.Load(), Turns: c.turns.Load(),
		Instances: s.instances.len(), Connections: conns,
	}
}

// Shutdown stops accepting, lets events under way end, closes idle
// connections and then the instances. Its error is that of ctx, when events
// were still under way by then; they are cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.draining
	s.draining = true
	for l := range s.listeners {
		l.Close()
	}
	// A call may be on its way on an idle connection. Closed at once it would
	// be lost; so it is waited for, for a moment.
	for t := range s.conns {
		if !t.busy {
			t.conn.SetReadDeadline(time.Now().Add(lingerWait))
		}
	}
	if first && len(s.conns) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()

	var err error
	select {
	case <-s.empty:
	case <-ctx.Done():
		err = fmt.Errorf("stopping the plugin server while requests are under way: %w", context.Cause(ctx))
		s.mu.Lock()
		for t := range s.conns {
			t.conn.SetDeadline(time.Now())
		}
		s.mu.Unlock()
	}
	s.stop()
	for l := range s.listeners {
		err = errors.Join(err, removeSocket(l))
	}
	s.instances.removeAll()
	return err
}

func removeSocket(l net.Listener) error {
	if l, ok := l.(*Listener); ok {
		return l.Remove()
	}
	return nil
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}

func (s *Server) track(t *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.conns[t] = struct{}{}
	return true
}

func (s *Server) untrack(t *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, t)
	if s.draining && len(s.conns) == 0 {
		close(s.empty)
	}
}

// limiter lets one log line a second pass, so that a loop of Kong's does not
// become a flood of ours.
type limiter struct{ last atomic.Int64 }

func (l *limiter) allow(now time.Time) bool {
	sec := now.Unix()
	last := l.last.Load()
	return sec != last && l.last.CompareAndSwap(last, sec)
}
