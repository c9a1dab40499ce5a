package e2e

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeCommands runs README's curl lines as they are written, but for the
// addresses, and compares the statuses that `curl -i` prints.
func TestReadmeCommands(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	waitForOwnKeys(t)
	var script strings.Builder
	script.WriteString("set -eu\n")
	commands, inside := 0, false
	for line := range strings.Lines(string(raw)) {
		text, indented := strings.CutPrefix(line, "    ")
		if !indented {
			inside = false
			continue
		}
		if !inside && !regexp.MustCompile(`^(curl|[A-Z]+=\$\(curl)`).MatchString(text) {
			continue
		}
		script.WriteString(text)
		if inside = strings.HasSuffix(strings.TrimSpace(text), `\`); !inside {
			script.WriteString("echo\n")
			commands++
		}
	}
	addresses := strings.NewReplacer(
		"http://127.0.0.1:8000", env.Proxy, "http://127.0.0.1:8001", env.Admin, "http://127.0.0.1:8080", env.Issuer,
		"http%3A%2F%2F127.0.0.1%3A8080", url.QueryEscape(env.Issuer),
	)
	out, err := exec.Command("bash", "-c", addresses.Replace(script.String())).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var statuses []string
	for _, m := range regexp.MustCompile(`(?m)^HTTP/1\.1 (\d{3})`).FindAllStringSubmatch(string(out), -1) {
		statuses = append(statuses, m[1])
	}
	// No token, a token, expired, wrong issuer; one issuer and all forgotten; keys rotated, one shown, one ended.
	if got, want := strings.Join(statuses, " "), "401 200 401 401 204 204 204 200 204"; got != want {
		t.Errorf("%d commands answered %s, want %s\n%s", commands, got, want, out)
	}
	for _, text := range []string{"WWW-Authenticate: Bearer", "X-Authenticated-User: alex", `"configuration"`, `"keys"`} {
		if !strings.Contains(string(out), text) {
			t.Errorf("%q is not among the answers", text)
		}
	}
}

// TestDocumentedCurl runs the curl lines of docs/ one by one.
func TestDocumentedCurl(t *testing.T) {
	waitForOwnKeys(t)
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	addresses := strings.NewReplacer("http://127.0.0.1:8000", env.Proxy, "http://127.0.0.1:8001", env.Admin)
	ran := 0
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^    (curl .*)$`).FindAllStringSubmatch(string(raw), -1) {
			ran++
			if out, err := exec.Command("bash", "-c", strings.Replace(addresses.Replace(m[1]), "curl", "curl -sS --fail", 1)).CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v\n%s", filepath.Base(page), m[1], err, out)
			}
		}
	}
	if ran < 2 {
		t.Errorf("only %d commands were found", ran)
	}
}
