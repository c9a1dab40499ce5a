package server_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
)

// A browser's request with a bearer token.
var benchRequest = hosttest.Request{
	Target: "/api/orders?limit=20",
	Headers: map[string][]string{
		"host": {"api.example.com"}, "user-agent": {"Mozilla/5.0 (X11; Linux x86_64)"}, "accept": {"application/json"},
		"accept-encoding": {"gzip, br"}, "accept-language": {"en"}, "cookie": {"theme=dark; a=1"},
		"authorization": {"Bearer " + string(make([]byte, 800))}, "x-forwarded-for": {"203.0.113.7"},
	},
}

// BenchmarkEvent is an event with one read and three header edits over the
// socket, by a plugin that does nothing else.
func BenchmarkEvent(b *testing.B) {
	edits := &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{
		{Name: "X-Sub", Value: "alice"}, {Name: "X-Email", Value: "alice@example.com"}, {Name: "Authorization", Value: "Bearer x"},
	}}}
	s := serve(b, server.Options{Plugin: &plugin{
		needs:  rp.NeedMethod,
		access: func(context.Context, string, *rp.Request) *rp.Decision { return edits },
	}})
	h := s.dial(b)
	id, err := h.Start([]byte("{}"))
	if err != nil {
		b.Fatal(err)
	}
	a := benchRequest.Answers()
	a.Record = false
	b.ReportAllocs()
	for b.Loop() {
		if out, err := h.Event(id, a); err != nil || !out.Passed {
			b.Fatal(out, err)
		}
	}
}

// BenchmarkEcho is what the same messages cost when nothing is done with
// them: the host's own share and the socket's.
func BenchmarkEcho(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	out, in := make([]byte, 1300), make([]byte, 1300)
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			if _, err := c.Write(out); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, in); err != nil {
				b.Fatal(err)
			}
		}
	}
}
