package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	pdk "github.com/Kong/go-pdk"

	"kong-openid-connect/internal/kong/wire"
)

// pair returns both ends of a Unix socket.
func pair(t testing.TB) (plugin, kong net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if kong, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if plugin, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	plugin.SetDeadline(deadline)
	kong.SetDeadline(deadline)
	t.Cleanup(func() { plugin.Close(); kong.Close() })
	return plugin, kong
}

// counted counts the write calls on a connection.
type counted struct {
	net.Conn
	writes int
}

func (c *counted) Write(p []byte) (int, error) { c.writes++; return c.Conn.Write(p) }

func read(t testing.TB, c net.Conn) []byte {
	t.Helper()
	b, err := frame(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func frame(c net.Conn) ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint32(n[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

func write(t testing.TB, c net.Conn, payload string) {
	t.Helper()
	if _, err := c.Write(wire.AppendFrame(nil, payload)); err != nil {
		t.Fatal(err)
	}
}

// kong answers calls one at a time until the end of the event, and returns
// their methods. reply may be nil.
func kong(c net.Conn, reply func(method string) string) (methods []string, err error) {
	for {
		method, err := frame(c)
		if err != nil || len(method) == 0 {
			return methods, err
		}
		methods = append(methods, string(method))
		if _, err := frame(c); err != nil {
			return methods, err
		}
		r := ""
		if reply != nil {
			r = reply(string(method))
		}
		if _, err := c.Write(wire.AppendFrame(nil, r)); err != nil {
			return methods, err
		}
	}
}

func text(s string) string { return "\x0a" + string(rune(len(s))) + s }

func TestSettersOfThePDKLeaveWithTheEnd(t *testing.T) {
	raw, other := pair(t)
	count := &counted{Conn: raw}
	c := wire.New(count, 0)
	done := make(chan []string, 1)
	go func() {
		methods, _ := kong(other, nil)
		frame(other)
		done <- methods
	}()
	k := pdk.Init(c)
	for i := range 3 {
		if err := k.ServiceRequest.SetHeader(fmt.Sprint("X-", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Response.AddHeader("Set-Cookie", "a=1"); err != nil {
		t.Fatal(err)
	}
	if count.writes != 0 {
		t.Errorf("%d writes before the end", count.writes)
	}
	if err := c.Finish([]byte{8, 1}); err != nil {
		t.Fatal(err)
	}
	if got := <-done; len(got) != 4 || count.writes != 1 {
		t.Errorf("kong saw %v in %d writes, want 4 calls in 1", got, count.writes)
	}
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Writes != 1 || s.Turns != 1 {
		t.Errorf("%+v, want one write and one turn", s)
	}
}

func TestGetterBehindSettersGetsItsOwnReply(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	go kong(other, func(m string) string {
		if strings.Contains(m, ".get_") {
			return text(m)
		}
		return ""
	})
	k := pdk.Init(c)
	for range 5 {
		if err := k.ServiceRequest.SetHeader("X", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := k.Request.GetMethod(); got != "kong.request.get_method" || err != nil {
		t.Errorf("GetMethod is %q, %v", got, err)
	}
	if got, err := k.Request.GetPath(); got != "kong.request.get_path" || err != nil {
		t.Errorf("GetPath is %q, %v", got, err)
	}
	if s := c.Stats(); s.Turns != 2 {
		t.Errorf("%d turns, want 2", s.Turns)
	}
}

func TestReadsArePipelined(t *testing.T) {
	raw, other := pair(t)
	count := &counted{Conn: raw}
	c := wire.New(count, 0)
	big := strings.Repeat("x", 3<<20)
	go kong(other, func(m string) string {
		if m == "big" {
			return big
		}
		return m
	})
	methods := []string{"a", "big", "b"}
	for _, m := range methods {
		c.Call(m, []byte("args"))
	}
	for _, m := range methods {
		want := m
		if m == "big" {
			want = big
		}
		got, err := c.Reply()
		if err != nil || string(got) != want {
			t.Fatalf("reply to %s: %d bytes, %v", m, len(got), err)
		}
	}
	if count.writes != 1 {
		t.Errorf("%d writes, want 1", count.writes)
	}
}

func TestManySettersDoNotDeadlock(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	const calls = 20_000
	done := make(chan int, 1)
	go func() {
		methods, err := kong(other, nil)
		if err != nil {
			t.Error(err)
		}
		frame(other)
		done <- len(methods)
	}()
	value := bytes.Repeat([]byte("v"), 300)
	for range calls {
		if err := c.Set("kong.service.request.set_header", value); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Finish([]byte{8, 1}); err != nil {
		t.Fatal(err)
	}
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got != calls {
		t.Errorf("kong saw %d calls, want %d", got, calls)
	}
}

func TestFailedSetterIsRefused(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	k := pdk.Init(c)
	if err := k.ServiceRequest.SetPath("no-slash"); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish([]byte{8, 1}); err != nil {
		t.Fatal(err)
	}
	read(t, other)
	read(t, other)
	other.Close()
	if err := c.Settle(); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("Settle: %v, want ErrRefused", err)
	}
	if _, err := c.Next(); !errors.Is(err, wire.ErrRefused) {
		t.Errorf("the connection can still be used: %v", err)
	}
}

func TestSetterAnsweredWithAValueIsDesync(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	c.Set("kong.response.set_header", nil)
	write(t, other, "what")
	if err := c.Settle(); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("Settle: %v, want ErrDesync", err)
	}
}

func TestSetterBehindUnreadCallsIsRefused(t *testing.T) {
	raw, _ := pair(t)
	c := wire.New(raw, 0)
	c.Call("kong.request.get_method", nil)
	if err := pdk.Init(c).Response.SetHeader("a", "b"); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("%v, want ErrDesync", err)
	}
}

func TestExitIsTheLastThingSent(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	k := pdk.Init(c)
	k.Response.AddHeader("Set-Cookie", "a=1")
	k.Response.Exit(403, []byte("no"), nil)
	if !c.Exited() || c.Err() != nil {
		t.Fatalf("exited %v, %v", c.Exited(), c.Err())
	}
	if err := k.Response.SetHeader("X-After", "1"); !errors.Is(err, wire.ErrExited) {
		t.Errorf("a call after the exit: %v", err)
	}
	if err := c.Finish([]byte{8, 1}); !errors.Is(err, wire.ErrExited) {
		t.Errorf("the end after the exit: %v", err)
	}
	var got []string
	for range 4 {
		got = append(got, string(read(t, other)))
	}
	if got[0] != "kong.response.add_header" || got[2] != wire.Exit {
		t.Errorf("kong read %q", got)
	}
	write(t, other, "") // the reply to add_header
	other.Close()
	if err := c.AwaitClose(); err != nil {
		t.Errorf("AwaitClose: %v", err)
	}
	raw.Close()
}

func TestExitThatIsAnsweredIsDesync(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	if err := c.Exit(nil); err != nil {
		t.Fatal(err)
	}
	write(t, other, "")
	if err := c.AwaitClose(); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("AwaitClose: %v, want ErrDesync", err)
	}
}

func TestAbortAnswersOnce(t *testing.T) {
	raw, other := pair(t)
	c := wire.New(raw, 0)
	c.Set("kong.response.set_header", nil)
	if !c.Abort([]byte{8, 1}) || c.Abort([]byte{8, 1}) {
		t.Error("Abort must answer once")
	}
	if err := c.Finish([]byte{8, 1}); !errors.Is(err, wire.ErrAborted) {
		t.Errorf("Finish after Abort: %v", err)
	}
	if got := string(read(t, other)); got != wire.Exit {
		t.Errorf("kong read %q", got)
	}

	raw, other = pair(t)
	c = wire.New(raw, 0)
	if err := c.Finish([]byte{8, 1}); err != nil {
		t.Fatal(err)
	}
	if c.Abort(nil) {
		t.Error("Abort after Finish")
	}
	write(t, other, "next")
	if b, err := c.Next(); string(b) != "next" || err != nil {
		t.Errorf("Next: %q, %v", b, err)
	}
	if !c.Abort(nil) {
		t.Error("Abort of the next event was refused")
	}
}

func TestHugeLengthIsRefusedWithoutAllocating(t *testing.T) {
	for _, length := range []uint32{1<<32 - 1, 1 << 31, wire.DefaultMaxFrame + 1} {
		c := wire.New(stream{in: bytes.NewReader(binary.LittleEndian.AppendUint32(nil, length))}, 0)
		var err error
		spent := allocated(func() { _, err = c.Next() })
		var tooLong *wire.FrameError
		if !errors.As(err, &tooLong) || tooLong.Length != length || spent > 1<<20 {
			t.Errorf("length %d: %v after %d bytes", length, err, spent)
		}
	}
}

func TestPromisedLengthIsNotAllocatedAhead(t *testing.T) {
	in := append(binary.LittleEndian.AppendUint32(nil, wire.DefaultMaxFrame), make([]byte, 100_000)...)
	c := wire.New(stream{in: bytes.NewReader(in)}, 0)
	var err error
	spent := allocated(func() { _, err = c.Next() })
	if !errors.Is(err, io.ErrUnexpectedEOF) || spent > 1<<20 {
		t.Errorf("Next: %v after %d bytes", err, spent)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestReadWithoutACallFails(t *testing.T) {
	raw, _ := pair(t)
	c := wire.New(raw, 0)
	if _, err := c.Read(make([]byte, 4)); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("Read: %v", err)
	}
	c = wire.New(raw, 0)
	if _, err := c.Reply(); !errors.Is(err, wire.ErrDesync) {
		t.Errorf("Reply: %v", err)
	}
}

func TestDeadlineEndsAReply(t *testing.T) {
	raw, _ := pair(t)
	raw.SetDeadline(time.Now())
	c := wire.New(raw, 0)
	c.Call("kong.request.get_method", nil)
	var timeout net.Error
	if _, err := c.Reply(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Reply: %v, want a timeout", err)
	}
}

// stream is a connection that gives what it is made of.
type stream struct {
	net.Conn
	in *bytes.Reader
}

func (s stream) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s stream) Write(p []byte) (int, error) { return len(p), nil }

func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, uint8(1))
	f.Add([]byte{255, 255, 255, 255}, uint8(2))
	f.Add([]byte{1, 0, 0, 0, 'x', 0, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3}, uint8(3))
	f.Fuzz(func(t *testing.T, in []byte, kind uint8) {
		const max = 1 << 16
		c := wire.New(stream{in: bytes.NewReader(in)}, max)
		for range 16 {
			var b []byte
			var err error
			switch kind % 3 {
			case 0:
				b, err = c.Next()
			case 1:
				c.Call("kong.request.get_method", nil)
				b, err = c.Reply()
			case 2:
				err = c.Set("kong.response.set_header", []byte("x"))
				if err == nil {
					err = c.Settle()
				}
			}
			if err != nil {
				return
			}
			if len(b) > max || len(b) > len(in) {
				t.Fatalf("a frame of %d bytes from %d", len(b), len(in))
			}
		}
	})
}

func FuzzPDKWrites(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00kong\x00\x00\x00\x00"), 3)
	f.Fuzz(func(t *testing.T, out []byte, chunk int) {
		if chunk <= 0 {
			chunk = 1
		}
		c := wire.New(stream{in: bytes.NewReader(nil)}, 0)
		for len(out) > 0 {
			n := min(chunk, len(out))
			if _, err := c.Write(out[:n]); err != nil {
				return
			}
			out = out[n:]
		}
		c.Read(make([]byte, 4))
	})
}
