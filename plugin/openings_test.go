package plugin_test

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"kong-openid-connect/internal/testservers"
)

// TestAKeptSessionInRedis: a node that knows a session asks Redis once for each
// request, and lets nothing through that Redis does not know, or says has ended.
func TestAKeptSessionInRedis(t *testing.T) {
	r := testservers.StartRedis(t, testservers.RedisOptions{})
	config := passwordSession(map[string]any{
		"session_storage": "redis",
		"redis":           map[string]any{"host": r.Host, "port": r.Port, "connect_timeout": 500, "send_timeout": 500, "read_timeout": 500},
		"downstream_headers": []any{
			map[string]any{"header": "x-sid", "path": []any{"sid"}},
		},
	})
	a, b, _ := twoNodes(t, config)
	a.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}})
	a.want(0)
	b.jar = maps.Clone(a.jar)
	for range 2 {
		a.send(withCookies)
		a.want(0)
		b.send(withCookies)
		b.want(0)
	}
	const n = 20
	before := reads(t, r)
	for range n {
		a.send(withCookies)
		a.want(0)
		if a.answer.Reason != "ok_session" {
			t.Fatal(a.answer.Reason)
		}
	}
	// What asks for the count is counted too.
	if got := reads(t, r) - before; got < n || got > n+3 {
		t.Errorf("%d requests took %d round trips", n, got)
	}

	r.Kill()
	a.send(withCookies)
	a.want(503)
	r.Start() // empty
	a.send(withCookies)
	a.want(401)

	a.send(decisionRequest{Target: "/", Headers: map[string]string{"authorization": "{{basic alex doe}}"}})
	a.want(0)
	b.jar = maps.Clone(a.jar)
	for range 2 {
		a.send(withCookies)
		a.want(0)
		b.send(withCookies)
		b.want(0)
	}
	b.logoutToken(b.mintLogout(map[string]any{"sid": b.answer.Downstream.Set[0].Value}))
	b.want(200)
	a.send(withCookies)
	a.want(401)
}

// reads is how often Redis has read from a connection.
func reads(t *testing.T, r *testservers.Redis) int {
	t.Helper()
	for line := range strings.Lines(r.MustDo("INFO", "stats")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "total_reads_processed:"); ok {
			n, err := strconv.Atoi(v)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("Redis counts no reads")
	return 0
}
