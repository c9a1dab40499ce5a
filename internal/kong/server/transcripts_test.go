package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
)

// replay delivers a recorded event to an instance with that decision, and
// returns the outcome and the request that the instance saw.
func replay(t *testing.T, e exchange, needs rp.Needs, access func(context.Context, *rp.Request) *rp.Decision) *hosttest.Outcome {
	t.Helper()
	s := serve(t, server.Options{Plugin: &plugin{needs: needs, access: func(ctx context.Context, _ string, r *rp.Request) *rp.Decision {
		return access(ctx, r)
	}}})
	out, err := s.worker(t, "{}").Do(e.answers())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRecordedStarts(t *testing.T) {
	for _, name := range []string{"01", "02", "03", "04", "05", "06", "11"} {
		t.Run(name, func(t *testing.T) {
			var got []string
			s := serve(t, server.Options{Plugin: &plugin{access: allow, start: func(config string) { got = append(got, config) }}})
			h := s.dial(t)
			var want []string
			for _, e := range recording(t, name) {
				start := e.call.GetCmdStartInstance()
				if start == nil {
					continue
				}
				want = append(want, string(start.Config))
				b, _ := proto.Marshal(start)
				ret, err := h.RPC(33, b)
				if err != nil || ret.GetInstanceStatus().GetName() != "openid-connect" || ret.GetInstanceStatus().InstanceId <= 0 {
					t.Fatalf("start: %v, %v", ret, err)
				}
			}
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("the plugin got %q, Kong sent %q", got, want)
			}
		})
	}
}

func TestRecordedSetHeaders(t *testing.T) {
	e := events(t, "20")[0]
	out := replay(t, e, 0, func(_ context.Context, r *rp.Request) *rp.Decision {
		if r.Header.Get("authorization") != "Bearer xyz" || r.Header.Get("cookie") != "a=1; b=2" || len(r.Header) != 5 {
			t.Errorf("headers %v", r.Header)
		}
		return &rp.Decision{Upstream: rp.HeaderEdits{Set: []rp.Field{
			{Name: "Authorization", Value: "Bearer abc"}, {Name: "X-Groups", Value: "a"}, {Name: "X-Sub", Value: "alice"}, {Name: "X-Groups", Value: "b"},
		}}}
	})
	sameCalls[structpb.Struct](t, e, out, "kong.service.request.set_headers")
	if out.Turns != 2 || len(out.Calls) != 2 {
		t.Errorf("%d calls in %d turns", len(out.Calls), out.Turns)
	}
}

// sameCalls compares the arguments of a method with the recorded ones.
func sameCalls[T any, M interface {
	*T
	proto.Message
}](t *testing.T, e exchange, out *hosttest.Outcome, method string) {
	t.Helper()
	want, n := e.args(method), 0
	for _, c := range out.Calls {
		if c.Method != method {
			continue
		}
		if n == len(want) {
			t.Fatalf("more calls of %s than the %d recorded", method, n)
		}
		got, rec := M(new(T)), M(new(T))
		if err := proto.Unmarshal(c.Args, got); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(want[n], rec); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, rec) {
			t.Errorf("%s of %v, recorded %v", method, got, rec)
		}
		n++
	}
	if n == 0 || n != len(want) {
		t.Errorf("%d calls of %s, recorded %d", n, method, len(want))
	}
}

func TestRecordedHeaders(t *testing.T) {
	for name, check := range map[string]func(t *testing.T, h rp.Header){
		"24": func(t *testing.T, h rp.Header) {
			for name, want := range map[string][]string{
				"x-rep": {"1", "2", "3, 4"}, "x_under": {"u"}, "x-under": {"d"}, "x-empty": {""}, "x-blank": {""},
				"cookie": {"a=1", "b=2"}, "accept": {"a/b", "c/d"}, "x-trail": {"v"},
			} {
				if !slices.Equal(h[name], want) {
					t.Errorf("%s is %q, want %q", name, h[name], want)
				}
			}
		},
		"25": func(t *testing.T, h rp.Header) {
			if len(h) < 150 || !strings.HasPrefix(h.Get("authorization"), "Bearer ") {
				t.Errorf("%d headers, authorization %q", len(h), h.Get("authorization"))
			}
		},
		"27": func(t *testing.T, h rp.Header) {
			if h.Get("x-bad") != "a\xff\xfe\x80z" || h.Get("x-latin") != "caf\xe9" || h.Get("x-good") != "é✓" {
				t.Errorf("headers %q", h)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := replay(t, events(t, name)[0], 0, func(_ context.Context, r *rp.Request) *rp.Decision {
				check(t, r.Header)
				return &rp.Decision{}
			})
			if !out.Passed {
				t.Errorf("outcome %+v", out)
			}
		})
	}
}

func TestRecordedTargets(t *testing.T) {
	for name, want := range map[string][2]string{
		"21": {"/get/a%20b/%7Eu/../c//d;x=1", "x=1&y=%20z&x=2"},
		"28": {"/get/\xff\xc3(/%ff%C3%28/%c3%a9", "a=\xfe%fe&b=%C3%A9&\xff=1"},
	} {
		out := replay(t, events(t, name)[0], rp.NeedTarget|rp.NeedExternal|rp.NeedMethod, func(_ context.Context, r *rp.Request) *rp.Decision {
			if r.Path != want[0] || r.RawQuery != want[1] {
				t.Errorf("%s: path %q, query %q", name, r.Path, r.RawQuery)
			}
			return &rp.Decision{}
		})
		if !out.Passed || out.Turns != 2 {
			t.Errorf("%s: outcome %+v", name, out)
		}
	}
}

func TestRecordedExternal(t *testing.T) {
	e := events(t, "41")[0]
	// The recorded plugin did not read the headers; these were on the wire.
	e.replies["kong.request.get_headers"] = [][]byte{hosttest.Headers(map[string][]string{"x-forwarded-path": {"/fp"}})}
	e.replies["kong.request.get_path_with_query"] = [][]byte{hosttest.String("/get/c")}
	replay(t, e, rp.NeedExternal|rp.NeedClient, func(_ context.Context, r *rp.Request) *rp.Decision {
		if want := (rp.External{Scheme: "https", Host: "fwd.example.com", Port: 444, Path: "/fp"}); r.External != want {
			t.Errorf("external %+v, want %+v", r.External, want)
		}
		if r.ClientIP != "10.0.0.1" {
			t.Errorf("client %q", r.ClientIP)
		}
		return &rp.Decision{}
	})
}

func TestRecordedCredential(t *testing.T) {
	for name, want := range map[string]bool{"54": true, "40": false} {
		replay(t, events(t, name)[0], rp.NeedAuthenticated, func(_ context.Context, r *rp.Request) *rp.Decision {
			if r.Authenticated != want {
				t.Errorf("%s: authenticated %v", name, r.Authenticated)
			}
			return &rp.Decision{}
		})
	}
}

func TestRecordedBodies(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"30", "31", "32", "32b", "32c", "32d", "32e", "33", "34", "35"} {
		for n, e := range events(t, name) {
			reply := e.replies["kong.request.get_raw_body"]
			if len(reply) == 0 {
				t.Fatalf("%s: no body was asked for", name)
			}
			m := &kong_plugin_protocol.RawBodyResult{}
			if err := proto.Unmarshal(reply[0], m); err != nil {
				t.Fatal(err)
			}
			want := m.GetContent()
			if m.GetBodyFilepath() != "" {
				// The file is gone; one of ours stands in for it.
				want = bytes.Repeat([]byte("b"), 12_000)
				file := filepath.Join(dir, "body")
				if err := os.WriteFile(file, want, 0o600); err != nil {
					t.Fatal(err)
				}
				m.Kind = &kong_plugin_protocol.RawBodyResult_BodyFilepath{BodyFilepath: file}
				b, _ := proto.Marshal(m)
				e.replies["kong.request.get_raw_body"] = [][]byte{b}
			}
			delete(e.replies, "kong.request.get_headers")
			replay(t, e, 0, func(ctx context.Context, r *rp.Request) *rp.Decision {
				got, err := r.Gateway.Body(ctx, 1<<20)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, event %d: %d bytes, %v; want %d", name, n, len(got), err, len(want))
				}
				return &rp.Decision{}
			})
		}
	}
}

func TestRecordedPrincipal(t *testing.T) {
	for n, p := range []*rp.Principal{
		{Consumer: &rp.Consumer{ID: "f21afd20-9755-4524-bc94-efc7f2cc2af6", Username: "alice", CustomID: "c-1"}, CredentialID: "sub-1"},
		{CredentialID: "sub-2"},
		{Consumer: &rp.Consumer{ID: "f21afd20-9755-4524-bc94-efc7f2cc2af6"}},
	} {
		e := events(t, "52")[n]
		out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision { return &rp.Decision{Authenticate: p} })
		sameCalls[kong_plugin_protocol.AuthenticateArgs](t, e, out, "kong.client.authenticate")
	}
	for n, groups := range [][]string{{"staff"}, {"other"}} {
		e := events(t, "46")[n]
		out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision {
			return &rp.Decision{Authenticate: &rp.Principal{Groups: groups}}
		})
		sameCalls[kong_plugin_protocol.KV](t, e, out, "kong.ctx.shared.set")
	}
	// Neither a consumer nor a credential would be a 500 (53): the context is emptied instead.
	out := replay(t, events(t, "53")[0], 0, func(context.Context, *rp.Request) *rp.Decision {
		return &rp.Decision{Authenticate: &rp.Principal{Anonymous: true}}
	})
	if !out.Passed || len(out.Calls) != 3 || out.Calls[1].Method != "kong.nginx.set_ctx" || out.Calls[2].Method != "kong.nginx.set_ctx" {
		t.Errorf("calls %v", out.Calls)
	}
}

func TestRecordedExits(t *testing.T) {
	e := events(t, "60")[0]
	out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision {
		return &rp.Decision{
			Respond: &rp.Response{Status: 401, Body: []byte(`{"message":"Unauthorized"}`)},
			Downstream: rp.HeaderEdits{
				Set: []rp.Field{{Name: "Content-Type", Value: "application/json"}, {Name: "WWW-Authenticate", Value: `Bearer realm="x"`}},
				Add: []rp.Field{{Name: "Set-Cookie", Value: "a=1; Path=/; HttpOnly"}, {Name: "Set-Cookie", Value: "b=2; Path=/"}},
			},
		}
	})
	got, want := decodeExit(t, out.Calls[len(out.Calls)-1].Args), decodeExit(t, e.args("kong.response.exit")[0])
	if !proto.Equal(got, want) {
		t.Errorf("exit %v, recorded %v", got, want)
	}

	for _, name := range []string{"61b", "61c"} {
		e := events(t, name)[0]
		out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision {
			return &rp.Decision{Respond: &rp.Response{Status: 403}}
		})
		if got, want := decodeExit(t, out.Calls[len(out.Calls)-1].Args), decodeExit(t, e.args("kong.response.exit")[0]); !proto.Equal(got, want) {
			t.Errorf("%s: exit %v, recorded %v", name, got, want)
		}
	}
}

func decodeExit(t *testing.T, b []byte) *kong_plugin_protocol.ExitArgs {
	t.Helper()
	m := &kong_plugin_protocol.ExitArgs{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRecordedRequestEdits(t *testing.T) {
	e := events(t, "65")[0]
	query := "n=1&m=%20"
	out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision {
		return &rp.Decision{Request: rp.RequestEdits{Method: "PUT", RawQuery: &query}}
	})
	sameCalls[kong_plugin_protocol.String](t, e, out, "kong.service.request.set_method")
	sameCalls[kong_plugin_protocol.String](t, e, out, "kong.service.request.set_raw_query")

	for _, e := range events(t, "66") {
		m := &kong_plugin_protocol.ByteString{}
		proto.Unmarshal(e.args("kong.service.request.set_raw_body")[0], m)
		out := replay(t, e, 0, func(context.Context, *rp.Request) *rp.Decision {
			return &rp.Decision{Request: rp.RequestEdits{Body: &m.V}}
		})
		sameCalls[kong_plugin_protocol.ByteString](t, e, out, "kong.service.request.set_raw_body")
	}
}

// TestRecordedErrors has Kong refuse what it refused in the recordings.
func TestRecordedErrors(t *testing.T) {
	for _, name := range []string{"70b", "70c", "70e", "70l", "71", "71b", "71c", "71d"} {
		t.Run(name, func(t *testing.T) {
			e := events(t, name)[0]
			answered := 0
			for _, r := range e.replies {
				answered += len(r)
			}
			s := serve(t, server.Options{Plugin: &plugin{access: func(context.Context, string, *rp.Request) *rp.Decision {
				return &rp.Decision{Downstream: rp.HeaderEdits{Add: slices.Repeat([]rp.Field{{Name: "X", Value: "v"}}, len(e.calls))}}
			}}})
			a := hosttest.Request{}.Answers()
			seen := -1 // get_headers is ours
			a.Reply = func(string, []byte) ([]byte, bool) { seen++; return nil, seen <= answered }
			w := s.worker(t, "{}")
			out, err := w.Do(a)
			if err != nil || out.Refused == "" || w.Starts != 1 {
				t.Fatalf("outcome %+v, %v", out, err)
			}
			if out := do(t, w, hosttest.Request{}); !out.Passed || w.Starts != 1 {
				t.Errorf("the next event: %+v", out)
			}
		})
	}
}

func TestRecordedUnknownInstance(t *testing.T) {
	all := recording(t, "82")
	first := all[0].call.GetCmdHandleEvent()
	if first == nil || all[1].call.GetCmdStartInstance() == nil || all[2].call.GetCmdHandleEvent() == nil {
		t.Fatalf("the recording begins with %v", all)
	}
	s := serve(t, server.Options{Plugin: &plugin{access: allow}})
	w := s.worker(t, string(all[1].call.GetCmdStartInstance().Config))
	w.Use(first.InstanceId)
	if out := do(t, w, hosttest.Request{}); !out.Passed || w.Starts != 1 {
		t.Errorf("outcome %+v after %d starts", out, w.Starts)
	}
}

func TestRecordedDump(t *testing.T) {
	b, err := os.ReadFile("../../../testdata/transcripts/00-dump.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var l struct{ Decoded string }
	if err := json.Unmarshal(bytes.Split(b, []byte("\n"))[1], &l); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(l.Decoded, "query command printed: ")
	var printed struct {
		Plugins []struct{ Schema json.RawMessage }
	}
	if err := json.Unmarshal([]byte(want), &printed); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := server.Dump(&got, server.Info{
		Name: "openid-connect", Version: "1.0.0", Priority: 1050, Phases: []string{"access"},
		Schema: printed.Plugins[0].Schema, SocketPath: "<prefix>/openid-connect.socket",
	}); err != nil {
		t.Fatal(err)
	}
	var a, c any
	if json.Unmarshal(got.Bytes(), &a) != nil || json.Unmarshal([]byte(want), &c) != nil {
		t.Fatal("not JSON")
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(c)
	if !bytes.Equal(x, y) || bytes.Count(got.Bytes(), []byte("\n")) != 1 {
		t.Errorf("dump %s, recorded %s", x, y)
	}
}
