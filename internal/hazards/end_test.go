package hazards

import (
	"os"
	"testing"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// A reload of Kong starts the new process first and ends the old one seconds
// later. The old one must leave the successor's socket where it is: without
// it every request of Kong's fails until a restart.
func TestSIGTERMWhileASuccessorHoldsThePath(t *testing.T) {
	old := run(t)
	good := mint(t, provider.TokenRequest{})
	idle, busy := old.worker(bearer(t, nil)), old.worker(bearer(t, nil))
	wantPassed(t, do(t, idle, with(good).Answers()))
	wantPassed(t, do(t, busy, with(good).Answers()))

	young := launch(t, old.path)
	is, err := os.Lstat(old.path)
	if err != nil {
		t.Fatal(err)
	}
	// A request is under way in the old process: it is decided there.
	a := with(good).Answers()
	inner := a.Reply
	a.Reply = func(method string, args []byte) ([]byte, bool) {
		if method == "kong.request.get_headers" {
			old.cmd.Process.Signal(os.Interrupt) // SIGINT is handled as SIGTERM
			old.heard("stopping")
		}
		return inner(method, args)
	}
	wantPassed(t, do(t, busy, a))
	old.wait()
	if old.err != nil {
		t.Errorf("the old process: %v", old.err)
	}
	now, err := os.Lstat(old.path)
	if err != nil || !os.SameFile(is, now) {
		t.Fatalf("the successor's socket is gone: %v", err)
	}
	// Kong finds the old connections closed, and its ids unknown: it starts the
	// instances anew and delivers the events once more.
	wantPassed(t, do(t, idle, with(good).Answers()))
	wantExit(t, do(t, busy, stranger.Answers()), 401)
	if idle.Starts != 2 || busy.Starts != 2 {
		t.Errorf("%d and %d starts, want 2 each", idle.Starts, busy.Starts)
	}
	// With SIGTERM itself and without a successor, the socket goes too.
	young.terminate()
	if _, err := os.Lstat(old.path); !os.IsNotExist(err) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

// Case 66. Kong finds the connection closed, waits for the respawned process,
// starts the instance anew and delivers the event again: it is decided by the
// same configuration, never let through undecided.
func TestCase66KilledInMidEvent(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	for name, c := range map[string]struct {
		request hosttest.Request
		at      string // the call during which the process dies
		status  int    // 0: let through
	}{
		"while it reads, without a credential": {stranger, "kong.request.get_headers", 401},
		"while it reads, with a bad one":       {with(good + "x"), "kong.request.get_headers", 401},
		"while it reads, with a good one":      {with(good), "kong.request.get_headers", 0},
		"while Kong sets the headers":          {with(good), "kong.service.request.set_headers", 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t)
			w := p.worker(bearer(t, nil))
			a := c.request.Answers()
			inner := a.Reply
			killed := false
			a.Reply = func(method string, args []byte) ([]byte, bool) {
				if method == c.at && !killed {
					killed = true
					p.kill()
					p = launch(t, p.path)
				}
				return inner(method, args)
			}
			out := do(t, w, a)
			if c.status != 0 {
				wantExit(t, out, c.status)
			} else if wantPassed(t, out); user(t, out) != "alex" {
				t.Errorf("let through as %q", user(t, out))
			}
			if !killed {
				t.Error("it was not killed")
			}
			wantExit(t, do(t, w, stranger.Answers()), 401)
		})
	}
}

// Nothing is there at all until Kong has started the process again: no request
// passes.
func TestNobodyAnswers(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	w := p.worker(bearer(t, nil))
	wantPassed(t, do(t, w, with(good).Answers()))
	p.kill()
	if out, err := w.Do(with(good).Answers()); err == nil && out.Passed {
		t.Fatal("a request was let through by nobody")
	}
	launch(t, p.path)
	wantPassed(t, do(t, w, with(good).Answers()))
}

// The client has gone, and Kong with it, at any point of an event. Whatever
// was under way ends: a process asked to stop does so at once and without an
// error, which it could not with an event left over.
func TestClientThatGoesAway(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	for name, c := range map[string]struct {
		config []byte
		at     string
	}{
		"before the headers are read":    {bearer(t, nil), "kong.request.get_headers"},
		"while the headers are set":      {bearer(t, nil), "kong.service.request.set_headers"},
		"while a login's target is read": {login(t, nil), "kong.request.get_path_with_query"},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t)
			for range 10 {
				h := p.dial()
				id, err := h.Start(c.config)
				if err != nil {
					t.Fatal(err)
				}
				a := with(good).Answers()
				a.Reply = func(method string, _ []byte) ([]byte, bool) { return nil, method != c.at }
				out, err := h.Event(id, a)
				if err != nil {
					t.Fatal(err)
				}
				if out.Passed || out.Refused != c.at {
					t.Fatalf("outcome %+v", out)
				}
			}
			p.alive()
			p.terminate()
		})
	}
	t.Run("while the provider is asked", func(t *testing.T) {
		if err := idp.Faults().Set(provider.Fault{Name: "hang", Endpoint: provider.EndpointJWKS}); err != nil {
			t.Fatal(err)
		}
		defer idp.Faults().Clear()
		p := run(t)
		h := p.dial()
		id, err := h.Start(bearer(t, map[string]any{"timeout": 500}))
		if err != nil {
			t.Fatal(err)
		}
		a := with(good).Answers()
		inner := a.Reply
		a.Reply = func(method string, args []byte) ([]byte, bool) {
			if method == "kong.request.get_headers" {
				defer h.Close() // after the reply; the provider hangs meanwhile
			}
			return inner(method, args)
		}
		if out, err := h.Event(id, a); err == nil && out.Passed {
			t.Fatal("let through")
		}
		p.alive()
		p.terminate()
	})
}

// Setters are answered locally and their real replies read afterwards. Where
// Kong refuses one, it has ended the request with 500 itself and never delivers
// the event again. Nothing of it may reach the next request.
func TestSetterWhoseRealReplyIsAnError(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	for _, method := range []string{"kong.service.request.set_headers", "kong.client.authenticate"} {
		t.Run(method, func(t *testing.T) {
			p := run(t)
			w := p.worker(bearer(t, nil))
			wantPassed(t, do(t, w, with(good).Answers()))
			a := with(good).Answers()
			inner := a.Reply
			a.Reply = func(m string, args []byte) ([]byte, bool) {
				if m == method {
					return nil, false
				}
				return inner(m, args)
			}
			out := do(t, w, a)
			if out.Passed || out.Refused != method {
				t.Fatalf("outcome %+v, want the call refused and nothing let through", out)
			}
			p.heard("kong refused a call of the plugin and answered the request by 500")
			wantExit(t, do(t, w, stranger.Answers()), 401)
			wantPassed(t, do(t, w, with(good).Answers()))
			if w.Starts != 1 {
				t.Errorf("%d instances were started, want 1", w.Starts)
			}
		})
	}
	// A reply with bytes where none are due is not Kong's. The plugin has said
	// all it had to say by then; what counts is that it does not take them for
	// the reply to a later question. It closes, and Kong starts anew.
	t.Run("bytes where none are due", func(t *testing.T) {
		p := run(t)
		w := p.worker(bearer(t, nil))
		a := with(good).Answers()
		a.Replies["kong.client.authenticate"] = hosttest.Headers(map[string][]string{"authorization": {"Bearer " + good}})
		wantPassed(t, do(t, w, a))
		wantExit(t, do(t, w, stranger.Answers()), 401)
		wantPassed(t, do(t, w, with(good).Answers()))
		if w.Starts != 2 {
			t.Errorf("%d instances were started, want 2: the connection is used on", w.Starts)
		}
		p.alive()
	})
}
