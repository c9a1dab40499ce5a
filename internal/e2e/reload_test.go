package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
)

// outage is how long after the plugin process died requests may fail: Kong
// starts a new one at most once a second, and this machine is shared.
const outage = 5 * time.Second

// Case: the plugin entities change, the gateway reloads, and the plugin
// process is killed, all under load. Nothing that has to be denied passes at
// any time, and what has to pass fails only right after the kill.
func TestChangesReloadAndKillUnderLoad(t *testing.T) {
	list := probes(t)
	shows(t, "/scoped", "", 401)
	began := time.Now()
	l := startLoad(env.Proxy, list)
	defer l.stop()
	stopChanges := changing(t)
	changes := 0
	defer func() { stopChanges() }()
	l.await(t, len(list), 20)

	before := pluginPID(t)
	if err := env.reload(); err != nil {
		t.Fatal(err)
	}
	until(t, "the new plugin process", func() bool { return pluginPID(t) != before })
	// The old one gets its SIGTERM seconds later, while the new one serves.
	until(t, "the end of the old plugin process", func() bool { return gone(before) })
	l.await(t, len(list), 20)

	victim := pluginPID(t)
	killed := time.Now()
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", victim, err)
	}
	until(t, "the respawned plugin process", func() bool { return pluginPID(t) != victim })
	until(t, "the end of the time in which requests may fail", func() bool { return time.Since(killed) > outage })
	l.await(t, len(list), 20)
	changes = stopChanges()
	total, wrong := l.stop()

	var excused int
	var last time.Duration
	for _, s := range wrong {
		switch {
		case s.passed:
			t.Errorf("%s passed %v after the kill: %s", s.probe.name, s.begin.Sub(killed), s.got)
		case s.end.Before(killed) || s.begin.After(killed.Add(outage)) || !strings.HasPrefix(s.got, "500 "):
			t.Errorf("%s, sent %v after the beginning, %v after the kill: %s", s.probe.name, s.begin.Sub(began), s.begin.Sub(killed), s.got)
		default:
			excused++
			last = max(last, s.end.Sub(killed))
		}
	}
	// A respawn takes about a second of some twenty.
	if most := total / 10; excused > most {
		t.Errorf("%d requests failed after the kill, at most %d may", excused, most)
	}
	if changes < 5 {
		t.Errorf("only %d changes of the configuration went through", changes)
	}
	t.Logf("%d requests in %v, %d changes; after the kill %d failed closed, the last of them %v later", total, time.Since(began).Round(time.Millisecond), changes, excused, last.Round(time.Millisecond))
}

// pluginPID returns the process id of the plugin server that began last.
func pluginPID(t *testing.T) int {
	t.Helper()
	return harness.PluginPID(t, env.log())
}

// gone reports whether a process has ended; one that only nobody waited for counts.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// changing changes the configuration of /scoped back and forth until it is
// stopped; stop tells how often that worked. Without a database Kong takes
// whole configurations only.
func changing(t *testing.T) (stop func() int) {
	t.Helper()
	var change func(n int) error
	scopes := [][]string{{"profile email", "admin"}, {"profile email", "admin", "other"}}
	if env.writable {
		id := api(t, "GET", "/routes/scoped/plugins", nil, 200)["data"].([]any)[0].(object)["id"].(string)
		change = func(n int) error {
			return send("PATCH", "/plugins/"+id, object{"config": object{"scopes_required": scopes[n%2]}})
		}
	} else {
		raw, err := os.ReadFile(env.config)
		if err != nil {
			t.Fatal(err)
		}
		const line = `scopes_required: ["profile email", admin]`
		if !strings.Contains(string(raw), line) {
			t.Fatal("the configuration lacks the line that this test changes")
		}
		change = func(n int) error {
			return send("POST", "/config", object{"config": strings.ReplaceAll(string(raw), line, `scopes_required: ["`+strings.Join(scopes[n%2], `", "`)+`"]`)})
		}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	var worked int
	var once sync.Once
	wg.Go(func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-done:
				// As it was, for the tests that follow.
				if err := change(0); err != nil {
					t.Errorf("change back: %v", err)
				}
				return
			case <-tick.C:
			}
			// While the gateway reloads, the Admin API may refuse.
			if change(n) == nil {
				worked++
			}
		}
	})
	return func() int {
		once.Do(func() { close(done) })
		wg.Wait()
		return worked
	}
}

// send calls the Admin API outside of a test's goroutine.
func send(method, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, env.Admin+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return nil
}
