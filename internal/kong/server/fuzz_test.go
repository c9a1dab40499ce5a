package server_test

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// scripted is a connection on which Kong says what the fuzzer likes.
type scripted struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *scripted) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scripted) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }
func (c *scripted) Close() error                     { return nil }

// FuzzCalls has a server take any bytes for Kong's. A request may pass only
// if its headers were read.
func FuzzCalls(f *testing.F) {
	now := time.UnixMicro(4200)
	const id = 42 // of the first instance at that time
	call := func(num protowire.Number, m []byte) []byte {
		b := protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), m)
		return wire.AppendFrame(nil, append(b, 8, 7))
	}
	start := call(33, hosttest.Text(2, "{}"))
	event := call(36, append(hosttest.Int(id), hosttest.Text(2, "access")...))
	headers := wire.AppendFrame(nil, hosttest.Headers(map[string][]string{"a": {"b"}}))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	f.Add(join(start, event, headers, make([]byte, 4)))
	f.Add(join(start, event, headers, make([]byte, 4), call(35, hosttest.Int(id)), event))
	f.Add(join(start, event, []byte{255, 255, 255, 255}))
	f.Add(join(call(31, nil), call(32, nil), call(34, hosttest.Int(id))))
	f.Fuzz(func(t *testing.T, in []byte) {
		decided := 0
		s := server.New(server.Options{Now: func() time.Time { return now }, MaxFrame: 1 << 16, Plugin: &plugin{
			access: func(context.Context, string, *rp.Request) *rp.Decision {
				decided++
				return &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: "X", Value: "y"}}}}
			},
		}})
		c := &scripted{in: bytes.NewReader(in)}
		s.ServeConn(c)
		ends := 0
		for out := c.out.Bytes(); len(out) > 0; {
			frame, rest, ok, err := wire.CutFrame(out, 1<<30)
			if !ok || err != nil {
				t.Fatalf("half a frame was sent: %x", out)
			}
			if len(frame) == 0 {
				ends++
			}
			out = rest
		}
		// get_headers has arguments, so an empty frame is an end of an event.
		if ends > decided {
			t.Fatalf("%d events ended, %d were decided", ends, decided)
		}
	})
}
