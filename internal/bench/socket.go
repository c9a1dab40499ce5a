package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
)

// Driver is a minimal host: it delivers the same request over and over, on one
// connection or on several at a time, and answers the plugin's calls with
// canned replies.
type Driver struct {
	hosts   []*hosttest.Host
	id      int32
	answers *hosttest.Answers
	close   func()
}

// Run delivers n events over each connection. The error says that one was not
// let through.
func (d *Driver) Run(n int) error {
	errs := make([]error, len(d.hosts))
	var wg sync.WaitGroup
	for i, h := range d.hosts[1:] {
		wg.Go(func() { errs[i+1] = d.events(h, n) })
	}
	errs[0] = d.events(d.hosts[0], n)
	wg.Wait()
	return errors.Join(errs...)
}

func (d *Driver) events(h *hosttest.Host, n int) error {
	for range n {
		out, err := h.Event(d.id, d.answers)
		if err == nil && !out.Passed {
			err = errors.New("the request was not let through")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OnClose has f called after the server and the host have stopped.
func (d *Driver) OnClose(f func()) {
	before := d.close
	d.close = func() { before(); f() }
}

// Close stops the server and the host.
func (d *Driver) Close() { d.close() }

// NewDriver serves p over a Unix socket of its own and starts an instance of
// config, to be driven over conns connections.
func NewDriver(p server.Plugin, config fromkong.Config, r hosttest.Request, conns int) (*Driver, error) {
	raw, err := config.JSON()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "s")
	l, err := server.Listen(path, 0)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s := server.New(server.Options{Plugin: p, Info: server.Info{Name: "openid-connect"}})
	go s.Serve(l)
	d := &Driver{answers: r.Answers()}
	d.answers.Record, d.answers.Reply = false, nil
	d.close = func() {
		for _, h := range d.hosts {
			h.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
		os.RemoveAll(dir)
	}
	if err := d.connect(path, raw, conns); err != nil {
		d.close()
		return nil, fmt.Errorf("driving the plugin server: %w", err)
	}
	return d, nil
}

func (d *Driver) connect(path string, config []byte, conns int) error {
	for range max(conns, 1) {
		h, err := hosttest.Dial(path)
		if err != nil {
			return err
		}
		d.hosts = append(d.hosts, h)
	}
	var err error
	if d.id, err = d.hosts[0].Start(config); err != nil {
		return err
	}
	return d.Run(4) // metadata, keys and the token are cached from here on
}

// BearerRequest is a request with a token that stays valid for the run.
func (b *Bed) BearerRequest() (hosttest.Request, error) {
	raw, err := b.Provider.Mint(provider.TokenRequest{Scopes: []string{"openid", "profile", "email"}, Seconds: 3600})
	return hosttest.Request{Target: "/api/orders?limit=20", Headers: Headers(raw)}, err
}

// BearerDriver drives the plugin with a bearer token that is cached, and three
// header edits.
func (b *Bed) BearerDriver(conns int) (*Driver, error) {
	r, err := b.BearerRequest()
	if err != nil {
		return nil, err
	}
	return NewDriver(b.Plugin(), b.Bearer(), r, conns)
}

// IntrospectionDriver drives the plugin with a token whose introspection is
// kept.
func (b *Bed) IntrospectionDriver(conns int) (*Driver, error) {
	r, err := b.BearerRequest()
	if err != nil {
		return nil, err
	}
	return NewDriver(b.Plugin(), b.Introspection(), r, conns)
}

// PasswordDriver drives the plugin with a name and password whose tokens are
// kept.
func (b *Bed) PasswordDriver(conns int) (*Driver, error) {
	return NewDriver(b.Plugin(), b.Password(), hosttest.Request{Target: "/api/orders?limit=20", Headers: BasicHeaders()}, conns)
}

// SessionDriver drives the plugin with the session of a person with large
// tokens, kept as config says, which is Login or that InRedis.
func (b *Bed) SessionDriver(config fromkong.Config, conns int) (*Driver, error) {
	p := b.Plugin()
	i, err := Start(p, config)
	if err != nil {
		return nil, err
	}
	in, err := b.LogIn(context.Background(), i)
	if err != nil {
		return nil, err
	}
	return NewDriver(p, config, hosttest.Request{Target: in.Target, Headers: in.Header}, conns)
}

// CannedDriver drives a handler that makes the calls of the bearer path, one
// round trip of reads and one of writes, with edits made up before: what a
// plugin costs that decides nothing.
func (b *Bed) CannedDriver(conns int) (*Driver, error) {
	r, err := b.BearerRequest()
	if err != nil {
		return nil, err
	}
	i, err := Start(b.Plugin(), b.Bearer())
	if err != nil {
		return nil, err
	}
	d, err := (&Call{Method: "GET", Target: r.Target, Header: r.Headers}).Decide(context.Background(), i)
	if err != nil {
		return nil, err
	}
	return NewDriver(canned{needs: i.Needs(), decision: d}, b.Bearer(), r, conns)
}

// canned is a plugin that has decided already.
type canned struct {
	needs    rp.Needs
	decision *rp.Decision
}

func (c canned) Start(context.Context, []byte) server.Instance    { return c }
func (c canned) Needs() rp.Needs                                  { return c.needs }
func (c canned) Access(context.Context, *rp.Request) *rp.Decision { return c.decision }
func (c canned) Close()                                           {}
func (c canned) Volatile() bool                                   { return false }
