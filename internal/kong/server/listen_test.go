package server_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
)

func TestSocketHasItsMode(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o660, 0o666} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := server.Listen(path, mode)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if mode == 0 {
			mode = 0o600
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != mode|fs.ModeSocket {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, mode)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
			t.Errorf("left beside the socket: %v", left)
		}
	}
}

func TestSuccessorKeepsItsSocket(t *testing.T) {
	answer := func(status int) *plugin {
		return &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
			return &rp.Decision{Respond: &rp.Response{Status: status}}
		}}
	}
	old := serve(t, server.Options{Plugin: answer(410)})
	w := old.worker(t, "{}")
	if out := do(t, w, hosttest.Request{}); out.Exit.Status != 410 {
		t.Fatalf("the old process: %+v", out)
	}
	l, err := server.Listen(old.path, 0)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, server.Options{Plugin: answer(402)}, l, old.path)
	shutdown(t, old)
	if out := do(t, w, hosttest.Request{}); out.Exit == nil || out.Exit.Status != 402 || w.Starts != 2 {
		t.Errorf("after the old process has gone: %+v after %d starts", out, w.Starts)
	}
}

func TestOwnSocketIsRemoved(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: allow}})
	shutdown(t, s)
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestStaleLeftoversAreReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "openid-connect.socket")
	// A process that was killed: its socket, and one that it was making.
	for _, at := range []string{path, filepath.Join(dir, ".oidc-123", "s")} {
		os.MkdirAll(filepath.Dir(at), 0o700)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
	}
	l, err := server.Listen(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("precious"), 0o600)
	if _, err := server.Listen(file, 0); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
	if _, err := server.Listen(filepath.Join(dir, strings.Repeat("x", 120)), 0); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := server.Listen(filepath.Join(dir, "missing", "s"), 0); err == nil {
		t.Error("a directory that is missing")
	}
}

func TestShutdownLetsEventsEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	p := &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
		close(entered)
		<-leave
		return &rp.Decision{}
	}}
	s := serve(t, server.Options{Plugin: p})
	idle := s.dial(t)
	if _, err := idle.Start([]byte("{}")); err != nil {
		t.Fatal(err)
	}
	w := s.worker(t, "{}")
	got := make(chan *hosttest.Outcome, 1)
	go func() {
		out, _ := w.Do(hosttest.Request{}.Answers())
		got <- out
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if _, err := idle.Read(); !errors.Is(err, hosttest.ErrClosed) {
		t.Errorf("the idle connection: %v", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped under an event: %v", err)
	default:
	}
	close(leave)
	if out := <-got; out == nil || !out.Passed {
		t.Errorf("the event under way: %+v", out)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := p.closed.Load(); got != 2 {
		t.Errorf("%d instances were closed, want 2", got)
	}
	if _, err := hosttest.Dial(s.path); err == nil {
		t.Error("still accepting")
	}
}

func TestShutdownHasAnEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
		close(entered)
		<-leave
		return &rp.Decision{}
	}}})
	h := s.dial(t)
	id, err := h.Start([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	go h.Event(id, hosttest.Request{}.Answers())
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestVolatileInstanceIsStartedAnew(t *testing.T) {
	now := time.Now()
	s := serve(t, server.Options{Now: func() time.Time { return now }, Plugin: &plugin{access: allow, volatile: true}})
	w := s.worker(t, "{}")
	do(t, w, hosttest.Request{})
	do(t, w, hosttest.Request{})
	if w.Starts != 1 {
		t.Fatalf("%d starts", w.Starts)
	}
	now = now.Add(time.Minute)
	if out := do(t, w, hosttest.Request{}); !out.Passed || w.Starts != 2 {
		t.Errorf("outcome %+v after %d starts", out, w.Starts)
	}
}
