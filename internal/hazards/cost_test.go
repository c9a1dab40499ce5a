package hazards

import (
	"net"
	"slices"
	"testing"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// meter counts the writes of the plugin as they arrive. The plugin writes only
// when it waits for an answer or has ended, so the host, which reads whatever
// is there at once, sees each write by itself: two writes where one is due are
// two reads.
type meter struct {
	net.Conn
	reads int
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if n > 0 {
		m.reads++
	}
	return n, err
}

// A request with a bearer token or a session costs one pipelined round trip for
// what it reads and one for what it writes, however many calls these are. What
// only few requests need is asked for when it is needed, at the price of one
// more: the URL that the client sees when a login begins, and the target where
// no header holds a token.
func TestTheCommonRequestCostsTwoTurnsAndTwoWrites(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	session := browse(t, p.worker(login(t, nil)))
	in := hosttest.Request{Target: "/app", Headers: map[string][]string{"host": {"localhost"}, "cookie": {session}}}
	var many [][2]string
	for i := range 20 {
		many = append(many, [2]string{"x-consumer-" + string(rune('a'+i)), "spoofed"})
	}
	spoofing := func() *hosttest.Answers { return ordered(append(many, [2]string{"authorization", "Bearer " + good})) }

	for _, c := range []struct {
		name    string
		config  []byte
		answers func() *hosttest.Answers
		status  int // 0: let through
		turns   int
		last    []string
	}{
		{"bearer cached", bearer(t, nil), with(good).Answers, 0, 2, []string{"kong.service.request.set_headers"}},
		{"bearer cached, with 20 headers to clear", bearer(t, nil), spoofing, 0, 2, []string{"kong.service.request.clear_header", "kong.service.request.set_headers"}},
		{"bearer cached, method asked for", bearer(t, map[string]any{"run_on_preflight": false}), with(good).Answers, 0, 2, []string{"kong.service.request.set_headers"}},
		{"session cookie", login(t, nil), in.Answers, 0, 2, []string{"kong.service.request.set_headers"}},
		{"redirect to login", login(t, nil), stranger.Answers, 302, 3, nil},
		{"no credential", bearer(t, map[string]any{"bearer_token_param_type": []string{"header"}}), stranger.Answers, 401, 2, nil},
		{"no credential in three places", bearer(t, nil), stranger.Answers, 401, 3, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h *hosttest.Host
			var m *meter
			var id int32
			connect := func() {
				conn, err := net.Dial("unix", p.path)
				if err != nil {
					t.Fatal(err)
				}
				m = &meter{Conn: conn}
				h = hosttest.New(m)
				t.Cleanup(func() { h.Close() })
			}
			event := func() *hosttest.Outcome {
				m.reads = 0
				out, err := h.Event(id, c.answers())
				if err != nil {
					t.Fatal(err)
				}
				if c.status == 0 {
					wantPassed(t, out)
				} else {
					wantExit(t, out, c.status)
					reads := m.reads
					connect() // an exit closes the connection
					m.reads = reads
				}
				return out
			}
			connect()
			var err error
			if id, err = h.Start(c.config); err != nil {
				t.Fatal(err)
			}
			event() // metadata, keys and tokens are known from here on
			idp.ResetRecords()
			for range 50 {
				out := event()
				if out.Turns != c.turns || m.reads != c.turns {
					t.Fatalf("%d turns and %d writes for %d calls, want %d of each", out.Turns, m.reads, len(out.Calls), c.turns)
				}
				for _, method := range c.last {
					if !slices.ContainsFunc(out.Calls, func(call hosttest.Call) bool { return call.Method == method }) {
						t.Fatalf("no call of %s", method)
					}
				}
			}
			if n := len(idp.Records("")); n != 0 {
				t.Errorf("the provider was asked %d times", n)
			}
		})
	}
}
