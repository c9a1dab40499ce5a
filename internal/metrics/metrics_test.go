package metrics

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/openid-connect/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestScrape(t *testing.T) {
	m := New("1.2.3")
	m.Request("bearer", "allowed")(time.Millisecond)
	m.Request("", "unauthorized")(time.Millisecond)
	m.Denied("no_credential")
	m.Session("started")()
	m.SessionRefused("not authentic")
	m.Event("login")
	m.ProviderCall("key set", 200, time.Millisecond)
	m.ProviderCall("key set", 0, time.Second)
	m.ProviderCall("key set", 900, time.Second)
	m.Discovered(nil)
	m.Discovered(errors.New("x"))
	m.Rotated()
	m.Counter("cache_hits_total", "Hits.", map[string]string{"cache": "verified"}, func() uint64 { return 7 })
	m.Gauge("kong_connections", "Connections.", nil, func() float64 { return 3 })
	got := scrape(t, m)
	for _, want := range []string{
		`openid_connect_requests_total{method="bearer",outcome="allowed"} 1`,
		`openid_connect_requests_total{method="none",outcome="unauthorized"} 1`,
		`openid_connect_request_duration_seconds_count{outcome="allowed"} 1`,
		`openid_connect_denials_total{reason="no_credential"} 1`,
		`openid_connect_sessions_total{event="started"} 1`,
		`openid_connect_session_refusals_total{reason="not_authentic"} 1`,
		`openid_connect_events_total{event="login"} 1`,
		`openid_connect_provider_calls_total{endpoint="key_set",outcome="2xx"} 1`,
		`openid_connect_provider_calls_total{endpoint="key_set",outcome="failed"} 1`,
		`openid_connect_provider_calls_total{endpoint="key_set",outcome="other"} 1`,
		`openid_connect_provider_call_duration_seconds_count{endpoint="key_set"} 3`,
		`openid_connect_discoveries_total{outcome="ok"} 1`,
		`openid_connect_discoveries_total{outcome="failed"} 1`,
		`openid_connect_key_rotations_total 1`,
		`openid_connect_cache_hits_total{cache="verified"} 7`,
		`openid_connect_kong_connections 3`,
		`version="1.2.3"`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not there", want)
		}
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestLabelsAreBounded holds that no input makes series without end.
func TestLabelsAreBounded(t *testing.T) {
	m := New("x")
	for k := range 10 * maxReasons {
		m.Denied(fmt.Sprintf("reason_%d", k))
	}
	for _, odd := range []string{"a b", "x\"y", strings.Repeat("a", 49), "Ä", "\x00"} {
		m.Denied(odd)
	}
	if n := testutil.CollectAndCount(m.denials.vec); n != maxReasons+1 {
		t.Errorf("%d series, want %d and one for all others", n, maxReasons)
	}
	if got := scrape(t, m); !strings.Contains(got, fmt.Sprintf(`openid_connect_denials_total{reason="other"} %d`, 9*maxReasons+5)) {
		t.Error("what is beyond the bound is not counted as other")
	}
}
