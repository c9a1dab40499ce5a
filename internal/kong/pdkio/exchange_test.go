package pdkio_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/pdkio"
	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// host delivers one event whose plugin side is f, and returns how it ended.
func host(t *testing.T, a *hosttest.Answers, f func(x *pdkio.Exchange)) *hosttest.Outcome {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h, err := hosttest.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	raw, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer raw.Close()
		c := wire.New(raw, 0)
		if _, err := c.Next(); err != nil {
			t.Error(err)
			return
		}
		f(pdkio.NewLink(c).Begin())
		// Kong reads what it likes, then closes.
		io.Copy(io.Discard, raw)
	}()
	out, err := h.Event(1, a)
	h.Close()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ret is the RpcReturn of hosttest's first call.
var ret = []byte{8, 1}

// decide carries out a decision.
func decide(t *testing.T, d *rp.Decision) *hosttest.Outcome {
	t.Helper()
	return host(t, hosttest.Request{}.Answers(), func(x *pdkio.Exchange) {
		if err := x.Finish(d, ret); err != nil {
			t.Error(err)
		}
	})
}

func pass(x *pdkio.Exchange) { x.Finish(&rp.Decision{}, ret) }

func TestRequestReadsEverythingInOneTurn(t *testing.T) {
	r := hosttest.Request{
		Method: "PUT", Target: "/p?q=1#f", Headers: map[string][]string{"a": {"1", "2"}, "content-type": {"x"}},
		Scheme: "https", Host: "api.example.com", Port: 8443, Client: "203.0.113.7", Credential: "c",
	}
	out := host(t, r.Answers(), func(x *pdkio.Exchange) {
		got, err := x.Request(t.Context(), rp.NeedMethod|rp.NeedTarget|rp.NeedExternal|rp.NeedClient|rp.NeedAuthenticated)
		if err != nil {
			t.Error(err)
			return
		}
		if got.Method != "PUT" || got.Path != "/p" || got.RawQuery != "q=1" || got.ClientIP != "203.0.113.7" || !got.Authenticated ||
			got.External != (rp.External{Scheme: "https", Host: "api.example.com", Port: 8443, Path: "/p"}) || !slices.Equal(got.Header["a"], []string{"1", "2"}) {
			t.Errorf("request %+v", got)
		}
		if err := got.Need(t.Context(), rp.NeedExternal|rp.NeedMethod); err != nil {
			t.Error(err)
		}
		pass(x)
	})
	if out.Turns != 2 {
		t.Errorf("%d turns, want 2: reads, and the end", out.Turns)
	}
	// By default Kong gives 100 headers, and hides an Authorization behind them.
	if first := out.Calls[0]; first.Method != "kong.request.get_headers" || string(first.Args) != string(hosttest.Int(1000)) {
		t.Errorf("first call %v", first)
	}
}

func TestNothingIsAskedAfterTheDecision(t *testing.T) {
	for name, d := range map[string]*rp.Decision{"passed": {}, "answered": {Respond: &rp.Response{Status: 401}}} {
		host(t, hosttest.Request{}.Answers(), func(x *pdkio.Exchange) {
			if err := x.Finish(d, ret); err != nil {
				t.Error(err)
			}
			if _, err := x.Variable(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "has been decided") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestNeedFetchesOnce(t *testing.T) {
	out := host(t, hosttest.Request{Method: "PUT"}.Answers(), func(x *pdkio.Exchange) {
		r, err := x.Request(t.Context(), 0)
		if err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := r.Need(t.Context(), rp.NeedMethod|rp.NeedTarget); err != nil || r.Method != "PUT" {
				t.Errorf("%q, %v", r.Method, err)
			}
		}
		pass(x)
	})
	if out.Turns != 3 || len(out.Calls) != 3 {
		t.Errorf("%d calls in %d turns", len(out.Calls), out.Turns)
	}
}

func TestExternal(t *testing.T) {
	forwarded := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	for name, c := range map[string]struct {
		in   hosttest.Request
		want rp.External
		bad  bool
	}{
		"raw path":                   {in: hosttest.Request{Target: "/a%20b/%7e?x"}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/a%20b/%7e"}},
		"bytes that must be encoded": {in: hosttest.Request{Target: "/\xff\"<>%zz/%"}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/%FF%22%3C%3E%25zz/%25"}},
		"trusted path":               {in: hosttest.Request{Target: "/in", Trusted: true, Headers: forwarded("x-forwarded-path", "/out/x%20y?q#f")}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/out/x%20y"}},
		"untrusted path":             {in: hosttest.Request{Target: "/in", Headers: forwarded("x-forwarded-path", "/evil")}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/in"}},
		"trusted prefix":             {in: hosttest.Request{Target: "/in", Trusted: true, Headers: forwarded("x-forwarded-prefix", "/app/")}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/app/in"}},
		"untrusted prefix":           {in: hosttest.Request{Target: "/in", Headers: forwarded("x-forwarded-prefix", "/in")}, want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/in"}},
		"path before prefix": {in: hosttest.Request{Target: "/in", Trusted: true, Headers: map[string][]string{"x-forwarded-prefix": {"/app"}, "x-forwarded-path": {"/app/in"}}},
			want: rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: "/app/in"}},
		"lists of proxies": {in: hosttest.Request{Scheme: "https, http", Host: "A.example, b"}, want: rp.External{Scheme: "https", Host: "a.example", Port: 8000, Path: "/"}},
		"IPv6":             {in: hosttest.Request{Host: "[::1]"}, want: rp.External{Scheme: "http", Host: "[::1]", Port: 8000, Path: "/"}},
		"user info":        {in: hosttest.Request{Host: "good@evil"}, bad: true},
		"path in the host": {in: hosttest.Request{Host: "evil/x"}, bad: true},
		"CRLF in the host": {in: hosttest.Request{Host: "a\r\nb"}, bad: true},
		"backslash":        {in: hosttest.Request{Host: `a\b`}, bad: true},
		"scheme":           {in: hosttest.Request{Scheme: "javascript"}, bad: true},
		"port":             {in: hosttest.Request{Port: 70000}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			host(t, c.in.Answers(), func(x *pdkio.Exchange) {
				defer pass(x)
				r, err := x.Request(t.Context(), rp.NeedExternal)
				if err != nil {
					t.Error(err)
					return
				}
				// A bad one is no error until it is needed, and then the client's.
				err = r.Need(t.Context(), rp.NeedExternal)
				var invalid *rp.Error
				if c.bad != (errors.As(err, &invalid) && invalid.Kind == rp.Invalid && invalid.Reason == "bad_host") {
					t.Errorf("Need: %v", err)
				}
				if r.External != c.want {
					t.Errorf("%+v, want %+v", r.External, c.want)
				}
			})
		})
	}
}

func TestMalformedRepliesAreErrorsAndLeaveTheStreamInOrder(t *testing.T) {
	for _, method := range []string{
		"kong.request.get_headers", "kong.request.get_method", "kong.request.get_path_with_query", "kong.request.get_forwarded_scheme",
		"kong.request.get_forwarded_host", "kong.request.get_forwarded_port", "kong.client.get_forwarded_ip", "kong.client.get_credential",
	} {
		a := hosttest.Request{}.Answers()
		a.Replies[method] = []byte{0x0a, 0x05, 'x'}
		out := host(t, a, func(x *pdkio.Exchange) {
			if _, err := x.Request(t.Context(), rp.NeedMethod|rp.NeedTarget|rp.NeedExternal|rp.NeedClient|rp.NeedAuthenticated); !errors.Is(err, wire.ErrMessage) {
				t.Errorf("%s: %v", method, err)
			}
			if err := x.Fail(); err != nil {
				t.Error(err)
			}
		})
		if out.Exit == nil || out.Exit.Status != 500 {
			t.Errorf("%s: outcome %+v", method, out)
		}
	}
}

func TestClosedConnectionIsAnError(t *testing.T) {
	for refused, ask := range map[string]func(x *pdkio.Exchange) error{
		"kong.request.get_headers": func(x *pdkio.Exchange) error { _, err := x.Request(t.Context(), 0); return err },
		"kong.request.get_method": func(x *pdkio.Exchange) error {
			_, err := x.Request(t.Context(), rp.NeedMethod)
			return err
		},
		"kong.request.get_raw_body": func(x *pdkio.Exchange) error { _, err := x.Body(t.Context(), 10); return err },
		"kong.nginx.get_var":        func(x *pdkio.Exchange) error { _, err := x.Variable(t.Context(), "x"); return err },
	} {
		a := hosttest.Request{}.Answers()
		a.Reply = func(method string, _ []byte) ([]byte, bool) { return nil, method != refused }
		host(t, a, func(x *pdkio.Exchange) {
			if err := ask(x); !errors.Is(err, wire.ErrRefused) {
				t.Errorf("%s: %v, want ErrRefused", refused, err)
			}
		})
	}
}

func TestVariable(t *testing.T) {
	r := hosttest.Request{Variables: map[string]string{"ssl_client_verify": "SUCCESS"}}
	host(t, r.Answers(), func(x *pdkio.Exchange) {
		for name, want := range map[string]string{"ssl_client_verify": "SUCCESS", "unknown": ""} {
			if got, err := x.Variable(t.Context(), name); got != want || err != nil {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		pass(x)
	})
}

func TestNothingIsAskedWhenTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := host(t, hosttest.Request{}.Answers(), func(x *pdkio.Exchange) {
		if _, err := x.Body(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		pass(x)
	})
	if len(out.Calls) != 0 || !out.Passed {
		t.Errorf("outcome %+v", out)
	}
}

func TestBody(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(at("body"), []byte("0123456789"), 0o600)
	os.Symlink(at("body"), at("link"))
	syscall.Mkfifo(at("fifo"), 0o600)
	for name, c := range map[string]struct {
		in   hosttest.Request
		want string
		err  string
	}{
		"inline":           {in: hosttest.Request{Body: []byte("0123456789")}, want: "0123456789"},
		"inline too large": {in: hosttest.Request{Body: []byte("0123456789a")}, err: rp.ErrBodyTooLarge.Error()},
		"none":             {},
		"file":             {in: hosttest.Request{BodyFile: at("body")}, want: "0123456789"},
		"symbolic link":    {in: hosttest.Request{BodyFile: at("link")}, err: "symbolic link"},
		"directory":        {in: hosttest.Request{BodyFile: dir}, err: "not a regular file"},
		"fifo":             {in: hosttest.Request{BodyFile: at("fifo")}, err: "not a regular file"},
		"device":           {in: hosttest.Request{BodyFile: "/dev/zero"}, err: "not a regular file"},
		"missing":          {in: hosttest.Request{BodyFile: at("gone")}, err: "must run as the user of Kong's workers"},
		"relative":         {in: hosttest.Request{BodyFile: "body"}, err: "absolute"},
	} {
		t.Run(name, func(t *testing.T) {
			host(t, c.in.Answers(), func(x *pdkio.Exchange) {
				defer pass(x)
				got, err := x.Body(t.Context(), 10)
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("%v, want %q", err, c.err)
					}
				} else if err != nil || string(got) != c.want {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
	host(t, hosttest.Request{BodyFile: at("body")}.Answers(), func(x *pdkio.Exchange) {
		defer pass(x)
		if _, err := x.Body(t.Context(), 9); !errors.Is(err, rp.ErrBodyTooLarge) {
			t.Errorf("a file above the limit: %v", err)
		}
	})
	a := hosttest.Request{}.Answers()
	a.Replies["kong.request.get_raw_body"] = hosttest.Text(3, "no body for you")
	host(t, a, func(x *pdkio.Exchange) {
		defer pass(x)
		if _, err := x.Body(t.Context(), 9); err == nil || !strings.Contains(err.Error(), "no body for you") {
			t.Errorf("Kong's error: %v", err)
		}
	})
}

func TestUpstreamHeaders(t *testing.T) {
	out := decide(t, &rp.Decision{Upstream: rp.HeaderEdits{
		Clear: []string{"x_sub", "X-Sub", "", "authorization", "odd name"},
		Set: []rp.Field{
			{Name: "x-sub", Value: "a\r\nX-Evil: 1\x00"}, {Name: "Host", Value: "h"}, {Name: "X-Groups", Value: "é"},
			{Name: "X-Empty", Value: ""}, {Name: "x-groups", Value: "b"}, {Name: "X-Tab", Value: "a\tb"},
		},
	}})
	got, err := out.UpstreamHeaders()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"x-sub": {"a  X-Evil: 1 "}, "Host": {"h"}, "X-Groups": {"é", "b"}, "X-Empty": {""}, "X-Tab": {"a\tb"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%q, want %q", got, want)
	}
	// A name that is set is not cleared as well; an empty one would be sent on.
	if got := out.Cleared(); !slices.Equal(got, []string{"x_sub", "authorization", "odd name"}) {
		t.Errorf("cleared %q", got)
	}
}

func TestForeignBytesReachTheServiceUnchanged(t *testing.T) {
	out := decide(t, &rp.Decision{
		Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: "cookie", Value: "other=\xff\xfe"}}},
	})
	if !strings.Contains(string(out.Calls[0].Args), "other=\xff\xfe") {
		t.Errorf("arguments %q", out.Calls[0].Args)
	}
}

func TestDownstreamValuesAreUTF8(t *testing.T) {
	out := decide(t, &rp.Decision{Downstream: rp.HeaderEdits{
		Clear: []string{"X-Old", "x-set"},
		Set:   []rp.Field{{Name: "X-Set", Value: "a\xffb\n"}},
		Add:   []rp.Field{{Name: "Set-Cookie", Value: "a=1"}},
	}})
	if got := out.Pairs("kong.response.set_header"); !slices.Equal(got, [][2]string{{"X-Set", "a�b "}}) {
		t.Errorf("set %q", got)
	}
	if n := len(out.Calls); n != 3 || out.Calls[0].Method != "kong.response.clear_header" {
		t.Errorf("calls %v", out.Calls)
	}
}

func TestRequestEdits(t *testing.T) {
	query, body := "a=b c#x&y=\xff%20%2", []byte("\xff\x00body")
	out := decide(t, &rp.Decision{Request: rp.RequestEdits{Method: "GET", RawQuery: &query, Body: &body}})
	want := []hosttest.Call{
		{Method: "kong.service.request.set_method", Args: hosttest.String("GET")},
		{Method: "kong.service.request.set_raw_query", Args: hosttest.String("a=b%20c%23x&y=%FF%20%252")},
		{Method: "kong.service.request.set_raw_body", Args: hosttest.String(string(body))},
	}
	if !slices.EqualFunc(out.Calls, want, func(a, b hosttest.Call) bool { return a.Method == b.Method && string(a.Args) == string(b.Args) }) {
		t.Errorf("calls %q", out.Calls)
	}
	empty, none := "", []byte{}
	if out := decide(t, &rp.Decision{Request: rp.RequestEdits{RawQuery: &empty, Body: &none}}); len(out.Calls) != 2 {
		t.Errorf("calls %q: empty is not absent", out.Calls)
	}
}

func TestPrincipal(t *testing.T) {
	out := decide(t, &rp.Decision{Authenticate: &rp.Principal{
		Consumer: &rp.Consumer{ID: "id", Username: "alice", CustomID: "c"}, CredentialID: "sub\xff", Groups: []string{"a", "b"}, ConsumerGroups: []string{"gold"},
	}})
	m := &kong_plugin_protocol.AuthenticateArgs{}
	if err := proto.Unmarshal(out.Calls[0].Args, m); err != nil {
		t.Fatal(err)
	}
	if m.Consumer.Id != "id" || m.Consumer.Username != "alice" || m.Consumer.CustomId != "c" || m.Credential.Id != "sub�" || m.Credential.ConsumerId != "id" {
		t.Errorf("authenticate %v", m)
	}
	kv := &kong_plugin_protocol.KV{}
	if err := proto.Unmarshal(out.Calls[1].Args, kv); err != nil || kv.K != "authenticated_groups" || len(kv.V.GetListValue().GetValues()) != 2 {
		t.Errorf("groups %v, %v", kv, err)
	}
	if err := proto.Unmarshal(out.Calls[2].Args, kv); err != nil || kv.K != "authenticated_consumer_groups" || len(kv.V.GetListValue().GetValues()) != 1 {
		t.Errorf("consumer groups %v, %v", kv, err)
	}
	// A credential of nobody's consumer has no consumer_id at all.
	out = decide(t, &rp.Decision{Authenticate: &rp.Principal{CredentialID: "sub"}})
	kv = &kong_plugin_protocol.KV{}
	if len(out.Calls) != 2 || out.Calls[0].Method != "kong.client.authenticate" || out.Calls[1].Method != "kong.nginx.set_ctx" {
		t.Fatalf("calls %+v", out.Calls)
	}
	if err := proto.Unmarshal(out.Calls[1].Args, kv); err != nil || kv.K != "authenticated_credential" || len(kv.V.GetStructValue().GetFields()) != 1 ||
		kv.V.GetStructValue().GetFields()["id"].GetStringValue() != "sub" {
		t.Errorf("credential %v, %v", kv, err)
	}
	out = decide(t, &rp.Decision{Authenticate: &rp.Principal{CredentialID: "sub", DirectoryID: "p\xff"}})
	kv = &kong_plugin_protocol.KV{}
	if len(out.Calls) != 3 || proto.Unmarshal(out.Calls[2].Args, kv) != nil || kv.K != "authenticated_principal" || kv.V.GetStringValue() != "p\ufffd" {
		t.Errorf("principal %v", kv)
	}
	// Of a caller without either nobody is left who was there before.
	out = decide(t, &rp.Decision{Authenticate: &rp.Principal{Groups: []string{}}})
	for i, want := range []string{"authenticated_consumer", "authenticated_credential", "authenticated_groups"} {
		kv = &kong_plugin_protocol.KV{}
		if len(out.Calls) != 3 || proto.Unmarshal(out.Calls[i].Args, kv) != nil || kv.K != want {
			t.Fatalf("call %d is not about %s: %+v", i, want, out.Calls)
		}
		if _, isBool := kv.V.GetKind().(*structpb.Value_BoolValue); i < 2 && !isBool {
			t.Errorf("%s is %v", want, kv.V)
		}
	}
}

func TestBadDecisionsWriteNothing(t *testing.T) {
	bad := []rp.Field{{Name: "X-Fine", Value: "v"}, {Name: "X:Y", Value: "v"}}
	for name, d := range map[string]*rp.Decision{
		"upstream set":   {Upstream: rp.HeaderEdits{Set: bad}},
		"upstream add":   {Upstream: rp.HeaderEdits{Add: bad}},
		"downstream set": {Downstream: rp.HeaderEdits{Set: bad}},
		"downstream add": {Downstream: rp.HeaderEdits{Add: bad}},
		"in an exit":     {Respond: &rp.Response{Status: 200}, Downstream: rp.HeaderEdits{Add: bad}},
		"method":         {Request: rp.RequestEdits{Method: "get"}},
		"status 99":      {Respond: &rp.Response{Status: 99}},
		"status 600":     {Respond: &rp.Response{Status: 600}},
	} {
		out := host(t, hosttest.Request{}.Answers(), func(x *pdkio.Exchange) {
			if err := x.Finish(d, ret); err == nil {
				t.Errorf("%s: no error", name)
			}
			x.Fail()
		})
		if len(out.Calls) != 1 || out.Exit == nil || out.Exit.Status != 500 {
			t.Errorf("%s: %+v", name, out)
		}
	}
}

func TestExitCarriesAllFields(t *testing.T) {
	out := decide(t, &rp.Decision{
		Respond: &rp.Response{Status: 302, Body: []byte("\xff")},
		Downstream: rp.HeaderEdits{
			Clear: []string{"Server"},
			Set:   []rp.Field{{Name: "Location", Value: "first"}, {Name: "location", Value: "https://idp\r\nX: y"}, {Name: "X-Latin", Value: "\xe9"}},
			Add:   []rp.Field{{Name: "set-cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"}, {Name: "Vary", Value: "a"}, {Name: "vary", Value: "b"}},
		},
		Request:      rp.RequestEdits{Method: "GET"},
		Upstream:     rp.HeaderEdits{Clear: []string{"x"}},
		Authenticate: &rp.Principal{CredentialID: "x"},
	})
	want := map[string][]string{"Location": {"https://idp  X: y"}, "X-Latin": {"�"}, "set-cookie": {"a=1", "b=2"}, "Vary": {"a, b"}}
	if out.Exit == nil || out.Exit.Status != 302 || string(out.Exit.Body) != "\xff" || !maps.EqualFunc(out.Exit.Headers, want, slices.Equal) {
		t.Errorf("exit %+v", out.Exit)
	}
	if len(out.Calls) != 2 || out.Calls[0].Method != "kong.response.clear_header" {
		t.Errorf("calls %v", out.Calls)
	}
}
