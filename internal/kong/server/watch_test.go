package server

import (
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/rp"
)

// stuck is a plugin whose instances ignore their context.
type stuck struct {
	broken
	leave chan struct{}
}

func (s stuck) Start(context.Context, []byte) Instance { return s }
func (s stuck) Access(context.Context, *rp.Request) *rp.Decision {
	<-s.leave
	return &rp.Decision{}
}

func TestHandlerThatIgnoresItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := stuck{leave: make(chan struct{})}
		s := New(Options{Plugin: p})
		plugin, kong := net.Pipe()
		go s.ServeConn(plugin)
		h := hosttest.New(&patient{kong})
		id, err := h.Start([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		out, err := h.Event(id, hosttest.Request{}.Answers())
		if err != nil || out.Exit == nil || out.Exit.Status != 500 || !bytes.Contains(out.Exit.Body, []byte("unexpected error")) {
			t.Fatalf("outcome %+v, %v", out, err)
		}
		if took := time.Since(before); took != 30*time.Second+decisionGrace {
			t.Errorf("answered after %v", took)
		}
		close(p.leave)
		synctest.Wait()
		if got := s.Stats(); got.Connections != 0 || got.Failures != 1 {
			t.Errorf("%+v", got)
		}
	})
}

func TestLateWatchSparesTheNextEvent(t *testing.T) {
	plugin, kong := net.Pipe()
	defer kong.Close()
	s := newSession(New(Options{}), plugin)
	s.watchUntil(time.Now().Add(time.Hour))
	defer s.watchUntil(time.Time{})
	s.giveUp() // of the event before, too late
	go kong.Read(make([]byte, 100))
	if !s.wire.Abort(nil) {
		t.Error("the event was given up long before its time")
	}
}

// slow is a plugin that needs a while, and asks Kong again then.
type slow struct{ broken }

func (s slow) Start(context.Context, []byte) Instance { return s }
func (s slow) Access(ctx context.Context, r *rp.Request) *rp.Decision {
	time.Sleep(time.Second)
	if r.Need(ctx, rp.NeedMethod) != nil {
		return nil
	}
	return &rp.Decision{}
}

func TestShutdownDoesNotDisturbAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Plugin: slow{}})
		plugin, kong := net.Pipe()
		go s.ServeConn(plugin)
		h := hosttest.New(&patient{kong})
		id, err := h.Start([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(100 * time.Millisecond)
			if err := s.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		if out, err := h.Event(id, hosttest.Request{}.Answers()); err != nil || !out.Passed {
			t.Errorf("outcome %+v, %v", out, err)
		}
		synctest.Wait()
	})
}

// keeper keeps the configuration that it was given.
type keeper struct {
	broken
	config *[]byte
}

func (k keeper) Start(_ context.Context, config []byte) Instance { *k.config = config; return k }

func TestConfigurationIsThePluginsOwn(t *testing.T) {
	var kept []byte
	s := New(Options{Plugin: keeper{config: &kept}})
	plugin, kong := net.Pipe()
	go s.ServeConn(plugin)
	h := hosttest.New(kong)
	defer h.Close()
	config := bytes.Repeat([]byte("c"), 100)
	if _, err := h.Start(config); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RPC(32, bytes.Repeat([]byte{0x0a, 0x01, 'x'}, 100)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, config) {
		t.Errorf("the configuration became %q", kept)
	}
}

// patient ignores the host's own deadlines.
type patient struct{ net.Conn }

func (patient) SetReadDeadline(time.Time) error { return nil }
