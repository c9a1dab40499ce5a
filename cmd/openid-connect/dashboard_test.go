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

	"go.yaml.in/yaml/v3"

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
	used := map[string]bool{}
	labels := labelsOf(there)
	for _, rule := range alarms(t) {
		asks(t, rule.Alert, rule.Expr, there, labels)
		if rule.Annotations["description"] == "" || rule.Labels["severity"] == "" {
			t.Errorf("alarm %s does not say what to do, or how urgent it is", rule.Alert)
		}
	}
	for _, panel := range board.Panels {
		if len(panel.Targets) == 0 || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %s asks for nothing, or stands outside", panel.Title)
		}
		for _, target := range panel.Targets {
			for _, n := range name.FindAllString(target.Expr, -1) {
				used[n] = true
			}
			asks(t, panel.Title, target.Expr, there, labels)
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

var (
	name     = regexp.MustCompile(`\b(openid_connect|process|go)_[a-z_]+`)
	selector = regexp.MustCompile(`\b((?:openid_connect|process|go|up)[a-z_]*)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// labelsOf returns the labels of each series of a scrape.
func labelsOf(scrape string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z_]+)\{([^}]*)\}`).FindAllStringSubmatch(scrape, -1) {
		if all[m[1]] == nil {
			all[m[1]] = map[string]bool{}
		}
		for _, l := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			all[m[1]][l[1]] = true
		}
	}
	return all
}

// asks checks that a query names metrics and labels that there are; those of
// the scrape itself are Prometheus'.
func asks(t *testing.T, who, expr, there string, labels map[string]map[string]bool) {
	t.Helper()
	has := map[string]bool{"job": true, "instance": true}
	for _, n := range name.FindAllString(expr, -1) {
		if !strings.Contains(there, "\n"+n+"{") && !strings.Contains(there, "\n"+n+" ") {
			t.Errorf("%s asks for %s, which there is not", who, n)
		}
		for l := range labels[n] {
			has[l] = true
		}
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		for _, l := range matcher.FindAllStringSubmatch(s[2], -1) {
			if !labels[s[1]][l[1]] && l[1] != "job" && l[1] != "instance" {
				t.Errorf("%s asks for the label %s, which %s has not", who, l[1], s[1])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[1], ",") {
			if l = strings.TrimSpace(l); !has[l] {
				t.Errorf("%s groups by %s, which nothing in it has", who, l)
			}
		}
	}
}

type alarm struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// alarms are those of docs/prometheus-rules.yml.
func alarms(t *testing.T) []alarm {
	t.Helper()
	raw, err := os.ReadFile("../../docs/prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []alarm } }
	if err := yaml.Unmarshal(raw, &file); err != nil || len(file.Groups) != 1 || len(file.Groups[0].Rules) < 5 {
		t.Fatalf("alarms: %v, %+v", err, file)
	}
	return file.Groups[0].Rules
}
