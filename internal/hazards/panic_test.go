package hazards

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
)

// panicky is a plugin that panics where its configuration says. The binary has
// no way to be made to, so it is served in this process, over a socket.
type panicky struct{ events atomic.Int64 }

type panickyInstance struct {
	plugin *panicky
	where  string
}

func (p *panicky) Start(_ context.Context, config []byte) server.Instance {
	if string(config) == "start" {
		panic("secret-of-the-request")
	}
	return panickyInstance{p, string(config)}
}

func (i panickyInstance) Needs() rp.Needs {
	if i.where == "needs" {
		panic("secret-of-the-request")
	}
	return rp.NeedMethod
}

func (i panickyInstance) Access(_ context.Context, r *rp.Request) *rp.Decision {
	i.plugin.events.Add(1)
	switch i.where {
	case "value":
		panic("secret-of-the-request")
	case "nil map":
		var m map[string]string
		m[r.Method] = "secret-of-the-request"
	case "nil pointer":
		var d *rp.Decision
		return &rp.Decision{Reason: d.Reason}
	case "index":
		return []*rp.Decision{}[len(r.Method)]
	case "after half of a decision":
		return &rp.Decision{Authenticate: &rp.Principal{CredentialID: "x"}, Upstream: rp.HeaderEdits{Set: []rp.Field{{Name: "", Value: "v"}}}}
	}
	return &rp.Decision{}
}

func (panickyInstance) Close()         {}
func (panickyInstance) Volatile() bool { return false }

// Case 65. The request is answered by an exit 500, which Kong sends; the event
// is delivered once, and the process serves on.
func TestCase65PanicInAHandler(t *testing.T) {
	for _, where := range []string{"start", "needs", "value", "nil map", "nil pointer", "index", "after half of a decision"} {
		t.Run(where, func(t *testing.T) {
			path, log := filepath.Join(socketDir(t), "s"), &transcript{}
			l, err := server.Listen(path, 0)
			if err != nil {
				t.Fatal(err)
			}
			p := &panicky{}
			s := server.New(server.Options{Plugin: p, Info: server.Info{Name: "openid-connect"}, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			bad, well := &hosttest.Worker{Path: path, Config: []byte(where)}, &hosttest.Worker{Path: path, Config: []byte("{}")}
			defer bad.Close()
			defer well.Close()
			for range 3 {
				wantExit(t, do(t, bad, stranger.Answers()), 500)
				wantPassed(t, do(t, well, stranger.Answers()))
			}
			if bad.Starts != 1 || well.Starts != 1 {
				t.Errorf("%d and %d instances were started, want 1 each: an event was repeated", bad.Starts, well.Starts)
			}
			want := int64(6)
			if where == "start" || where == "needs" {
				want = 3
			}
			if got := p.events.Load(); got != want {
				t.Errorf("%d events were handled, want %d", got, want)
			}
			if text := log.String(); strings.Contains(text, "secret-of-the-request") || !strings.Contains(text, "level=ERROR") {
				t.Errorf("log: %s", text)
			}
			bad.Close()
			well.Close()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			<-served
			if n := s.Stats().Connections; n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

// Whether any input makes the binary panic: tokens, cookies, targets, bodies
// and configurations are cut, doubled and changed at random, from one seed. A
// panic would be an exit 500 and a line in the log; none is expected, and
// nothing may be let through.
func TestNoInputPanics(t *testing.T) {
	p := run(t)
	// Neither would be good unchanged either: a change may be one in spelling only.
	expired := mint(t, provider.TokenRequest{Faults: []string{"expired"}})
	session := browse(t, p.worker(login(t, fromkong.Config{"session_secret": sessionSecret + "-other"})))
	random := rand.New(rand.NewPCG(36, 65))
	programs := p.worker(bearer(t, nil))
	browsers := p.worker(login(t, fromkong.Config{"auth_methods": []string{"session", "authorization_code", "bearer"}, "response_mode": "form_post"}))
	state := "eyJhbGciOiJub25lIn0.e30."
	deadline := time.Now().Add(patience)
	for n := 0; n < 1500 && time.Now().Before(deadline); n++ {
		token, cookie := mutate(random, expired), mutate(random, session)
		r := hosttest.Request{Method: "GET", Target: mutate(random, "/a?code=x&state="+state+"&access_token="+token), Headers: map[string][]string{
			"host": {mutate(random, "localhost")}, "cookie": {cookie}, "user-agent": {mutate(random, "Mozilla/5.0")}}}
		switch n % 4 {
		case 0:
			r.Headers["authorization"] = []string{mutate(random, "Bearer "+token)}
		case 1:
			r.Method, r.Headers["content-type"] = "POST", []string{"application/x-www-form-urlencoded"}
			r.Body = []byte(mutate(random, "state="+state+"&code=c&iss=x&error=e"))
		case 2:
			r.Method, r.Headers["content-type"] = "POST", []string{mutate(random, "application/json")}
			r.Body = []byte(mutate(random, `{"access_token":"`+token+`","state":[{}]}`))
		case 3:
			r.Scheme, r.Host = mutate(random, "https"), mutate(random, "example.test")
			r.Headers["x-forwarded-prefix"], r.Trusted = []string{mutate(random, "/p")}, true
		}
		for _, w := range []*hosttest.Worker{programs, browsers} {
			if out := do(t, w, r.Answers()); out.Passed {
				t.Fatalf("let through: %.200q %q", r.Target, r.Method)
			}
		}
	}
	config := string(login(t, nil))
	for range 300 {
		w := p.worker([]byte(mutate(random, config)))
		if out := do(t, w, stranger.Answers()); out.Passed {
			t.Fatal("let through")
		}
		w.Close()
	}
	p.alive()
}

// mutate changes s in one to three places, so that it is not s.
func mutate(r *rand.Rand, s string) string {
	b := []byte(s)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			b = []byte("x")
		}
		i := r.IntN(len(b))
		switch r.IntN(5) {
		case 0:
			b[i] ^= byte(1 + r.IntN(255))
		case 1:
			b = b[:i]
		case 2:
			b = append(b[:i:i], b[min(i+1+r.IntN(8), len(b)):]...)
		case 3:
			b = append(append(b[:i:i], []byte{0, 0xff, '.', '=', '&', '%', '"', '{', ' '}[r.IntN(9)]), b[i:]...)
		case 4:
			b = append(append(b[:i:i], b[max(0, i-r.IntN(64)):i]...), b[i:]...)
		}
	}
	if string(b) == s {
		return s + "!"
	}
	return string(b)
}
