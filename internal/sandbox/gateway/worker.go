package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

var (
	// errClosed is the one error after which Kong delivers an event again.
	errClosed = errors.New("closed")
	// errExit says that the plugin answered the client.
	errExit = errors.New("exit")
	// errAssertion is Lua's assert about an RpcReturn.
	errAssertion = errors.New("assertion failed!")
)

// worker stands for one nginx worker: it has instances, sequence numbers and
// connections of its own.
type worker struct {
	g *Gateway

	mu        sync.Mutex
	sequence  int64
	instances map[string]*instance // by plugin id
	idle      []*pluginConn
	retired   bool
}

// instance is a plugin instance as its worker knows it.
type instance struct {
	plugin string
	id     int32
	seq    int
	ready  chan struct{} // closed when id holds
}

func newWorker(g *Gateway) *worker {
	return &worker{g: g, sequence: 1, instances: map[string]*instance{}}
}

// pluginConn is a connection to the plugin server.
type pluginConn struct {
	net.Conn
	r     *bufio.Reader
	timer *time.Timer
}

// next numbers an RpcCall.
func (w *worker) next() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sequence++
	return w.sequence
}

// conn takes the connection that was used last, or opens one.
func (w *worker) conn() (*pluginConn, error) {
	for {
		w.mu.Lock()
		n := len(w.idle)
		if n == 0 {
			w.mu.Unlock()
			break
		}
		c := w.idle[n-1]
		w.idle = w.idle[:n-1]
		c.timer.Stop()
		w.mu.Unlock()
		if quiet(c.Conn) {
			return c, nil
		}
		c.Close()
	}
	c, err := net.DialTimeout("unix", w.g.opts.Socket, w.g.opts.Timing.Event)
	if err != nil {
		return nil, fmt.Errorf("trying to connect: %w", err)
	}
	w.g.counters.Connections.Add(1)
	return &pluginConn{Conn: c, r: bufio.NewReaderSize(c, 4096)}, nil
}

// release keeps a connection for the next call; one with bytes left in it is closed.
func (w *worker) release(c *pluginConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retired || c.r.Buffered() > 0 || len(w.idle) >= 256 {
		c.Close()
		return
	}
	c.SetDeadline(time.Time{})
	c.timer = time.AfterFunc(w.g.opts.Timing.Idle, func() { w.expire(c) })
	w.idle = append(w.idle, c)
}

func (w *worker) expire(c *pluginConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, x := range w.idle {
		if x == c {
			w.idle = append(w.idle[:i], w.idle[i+1:]...)
			c.Close()
			return
		}
	}
}

// retire closes the idle connections; those in use are closed after their event.
func (w *worker) retire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retired = true
	for _, c := range w.idle {
		c.timer.Stop()
		c.Close()
	}
	w.idle = nil
}

func (c *pluginConn) send(g *Gateway, payload []byte) error {
	c.SetWriteDeadline(time.Now().Add(g.opts.Timing.Event))
	_, err := c.Write(protocol.AppendFrame(nil, payload))
	return socketError(err)
}

func (c *pluginConn) receive(g *Gateway) ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(g.opts.Timing.Event))
	b, err := protocol.ReadFrame(c.r)
	return b, socketError(err)
}

// socketError gives an error the text that nginx's sockets have for it.
func socketError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return errClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("timeout")
	}
	return err
}

// call sends an RpcCall other than an event and reads its RpcReturn.
func (w *worker) call(build func(seq int64) []byte) (protocol.Return, error) {
	c, err := w.conn()
	if err != nil {
		return protocol.Return{}, err
	}
	seq := w.next()
	if err := c.send(w.g, build(seq)); err != nil {
		c.Close()
		return protocol.Return{}, err
	}
	b, err := c.receive(w.g)
	if err != nil {
		c.Close()
		return protocol.Return{}, err
	}
	w.release(c)
	ret, err := protocol.ParseReturn(b)
	if err != nil || ret.Sequence != seq {
		return protocol.Return{}, errAssertion
	}
	return ret, nil
}

// instanceID returns the id of the running instance of a configuration. It
// starts one where there is none or where the configuration is a newer one,
// and then closes the old.
func (w *worker) instanceID(k *pluginKind, conf *pluginConf) (int32, error) {
	deadline := time.NewTimer(w.g.opts.Timing.Claim)
	defer deadline.Stop()
	var old *instance
	var in *instance
	for in == nil {
		w.mu.Lock()
		cur := w.instances[conf.id]
		if cur == nil {
			in = &instance{plugin: k.name, seq: conf.seq, ready: make(chan struct{})}
			w.instances[conf.id] = in
			w.mu.Unlock()
			continue
		}
		w.mu.Unlock()
		select {
		case <-cur.ready:
		case <-deadline.C:
			w.forget(conf.id, cur)
			return 0, fmt.Errorf("pluginserver error: Could not claim instance_id for %s (key: %s)", k.name, conf.id)
		}
		w.mu.Lock()
		switch {
		case w.instances[conf.id] != cur:
		case cur.seq == conf.seq:
			w.mu.Unlock()
			return cur.id, nil
		default:
			old = cur
			in = &instance{plugin: k.name, seq: conf.seq, ready: make(chan struct{})}
			w.instances[conf.id] = in
		}
		w.mu.Unlock()
	}
	config := w.g.instanceConfig(k, conf)
	ret, err := w.call(func(seq int64) []byte { return protocol.StartInstance(seq, k.name, config) })
	if err == nil && !ret.HasStatus {
		err = errAssertion
	}
	if errors.Is(err, errAssertion) {
		// Lua threw while the instance was claimed, so that the claim stays
		// until the next request has waited for it in vain.
		return 0, err
	}
	if err != nil {
		w.forget(conf.id, in)
		w.g.logf("error", "[%s] starting instance: %v", k.name, err)
		return 0, startError{err}
	}
	in.id = ret.InstanceID
	close(in.ready)
	w.g.counters.Starts.Add(1)
	if old != nil {
		if _, err := w.call(func(seq int64) []byte { return protocol.CloseInstance(seq, old.id) }); err != nil {
			w.g.logf("error", "[%s] closing instance %d: %v", k.name, old.id, err)
		}
		w.g.counters.Closes.Add(1)
	}
	return in.id, nil
}

// startError keeps a closed connection during a start from looking like one during an event.
type startError struct{ err error }

func (e startError) Error() string { return e.err.Error() }

func (w *worker) forget(key string, in *instance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.instances[key] == in {
		delete(w.instances, key)
	}
}

// reset forgets every instance of a plugin, without closing any.
func (w *worker) reset(plugin string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, in := range w.instances {
		if in.plugin == plugin {
			delete(w.instances, key)
		}
	}
}

// deliver runs the access event of a configuration for r. It returns nil when
// the request goes on, errExit when the plugin answered, and another error,
// which is logged, when the client gets 500.
func (w *worker) deliver(k *pluginKind, conf *pluginConf, r *request) error {
	for attempt := 0; ; attempt++ {
		id, err := w.instanceID(k, conf)
		if err == nil {
			w.g.counters.Events.Add(1)
			err = w.handleEvent(id, r)
		}
		switch {
		case err == nil, errors.Is(err, errExit):
			return err
		case !errors.Is(err, errClosed):
			w.g.counters.Errors.Add(1)
			w.g.logf("error", "[%s] %v", k.name, err)
			return err
		}
		w.g.logf("warn", "[%s] closed", k.name)
		w.reset(k.name)
		w.g.counters.Retries.Add(1)
		if max := w.g.opts.MaxRetries; max >= 0 && attempt >= max {
			w.g.counters.Valve.Add(1)
			w.g.logf("crit", "[%s] sandbox: the plugin closed the connection %d times for one event; Kong would go on without end", k.name, attempt+1)
			return errors.New("the sandbox gave up")
		}
		if w.g.stopping() {
			return errors.New("the gateway stops")
		}
	}
}

func (w *worker) handleEvent(id int32, r *request) error {
	c, err := w.conn()
	if err != nil {
		return err
	}
	seq := w.next()
	err = w.converse(c, seq, id, r)
	switch {
	case err == nil, errors.Is(err, errAssertion):
		w.release(c)
	default:
		c.Close()
	}
	return err
}

// converse sends the event and answers the plugin's calls until it ends.
func (w *worker) converse(c *pluginConn, seq int64, id int32, r *request) error {
	if err := c.send(w.g, protocol.HandleEvent(seq, id, "access")); err != nil {
		return err
	}
	for {
		method, err := c.receive(w.g)
		if err != nil {
			return err
		}
		if len(method) == 0 {
			break
		}
		args, err := c.receive(w.g)
		if err != nil {
			return err
		}
		w.g.counters.Calls.Add(1)
		fn := pdkMethods[string(method)]
		if fn == nil {
			return fmt.Errorf("pluginserver error: method %q not found", method)
		}
		reply, err := fn(r, args)
		if err != nil {
			return err
		}
		if err := c.send(w.g, reply); err != nil {
			return err
		}
	}
	b, err := c.receive(w.g)
	if err != nil {
		return err
	}
	ret, err := protocol.ParseReturn(b)
	if err != nil || ret.Sequence != seq {
		return errAssertion
	}
	return nil
}
