package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/plugin"
)

// quietProcess is what runs beside a plugin server without database, which
// listens nowhere.
func quietProcess(t *testing.T) *process {
	t.Helper()
	prefix := t.TempDir()
	if err := os.WriteFile(filepath.Join(prefix, ".kong_env"), []byte("database = off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var o options
	if err := flags(&o, io.Discard).Parse([]string{"-kong-prefix", prefix, "-admin-listen", "off"}); err != nil {
		t.Fatal(err)
	}
	proc, err := newProcess(&o, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proc.Close)
	return proc
}

// TestDashboard holds that the dashboard asks for metrics that there are, and
// that the page about them has all of them.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
			GridPos struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(raw, &board); err != nil {
		t.Fatal(err)
	}
	proc := quietProcess(t)
	p := plugin.New(proc.env)
	publishServer(proc.metrics, server.New(server.Options{Info: server.Info{Name: plugin.Name}, Plugin: p}), p)
	m := proc.metrics
	m.Request("bearer", "allowed")(time.Millisecond)
	m.Denied("x")
	m.Session("started")()
	m.SessionRefused("x")
	m.Event("login")
	m.ProviderCall("x", 200, time.Millisecond)
	m.Discovered(nil)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	there := w.Body.String()
	name := regexp.MustCompile(`\b(openid_connect|process|go)_[a-z_]+`)
	used := map[string]bool{}
	for _, panel := range board.Panels {
		if len(panel.Targets) == 0 || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %s asks for nothing, or stands outside", panel.Title)
		}
		for _, target := range panel.Targets {
			for _, n := range name.FindAllString(target.Expr, -1) {
				used[n] = true
				if !strings.Contains(there, "\n"+n+"{") && !strings.Contains(there, "\n"+n+" ") {
					t.Errorf("panel %s asks for %s, which there is not", panel.Title, n)
				}
			}
		}
	}
	if len(used) < 15 {
		t.Errorf("only %d metrics are asked for", len(used))
	}
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, n := range regexp.MustCompile("`(openid_connect_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		documented[n[1]] = true
	}
	for _, n := range regexp.MustCompile(`(?m)^# TYPE (openid_connect_[a-z_]+)`).FindAllStringSubmatch(there, -1) {
		if !documented[n[1]] {
			t.Errorf("docs/observability.md does not have %s", n[1])
		}
		delete(documented, n[1])
	}
	for n := range documented {
		t.Errorf("docs/observability.md has %s, which there is not", n)
	}
}
