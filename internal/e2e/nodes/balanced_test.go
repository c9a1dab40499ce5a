package nodes

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// balanced asks a node as a load balancer does, so that both nodes serve one address.
func (c *cluster) balanced(t *testing.T, g *harness.Gateway, target, cookie string) *harness.Answer {
	t.Helper()
	if cookie != "" {
		return c.through(t, g, target, "Cookie", cookie)
	}
	return c.through(t, g, target)
}

// external is the address of both nodes behind the load balancer.
const external = "http://localhost:8000"

// through is balanced with any headers.
func (c *cluster) through(t *testing.T, g *harness.Gateway, target string, header ...string) *harness.Answer {
	t.Helper()
	header = append([]string{"X-Forwarded-Host", "localhost", "X-Forwarded-Port", "8000", "X-Forwarded-Proto", "http"}, header...)
	return harness.NewBrowser(t, g.Proxy).From(harness.TrustedPeer).Get(target, header...)
}

// eventually waits until ok is true: nodes tell each other within seconds.
func (c *cluster) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": not within 20 seconds")
		}
	}
}

func (c *cluster) atProvider(u *url.URL) bool {
	p, err := url.Parse(c.provider.URL)
	return err == nil && u.Host == p.Host
}

// atCallback begins a login on node A and signs in at the provider. It returns
// the path and query that the browser comes back with, and its Cookie header.
func (c *cluster) atCallback(t *testing.T) (target, cookie string) {
	t.Helper()
	a := c.balanced(t, c.a, "/app", "").Want(302)
	k := a.SetsCookie("applogin")
	if k == nil {
		t.Fatalf("no cookie of a login: %v", a.Header)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := provider.SignIn(t.Context(), &http.Client{Jar: jar, Timeout: 10 * time.Second}, a.To().String(), "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	return cb.URL.RequestURI(), k.Name + "=" + k.Value
}
