package server_test

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
)

func TestAllowedRequestCostsTwoTurns(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{
		needs: rp.NeedMethod | rp.NeedTarget,
		access: func(_ context.Context, _ string, r *rp.Request) *rp.Decision {
			return &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{
				{Name: "X-Sub", Value: "alice"}, {Name: "X-Method", Value: r.Method}, {Name: "X-Path", Value: r.Path},
			}}, Downstream: rp.HeaderEdits{Add: []rp.Field{{Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"}}}}
		},
	}})
	w := s.worker(t, "{}")
	do(t, w, hosttest.Request{})
	out := do(t, w, hosttest.Request{Method: "POST", Target: "/a%20b?x=1", Headers: map[string][]string{"host": {"h"}}})
	if !out.Passed || out.Turns != 2 {
		t.Fatalf("passed %v in %d turns, want true in 2", out.Passed, out.Turns)
	}
	got, err := out.UpstreamHeaders()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"X-Sub": {"alice"}, "X-Method": {"POST"}, "X-Path": {"/a%20b"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("upstream headers %v, want %v", got, want)
	}
	if got := out.Pairs("kong.response.add_header"); !slices.Equal(got, [][2]string{{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"}}) {
		t.Errorf("cookies %v", got)
	}
	if w.Starts != 1 {
		t.Errorf("%d instances were started, want 1: the connection was not reused", w.Starts)
	}
}

func TestNoOpDecisionWritesOnlyTheEnd(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: allow}})
	out := do(t, s.worker(t, "{}"), hosttest.Request{})
	if len(out.Calls) != 1 || out.Calls[0].Method != "kong.request.get_headers" || !out.Passed {
		t.Errorf("calls %v, passed %v", out.Calls, out.Passed)
	}
}

func TestEachEventWritesTwice(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
		return &rp.Decision{
			Upstream:     rp.HeaderEdits{Clear: []string{"x_sub", "authorization"}, Set: []rp.Field{{Name: "X-Sub", Value: "a"}}},
			Authenticate: &rp.Principal{CredentialID: "a", Groups: []string{"staff"}},
		}
	}}})
	h := s.dial(t)
	id, err := h.Start([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	const events = 10
	for range events {
		if out, err := h.Event(id, hosttest.Request{}.Answers()); err != nil || !out.Passed {
			t.Fatal(out, err)
		}
	}
	h.Close()
	shutdown(t, s)
	// One more write and turn for the instance.
	if got := s.Stats(); got.Writes != 2*events+1 || got.Events != events {
		t.Errorf("%d writes for %d events and one start, want %d", got.Writes, got.Events, 2*events+1)
	}
}

func TestDeniedRequest(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
		return &rp.Decision{
			Respond:  &rp.Response{Status: 401, Body: []byte("no")},
			Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: "X-Sub", Value: "never sent"}}},
			Downstream: rp.HeaderEdits{
				Set: []rp.Field{{Name: "WWW-Authenticate", Value: "Bearer"}},
				Add: []rp.Field{{Name: "www-authenticate", Value: "DPoP"}, {Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"}},
			},
		}
	}}})
	out := do(t, s.worker(t, "{}"), hosttest.Request{})
	if out.Exit == nil || out.Exit.Status != 401 || string(out.Exit.Body) != "no" {
		t.Fatalf("exit %+v", out.Exit)
	}
	want := map[string][]string{"WWW-Authenticate": {"Bearer, DPoP"}, "Set-Cookie": {"a=1", "b=2"}}
	if !maps.EqualFunc(out.Exit.Headers, want, slices.Equal) {
		t.Errorf("headers %v, want %v", out.Exit.Headers, want)
	}
	if len(out.Calls) != 2 || out.Turns != 2 {
		t.Errorf("%d calls in %d turns, want 2 in 2", len(out.Calls), out.Turns)
	}
}

// failing cases: each must end in a 500 of ours, and leave the server well.
func TestEveryFailureIsAnsweredBy500(t *testing.T) {
	header := func(name string) func(context.Context, string, *rp.Request) *rp.Decision {
		return func(context.Context, string, *rp.Request) *rp.Decision {
			return &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: name, Value: "v"}}}}
		}
	}
	for name, access := range map[string]func(context.Context, string, *rp.Request) *rp.Decision{
		"panic":                 func(context.Context, string, *rp.Request) *rp.Decision { panic("secret-of-the-request") },
		"runtime panic":         func(_ context.Context, _ string, r *rp.Request) *rp.Decision { return []*rp.Decision{}[len(r.Path)] },
		"no decision":           func(context.Context, string, *rp.Request) *rp.Decision { return nil },
		"empty header name":     header(""),
		"bad header name":       header("X Y"),
		"header name with CRLF": header("X\r\nY"),
		"status 0": func(context.Context, string, *rp.Request) *rp.Decision {
			return &rp.Decision{Respond: &rp.Response{}}
		},
		"status 999": func(context.Context, string, *rp.Request) *rp.Decision {
			return &rp.Decision{Respond: &rp.Response{Status: 999}}
		},
		"unknown method": func(context.Context, string, *rp.Request) *rp.Decision {
			return &rp.Decision{Request: rp.RequestEdits{Method: "BREW"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, server.Options{Plugin: &plugin{access: access}})
			w := s.worker(t, "{}")
			for range 2 {
				out := do(t, w, hosttest.Request{})
				if out.Exit == nil || out.Exit.Status != 500 {
					t.Fatalf("outcome %+v, want an exit 500", out)
				}
			}
			if w.Starts != 1 {
				t.Errorf("%d starts, want 1: the failure was signalled by closing", w.Starts)
			}
			if log := s.log.String(); !strings.Contains(log, "level=ERROR") || strings.Contains(log, "secret-of-the-request") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestGRPCFailureHasNoContentType(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision { return nil }}})
	out := do(t, s.worker(t, "{}"), hosttest.Request{Headers: map[string][]string{"content-type": {"application/grpc+proto"}}})
	if out.Exit == nil || out.Exit.Status != 500 || len(out.Exit.Headers) != 0 {
		t.Errorf("exit %+v", out.Exit)
	}
}

func TestUndecodableHeadersFailClosed(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{needs: rp.NeedMethod | rp.NeedTarget | rp.NeedExternal, access: allow}})
	a := hosttest.Request{}.Answers()
	a.Replies["kong.request.get_headers"] = []byte{0x0a, 0xff}
	out, err := s.worker(t, "{}").Do(a)
	if err != nil {
		t.Fatal(err)
	}
	if out.Exit == nil || out.Exit.Status != 500 {
		t.Errorf("outcome %+v, want an exit 500", out)
	}
}

func TestRefusedCall(t *testing.T) {
	set := func(context.Context, string, *rp.Request) *rp.Decision {
		return &rp.Decision{Upstream: rp.HeaderEdits{Clear: []string{"a"}, Set: []rp.Field{{Name: "X-Sub", Value: "alice"}}}}
	}
	for _, method := range []string{"kong.request.get_headers", "kong.service.request.clear_header", "kong.service.request.set_headers"} {
		t.Run(method, func(t *testing.T) {
			s := serve(t, server.Options{Plugin: &plugin{access: set}})
			w := s.worker(t, "{}")
			a := hosttest.Request{}.Answers()
			a.Reply = func(m string, _ []byte) ([]byte, bool) { return nil, m != method }
			out, err := w.Do(a)
			if err != nil || out.Refused != method {
				t.Fatalf("outcome %+v, %v", out, err)
			}
			if out := do(t, w, hosttest.Request{}); !out.Passed || w.Starts != 1 {
				t.Errorf("the next event: %+v after %d starts", out, w.Starts)
			}
			shutdown(t, s)
			if got := s.Stats().Refused; got != 1 {
				t.Errorf("%d refusals counted, want 1", got)
			}
			if !strings.Contains(s.log.String(), "kong refused a call") {
				t.Errorf("log: %s", s.log)
			}
		})
	}
}

func TestUnknownInstanceIsStartedAnew(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: allow}})
	w := s.worker(t, "{}")
	w.Use(12)
	if out := do(t, w, hosttest.Request{}); !out.Passed || w.Starts != 1 {
		t.Errorf("outcome %+v after %d starts", out, w.Starts)
	}
	if got := s.Stats().Unknown; got != 1 {
		t.Errorf("%d unknown ids counted", got)
	}
}

func TestInstancesOfTheSameSequenceDiffer(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: func(_ context.Context, config string, _ *rp.Request) *rp.Decision {
		return &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: "X-Config", Value: config}}}}
	}}})
	a, b := s.worker(t, `{"__seq__":3,"n":"a"}`), s.worker(t, `{"__seq__":3,"n":"b"}`)
	for range 2 {
		for _, w := range []*hosttest.Worker{a, b} {
			h, _ := do(t, w, hosttest.Request{}).UpstreamHeaders()
			if !slices.Equal(h["X-Config"], []string{string(w.Config)}) {
				t.Fatalf("%s was decided by %v", w.Config, h)
			}
		}
	}
	if a.Instance() == b.Instance() || a.Instance() == 3 {
		t.Errorf("ids %d and %d", a.Instance(), b.Instance())
	}
}

func TestCloseInstanceFreesOnlyThatOne(t *testing.T) {
	p := &plugin{access: allow}
	s := serve(t, server.Options{Plugin: p})
	h := s.dial(t)
	a, _ := h.Start([]byte(`{"a":1}`))
	b, _ := h.Start([]byte(`{"b":1}`))
	if err := h.CloseInstance(a); err != nil {
		t.Fatal(err)
	}
	if err := h.CloseInstance(a); err != nil {
		t.Errorf("closing an instance again: %v", err)
	}
	if out, err := h.Event(b, hosttest.Request{}.Answers()); err != nil || !out.Passed {
		t.Errorf("the other instance: %+v, %v", out, err)
	}
	if out, err := h.Event(a, hosttest.Request{}.Answers()); err != nil || !out.Closed {
		t.Errorf("the closed instance: %+v, %v", out, err)
	}
	if p.closed.Load() != 1 {
		t.Errorf("%d instances were closed", p.closed.Load())
	}
}

func TestStartThatPanicsAnswers500(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: allow, start: func(string) { panic("client_secret=x") }}})
	w := s.worker(t, "{}")
	if out := do(t, w, hosttest.Request{}); out.Exit == nil || out.Exit.Status != 500 {
		t.Errorf("outcome %+v", out)
	}
	if strings.Contains(s.log.String(), "client_secret") {
		t.Errorf("the panic's value was logged: %s", s.log)
	}
}

func TestProtocolErrorsCloseAtOnce(t *testing.T) {
	frame := func(b ...byte) []byte { return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...) }
	for name, raw := range map[string][]byte{
		"4 GiB frame":           {0xff, 0xff, 0xff, 0xff},
		"empty frame":           frame(),
		"not protobuf":          frame(0xff, 0xff, 0xff),
		"sequence only":         frame(0x08, 0x01),
		"truncated call":        frame(0xa2, 0x02, 0x7f),
		"status of an unknown":  frame(0x92, 0x02, 0x02, 0x08, 0x05),
		"event without an id":   frame(0xa2, 0x02, 0x00),
		"event of the old kind": frame(0xba, 0x02, 0x00),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, server.Options{Plugin: &plugin{access: allow}})
			h := s.dial(t)
			if err := h.Raw(raw); err != nil {
				t.Fatal(err)
			}
			if b, err := h.Read(); !errors.Is(err, hosttest.ErrClosed) {
				t.Errorf("answered by %x, %v; want the connection closed", b, err)
			}
		})
	}
}

func TestClientThatGoesAway(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
		close(entered)
		<-leave
		return &rp.Decision{}
	}}})
	h := s.dial(t)
	id, _ := h.Start([]byte("{}"))
	go h.Event(id, hosttest.Request{}.Answers())
	<-entered
	h.Close()
	close(leave)
	shutdown(t, s)
	if got := s.Stats(); got.Connections != 0 {
		t.Errorf("%d connections are left", got.Connections)
	}
}

func TestDeadlineReachesTheHandler(t *testing.T) {
	s := serve(t, server.Options{EventTimeout: 20 * time.Millisecond, Plugin: &plugin{access: func(ctx context.Context, _ string, r *rp.Request) *rp.Decision {
		<-ctx.Done()
		if err := r.Need(ctx, rp.NeedMethod); !errors.Is(err, context.DeadlineExceeded) {
			return &rp.Decision{}
		}
		return &rp.Decision{Respond: &rp.Response{Status: 503}}
	}}})
	if out := do(t, s.worker(t, "{}"), hosttest.Request{}); out.Exit == nil || out.Exit.Status != 503 {
		t.Errorf("outcome %+v, want the handler's 503 after its deadline", out)
	}
}

func TestRequestCanNotBeUsedAfterItsEvent(t *testing.T) {
	var kept *rp.Request
	s := serve(t, server.Options{Plugin: &plugin{access: func(_ context.Context, _ string, r *rp.Request) *rp.Decision {
		kept = r
		return &rp.Decision{}
	}}})
	w := s.worker(t, "{}")
	do(t, w, hosttest.Request{})
	if err := kept.Need(t.Context(), rp.NeedMethod); err == nil {
		t.Error("a request of the past asked the gateway")
	}
}

func TestOtherCommands(t *testing.T) {
	s := serve(t, server.Options{
		Info:   server.Info{Version: "1.2.3", Priority: 1050, Phases: []string{"access"}, Schema: []byte(`{"name":"x"}`)},
		Plugin: &plugin{access: allow},
	})
	h := s.dial(t)
	if ret, err := h.RPC(31, nil); err != nil || !slices.Equal(ret.GetPluginNames().GetNames(), []string{"openid-connect"}) {
		t.Errorf("names: %v, %v", ret, err)
	}
	ret, err := h.RPC(32, hosttest.Text(1, "openid-connect"))
	if i := ret.GetPluginInfo(); err != nil || i.Version != "1.2.3" || i.Priority != 1050 || i.Schema != `{"name":"x"}` || !slices.Equal(i.Phases, []string{"access"}) {
		t.Errorf("info: %v, %v", ret, err)
	}
	id, _ := h.Start([]byte("{}"))
	if ret, err := h.RPC(34, hosttest.Int(int64(id))); err != nil || ret.GetInstanceStatus().InstanceId != id || ret.GetInstanceStatus().StartedAt == 0 {
		t.Errorf("status: %v, %v", ret, err)
	}
}

func TestOtherEventsFailClosed(t *testing.T) {
	s := serve(t, server.Options{Plugin: &plugin{access: allow}})
	h := s.dial(t)
	id, _ := h.Start([]byte("{}"))
	m := append(hosttest.Int(int64(id)), hosttest.Text(2, "rewrite")...)
	body := append([]byte{0xa2, 0x02, byte(len(m))}, m...)
	if err := h.Raw(append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		t.Fatal(err)
	}
	if method, err := h.Read(); err != nil || string(method) != "kong.response.exit" {
		t.Errorf("answered by %q, %v", method, err)
	}
}

func shutdown(t testing.TB, s *running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-s.done; !errors.Is(err, server.ErrStopped) {
		t.Fatalf("Serve returned %v", err)
	}
	s.done <- server.ErrStopped
}
