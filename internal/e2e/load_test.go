package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/sandbox/provider"
)

// probe is one kind of request in a mixed load, and what it has to come to.
type probe struct {
	name, path string
	header     http.Header
	status     int                       // the only right one
	right      func(*http.Response) bool // more about the answer, where it matters
	user       string                    // the one whom the service has to see, where the request passes
}

// shot is an answer that was not what its probe asks for.
type shot struct {
	probe      *probe
	begin, end time.Time
	got        string
	passed     bool // a request that has to be denied reached the service
}

// load sends probes until it is stopped and keeps what went wrong.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	sent  map[string]int
	wrong []shot
}

const (
	loaders  = 4
	loadPace = 20 * time.Millisecond // between two requests of one of them
)

func startLoad(proxy string, probes []*probe) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, sent: map[string]int{}}
	for n := range loaders {
		l.wg.Go(func() {
			c := &http.Client{
				Timeout: 20 * time.Second,
				// Half of them open a connection each time, as those of many clients.
				Transport:     &http.Transport{DisableKeepAlives: n%2 == 0},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			tick := time.NewTicker(loadPace)
			defer tick.Stop()
			for i := n; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				l.shoot(c, proxy, probes[i%len(probes)])
			}
		})
	}
	return l
}

func (l *load) shoot(c *http.Client, proxy string, p *probe) {
	s := shot{probe: p, begin: time.Now()}
	ok := false
	r, err := http.NewRequest("GET", proxy+p.path, nil)
	if err == nil {
		r.Header = p.header.Clone()
		var resp *http.Response
		if resp, err = c.Do(r); err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			ok = err == nil && resp.StatusCode == p.status && (p.right == nil || p.right(resp)) && (p.user == "" || sees(body, p.user))
			s.got = fmt.Sprintf("%s %.200s", resp.Status, body)
			s.passed = p.user == "" && resp.StatusCode < 300
		}
	}
	if err != nil {
		s.got = err.Error()
	}
	s.end = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[p.name]++
	if !ok {
		l.wrong = append(l.wrong, s)
	}
}

// sees reports whether the service saw one user and no other.
func sees(body []byte, user string) bool {
	var e echo
	if json.Unmarshal(body, &e) != nil {
		return false
	}
	v := e.get("X-Authenticated-User")
	return len(v) == 1 && v[0] == user
}

// count returns how many requests were answered, of the kind that fewest were of.
func (l *load) count(kinds int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) < kinds {
		return 0
	}
	least := -1
	for _, n := range l.sent {
		if least < 0 || n < least {
			least = n
		}
	}
	return least
}

// await waits until some more requests of every kind were answered.
func (l *load) await(t *testing.T, kinds, more int) {
	t.Helper()
	until(t, fmt.Sprintf("%d more requests of each kind", more), func(from int) func() bool {
		return func() bool { return l.count(kinds) >= from+more }
	}(l.count(kinds)))
}

// until polls a condition for at most 20 seconds.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// stop ends the load and returns what was not as it has to be.
func (l *load) stop() (total int, wrong []shot) {
	l.cancel()
	l.wg.Wait()
	for _, n := range l.sent {
		total += n
	}
	return total, l.wrong
}

// probes returns the mixed load: what passes and what is denied, by token and
// by session. Only /scoped changes under it, in ways that change none of them.
func probes(t *testing.T) []*probe {
	t.Helper()
	bearer := func(q provider.TokenRequest) http.Header {
		q.Seconds = 3600
		return http.Header{"Authorization": {"Bearer " + mint(t, q)}}
	}
	spoofed := bearer(provider.TokenRequest{})
	spoofed["X_authenticated_User"] = []string{"admin"}
	spoofed["X-Authenticated-User"] = []string{"admin"}
	_, cookie := loggedIn(t)
	session := http.Header{"Cookie": {cookie}}
	toProvider := func(r *http.Response) bool { return strings.HasPrefix(r.Header.Get("Location"), env.Issuer) }
	return []*probe{
		{name: "good token", path: "/bearer", header: bearer(provider.TokenRequest{}), status: 200, user: "alex"},
		{name: "no token", path: "/bearer", header: http.Header{}, status: 401},
		{name: "session", path: "/app/page", header: session, status: 200, user: "alex"},
		{name: "bad signature", path: "/bearer", header: bearer(provider.TokenRequest{Faults: []string{"bad-signature"}}), status: 401},
		{name: "login", path: "/app/deep?x=y", header: http.Header{}, status: 302, right: toProvider},
		{name: "expired", path: "/bearer", header: bearer(provider.TokenRequest{Faults: []string{"expired"}}), status: 401},
		{name: "spoofed header", path: "/bearer", header: spoofed, status: 200, user: "alex"},
		{name: "too few scopes", path: "/scoped", header: bearer(provider.TokenRequest{Claims: object{"scope": "profile"}}), status: 403},
		{name: "session of a laxer route", path: "/stricter", header: session, status: 401},
		{name: "cut session", path: "/app", header: http.Header{"Cookie": {cookie[:len(cookie)-9]}}, status: 302, right: toProvider},
		{name: "good token again", path: "/preflight", header: bearer(provider.TokenRequest{}), status: 200, user: "alex"},
	}
}
