// Package hosttest is Kong's side of the plugin-server protocol, as little of
// it as tests and benchmarks of a plugin server need: it starts instances,
// delivers events, answers the PDK calls with canned replies and says what
// came of it. It behaves as Kong was measured to: it runs calls one at a time,
// closes at an exit and at a call that it refuses, and reads nothing behind.
// Imported by tests and by the benchmark driver only.
package hosttest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
)

// Timeout bounds each wait for the plugin server.
const Timeout = 20 * time.Second

// Call is one PDK call of the plugin.
type Call struct {
	Method string
	Args   []byte
}

// Exit is the decoded argument of kong.response.exit.
type Exit struct {
	Status  int
	Body    []byte
	Headers map[string][]string
}

// Outcome is how an event ended.
type Outcome struct {
	Calls   []Call // in order, the exit included; nil unless Record
	Exit    *Exit  // the plugin answered the request itself
	Passed  bool   // the plugin let the request through
	Refused string // the method of the call that was refused: the client got 500
	Closed  bool   // the plugin closed the connection without an answer
	Turns   int    // times that the plugin's next bytes had to be waited for
}

// Answers holds the replies to PDK calls by method. A method without one is
// answered by an empty frame, as setters are.
type Answers struct {
	Replies map[string][]byte
	// Reply, if set, is asked first. ok false refuses the call, as Kong refuses
	// a bad argument: the connection is closed. A nil reply with ok leaves it
	// to Replies.
	Reply func(method string, args []byte) (reply []byte, ok bool)
	// Record keeps the calls in Outcome.
	Record bool
}

// Host is one connection of Kong's to a plugin server.
type Host struct {
	conn  net.Conn
	r     *bufio.Reader
	seq   int64
	buf   []byte
	frame []byte
	wrote bool
	turns int
}

// ErrClosed says that the plugin server closed the connection.
var ErrClosed = errors.New("the plugin server closed the connection")

// New returns a host over c.
func New(c net.Conn) *Host { return &Host{conn: c, r: bufio.NewReaderSize(c, 64<<10)} }

// Dial connects to the socket at path.
func Dial(path string) (*Host, error) {
	c, err := net.DialTimeout("unix", path, Timeout)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// Close closes the connection.
func (h *Host) Close() error { return h.conn.Close() }

// Start starts an instance of a configuration and returns its id.
func (h *Host) Start(config []byte) (int32, error) {
	m := Text(1, "openid-connect")
	m = protowire.AppendBytes(protowire.AppendTag(m, 2, protowire.BytesType), config)
	ret, err := h.RPC(33, m)
	if err != nil {
		return 0, err
	}
	if ret.GetInstanceStatus() == nil {
		return 0, errors.New("StartInstance was answered without a status")
	}
	return ret.GetInstanceStatus().InstanceId, nil
}

// CloseInstance tells the plugin that an instance is not used any more.
func (h *Host) CloseInstance(id int32) error {
	_, err := h.RPC(35, Int(int64(id)))
	return err
}

// RPC makes a call that is not an event: field is its number in RpcCall.
func (h *Host) RPC(field protowire.Number, message []byte) (*kong_plugin_protocol.RpcReturn, error) {
	if err := h.send(field, message); err != nil {
		return nil, err
	}
	b, err := h.read()
	if err != nil {
		return nil, err
	}
	return h.returned(b)
}

// Event delivers the access event of a request.
func (h *Host) Event(id int32, a *Answers) (*Outcome, error) {
	m := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "access")
	m = append(m, Int(int64(id))...)
	if err := h.send(36, m); err != nil {
		return nil, err
	}
	h.turns = 0
	out := &Outcome{}
	for {
		method, err := h.read()
		if errors.Is(err, ErrClosed) {
			out.Closed, out.Turns = true, h.turns
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(method) == 0 {
			break
		}
		name := intern(method)
		args, err := h.read()
		if err != nil {
			return nil, err
		}
		if a.Record {
			out.Calls = append(out.Calls, Call{name, append([]byte(nil), args...)})
		}
		if name == "kong.response.exit" {
			out.Turns = h.turns
			out.Exit, err = decodeExit(args)
			h.conn.Close()
			return out, err
		}
		var reply []byte
		if a.Reply != nil {
			var ok bool
			if reply, ok = a.Reply(name, args); !ok {
				out.Refused, out.Turns = name, h.turns
				h.conn.Close()
				return out, nil
			}
		}
		if reply == nil {
			reply = a.Replies[name]
		}
		if err := h.write(reply); err != nil {
			return nil, err
		}
	}
	b, err := h.read()
	if err != nil {
		return nil, err
	}
	if _, err := h.returned(b); err != nil {
		return nil, err
	}
	out.Passed, out.Turns = true, h.turns
	return out, nil
}

// Buffered is the number of bytes that came behind the end of the last event.
// Kong closes a connection on which there are any.
func (h *Host) Buffered() int { return h.r.Buffered() }

// Raw writes bytes as they are.
func (h *Host) Raw(b []byte) error {
	_, err := h.conn.Write(b)
	return err
}

// Read reads one frame.
func (h *Host) Read() ([]byte, error) { return h.read() }

func (h *Host) send(field protowire.Number, message []byte) error {
	h.seq++
	b := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), message)
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(h.seq))
	return h.write(b)
}

func (h *Host) write(payload []byte) error {
	h.buf = binary.LittleEndian.AppendUint32(h.buf[:0], uint32(len(payload)))
	h.buf = append(h.buf, payload...)
	h.wrote = true
	_, err := h.conn.Write(h.buf)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

func (h *Host) read() ([]byte, error) {
	if h.r.Buffered() == 0 && h.wrote {
		h.turns++
		h.wrote = false
	}
	if h.r.Buffered() < 4 {
		h.conn.SetReadDeadline(time.Now().Add(Timeout))
	}
	var n [4]byte
	if _, err := io.ReadFull(h.r, n[:]); err != nil {
		return nil, closed(err)
	}
	size := int(binary.LittleEndian.Uint32(n[:]))
	if cap(h.frame) < size {
		h.frame = make([]byte, size)
	}
	h.frame = h.frame[:size]
	if _, err := io.ReadFull(h.r, h.frame); err != nil {
		return nil, closed(err)
	}
	return h.frame, nil
}

func closed(err error) error {
	var t interface{ Timeout() bool }
	if errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("the plugin server did not answer: %w", err)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

func (h *Host) returned(b []byte) (*kong_plugin_protocol.RpcReturn, error) {
	ret := &kong_plugin_protocol.RpcReturn{}
	if err := proto.Unmarshal(b, ret); err != nil {
		return nil, fmt.Errorf("RpcReturn: %w", err)
	}
	if ret.Sequence != h.seq {
		return nil, fmt.Errorf("RpcReturn has the sequence %d, the call had %d", ret.Sequence, h.seq)
	}
	return ret, nil
}

func decodeExit(args []byte) (*Exit, error) {
	m := &kong_plugin_protocol.ExitArgs{}
	if err := proto.Unmarshal(args, m); err != nil {
		return nil, fmt.Errorf("arguments of the exit: %w", err)
	}
	e := &Exit{Status: int(m.Status), Body: m.Body, Headers: map[string][]string{}}
	for name, v := range m.Headers.AsMap() {
		switch v := v.(type) {
		case string:
			e.Headers[name] = []string{v}
		case []any:
			for _, s := range v {
				e.Headers[name] = append(e.Headers[name], fmt.Sprint(s))
			}
		}
	}
	return e, nil
}

// intern spares an allocation for the methods that benchmarks repeat.
func intern(method []byte) string {
	switch string(method) {
	case "kong.request.get_headers":
		return "kong.request.get_headers"
	case "kong.service.request.set_headers":
		return "kong.service.request.set_headers"
	case "kong.request.get_method":
		return "kong.request.get_method"
	case "kong.request.get_path_with_query":
		return "kong.request.get_path_with_query"
	}
	return string(method)
}
