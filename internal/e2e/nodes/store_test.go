package nodes

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

const noObjects = `{"data":[],"next":null}`

// companion calls an endpoint of the plugin under a node's Admin API.
func companion(t *testing.T, g *harness.Gateway, method, path string, status int) string {
	t.Helper()
	body, _ := harness.Companion(t, g.Admin, method, path, status)
	return body
}

func (c *cluster) bearer(t *testing.T) string {
	t.Helper()
	raw, err := c.provider.Mint(provider.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + raw
}

func (c *cluster) discoverOnce(t *testing.T) {
	c.lifetime(t, 3600)
	companion(t, c.a, "DELETE", "discovery-cache", 204)
	c.eventually(t, "the deletion reaches the other node", func() bool { return companion(t, c.b, "GET", "issuers", 200) == noObjects })
	c.provider.ResetRecords()
	cookie := c.login(t, "/generated", "generated")
	c.onB(t).Get("/generated", "Authorization", c.bearer(t)).Want(200)
	c.onB(t).Get("/generated", "Cookie", cookie).Want(200)
	for _, endpoint := range []string{provider.EndpointDiscovery, provider.EndpointJWKS} {
		if n := c.provider.Count(endpoint); n != 1 {
			t.Errorf("%s was asked %d times by two nodes", endpoint, n)
		}
	}
	all := companion(t, c.b, "GET", "issuers", 200)
	if strings.Count(all, `"id"`) != 1 {
		t.Fatalf("one issuer has these objects: %s", all)
	}
	_, id, _ := strings.Cut(all, `"id":"`)
	companion(t, c.b, "DELETE", "issuers/"+id[:36], 204)
	for name, on := range map[string]*harness.Browser{"the node that deleted it": c.onB(t), "the other": c.onA(t)} {
		c.eventually(t, "a session whose secret is deleted ends on "+name, func() bool {
			return on.Get("/generated", "Cookie", cookie).StatusCode == 401
		})
	}
	c.onA(t).Get("/generated", "Authorization", c.bearer(t)).Want(200)
	if n := c.provider.Count(provider.EndpointDiscovery); n != 2 {
		t.Errorf("%d discoveries: a deletion must forget what is known", n)
	}
}

func (c *cluster) rotateKeys(t *testing.T) {
	keys := func(g *harness.Gateway) string { return companion(t, g, "GET", "jwks", 200) }
	before := ""
	c.eventually(t, "both nodes publish the same keys", func() bool {
		before = keys(c.a)
		return strings.Count(before, `"kid"`) >= 10 && before == keys(c.b)
	})
	companion(t, c.a, "DELETE", "jwks", 204)
	after := keys(c.a)
	if after == before || !strings.Contains(after, `"kid"`) {
		t.Fatal("the keys are the same after their rotation")
	}
	c.eventually(t, "the other node publishes the new keys", func() bool { return keys(c.b) == after })
}

// databaseStoppedUnderLoad: what memory can serve is served without a break,
// and when the database is back a deletion reaches the other node again.
func (c *cluster) databaseStoppedUnderLoad(t *testing.T) {
	c.lifetime(t, 3600)
	cookie, bearer := c.login(t, "/generated", "generated"), c.bearer(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	var answered atomic.Int64
	for i := range 4 {
		b := harness.NewBrowser(t, []*harness.Gateway{c.a, c.b}[i%2].Proxy)
		wg.Go(func() {
			for ctx.Err() == nil {
				for _, header := range [][]string{{"Cookie", cookie}, {"Authorization", bearer}} {
					if a := b.Get("/generated", header...); a.StatusCode != 200 {
						t.Errorf("%s: status %d: %s", header[0], a.StatusCode, a.Text)
						return
					}
				}
				answered.Add(1)
			}
		})
	}
	more := func(what string) {
		t.Helper()
		from := answered.Load()
		c.eventually(t, what, func() bool { return answered.Load() >= from+50 || t.Failed() })
	}
	more("before")
	c.database.Stop()
	more("while it is down")
	if err := c.database.Start(); err != nil {
		t.Fatal(err)
	}
	more("when it is back")
	stop()
	wg.Wait()
	c.eventually(t, "the node can delete again", func() bool {
		r, err := http.NewRequest("DELETE", c.a.Admin+"/openid-connect/issuers", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == 204
	})
	c.eventually(t, "the deletion reaches the other node", func() bool {
		return companion(t, c.b, "GET", "issuers", 200) == noObjects && c.onB(t).Get("/generated", "Cookie", cookie).StatusCode == 401
	})
}
