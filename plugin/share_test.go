package plugin

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"kong-openid-connect/internal/op"
)

// Kong starts an instance for each worker and each route; equal configurations
// are compiled once, and share what belongs to the policy: its caches and its
// connections. Nothing is kept for a configuration that nobody uses any more.
func TestEqualConfigurationsShareOnePolicy(t *testing.T) {
	p := New(&Environment{
		Providers: op.NewRegistry(op.Environment{}), Caches: NewCaches(time.Now), Connections: NewConnections(nil, time.Now, nil),
		Secrets: &askedSecrets{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	const issuer = `"issuer":"https://idp.example.com","auth_methods":["session","password","bearer"],"session_storage":"redis","redis":{"host":"127.0.0.1"}`
	compiled := func() uint64 { _, n := p.Stats(); return n }
	func() {
		for _, c := range []struct {
			name, config string
			policies     uint64
		}{
			{"the first", `{"__plugin_id":"a","__seq__":1,"route_id":"r1",` + issuer + `}`, 1},
			{"another worker", `{"__plugin_id":"a","__seq__":1,"route_id":"r1",` + issuer + `}`, 1},
			{"another route", `{"__plugin_id":"b","__seq__":7,"service_id":"s",` + issuer + `}`, 1},
			{"another order", `{"auth_methods":["session","password","bearer"],"redis":{"host":"127.0.0.1"},"session_storage":"redis","issuer":"https://idp.example.com"}`, 1},
			{"another leeway", `{"leeway":5,` + issuer + `}`, 2},
			{"another secret", `{"session_secret":"0123456789abcdef0123456789abcdef",` + issuer + `}`, 3},
			{"the first again", `{` + issuer + `}`, 3},
		} {
			i := p.Start(t.Context(), []byte(c.config)).(*instance)
			defer runtime.KeepAlive(i)
			if i.compiled.err != nil {
				t.Fatalf("%s: %v", c.name, i.compiled.err)
			}
			if got := compiled(); got != c.policies {
				t.Errorf("%s: %d policies were compiled, want %d", c.name, got, c.policies)
			}
		}
	}()
	held := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.policies)
	}
	for deadline := time.Now().Add(10 * time.Second); held() != 0; time.Sleep(10 * time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d policies are held though nobody uses one", held())
		}
	}
}
