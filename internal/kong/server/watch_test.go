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

// patient ignores the host's own deadlines.
type patient struct{ net.Conn }

func (patient) SetReadDeadline(time.Time) error { return nil }
