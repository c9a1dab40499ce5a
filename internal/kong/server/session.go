package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"kong-openid-connect/internal/kong/pdkio"
	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// session is one connection of Kong's: calls and events, one after another.
type session struct {
	server *Server
	conn   net.Conn
	wire   *wire.Conn
	link   *pdkio.Link
	ret    []byte // RpcReturn, reused
	seen   wire.Stats

	busy bool // guarded by Server.mu

	watch   *time.Timer
	watchMu sync.Mutex
	due     time.Time // when the event under way is given up; zero for none
}

func newSession(s *Server, c net.Conn) *session {
	w := wire.New(c, s.opt.MaxFrame)
	return &session{server: s, conn: c, wire: w, link: pdkio.NewLink(w)}
}

// run serves calls until the connection ends or the server stops.
func (t *session) run() {
	s := t.server
	defer t.count()
	for {
		t.conn.SetDeadline(time.Now().Add(idleWait))
		if !t.idle() {
			return
		}
		frame, err := t.wire.Next()
		if err != nil {
			t.lost(err)
			return
		}
		t.begin()
		c, err := decodeCall(frame)
		if err != nil {
			if s.noise.allow(s.now()) {
				s.log.Error("openid-connect: a call of kong can not be understood: the connection is closed", "error", err, "bytes", len(frame))
			}
			return
		}
		if !t.handle(c) {
			return
		}
		t.count()
	}
}

// idle marks the connection as waiting, and reports false when the server stops.
func (t *session) idle() bool {
	s := t.server
	s.mu.Lock()
	defer s.mu.Unlock()
	t.busy = false
	return !s.draining
}

func (t *session) begin() {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	t.busy = true
}

// count adds what the connection cost to the server's counters.
func (t *session) count() {
	now := t.wire.Stats()
	t.server.stats.writes.Add(now.Writes - t.seen.Writes)
	t.server.stats.turns.Add(now.Turns - t.seen.Turns)
	t.seen = now
}

// lost logs why a connection ended, unless it simply did.
func (t *session) lost(err error) {
	s := t.server
	var tooLong *wire.FrameError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return
	case errors.As(err, &tooLong):
		if s.noise.allow(s.now()) {
			s.log.Error("openid-connect: a call of kong is too large: the connection is closed", "error", err)
		}
	default:
		s.log.Debug("openid-connect: a connection of kong was lost", "error", err)
	}
}

// handle answers one call, and reports whether the connection can be used on.
func (t *session) handle(c call) bool {
	s := t.server
	now := s.now()
	var ret []byte
	switch c.command {
	case handleEvent:
		return t.event(c, now)
	case startInstance:
		h := s.start(c.config)
		s.stats.starts.Add(1)
		ret = statusReturn(c.sequence, s.opt.Info.Name, h.id, h.started.Unix())
	case closeInstance:
		started, _ := s.instances.remove(c.instance)
		ret = statusReturn(c.sequence, s.opt.Info.Name, c.instance, unix(started))
	case getInstanceStatus:
		started, ok := s.instances.get(c.instance)
		if !ok {
			return false
		}
		ret = statusReturn(c.sequence, s.opt.Info.Name, c.instance, unix(started))
	case getPluginNames:
		ret = namesReturn(c.sequence, s.opt.Info.Name)
	case getPluginInfo:
		ret = infoReturn(c.sequence, &s.opt.Info)
	}
	return t.wire.Return(ret) == nil
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// start makes an instance. Whatever goes wrong, Kong gets an id: it waits ten
// seconds for an instance that could not be started, at every request.
func (s *Server) start(config []byte) *held {
	ctx, cancel := context.WithTimeout(s.base, s.opt.EventTimeout)
	defer cancel()
	// The plugin may keep the configuration; the frame is overwritten.
	return s.instances.add(s.startSafely(ctx, append([]byte(nil), config...)), s.now())
}

func (s *Server) startSafely(ctx context.Context, config []byte) (i Instance) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("openid-connect: starting an instance panicked: its requests are answered by 500", "panic", panicText(p), "stack", string(debug.Stack()))
			i = broken{}
		}
	}()
	if i = s.opt.Plugin.Start(ctx, config); i == nil {
		s.log.Error("openid-connect: the plugin started no instance: its requests are answered by 500")
		return broken{}
	}
	return i
}

// broken is an instance that could not be made.
type broken struct{}

func (broken) Needs() rp.Needs                                  { return 0 }
func (broken) Access(context.Context, *rp.Request) *rp.Decision { return nil }
func (broken) Close()                                           {}
func (broken) Volatile() bool                                   { return false }

// event decides one request.
func (t *session) event(c call, now time.Time) bool {
	s := t.server
	i := s.instances.acquire(c.instance, now)
	if i == nil {
		s.stats.unknown.Add(1)
		if s.noise.allow(now) {
			s.log.Info("openid-connect: kong is made to start its instances anew", "instance", c.instance)
		}
		return false
	}
	defer i.release()
	s.stats.events.Add(1)

	deadline := time.Now().Add(s.opt.EventTimeout)
	t.conn.SetDeadline(deadline.Add(2 * decisionGrace))
	t.watchUntil(deadline.Add(decisionGrace))
	defer t.watchUntil(time.Time{})
	ctx, cancel := context.WithDeadline(s.base, deadline)
	defer cancel()

	x := t.link.Begin()
	t.ret = appendReturn(t.ret[:0], c.sequence)
	err := s.decide(ctx, x, i, c, t.ret)
	if err != nil && t.wire.Err() == nil && !t.wire.Exited() {
		s.stats.failures.Add(1)
		s.log.Error("openid-connect: a request is answered by 500", "error", err, "instance", c.instance)
		err = x.Fail()
	}
	switch {
	case err != nil && t.wire.Err() == nil:
		// Kong can not even be told so; it is not to try again.
		s.log.Error("openid-connect: a request could not be answered", "error", err, "instance", c.instance)
		t.abandon()
		return false
	case t.wire.Exited() && t.wire.Err() == nil:
		s.stats.exits.Add(1)
		t.conn.SetReadDeadline(time.Now().Add(exitWait))
		if err := t.wire.AwaitClose(); err != nil {
			s.log.Warn("openid-connect: kong did not close the connection after an exit", "error", err, "instance", c.instance)
		}
		return false
	case t.wire.Err() == nil:
		err = t.wire.Settle()
	}
	if err == nil {
		return true
	}
	t.broken(err, c.instance)
	return false
}

// decide reads the request, has it decided, and writes the decision. A panic
// on the way is an error like any other.
func (s *Server) decide(ctx context.Context, x *pdkio.Exchange, i *held, c call, ret []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("openid-connect: deciding a request panicked", "panic", panicText(p), "stack", string(debug.Stack()), "instance", i.id)
			err = errNoDecision
		}
	}()
	if string(c.name) != "access" {
		return errors.New("kong sent an event that the plugin has not asked for")
	}
	r, err := x.Request(ctx, i.Needs())
	if err != nil {
		return err
	}
	d := i.Access(ctx, r)
	if d == nil {
		return errNoDecision
	}
	return x.Finish(d, ret)
}

var errNoDecision = errors.New("no decision was made")

// panicText says what a panic was without what it may hold of the request.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", p)
}

// broken says how an event ended whose connection can not be used on, and
// makes sure that Kong does not deliver it again.
func (t *session) broken(err error, instance int32) {
	s := t.server
	switch {
	case errors.Is(err, wire.ErrRefused):
		s.stats.refused.Add(1)
		s.log.Error("openid-connect: kong refused a call of the plugin and answered the request by 500: see kong's error log", "instance", instance)
	case errors.Is(err, wire.ErrAborted):
		s.log.Error("openid-connect: a request was decided after it had been given up", "instance", instance)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.log.Error("openid-connect: kong stopped answering in the middle of an event", "error", err, "instance", instance)
	default:
		s.stats.failures.Add(1)
		s.log.Error("openid-connect: the connection to kong failed in the middle of an event", "error", err, "instance", instance)
		t.abandon()
	}
}

// abandon answers the event on a connection whose replies can not be followed
// any more, and reads it to its end: to close it would repeat the event.
func (t *session) abandon() {
	if !t.wire.Abort(pdkio.FailArgs()) {
		return
	}
	t.conn.SetReadDeadline(time.Now().Add(exitWait))
	_, _ = io.Copy(io.Discard, t.conn)
}

// watchUntil arms the watch over the event under way; zero disarms it. A
// handler that ignores its context must not make the client wait for Kong's
// own limit, after which Kong would try again.
func (t *session) watchUntil(due time.Time) {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	t.due = due
	switch {
	case due.IsZero():
		t.watch.Stop()
	case t.watch == nil:
		t.watch = time.AfterFunc(time.Until(due), t.giveUp)
	default:
		t.watch.Reset(time.Until(due))
	}
}

func (t *session) giveUp() {
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	// It may fire late, when another event is under way.
	if t.due.IsZero() || time.Now().Before(t.due) {
		return
	}
	if t.wire.Abort(pdkio.FailArgs()) {
		t.server.stats.failures.Add(1)
		t.server.log.Error("openid-connect: a request was not decided in time and is answered by 500")
	}
}
