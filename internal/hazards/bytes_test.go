package hazards

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// rough are requests with bytes that are not UTF-8, which Kong hands on as
// they are and which the stock decoder gives the whole map of headers up for.
var rough = map[string]func(*hosttest.Request){
	"header value":          func(r *hosttest.Request) { r.Headers["x-note"] = []string{"caf\xe9 \xff\xfe\x80"} },
	"header name":           func(r *hosttest.Request) { r.Headers["x-\xe9\xff"] = []string{"1"} },
	"one of several values": func(r *hosttest.Request) { r.Headers["accept"] = []string{"text/html", "\xc3\x28", "*/*"} },
	"cookie":                func(r *hosttest.Request) { r.Headers["cookie"] = []string{"a=\xe9; session=\xff\xff; b=2"} },
	"user agent":            func(r *hosttest.Request) { r.Headers["user-agent"] = []string{"\xa0\xa1"} },
	"path":                  func(r *hosttest.Request) { r.Target = "/caf\xe9/\xff" },
	"query":                 func(r *hosttest.Request) { r.Target = "/x?q=\xe9&\xff=\xfe" },
}

// Case 36. Kong keeps the connection of a request that was let through, and
// closes that of an exit: in neither case is the event delivered again.
func TestCase36BytesThatAreNotUTF8(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	programs, browsers := p.worker(bearer(t, nil)), p.worker(login(t, nil))
	for name, spoil := range rough {
		t.Run(name, func(t *testing.T) {
			r := with(good)
			spoil(&r)
			out := do(t, programs, r.Answers())
			wantPassed(t, out)
			if got := user(t, out); got != "alex" {
				t.Errorf("the service is told %q", got)
			}

			r = hosttest.Request{Headers: map[string][]string{"host": {"localhost"}}}
			spoil(&r)
			wantExit(t, do(t, programs, r.Answers()), 401)

			out = do(t, browsers, r.Answers())
			wantExit(t, out, 302)
			to := out.Exit.Headers["Location"][0]
			if !strings.HasPrefix(to, idp.URL+"/") || !utf8.ValidString(to) {
				t.Errorf("redirected to %q", to)
			}
		})
	}
	t.Run("in the credential itself", func(t *testing.T) {
		for _, v := range []string{"Bearer \xff\xfe", "Bearer " + good + "\xff", "\xffBearer " + good, "Bearer\xa0" + good, "Bearer " + good[:20] + "\xe9" + good[21:]} {
			r := stranger
			r.Headers = map[string][]string{"authorization": {v}}
			wantExit(t, do(t, programs, r.Answers()), 401)
		}
	})
	if programs.Starts != 1 || browsers.Starts != 1 {
		t.Errorf("%d and %d instances were started, want 1 each: a connection was closed", programs.Starts, browsers.Starts)
	}
	p.alive()
}

// ordered answers get_headers as Kong does: the first of the headers, up to
// the number that was asked for, 100 by default.
func ordered(headers [][2]string) *hosttest.Answers {
	a := hosttest.Request{}.Answers()
	inner := a.Reply
	a.Reply = func(method string, args []byte) ([]byte, bool) {
		if method != "kong.request.get_headers" {
			return inner(method, args)
		}
		m := &kong_plugin_protocol.Int{}
		if proto.Unmarshal(args, m) != nil || m.V > 1000 {
			return nil, false
		}
		if m.V == 0 {
			m.V = 100
		}
		b := []byte{}
		for _, h := range headers[:min(len(headers), int(m.V))] {
			b = append(b, hosttest.Headers(map[string][]string{h[0]: {h[1]}})...)
		}
		return b, true
	}
	return a
}

func filler(n int) [][2]string {
	list := make([][2]string, n)
	for i := range list {
		list[i] = [2]string{"x-filler-" + strconv.Itoa(i), "v"}
	}
	return list
}

// Case 37. By default Kong gives a plugin the first 100 headers.
func TestCase37ManyHeaders(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	w := p.worker(bearer(t, nil))
	t.Run("the credential behind 150 others", func(t *testing.T) {
		out := do(t, w, ordered(append(filler(150), [2]string{"authorization", "Bearer " + good})))
		wantPassed(t, out)
		if user(t, out) != "alex" {
			t.Error("not alex")
		}
	})
	t.Run("a bad credential behind 150 others", func(t *testing.T) {
		wantExit(t, do(t, w, ordered(append(filler(150), [2]string{"authorization", "Bearer " + good + "x"}))), 401)
	})
	t.Run("a spoofed header behind 150 others is cleared", func(t *testing.T) {
		for _, name := range []string{"x-user", "x_user", "x-consumer-id", "x_credential_identifier"} {
			out := do(t, w, ordered(append(append([][2]string{{"authorization", "Bearer " + good}}, filler(150)...), [2]string{name, "root"})))
			wantPassed(t, out)
			if h, _ := out.UpstreamHeaders(); user(t, out) != "alex" || len(h[name]) != 0 {
				t.Errorf("%s: the service is told %v", name, h)
			}
			// A header that is set replaces its exact spelling; others are cleared.
			if !strings.EqualFold(name, "x-user") && !contains(out.Cleared(), name) {
				t.Errorf("%s is not cleared: %q", name, out.Cleared())
			}
		}
	})
	// What stands behind the thousandth is not seen. nginx refuses such a
	// request before any plugin, see TestGatewayRefusesMoreHeaders; a plugin
	// that does see one finds no credential.
	t.Run("the credential behind 1000 others", func(t *testing.T) {
		wantExit(t, do(t, w, ordered(append(filler(1000), [2]string{"authorization", "Bearer " + good}))), 500)
	})
	if w.Starts != 1 {
		t.Errorf("%d instances were started", w.Starts)
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if strings.EqualFold(v, s) {
			return true
		}
	}
	return false
}

// What Kong would never send must not pass a request, nor end the process: any
// reply may be garbage. Kong is answered by 500, or refused as anyone is.
func TestGarbledRepliesAreRefused(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	garbage := map[string][]byte{
		"a tag alone": {0x0a}, "length beyond the end": {0x0a, 0x7f, 'x'}, "huge varint": {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"group": {0x0b, 0x0b, 0x0b}, "field 0": {0x02, 0x01, 'x'}, "text": []byte("not a message"), "bytes": {0xff, 0xff, 0xff, 0xff},
		"list in a list": {0x0a, 0x0b, 0x0a, 0x01, 'a', 0x12, 0x06, 0x32, 0x04, 0x0a, 0x02, 0x32, 0x00},
	}
	for route, w := range map[string]*hosttest.Worker{"bearer": p.worker(bearer(t, nil)), "login": p.worker(login(t, map[string]any{"session_bind": []string{"ip"}, "response_mode": "form_post"}))} {
		for _, method := range []string{"kong.request.get_headers", "kong.request.get_method", "kong.request.get_path_with_query", "kong.request.get_forwarded_scheme",
			"kong.request.get_forwarded_host", "kong.request.get_forwarded_port", "kong.request.get_raw_body", "kong.client.get_forwarded_ip"} {
			for name, reply := range garbage {
				t.Run(fmt.Sprint(route, " ", method, " ", name), func(t *testing.T) {
					r := stranger
					r.Method = "POST"
					a := r.Answers()
					a.Replies[method] = reply
					out := do(t, w, a)
					if out.Passed || out.Exit == nil {
						t.Errorf("passed %v, closed %v", out.Passed, out.Closed)
					}
				})
			}
		}
	}
	w := p.worker(bearer(t, nil))
	a := with(good).Answers()
	a.Replies["kong.request.get_headers"] = garbage["list in a list"]
	wantExit(t, do(t, w, a), 500)
	wantPassed(t, do(t, w, with(good).Answers()))
	p.alive()
}
