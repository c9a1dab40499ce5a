package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Bounds of the pipeline. Kong answers each call before it reads the next, so
// calls sent without reading the answers fill its send buffer, then ours, and
// both sides wait for ever. A reply costs the kernel about 768 bytes of the
// usual 208 KiB; 128 of them never fill it.
const maxPending = 128

// Sizes that a connection's buffers keep between events.
const (
	firstBuffer = 4 << 10
	keptBuffer  = 64 << 10
)

var (
	// ErrDesync says that Kong's answers and our calls no longer match.
	ErrDesync = errors.New("kong's replies do not match the calls")
	// ErrExited says that the request has been answered: no call can follow.
	ErrExited = errors.New("the request has already been answered")
	// ErrAborted says that the event was answered by Abort meanwhile.
	ErrAborted = errors.New("the event was given up at its deadline")
	// ErrRefused says that Kong closed the connection instead of answering a
	// call: it refused its arguments and answered the request with 500.
	ErrRefused = errors.New("kong refused a call and ended the request")
)

// Conn carries one event after another. It is a net.Conn for pdk.Init: what
// the PDK writes is held back until a reply is needed, a setter is answered at
// once and its real reply read later, and nothing after an exit is sent.
//
// It belongs to one goroutine at a time; only Abort may be called by another.
type Conn struct {
	net.Conn
	max int

	in   []byte // received: in[r:w]
	r, w int

	out     []byte // calls to send
	scanned int    // how much of out is known to be whole calls

	pending int    // setters whose real reply has not been read
	owed    int    // calls whose reply the caller will read
	zeros   int    // bytes of foretold replies that the PDK has yet to read
	reply   []byte // rest of a real reply that the PDK is reading
	exited  bool   // an exit stands in out or was sent
	err     error  // sticky: the stream can not be used any more

	writes, turns uint64
	wrote         bool

	mu    sync.Mutex // guards writing to Conn, and final
	final bool       // the event has been answered, by us or by Abort
}

// New returns a Conn over c that refuses incoming frames above maxFrame
// bytes; 0 stands for DefaultMaxFrame.
func New(c net.Conn, maxFrame int) *Conn {
	if maxFrame <= 0 {
		maxFrame = DefaultMaxFrame
	}
	return &Conn{Conn: c, max: maxFrame, in: make([]byte, firstBuffer), out: make([]byte, 0, firstBuffer)}
}

// Stats counts what a connection cost since it was made.
type Stats struct {
	Writes uint64 // write calls
	Turns  uint64 // times that it waited for Kong after a write: round trips
}

// Stats returns the counters.
func (c *Conn) Stats() Stats { return Stats{Writes: c.writes, Turns: c.turns} }

// Err returns what made the connection unusable, or nil.
func (c *Conn) Err() error { return c.err }

// Exited reports whether the event was ended by an exit.
func (c *Conn) Exited() bool { return c.exited }

// Close does nothing: go-pdk closes its connection after an exit, and closing
// before Kong has read everything would lose the answer. The owner of the
// net.Conn closes that one.
func (c *Conn) Close() error { return nil }

// Write takes bytes of the PDK's calls: frames of a method and its arguments
// in turn. Nothing is sent yet.
func (c *Conn) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.exited {
		return 0, ErrExited
	}
	c.out = append(c.out, p...)
	for {
		method, rest, ok, _ := CutFrame(c.out[c.scanned:], 1<<32-1)
		if !ok {
			return len(p), nil
		}
		if _, rest, ok, _ = CutFrame(rest, 1<<32-1); !ok {
			return len(p), nil
		}
		c.scanned = len(c.out) - len(rest)
		if err := c.called(method); err != nil {
			return 0, err
		}
	}
}

// called takes note of a whole call in out.
func (c *Conn) called(method []byte) error {
	switch {
	case string(method) == Exit:
		c.exited = true
	case c.owed > 0:
		// The order of replies is the order of calls; a setter behind an unread
		// call would be answered out of turn.
		c.err = fmt.Errorf("call of %s before earlier replies were read: %w", method, ErrDesync)
		return c.err
	case setter(method):
		c.pending++
		c.zeros += headerSize
	default:
		c.owed++
	}
	return nil
}

// Read gives the PDK the replies to its calls. After an exit it sends
// everything and reports io.EOF, as there will be no reply.
func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case c.err != nil:
		return 0, c.err
	case len(p) == 0:
		return 0, nil
	case c.zeros > 0:
		if err := c.relieve(); err != nil {
			return 0, err
		}
		n := min(len(p), c.zeros)
		clear(p[:n])
		c.zeros -= n
		return n, nil
	case len(c.reply) > 0:
		n := copy(p, c.reply)
		c.reply = c.reply[n:]
		return n, nil
	case c.exited:
		if err := c.flush(true); err != nil {
			return 0, err
		}
		return 0, io.EOF
	case c.owed == 0:
		return 0, c.fail(fmt.Errorf("read without a call: %w", ErrDesync))
	}
	frame, err := c.Reply()
	if err != nil {
		return 0, err
	}
	// The length stands right before the payload in the buffer.
	c.reply = c.in[c.r-headerSize-len(frame) : c.r]
	n := copy(p, c.reply)
	c.reply = c.reply[n:]
	return n, nil
}

// Call queues a call whose reply Reply will return. Several calls may be
// queued; they leave in one write.
func (c *Conn) Call(method string, args []byte) {
	c.append(method, args)
	c.owed++
}

// Set queues a call that is answered by an empty frame, such as every setter.
// Its real reply is read later: an error may be an earlier call's.
func (c *Conn) Set(method string, args []byte) error {
	switch {
	case c.err != nil:
		return c.err
	case c.exited:
		return ErrExited
	case c.owed > 0:
		return c.fail(fmt.Errorf("call of %s before earlier replies were read: %w", method, ErrDesync))
	}
	c.append(method, args)
	c.pending++
	return c.relieve()
}

// Exit queues the end of the request, the last call of an event, and sends it
// with everything before it. args is an ExitArgs message.
//
// Nothing is sent behind it, not even the end of the event: Kong reads none of
// that, and a gateway that did not stop at the exit would take an end of event
// for leave to let the request through. Without one it can only fail.
func (c *Conn) Exit(args []byte) error {
	switch {
	case c.err != nil:
		return c.err
	case c.exited:
		return ErrExited
	}
	c.append(Exit, args)
	c.exited = true
	return c.flush(true)
}

// Finish sends what is queued, the end of the event and the given RpcReturn in
// one write. The replies still due are read by the next Settle.
func (c *Conn) Finish(ret []byte) error {
	switch {
	case c.err != nil:
		return c.err
	case c.exited:
		return ErrExited
	case c.owed > 0:
		return c.fail(fmt.Errorf("end of the event before its replies were read: %w", ErrDesync))
	}
	c.out = AppendFrame(c.out, "")
	return c.Return(ret)
}

// Return sends one frame: the answer to a RpcCall that is not an event.
func (c *Conn) Return(ret []byte) error {
	c.out = AppendFrame(c.out, ret)
	c.scanned = len(c.out)
	return c.flush(true)
}

// Settle sends what is queued and reads every reply that was foretold. An end
// of file here is ErrRefused: one of the calls failed on Kong's side.
func (c *Conn) Settle() error {
	if err := c.flush(false); err != nil {
		return err
	}
	for c.pending > 0 {
		frame, err := c.frame()
		if err != nil {
			return err
		}
		if len(frame) != 0 {
			return c.fail(fmt.Errorf("a setter was answered with %d bytes: %w", len(frame), ErrDesync))
		}
		c.pending--
	}
	return nil
}

// Reply returns the reply to the oldest call queued by Call. It is valid until
// the connection is read again.
func (c *Conn) Reply() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.owed == 0 {
		return nil, c.fail(fmt.Errorf("reply without a call: %w", ErrDesync))
	}
	// Setters were queued before the calls, so their replies come first.
	if err := c.Settle(); err != nil {
		return nil, err
	}
	frame, err := c.frame()
	if err != nil {
		return nil, err
	}
	c.owed--
	return frame, nil
}

// Next waits for the next RpcCall, which begins an event. It is valid until
// the connection is read again.
func (c *Conn) Next() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.pending > 0 || c.owed > 0 || len(c.out) > 0 {
		return nil, c.fail(fmt.Errorf("next event before the last one was settled: %w", ErrDesync))
	}
	if cap(c.in) > keptBuffer && c.w-c.r <= firstBuffer {
		in := make([]byte, firstBuffer)
		c.w = copy(in, c.in[c.r:c.w])
		c.in, c.r = in, 0
	}
	c.reply, c.zeros = nil, 0
	frame, err := c.read()
	if err != nil {
		c.err = err
		return nil, err
	}
	c.mu.Lock()
	c.final = false
	c.mu.Unlock()
	return frame, nil
}

// AwaitClose reads after an exit until Kong closes the connection, which it
// does as soon as it has run the exit. A reply to the exit itself is ErrDesync.
func (c *Conn) AwaitClose() error {
	for {
		frame, err := c.read()
		switch {
		case errors.Is(err, io.EOF) || isReset(err):
			return nil
		case err != nil:
			return err
		case c.owed > 0:
			c.owed--
		case c.pending == 0 || len(frame) != 0:
			return fmt.Errorf("the exit was answered: %w", ErrDesync)
		default:
			c.pending--
		}
	}
}

// Abort answers the event with an exit in place of whatever its handler does,
// and reports false if it has been answered already. Any goroutine may call it.
func (c *Conn) Abort(exitArgs []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final {
		return false
	}
	c.final = true
	// out always leaves at the border of a call, so a call can follow.
	b := AppendFrame(AppendFrame(nil, Exit), exitArgs)
	_, err := c.Conn.Write(b)
	return err == nil
}

func (c *Conn) append(method string, args []byte) {
	c.out = AppendFrame(AppendFrame(c.out, method), args)
	c.scanned = len(c.out)
}

// relieve reads the replies due when they become many.
func (c *Conn) relieve() error {
	if c.pending < maxPending {
		return nil
	}
	return c.Settle()
}

func (c *Conn) fail(err error) error {
	c.err = err
	return err
}

// flush sends what is queued. A final one answers the event.
func (c *Conn) flush(final bool) error {
	if len(c.out) == 0 {
		return nil
	}
	if c.err != nil {
		return c.err
	}
	c.mu.Lock()
	if c.final {
		c.mu.Unlock()
		return c.fail(ErrAborted)
	}
	c.final = final
	_, err := c.Conn.Write(c.out)
	c.mu.Unlock()

	c.writes++
	c.wrote = true
	if cap(c.out) > keptBuffer {
		c.out = make([]byte, 0, firstBuffer)
	}
	c.out, c.scanned = c.out[:0], 0
	if err != nil {
		return c.fail(fmt.Errorf("sending calls to kong: %w", err))
	}
	return nil
}

// frame reads one reply; an end of file instead of it is ErrRefused.
func (c *Conn) frame() ([]byte, error) {
	frame, err := c.read()
	if err == nil {
		return frame, nil
	}
	if errors.Is(err, io.EOF) || isReset(err) {
		err = fmt.Errorf("waiting for a reply: %w", ErrRefused)
	}
	return nil, c.fail(err)
}

// read returns the next incoming frame. The buffer grows with what arrives,
// not with what a length promises.
func (c *Conn) read() ([]byte, error) {
	for {
		frame, rest, ok, err := CutFrame(c.in[c.r:c.w], c.max)
		if err != nil {
			return nil, err
		}
		if ok {
			c.r = c.w - len(rest)
			return frame, nil
		}
		if err := c.fill(); err != nil {
			if err == io.EOF && c.w > c.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func (c *Conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.in) {
		if c.r > 0 {
			c.w = copy(c.in, c.in[c.r:c.w])
			c.r = 0
		} else {
			in := make([]byte, 2*len(c.in))
			copy(in, c.in[:c.w])
			c.in = in
		}
	}
	if c.wrote {
		c.turns++
		c.wrote = false
	}
	n, err := c.Conn.Read(c.in[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
