package plugin_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/plugin"
)

// faulty is a list of ended sessions whose writing panics while it is broken.
type faulty struct {
	session.Revocations
	broken atomic.Bool
	panics atomic.Int32
}

func (f *faulty) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if f.broken.Load() {
		f.panics.Add(1)
		panic("secret")
	}
	return f.Revocations.Revoke(ctx, key, from, until)
}

// Case 65: the lists of a provider's configurations are written at once, in
// goroutines where no request could recover from a panic.
func TestCase65PanicInTheListOfEndedSessions(t *testing.T) {
	w := newWorld(t, &decisionCase{})
	env := w.environment()
	list := &faulty{Revocations: env.Revocations}
	env.Revocations = list
	w.plugin = plugin.New(env)
	w.start(&decisionCase{Config: passwordSession(nil)})
	w.send(withPassword)
	w.want(0)
	list.broken.Store(true)
	raw := w.mintLogout(map[string]any{"sid": nil})
	w.logoutToken(raw)
	if w.status() < 400 || list.panics.Load() == 0 {
		t.Fatalf("a logout that was not written is answered by %d after %d panics", w.status(), list.panics.Load())
	}
	list.broken.Store(false)
	w.logoutToken(w.mintLogout(map[string]any{"sid": nil}))
	w.want(200)
	w.send(withCookies)
	w.want(401)
}
