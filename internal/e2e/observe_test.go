package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// scrape returns the plugin server's metrics: series with their labels, and values.
func scrape(t *testing.T) map[string]float64 {
	t.Helper()
	resp, err := http.Get(env.Admin + "/openid-connect/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			series += "}"
		} else {
			series, value, ok = strings.Cut(lines.Text(), " ")
		}
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[series] = v
		}
	}
	return out
}

// TestMetricsCountRequests holds that what is scraped is what happened. Other
// tests do not run meanwhile.
func TestMetricsCountRequests(t *testing.T) {
	b, token := newBrowser(t), "Bearer "+mint(t, provider.TokenRequest{})
	// The first request learns the keys, the second is the first under them.
	for range 2 {
		b.get("/bearer", "Authorization", token).want(t, 200)
	}
	before := scrape(t)
	b.get("/bearer", "Authorization", token).want(t, 200)
	b.get("/bearer").want(t, 401)
	b.get("/scoped", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "openid"}})).want(t, 403)
	b.get("/app").want(t, 302)
	b.get("/gone", "Authorization", token).want(t, 500)
	b.get("/app", "Cookie", "session=forged").want(t, 302)
	in, _ := loggedIn(t)
	in.get("/app").want(t, 200)
	in.get("/app").want(t, 200)
	after := scrape(t)
	for series, want := range map[string]float64{
		`openid_connect_requests_total{method="bearer",outcome="allowed"}`:                1,
		`openid_connect_requests_total{method="bearer",outcome="forbidden"}`:              1,
		`openid_connect_requests_total{method="bearer",outcome="error"}`:                  1,
		`openid_connect_requests_total{method="none",outcome="unauthorized"}`:             1,
		`openid_connect_denials_total{reason="no_credential"}`:                            1,
		`openid_connect_session_refusals_total{reason="malformed"}`:                       1,
		`openid_connect_events_total{event="login"}`:                                      1,
		`openid_connect_sessions_total{event="started"}`:                                  1,
		`openid_connect_cache_hits_total{cache="verified"}`:                               1,
		`openid_connect_cache_hits_total{cache="sessions"}`:                               1,
		`openid_connect_provider_calls_total{endpoint="token_endpoint",outcome="2xx"}`:    1,
		`openid_connect_provider_call_duration_seconds_count{endpoint="token_endpoint"}`:  1,
		`openid_connect_kong_events_total`:                                                7,
		`openid_connect_request_duration_seconds_bucket{outcome="unauthorized",le="30"}`:  1,
		`openid_connect_requests_total{method="authorization_code",outcome="redirected"}`: 3,
	} {
		if got := after[series] - before[series]; got < want {
			t.Errorf("%s grew by %v, at least %v was expected", series, got, want)
		}
	}
	if _, ok := after["openid_connect_kong_connections"]; !ok || after["openid_connect_instances"] < 1 {
		t.Errorf("connections are told: %v; instances %v", ok, after["openid_connect_instances"])
	}
	if turns, events := after["openid_connect_kong_round_trips_total"], after["openid_connect_kong_events_total"]; turns < events || events == 0 {
		t.Errorf("%v round trips for %v events", turns, events)
	}
	if r, err := http.Post(env.Admin+"/openid-connect/metrics", "", nil); err != nil || r.StatusCode != 405 {
		t.Errorf("POST: %v %v", r, err)
	}
}

// TestFaultsStandInKongsErrorLog: what Kong reads of a plugin server's output it
// logs at info, so an operator who looks for errors would not find it there.
func TestFaultsStandInKongsErrorLog(t *testing.T) {
	newBrowser(t).get("/gone", "Authorization", "Bearer "+mint(t, provider.TokenRequest{})).want(t, 500)
	newBrowser(t).get("/bearer").want(t, 401)
	found := false
	for line := range strings.SplitSeq(env.log(), "\n") {
		if !strings.Contains(line, "[error]") {
			continue
		}
		if strings.Contains(line, "openid-connect: request answered with an error") && strings.Contains(line, "reason ") {
			found = true
		}
		if strings.Contains(line, "no_credential") {
			t.Errorf("a refusal stands among the errors: %s", line)
		}
	}
	if !found {
		t.Error("the error log has no error of the plugin")
	}
}

// TestDenialIsOneLine: each denial is one line that says why, by which method
// and where, and that holds nothing of the credential.
func TestDenialIsOneLine(t *testing.T) {
	token := mint(t, provider.TokenRequest{Claims: map[string]any{"scope": "openid"}})
	const reason = "reason=missing_scopes"
	denials := func() []string {
		var all []string
		for line := range strings.SplitSeq(env.log(), "\n") {
			if strings.Contains(line, "request denied") && strings.Contains(line, reason) {
				all = append(all, line)
			}
		}
		return all
	}
	before := len(denials())
	for range 3 {
		newBrowser(t).get("/scoped", "Authorization", "Bearer "+token).want(t, 403)
	}
	until(t, "the lines", func() bool { return len(denials()) >= before+3 })
	lines := denials()[before:]
	if len(lines) != 3 {
		t.Errorf("%d lines for 3 denials", len(lines))
	}
	id := regexp.MustCompile(`plugin_id=[0-9a-f-]{36} route_id=[0-9a-f-]{36} service_id=\S+ status=403 method=bearer ` + reason + ` error=`)
	for _, line := range lines {
		if !id.MatchString(line) {
			t.Errorf("the line lacks something: %s", line)
		}
	}
	if strings.Contains(env.log(), token) || strings.Contains(env.log(), token[strings.LastIndex(token, ".")+1:]) {
		t.Error("the log holds the token")
	}
}

// TestAuditRecord holds who is recorded, and that no secret is.
func TestAuditRecord(t *testing.T) {
	start := auditSize(t)
	b := newBrowser(t)
	b.get("/logout", "Authorization", basic("alex", "doe")).want(t, 200)
	b.do("POST", "/logout/out", nil).want(t, 302)
	b.get("/logout").want(t, 401)
	newBrowser(t).login("/app", "blake").want(t, 302)
	counts := map[string]int{}
	session := ""
	for _, e := range auditSince(t, start) {
		event, _ := e["event"].(string)
		method, _ := e["method"].(string)
		counts[event+" "+method]++
		if e["plugin_id"] == "" || e["route_id"] == "" || e["time"] == nil || e["address"] != "127.0.0.1" {
			t.Errorf("a line lacks its place: %v", e)
		}
		switch event {
		case "login":
			if e["subject"] == "" || e["client"] != "kong" {
				t.Errorf("login of %v by client %v", e["subject"], e["client"])
			}
			if method == "password" {
				session, _ = e["session"].(string)
			}
		case "logout":
			if e["session"] != session || session == "" {
				t.Errorf("logout from session %v, login into %q", e["session"], session)
			}
		case "refusal":
			if e["reason"] != "no_credential" || e["outcome"] != "unauthorized" {
				t.Errorf("refusal %v", e)
			}
		}
	}
	for _, want := range []string{"login password", "logout password", "login authorization_code", "refusal "} {
		if counts[want] != 1 {
			t.Errorf("%q is recorded %d times: %v", want, counts[want], counts)
		}
	}
}

func auditSize(t *testing.T) int64 {
	t.Helper()
	i, err := os.Stat(env.audit)
	if err != nil {
		t.Fatal(err)
	}
	return i.Size()
}

func auditSince(t *testing.T, offset int64) []map[string]any {
	t.Helper()
	f, err := os.Open(env.audit)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"eyJ", "doe\"", "kong-secret", "Bearer ", "session="} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the record holds %q", secret)
		}
	}
	var out []map[string]any
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, e)
	}
	return out
}

// TestTraceContextReachesTheProvider: the trace of a request holds the calls that it caused.
func TestTraceContextReachesTheProvider(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	newBrowser(t).get("/introspection-fresh", "Authorization", "Bearer "+mint(t, provider.TokenRequest{}), "Traceparent", parent).want(t, 200)
	for _, r := range env.provider.Records("introspection") {
		if r.Header.Get("Traceparent") == parent {
			return
		}
	}
	t.Error("no call to the introspection endpoint carries the trace")
}
