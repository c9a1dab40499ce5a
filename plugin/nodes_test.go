package plugin_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/session/memory"
	shared "kong-openid-connect/internal/store/memory"
	"kong-openid-connect/plugin"
)

// claims is what nodes have claimed; err says that they cannot agree.
type claims struct {
	mu   sync.Mutex
	seen map[string]bool
	err  error
}

func (c *claims) Claim(_ context.Context, key string, _ time.Duration) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false, c.err
	}
	first := !c.seen[key]
	c.seen[key] = true
	return first, nil
}

// twoNodes are two processes that share what Kong's database holds.
func twoNodes(t *testing.T, config map[string]any, edit ...func(*plugin.Environment)) (a, b *world, c *claims) {
	t.Helper()
	a = newWorld(t, &decisionCase{})
	locks, err := shared.Open(shared.Options{})
	if err != nil {
		t.Fatal(err)
	}
	revocations := memory.New(1000, time.Now)
	c = &claims{seen: map[string]bool{}}
	b = &world{t: t, main: a.main, other: a.other, holder: a.holder, front: a.front, kong: a.kong, jar: map[string]string{}, saved: map[string]string{}, seen: map[string]int{}}
	for _, w := range []*world{a, b} {
		env := w.environment()
		env.Locks, env.Claims, env.Revocations = locks, c, revocations
		for _, e := range edit {
			e(env)
		}
		w.plugin = plugin.New(env)
		w.start(&decisionCase{Config: config})
	}
	return a, b, c
}

// alwaysDue is a configuration whose sessions are refreshed at every request
// where the provider's tokens live for less than ten minutes.
func alwaysDue() map[string]any {
	return map[string]any{
		"issuer": "{{issuer}}", "auth_methods": []any{"password", "session"}, "client_id": []any{"kong"}, "client_secret": []any{"{{secret}}"},
		"leeway": 600, "cache_tokens": false,
	}
}

// lifetime sets how long the provider's next access tokens live.
func (w *world) lifetime(seconds int) {
	w.t.Helper()
	for _, k := range provider.DefaultClients() {
		if k.ID == "kong" {
			k.AccessTokenSeconds = seconds
			if err := w.main.SetClient(k); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// cookiesSet are the names of the cookies that the last answer sets, in order.
func (w *world) cookiesSet() (names []string) {
	for _, f := range w.answer.Downstream.Add {
		if f.Name == "Set-Cookie" {
			n, _, _ := strings.Cut(f.Value, "=")
			names = append(names, n)
		}
	}
	return names
}

// status is that of the last answer; 0 where the request goes on to the service.
func (w *world) status() int {
	if w.answer.Respond == nil {
		return 0
	}
	return w.answer.Respond.Status
}

func (w *world) want(status int) {
	w.t.Helper()
	if got := w.status(); got != status {
		w.t.Fatalf("status %d, want %d: %s %v", got, status, w.answer.Reason, w.answer.Err)
	}
}

var withCookies = decisionRequest{Target: "/", Cookies: true}

// loggedIn gives both nodes' browsers one session whose tokens are due.
func loggedIn(t *testing.T, a, b *world) {
	t.Helper()
	a.lifetime(100)
	a.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}})
	a.want(0)
	maps.Copy(b.jar, a.jar)
	if len(a.jar) == 0 {
		t.Fatal("no session")
	}
	a.main.ResetRecords()
}

func TestWhoeverLostARefreshGetsItsCookieOnce(t *testing.T) {
	a, b, _ := twoNodes(t, alwaysDue())
	loggedIn(t, a, b)
	a.lifetime(3600)
	for _, w := range []*world{a, b} {
		w.send(withCookies)
		w.want(0)
		if set := w.cookiesSet(); len(set) != 1 || set[0] != "session" {
			t.Errorf("cookies %q, want one", set)
		}
	}
	if n := a.main.Count(provider.EndpointToken); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	if a.jar["session"] != b.jar["session"] {
		t.Error("two sessions were made of one")
	}
}

func TestCase49ARefusedRefreshEndsTheSessionOnEveryNode(t *testing.T) {
	a, b, _ := twoNodes(t, alwaysDue())
	loggedIn(t, a, b)
	if err := a.main.Faults().Set(provider.Fault{Name: "status", Endpoint: provider.EndpointToken, Status: 400, Value: "invalid_grant"}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, w := range []*world{a, b} {
		wg.Go(func() { w.send(withCookies) })
	}
	wg.Wait()
	removed := 0
	for _, w := range []*world{a, b} {
		w.want(401)
		if len(w.jar) == 0 {
			removed++
		}
	}
	// A node that looks after the other has ended the session finds none to remove.
	if removed == 0 {
		t.Error("the browsers keep the cookie")
	}
	if n := a.main.Count(provider.EndpointToken); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestCase49ARefreshThatTimesOutLeavesTheSession(t *testing.T) {
	config := alwaysDue()
	config["timeout"] = 300
	a, b, _ := twoNodes(t, config)
	loggedIn(t, a, b)
	if err := a.main.Faults().Set(provider.Fault{Name: "hang", Endpoint: provider.EndpointToken}); err != nil {
		t.Fatal(err)
	}
	a.send(withCookies)
	a.want(0)
	if set := a.cookiesSet(); len(set) != 0 {
		t.Errorf("cookies %q", set)
	}
	a.main.Faults().Clear()
	a.lifetime(3600)
	a.main.ResetRecords()
	b.send(withCookies) // the other node may try at once
	b.want(0)
	if n := a.main.Count(provider.EndpointToken); n != 1 || len(b.cookiesSet()) != 1 {
		t.Errorf("%d refreshes, cookies %q", n, b.cookiesSet())
	}
}

func codeFlow() map[string]any {
	c := alwaysDue()
	c["auth_methods"] = []any{"authorization_code", "session"}
	delete(c, "leeway")
	return c
}

func TestCases19And20ALoginIsUsedOnceAmongAllNodes(t *testing.T) {
	a, b, c := twoNodes(t, codeFlow())
	callback := func() decisionRequest {
		a.jar = map[string]string{}
		a.send(decisionRequest{Target: "/page"})
		a.want(302)
		cb := a.logIn("alex")
		b.jar = maps.Clone(a.jar)
		a.main.ResetRecords()
		return cb
	}
	t.Run("a state that one node has used", func(t *testing.T) {
		cb := callback()
		a.send(cb)
		a.want(0)
		b.send(cb)
		b.want(302) // the login begins again; nobody is let in
		if n := a.main.Count(provider.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
	t.Run("two callbacks at once", func(t *testing.T) {
		cb := callback()
		var wg sync.WaitGroup
		for _, w := range []*world{a, b} {
			wg.Go(func() { w.send(cb) })
		}
		wg.Wait()
		if n := a.main.Count(provider.EndpointToken); n != 1 || a.status() == b.status() {
			t.Errorf("%d token requests; answers %d and %d", n, a.status(), b.status())
		}
	})
	t.Run("nodes that cannot agree", func(t *testing.T) {
		c.err = errors.New("down")
		defer func() { c.err = nil }()
		cb := callback()
		for _, status := range []int{0, 302} { // within a node it holds all the same
			a.jar = maps.Clone(b.jar)
			a.send(cb)
			a.want(status)
		}
		if n := a.main.Count(provider.EndpointToken); n != 1 {
			t.Errorf("%d token requests", n)
		}
	})
}

// Requests that were on their way while a session was refreshed share the
// session that came of it, and each touches it for its own browser.
func TestParallelTouchesOfARefreshedSession(t *testing.T) {
	config := alwaysDue()
	config["session_idling_timeout"] = 20 // touched every five seconds
	var ahead atomic.Int64
	a, _, _ := twoNodes(t, config, func(env *plugin.Environment) {
		env.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	loggedIn(t, a, a)
	a.lifetime(3600)
	before := maps.Clone(a.jar)
	a.send(withCookies)
	a.want(0)
	refreshed := a.jar["session"]
	ahead.Store(int64(6 * time.Second))
	var wg sync.WaitGroup
	late := make([]world, 20)
	for i := range late {
		w := &late[i]
		*w = *a
		w.jar, w.seen, w.front = maps.Clone(before), maps.Clone(a.seen), &front{Server: a.front.Server, w: w}
		wg.Go(func() { w.send(withCookies) })
	}
	wg.Wait()
	for _, w := range late {
		w.want(0)
		if set := w.cookiesSet(); len(set) != 1 || w.jar["session"] == refreshed {
			t.Errorf("cookies %q; one is wanted, and touched", set)
		}
	}
	if n := a.main.Count(provider.EndpointToken); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

// TestSessionHeadersBothWays: what is known of a session goes to the service and
// to the client, what is left of its timers in seconds.
func TestSessionHeadersBothWays(t *testing.T) {
	all := []any{"id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout"}
	config := alwaysDue()
	delete(config, "leeway")
	config["session_request_headers"], config["session_response_headers"], config["session_audience"] = all, all, "desk"
	var ahead atomic.Int64
	began := time.Now().Truncate(time.Second).Add(2 * time.Second) // the provider goes by its own clock
	a, _, _ := twoNodes(t, config, func(env *plugin.Environment) {
		env.Now = func() time.Time { return began.Add(time.Duration(ahead.Load())) }
	})
	a.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}})
	a.want(0)
	ahead.Store(int64(59 * time.Second))
	a.send(decisionRequest{Target: "/", Cookies: true, Headers: map[string]string{"session-id": "forged", "Session_Subject": "forged"}})
	a.want(0)
	want := map[string]string{
		"Session-Audience": "desk", "Session-Subject": "sub-alex", "Session-Timeout": "841", "Session-Idling-Timeout": "841",
		"Session-Rolling-Timeout": "3541", "Session-Absolute-Timeout": "86341",
	}
	for side, fields := range map[string][]rp.Field{"service": a.answer.Upstream.Set, "client": a.answer.Downstream.Set} {
		got := map[string]string{}
		for _, f := range fields {
			if strings.HasPrefix(f.Name, "Session-") {
				got[f.Name] = f.Value
			}
		}
		if len(got["Session-Id"]) != 43 {
			t.Errorf("%s: id %q is no 32 bytes in base64url", side, got["Session-Id"])
		}
		delete(got, "Session-Id")
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", side, got, want)
		}
	}
	for _, n := range []string{"session-id", "session_subject"} {
		if !slices.ContainsFunc(a.answer.Upstream.Clear, func(c string) bool { return strings.EqualFold(c, n) }) {
			t.Errorf("the client's %s is not taken away: %q", n, a.answer.Upstream.Clear)
		}
	}
}
