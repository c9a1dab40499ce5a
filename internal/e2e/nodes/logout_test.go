package nodes

import (
	"encoding/json"
	"net/url"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// kept is what the admin endpoint shows of sessions.
type kept struct {
	Data []struct{ ID, Subject, Storage string }
	Next *string
}

func (c *cluster) sessions(t *testing.T, query string) kept {
	t.Helper()
	a := harness.NewBrowser(t, c.a.Admin).Get("/openid-connect/sessions?" + query).Want(200)
	var k kept
	if err := json.Unmarshal([]byte(a.Text), &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// logouts are what others than the browser end sessions by, on two nodes.
func (c *cluster) logouts(t *testing.T) {
	onA := func(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.a.Proxy) }
	onB := func(t *testing.T) *harness.Browser { return harness.NewBrowser(t, c.b.Proxy) }
	issuer := url.QueryEscape(c.provider.URL)

	// The lists of the three routes are one, and they are of one provider.
	t.Run("case 51: a logout token at one node ends the sessions on the other", func(t *testing.T) {
		stored, sealed, mem := c.login(t, "/redis", "redis"), c.login(t, "/cookie", "listed"), c.login(t, "/memcached", "mem")
		onB(t).Get("/cookie", "Cookie", sealed).Want(200)
		token, err := c.provider.Mint(provider.TokenRequest{Kind: provider.TokenLogout, Claims: map[string]any{"sid": nil}})
		if err != nil {
			t.Fatal(err)
		}
		form := url.Values{"logout_token": {token}}
		onA(t).Post("/cookie/backchannel", form).Want(200)
		for route, cookie := range map[string]string{"/redis": stored, "/cookie": sealed} {
			onB(t).Get(route, "Cookie", cookie).Want(401)
			onA(t).Get(route, "Cookie", cookie).Want(401)
		}
		onA(t).Get("/memcached", "Cookie", mem).Want(401) // its list is the node's
		onB(t).Post("/cookie/backchannel", form).Want(400)
		again := c.login(t, "/cookie", "listed")
		onA(t).Post("/redis/backchannel", form).Want(400)
		onB(t).Get("/cookie", "Cookie", again).Want(200)
	})
	t.Run("sessions are listed by subject, and end by id", func(t *testing.T) {
		harness.NewBrowser(t, c.a.Admin).Do("DELETE", "/openid-connect/sessions?subject=sub-alex&issuer="+issuer, nil).Want(204)
		if k := c.sessions(t, "subject=sub-alex"); len(k.Data) != 0 {
			t.Fatalf("left: %+v", k.Data)
		}
		cookies := []string{c.login(t, "/redis", "redis"), c.login(t, "/redis", "redis")}
		k := c.sessions(t, "subject=sub-alex&size=1")
		if len(k.Data) != 1 || k.Next == nil || k.Data[0].Subject != "sub-alex" || k.Data[0].Storage != "redis" {
			t.Fatalf("%+v", k)
		}
		if k := c.sessions(t, "subject=sub-alex"); len(k.Data) != 2 || k.Next != nil {
			t.Fatalf("%+v", k)
		}
		harness.NewBrowser(t, c.b.Admin).Do("DELETE", "/openid-connect/sessions/"+k.Data[0].ID, nil).Want(204)
		ended := 0
		for _, cookie := range cookies {
			if onA(t).Get("/redis", "Cookie", cookie).StatusCode == 401 {
				ended++
			}
		}
		if ended != 1 {
			t.Errorf("%d of two sessions ended", ended)
		}
		if left := c.sessions(t, "subject=sub-alex"); len(left.Data) != 1 || left.Data[0].ID == k.Data[0].ID {
			t.Errorf("left: %+v", left.Data)
		}
	})
	t.Run("an operator ends the sessions of a subject, those in cookies too", func(t *testing.T) {
		stored, sealed := c.login(t, "/redis", "redis"), c.login(t, "/cookie", "listed")
		harness.NewBrowser(t, c.b.Admin).Do("DELETE", "/openid-connect/sessions?subject=sub-alex&issuer="+issuer, nil).Want(204)
		onA(t).Get("/redis", "Cookie", stored).Want(401)
		onA(t).Get("/cookie", "Cookie", sealed).Want(401)
		if k := c.sessions(t, "subject=sub-alex"); len(k.Data) != 0 {
			t.Errorf("left: %+v", k.Data)
		}
	})
}
