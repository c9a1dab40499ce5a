package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
)

// plugin makes the same kind of instance for every configuration.
type plugin struct {
	needs    rp.Needs
	volatile bool
	access   func(ctx context.Context, config string, r *rp.Request) *rp.Decision
	start    func(config string)

	closed atomic.Int32
}

func (p *plugin) Start(_ context.Context, config []byte) server.Instance {
	if p.start != nil {
		p.start(string(config))
	}
	return &instance{plugin: p, config: string(config)}
}

type instance struct {
	plugin *plugin
	config string
}

func (i *instance) Needs() rp.Needs { return i.plugin.needs }
func (i *instance) Close()          { i.plugin.closed.Add(1) }
func (i *instance) Volatile() bool  { return i.plugin.volatile }
func (i *instance) Access(ctx context.Context, r *rp.Request) *rp.Decision {
	return i.plugin.access(ctx, i.config, r)
}

func allow(context.Context, string, *rp.Request) *rp.Decision { return &rp.Decision{} }

// logBuffer collects log lines of several goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a server on a socket of the test's own.
type running struct {
	*server.Server
	path string
	log  *logBuffer
	done chan error
}

func serve(t testing.TB, o server.Options) *running {
	t.Helper()
	path := filepath.Join(t.TempDir(), "openid-connect.socket")
	l, err := server.Listen(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, o, l, path)
}

func serveOn(t testing.TB, o server.Options, l net.Listener, path string) *running {
	t.Helper()
	r := &running{path: path, log: &logBuffer{}, done: make(chan error, 1)}
	o.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	o.Info.Name = "openid-connect"
	r.Server = server.New(o)
	go func() { r.done <- r.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r.Shutdown(ctx)
	})
	return r
}

func (r *running) dial(t testing.TB) *hosttest.Host {
	t.Helper()
	h, err := hosttest.Dial(r.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func (r *running) worker(t testing.TB, config string) *hosttest.Worker {
	w := &hosttest.Worker{Path: r.path, Config: []byte(config)}
	t.Cleanup(w.Close)
	return w
}

func do(t testing.TB, w *hosttest.Worker, r hosttest.Request) *hosttest.Outcome {
	t.Helper()
	out, err := w.Do(r.Answers())
	if err != nil {
		t.Fatal(err)
	}
	return out
}
