package hazards

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// The protocol has no error for StartInstance: were it answered by closing or
// by nothing, Kong would hang the route's requests up. So Kong gets an
// instance, whose every request is an exit 500, which Kong sends and forgets.
func TestConfigurationThatDoesNotCompile(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	for name, c := range map[string]struct{ config, says string }{
		"empty":                    {``, "every request is answered with 500"},
		"not JSON":                 {`{"issuer":`, "every request is answered with 500"},
		"not an object":            {`[1,2]`, "every request is answered with 500"},
		"null":                     {`null`, "every request is answered with 500"},
		"no issuer":                {`{"auth_methods":["bearer"]}`, "issuer"},
		"wrong type":               {`{"issuer":"` + idp.URL + `","auth_methods":{"bearer":true}}`, "auth_methods"},
		"unknown method":           {`{"issuer":"` + idp.URL + `","auth_methods":["magic"]}`, "auth_methods"},
		"issuer without a scheme":  {`{"issuer":"idp.example.test","auth_methods":["bearer"]}`, "issuer"},
		"too deep":                 {`{"issuer":"` + idp.URL + `","auth_methods":["bearer"],"x":` + deep + `}`, "every request is answered with 500"},
		"bytes that are not UTF-8": {"{\"issuer\":\"" + idp.URL + "\",\"auth_methods\":[\"\xff\xfe\"]}", "auth_methods"},
		"cross-field rule":         {`{"issuer":"` + idp.URL + `","auth_methods":["bearer"],"proof_of_possession_mtls":"strict","proof_of_possession_mtls_from_header":{"enabled":true}}`, "proof_of_possession_mtls"},
	} {
		t.Run(name, func(t *testing.T) {
			w := p.worker([]byte(c.config))
			for _, r := range []hosttest.Request{stranger, with(good), {Method: "OPTIONS"}} {
				wantExit(t, do(t, w, r.Answers()), 500)
			}
			if w.Starts != 1 {
				t.Errorf("%d instances were started, want 1: Kong was made to try again", w.Starts)
			}
			p.heard(c.says)
		})
	}
	// The others are not harmed.
	wantPassed(t, do(t, p.worker(bearer(t, nil)), with(good).Answers()))
	p.alive()
}

// A reference that did not resolve arrives as an empty string beside $refs. An
// empty secret must never be a key. Kong sends the exit's 500.
func TestVaultReferenceThatDidNotResolve(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	for name, change := range map[string]fromkong.Config{
		"client_secret":     {"client_secret": []string{""}, "$refs": map[string]any{"client_secret": []any{"{vault://env/gone}"}}},
		"the second of two": {"client_id": []string{"kong", "second"}, "client_secret": []string{clientSecret, ""}, "$refs": map[string]any{"client_secret": []any{nil, "{vault://env/gone}"}}},
		"session_secret":    {"auth_methods": []string{"session", "bearer"}, "session_secret": "", "$refs": map[string]any{"session_secret": "{vault://env/gone}"}},
		"HMAC secret":       {"enable_hs_signatures": true, "client_secret": []string{""}, "$refs": map[string]any{"client_secret": []any{"{vault://env/gone}"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := p.worker(encodeRaw(t, change))
			empty := mint(t, provider.TokenRequest{Faults: []string{"alg-hs256-with-empty-key"}})
			for _, r := range []hosttest.Request{stranger, with(good), with(empty)} {
				wantExit(t, do(t, w, r.Answers()), 500)
			}
			if w.Starts != 1 {
				t.Errorf("%d instances were started, want 1", w.Starts)
			}
		})
	}
	if !strings.Contains(p.log.String(), "vault") {
		t.Errorf("the log does not name the vault")
	}
}

// encodeRaw is bearer with changes that Kong itself would not let through, as
// only a vault makes them.
func encodeRaw(t *testing.T, change fromkong.Config) []byte {
	t.Helper()
	own := fromkong.Config{}
	text := string(bearer(t, own))
	for k, v := range change {
		text = setMember(t, text, k, v)
	}
	return []byte(text)
}

// An instance id must never be __seq__: it begins anew after a reload of Kong,
// and an event would be decided by another route's configuration.
func TestTwoInstancesWithTheSameSequence(t *testing.T) {
	p := run(t)
	plain := mint(t, provider.TokenRequest{})
	lax, strict := bearer(t, fromkong.Config{"__seq__": 7}), bearer(t, fromkong.Config{"__seq__": 7, "scopes_required": []string{"admin"}})
	a, b, c := p.worker(lax), p.worker(strict), p.worker(strict)
	for range 3 {
		wantPassed(t, do(t, a, with(plain).Answers()))
		wantExit(t, do(t, b, with(plain).Answers()), 403)
		wantExit(t, do(t, c, with(plain).Answers()), 403)
	}
	ids := map[int32]bool{a.Instance(): true, b.Instance(): true, c.Instance(): true}
	if len(ids) != 3 || ids[7] {
		t.Errorf("instance ids %v", ids)
	}
	// Kong closes the lax one: its id is not another's.
	if err := p.dial().CloseInstance(a.Instance()); err != nil {
		t.Fatal(err)
	}
	wantExit(t, do(t, b, with(plain).Answers()), 403)
}

// Kong keeps the ids of a process that has died until it uses them. The new
// one knows none of them and closes the connection, upon which Kong starts the
// instance anew and delivers the event again, once.
func TestInstanceIDFromBeforeARestart(t *testing.T) {
	p := run(t)
	plain := mint(t, provider.TokenRequest{})
	lax, strict := p.worker(bearer(t, nil)), p.worker(bearer(t, fromkong.Config{"scopes_required": []string{"admin"}}))
	wantPassed(t, do(t, lax, with(plain).Answers()))
	wantExit(t, do(t, strict, with(plain).Answers()), 403)
	old := map[int32]bool{lax.Instance(): true, strict.Instance(): true}
	id := lax.Instance()
	p.kill()

	p = launch(t, p.path)
	// The lax one is started first, as the strict one was not.
	if out, err := p.dial().Event(strict.Instance(), with(plain).Answers()); err != nil || !out.Closed {
		t.Fatalf("an id of the dead process: %+v, %v; want the connection closed", out, err)
	}
	wantPassed(t, do(t, lax, with(plain).Answers()))
	if out, err := p.dial().Event(id, with(plain).Answers()); err != nil || !out.Closed {
		t.Fatalf("an id of the dead process: %+v, %v; want the connection closed", out, err)
	}
	wantExit(t, do(t, strict, with(plain).Answers()), 403)
	if lax.Starts != 2 || strict.Starts != 2 {
		t.Errorf("%d and %d starts, want 2 each", lax.Starts, strict.Starts)
	}
	if old[lax.Instance()] || old[strict.Instance()] {
		t.Error("an id was given out by both processes")
	}
}

// Kong gives a connection up after a frame that it can not send. What counts
// is that nobody waits, that memory is not taken for a promise, and that
// everyone else is served.
func TestFrameLengthOf4GiB(t *testing.T) {
	p := run(t)
	good := mint(t, provider.TokenRequest{})
	w := p.worker(bearer(t, nil))
	wantPassed(t, do(t, w, with(good).Answers()))
	before := resident(t, p)
	for _, length := range []uint32{1<<32 - 1, 1 << 31, 64<<20 + 1} {
		for range 8 {
			h := p.dial()
			if err := h.Raw(binary.LittleEndian.AppendUint32(nil, length)); err != nil {
				t.Fatal(err)
			}
			if b, err := h.Read(); !errors.Is(err, hosttest.ErrClosed) {
				t.Fatalf("answered %x, %v; want the connection closed", b, err)
			}
		}
	}
	// The largest that is accepted is not taken before it comes.
	for range 8 {
		if err := p.dial().Raw(binary.LittleEndian.AppendUint32(nil, 64<<20)); err != nil {
			t.Fatal(err)
		}
	}
	// As a reply within an event, Kong is answered by 500 and not asked to repeat.
	for _, method := range []string{"kong.request.get_headers", "kong.request.get_method"} {
		t.Run(method, func(t *testing.T) {
			c, err := net.Dial("unix", p.path)
			if err != nil {
				t.Fatal(err)
			}
			l := &liar{Conn: c}
			h := hosttest.New(l)
			defer h.Close()
			id, err := h.Start(bearer(t, fromkong.Config{"run_on_preflight": false}))
			if err != nil {
				t.Fatal(err)
			}
			a := with(good).Answers()
			inner := a.Reply
			a.Reply = func(m string, args []byte) ([]byte, bool) {
				l.lie = m == method
				return inner(m, args)
			}
			out, err := h.Event(id, a)
			if err != nil {
				t.Fatal(err)
			}
			wantExit(t, out, 500)
		})
	}
	wantPassed(t, do(t, w, with(good).Answers()))
	if w.Starts != 1 {
		t.Errorf("%d instances were started", w.Starts)
	}
	if after := resident(t, p); after > before+64<<10 {
		t.Errorf("resident memory grew from %d to %d KiB", before, after)
	}
	p.alive()
}

// liar is a connection that promises 4 GiB in the length of a frame.
type liar struct {
	net.Conn
	lie bool
}

func (l *liar) Write(b []byte) (int, error) {
	if l.lie {
		l.lie = false
		return l.Conn.Write(append([]byte{0xff, 0xff, 0xff, 0xff}, b[4:]...))
	}
	return l.Conn.Write(b)
}

// resident returns the memory of a process in KiB.
func resident(t *testing.T, p *process) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
