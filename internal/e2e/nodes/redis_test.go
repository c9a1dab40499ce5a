package nodes

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
)

// killedUnderLoad is cases 46 and 47 over HTTP: browsers with a session ask both
// nodes all the time while Redis is killed and started again, twice. Each answer
// is the page or 503. A redirect would send everybody to the provider, and a
// removed cookie would log them out.
func (c *cluster) killedUnderLoad(t *testing.T) {
	callback, login := c.atCallback(t)
	k := c.balanced(t, c.a, callback, login).Want(302).SetsCookie("app")
	if k == nil {
		t.Fatal("no session")
	}
	cookie := k.Name + "=" + k.Value
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var good, away atomic.Int64
	for i := range 8 {
		b := harness.NewBrowser(t, []*harness.Gateway{c.a, c.b}[i%2].Proxy)
		wg.Go(func() {
			for ctx.Err() == nil {
				a := b.Get("/app", "Cookie", cookie)
				switch {
				case a.StatusCode == 200:
					good.Add(1)
				case a.StatusCode == 503 && a.Header.Get("Retry-After") != "":
					away.Add(1)
				default:
					t.Errorf("status %d, to %q: %s", a.StatusCode, a.Header.Get("Location"), a.Text)
					return
				}
				if len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("status %d sets cookies", a.StatusCode)
				}
			}
		})
	}
	more := func(what string, n *atomic.Int64, by int64) {
		t.Helper()
		from := n.Load()
		c.eventually(t, what, func() bool { return n.Load() >= from+by || t.Failed() })
	}
	for range 2 {
		more("pages", &good, 100)
		c.redis.Kill()
		more("503 while Redis is down", &away, 20)
		c.redis.Start()
		more("sessions come back", &good, 100)
	}
	t.Logf("%d pages, %d times 503", good.Load(), away.Load())
}
