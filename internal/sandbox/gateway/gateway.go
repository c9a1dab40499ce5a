package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Version is what the sandbox says that it is: the release it was measured on.
const Version = "3.9.3"

// Options says how to start a gateway. The zero value of a field is its default.
type Options struct {
	Config     string // declarative configuration, a file; read again by Reload
	ConfigData []byte // or its content
	// Rewrite changes the configuration's text before it is read, where ports differ from those in the file.
	Rewrite func([]byte) []byte

	ProxyAddr    string // default 127.0.0.1 and a free port
	AdminAddr    string // default 127.0.0.1 and a free port
	HTTP2        bool   // on ProxyAddr too, in clear text, as with "http2" in proxy_listen
	ProxyTLSAddr string // no TLS listener when empty; it asks for a client certificate and takes any, and offers HTTP/2
	TLSConfig    *tls.Config

	Prefix     string   // Kong's prefix; default a directory that Close removes
	Plugin     string   // the plugin server's binary, run by the gateway unless External
	PluginArgs []string // more arguments for it
	PluginEnv  []string // NAME=value pairs that its environment has beside PWD
	External   bool     // someone else runs the plugin server
	Socket     string   // default <prefix>/openid-connect.socket
	Dump       []byte   // what the query command prints, instead of running it

	Workers      int      // default 2
	TrustedIPs   []string // addresses or CIDRs
	RealIPHeader string   // default X-Real-IP
	KongEnv      map[string]string
	Getenv       func(string) string // for {vault://env/...}; default os.Getenv
	Now          func() time.Time    // for created_at and the like
	MaxRetries   int                 // events delivered again before the sandbox gives up; default 1000, negative: never
	Timing       Timing
	Log          io.Writer // receives the error log as it grows
}

// Timing are Kong's times; tests shorten them. Zero means as on Kong.
type Timing struct {
	Event   time.Duration // a read or write on the socket: 60 s
	Idle    time.Duration // an idle connection is closed: 60 s
	Claim   time.Duration // waiting for an instance that another request starts: 10 s
	Respawn time.Duration // between two starts of a dead plugin server: 1 s
	Reload  time.Duration // from the new process's start to the old one's SIGTERM: 5.5 s
	Start   time.Duration // the plugin server has to answer within: 10 s (the sandbox's own)
}

// Counters count since Start.
type Counters struct {
	Requests, Events, Calls, Retries, Starts, Closes, Errors, Valve, Connections, Spawns atomic.Int64
}

// Gateway is a running gateway.
type Gateway struct {
	opts     Options
	storePtr atomic.Pointer[store]
	nodeID   string
	counters Counters
	state    atomic.Pointer[state]
	changes  sync.Mutex // serializes changes of state

	workersMu sync.RWMutex
	workers   []*worker
	turn      atomic.Uint64

	proxyLn, adminLn, tlsLn net.Listener
	admin                   *http.Server
	proc                    *process
	pool                    *upstreamPool
	grpc                    *http.Transport
	h2                      *h2Server
	limits                  limiter
	trusted                 []netip.Prefix
	tmpPrefix               bool
	bodyFiles               atomic.Uint64

	stop   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
	connMu sync.Mutex
	conns  map[net.Conn]struct{}

	logMu sync.Mutex
	log   []string
}

// Start starts a gateway: it asks the plugin server for its schema, checks
// and loads the configuration, runs the plugin server and listens.
// The error says what to change; nothing is left running then.
func Start(opts Options) (*Gateway, error) {
	defaults(&opts)
	g := &Gateway{opts: opts, nodeID: uuid.NewString(), stop: make(chan struct{}), conns: map[net.Conn]struct{}{}, pool: newUpstreamPool(), grpc: newGRPCTransport()}
	if err := g.start(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func defaults(o *Options) {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&o.ProxyAddr, "127.0.0.1:0")
	set(&o.AdminAddr, "127.0.0.1:0")
	set(&o.RealIPHeader, "X-Real-IP")
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.MaxRetries == 0 {
		o.MaxRetries = 1000
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, t := range []struct {
		d *time.Duration
		v time.Duration
	}{{&o.Timing.Event, 60 * time.Second}, {&o.Timing.Idle, 60 * time.Second}, {&o.Timing.Claim, 10 * time.Second},
		{&o.Timing.Respawn, time.Second}, {&o.Timing.Reload, 5500 * time.Millisecond}, {&o.Timing.Start, 10 * time.Second}} {
		if *t.d == 0 {
			*t.d = t.v
		}
	}
}

func (g *Gateway) start() error {
	for _, s := range g.opts.TrustedIPs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, aerr := netip.ParseAddr(s)
			if aerr != nil {
				return fmt.Errorf("trusted address %q is neither an address nor a CIDR: %w", s, err)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		g.trusted = append(g.trusted, p.Masked())
	}
	if err := g.makePrefix(); err != nil {
		return err
	}
	commit, err := g.configure()
	if err != nil {
		return err
	}
	commit()
	if !g.opts.External {
		if g.proc, err = startProcess(g); err != nil {
			return err
		}
	}
	if err := g.waitReady(g.proc); err != nil {
		return err
	}
	g.newWorkers()
	return g.listen()
}

// makePrefix makes Kong's prefix directory with .kong_env in it.
func (g *Gateway) makePrefix() error {
	if g.opts.Prefix == "" {
		dir, err := os.MkdirTemp("", "kong")
		if err != nil {
			return fmt.Errorf("make a prefix directory: %w", err)
		}
		g.opts.Prefix, g.tmpPrefix = dir, true
	}
	var err error
	if g.opts.Prefix, err = filepath.Abs(g.opts.Prefix); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(g.opts.Prefix, "client_body_temp"), 0o700); err != nil {
		return fmt.Errorf("make the prefix directory: %w", err)
	}
	if g.opts.Socket == "" {
		g.opts.Socket = filepath.Join(g.opts.Prefix, "openid-connect.socket")
	}
	if len(g.opts.Socket) > 103 {
		return fmt.Errorf("the socket path %s is longer than a Unix socket allows; choose a shorter prefix", g.opts.Socket)
	}
	env := map[string]string{"database": "off", "prefix": g.opts.Prefix, "plugins": "bundled,openid-connect", "pluginserver_names": "openid-connect"}
	for k, v := range g.opts.KongEnv {
		env[k] = v
	}
	var b strings.Builder
	b.WriteString("# made by the sandbox in the form of Kong's .kong_env\n\n")
	for _, k := range sortedKeys(env) {
		fmt.Fprintf(&b, "%s = %s\n", k, strings.ReplaceAll(env[k], "#", `\#`))
	}
	return os.WriteFile(filepath.Join(g.opts.Prefix, ".kong_env"), []byte(b.String()), 0o640)
}

// st is the store; Reload replaces it.
func (g *Gateway) st() *store { return g.storePtr.Load() }

// configure asks for the schema and loads the declarative configuration. The
// gateway uses both once commit is called.
func (g *Gateway) configure() (commit func(), err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d, err := query(ctx, &g.opts)
	if err != nil {
		return nil, err
	}
	var kinds []*pluginKind
	for _, p := range d.Plugins {
		kinds = append(kinds, &pluginKind{name: p.Name, priority: p.Priority, raw: p.Schema})
	}
	st, err := newStore(g.opts.Now, kinds)
	if err != nil {
		return nil, err
	}
	switch {
	case g.opts.Config != "":
		err = st.loadFile(g.opts.Config, g.opts.Rewrite)
	case g.opts.ConfigData != nil:
		err = st.load(g.opts.ConfigData)
	}
	if err != nil {
		return nil, err
	}
	// Kong builds its list of plugins twice when it starts.
	first, err := buildState(st, nil, true)
	if err != nil {
		return nil, err
	}
	second, err := buildState(st, first, true)
	if err != nil {
		return nil, err
	}
	return func() {
		g.changes.Lock()
		defer g.changes.Unlock()
		g.storePtr.Store(st)
		g.state.Store(second)
	}, nil
}

func (g *Gateway) newWorkers() {
	ws := make([]*worker, g.opts.Workers)
	for i := range ws {
		ws[i] = newWorker(g)
	}
	g.workersMu.Lock()
	old := g.workers
	g.workers = ws
	g.workersMu.Unlock()
	for _, w := range old {
		w.retire()
	}
}

// worker returns the worker that takes the next connection.
func (g *Gateway) worker() *worker {
	g.workersMu.RLock()
	defer g.workersMu.RUnlock()
	return g.workers[(g.turn.Add(1)-1)%uint64(len(g.workers))]
}

// Reload does what "kong reload" does: it reads the schema and the
// configuration again, starts a new plugin server, gives way to new workers
// and sends SIGTERM to the old process 5.5 seconds after the new one's start.
// An error leaves the gateway as it was.
func (g *Gateway) Reload() error {
	if g.stopping() {
		return errors.New("the gateway is stopped")
	}
	commit, err := g.configure()
	if err != nil {
		return err
	}
	if g.opts.External {
		commit()
		g.newWorkers()
		return nil
	}
	old := g.proc
	started := time.Now()
	p, err := startProcess(g)
	if err != nil {
		return err
	}
	g.changes.Lock()
	g.proc = p
	g.changes.Unlock()
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		t := time.NewTimer(g.opts.Timing.Reload - time.Since(started))
		defer t.Stop()
		select {
		case <-t.C:
		case <-g.stop:
		}
		old.terminate(30 * time.Second)
	}()
	if err := g.waitReady(p); err != nil {
		return err
	}
	commit()
	g.newWorkers()
	g.logf("notice", "reloaded")
	return nil
}

// KillPlugin sends a signal to the plugin server that the gateway runs.
func (g *Gateway) KillPlugin(sig os.Signal) error {
	g.changes.Lock()
	p := g.proc
	g.changes.Unlock()
	if p == nil {
		return errors.New("the gateway runs no plugin server")
	}
	return p.signal(sig)
}

// PluginPID is the process id of the plugin server, 0 when someone else runs it.
func (g *Gateway) PluginPID() int {
	g.changes.Lock()
	defer g.changes.Unlock()
	if g.proc == nil {
		return 0
	}
	return g.proc.pid()
}

// ProxyAddr, ProxyTLSAddr and AdminAddr are the addresses that the gateway listens on.
func (g *Gateway) ProxyAddr() string { return g.proxyLn.Addr().String() }

// AdminAddr is the address of the Admin API.
func (g *Gateway) AdminAddr() string { return g.adminLn.Addr().String() }

// ProxyTLSAddr is the address of the TLS listener, "" without one.
func (g *Gateway) ProxyTLSAddr() string {
	if g.tlsLn == nil {
		return ""
	}
	return g.tlsLn.Addr().String()
}

// Prefix is Kong's prefix directory; Socket the plugin server's socket.
func (g *Gateway) Prefix() string { return g.opts.Prefix }

// Socket is the path of the plugin server's socket.
func (g *Gateway) Socket() string { return g.opts.Socket }

// Counters returns the gateway's counters.
func (g *Gateway) Counters() *Counters { return &g.counters }

func (g *Gateway) stopping() bool {
	select {
	case <-g.stop:
		return true
	default:
		return false
	}
}

// Close stops everything that Start started and waits for it.
func (g *Gateway) Close() error {
	g.once.Do(func() {
		close(g.stop)
		for _, l := range []net.Listener{g.proxyLn, g.tlsLn} {
			if l != nil {
				l.Close()
			}
		}
		if g.admin != nil {
			g.admin.Close()
		} else if g.adminLn != nil {
			g.adminLn.Close()
		}
		if g.h2 != nil {
			g.h2.server.Close()
		}
		g.connMu.Lock()
		for c := range g.conns {
			c.Close()
		}
		g.connMu.Unlock()
		g.workersMu.Lock()
		ws := g.workers
		g.workersMu.Unlock()
		for _, w := range ws {
			w.retire()
		}
		g.changes.Lock()
		p := g.proc
		g.changes.Unlock()
		if p != nil {
			p.terminate(5 * time.Second)
		}
		g.wg.Wait()
		g.pool.close()
		g.grpc.CloseIdleConnections()
		if g.tmpPrefix {
			os.RemoveAll(g.opts.Prefix)
		}
	})
	return nil
}
