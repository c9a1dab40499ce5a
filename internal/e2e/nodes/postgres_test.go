package nodes

import (
	"os"
	"sync"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

// postgres starts the database of a cluster. Where none is installed the test
// is skipped, unless REQUIRE_POSTGRES=1 makes that a failure.
func postgres(t *testing.T) *harness.Database {
	t.Helper()
	d, err := harness.NewDatabase()
	if err != nil {
		if os.Getenv(pgtest.Required) == "1" {
			t.Fatal(err)
		}
		t.Skip("left out: ", err)
	}
	t.Cleanup(d.Close)
	return d
}

// TestNodesOfOneDatabase: what nodes share by Kong's Postgres alone, with
// sessions in cookies.
func TestNodesOfOneDatabase(t *testing.T) {
	c := start(t, postgres(t))
	t.Run("case 48: twenty requests on two nodes refresh once, by Postgres", func(t *testing.T) {
		c.refreshOnce(t, "/cookie-due", "cdue", 100)
	})
	t.Run("case 49: a refused refresh ends the session on both nodes", func(t *testing.T) {
		c.lifetime(t, 100)
		cookie := c.login(t, "/cookie-due", "cdue")
		if err := c.provider.Faults().Set(provider.Fault{Name: "status", Endpoint: provider.EndpointToken, Status: 400, Value: "invalid_grant"}); err != nil {
			t.Fatal(err)
		}
		defer c.provider.Faults().Clear()
		c.onA(t).Get("/cookie-due", "Cookie", cookie).Want(401)
		c.provider.Faults().Clear()
		c.onB(t).Get("/cookie-due", "Cookie", cookie).Want(401)
	})
	t.Run("case 52: a copy of the cookie is dead on the other node", func(t *testing.T) {
		c.lifetime(t, 3600)
		cookie := c.login(t, "/cookie-due", "cdue")
		c.onB(t).Get("/cookie-due", "Cookie", cookie).Want(200)
		c.onA(t).Do("POST", "/cookie-due/out", nil, "Cookie", cookie).Want(302)
		c.eventually(t, "the logout reaches the other node", func() bool {
			return c.onB(t).Get("/cookie-due", "Cookie", cookie).StatusCode == 401
		})
	})
	t.Run("case 19: a state that one node has used", func(t *testing.T) {
		callback, cookie := c.atCallback(t)
		a := c.balanced(t, c.a, callback, cookie).Want(302)
		if a.SetsCookie("app") == nil {
			t.Fatalf("no session: %v", a.Header)
		}
		c.provider.ResetRecords()
		again := c.balanced(t, c.b, callback, cookie).Want(302)
		if n := c.provider.Count(provider.EndpointToken); n != 0 || again.SetsCookie("app") != nil || !c.atProvider(again.To()) {
			t.Errorf("%d token requests; sent to %s", n, again.To())
		}
	})
	t.Run("case 20: two callbacks on two nodes make one token request", func(t *testing.T) {
		for range 10 {
			callback, cookie := c.atCallback(t)
			c.provider.ResetRecords()
			answers := make([]*harness.Answer, 2)
			var wg sync.WaitGroup
			for i, g := range []*harness.Gateway{c.a, c.b} {
				wg.Go(func() { answers[i] = c.balanced(t, g, callback, cookie) })
			}
			wg.Wait()
			sessions := 0
			for _, a := range answers {
				if a.StatusCode != 302 {
					t.Errorf("status %d: %s", a.StatusCode, a.Text)
				}
				if a.SetsCookie("app") != nil {
					sessions++
				}
			}
			if n := c.provider.Count(provider.EndpointToken); n != 1 || sessions != 1 {
				t.Fatalf("%d token requests, %d sessions", n, sessions)
			}
		}
	})
	t.Run("one discovery serves both nodes, and a deletion ends its sessions on both", c.discoverOnce)
	t.Run("keys that one node rotates are the other's too", c.rotateKeys)
	t.Run("case 53: a proof that the other node has seen, by Postgres", func(t *testing.T) { c.proofsAreShared(t, "/dpop") })
	t.Run("case 54: a nonce by a generated secret is good at the other node", func(t *testing.T) { c.noncesAreShared(t, "/dpop-generated") })
	t.Run("Postgres is stopped and started under load", c.databaseStoppedUnderLoad)
	t.Run("Postgres down: sessions in cookies serve, and logins finish", func(t *testing.T) {
		c.lifetime(t, 3600)
		cookie := c.login(t, "/cookie-due", "cdue")
		c.database.Stop()
		defer func() {
			if err := c.database.Start(); err != nil {
				t.Error(err)
			}
		}()
		c.onB(t).Get("/cookie-due", "Cookie", cookie).Want(200)
		h := harness.NewHolder(t)
		access := c.boundTo(t, h)
		c.proves(t, c.a, "/dpop", access, h.Proof("GET", external+"/dpop", access, nil)).Want(503)
		callback, login := c.atCallback(t)
		if a := c.balanced(t, c.a, callback, login).Want(302); a.SetsCookie("app") == nil {
			t.Errorf("no session; sent to %s", a.To())
		}
	})
}
