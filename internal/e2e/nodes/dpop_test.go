package nodes

import (
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// boundTo is an access token that is bound to a holder's key (RFC 9449 6.1).
func (c *cluster) boundTo(t *testing.T, h *harness.Holder) string {
	t.Helper()
	access, err := c.provider.Mint(provider.TokenRequest{Claims: map[string]any{"cnf": map[string]any{"jkt": h.Thumbprint()}}})
	if err != nil {
		t.Fatal(err)
	}
	return access
}

// proves sends a bound token with a proof through the load balancer.
func (c *cluster) proves(t *testing.T, g *harness.Gateway, route, access, proof string) *harness.Answer {
	t.Helper()
	return c.through(t, g, route, "Authorization", "DPoP "+access, "DPoP", proof)
}

// proofsAreShared is case 53: a reused jti, also on another node that shares a store.
func (c *cluster) proofsAreShared(t *testing.T, route string) {
	h, other := harness.NewHolder(t), harness.NewHolder(t)
	access := c.boundTo(t, h)
	for _, order := range [][2]*harness.Gateway{{c.a, c.b}, {c.b, c.a}} {
		jti := map[string]any{"jti": "jti of " + order[0].Proxy}
		proof := h.Proof("GET", external+route, access, jti)
		c.proves(t, order[0], route, access, proof).Want(200)
		for i, g := range []*harness.Gateway{order[1], order[0]} {
			a := c.proves(t, g, route, access, proof).Want(401)
			if w := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(w, "DPoP ") || !strings.Contains(w, `error="invalid_dpop_proof"`) {
				t.Errorf("replay %d: challenge %q", i, w)
			}
		}
		// The same jti of another key is another proof.
		theirs := c.boundTo(t, other)
		c.proves(t, order[1], route, theirs, other.Proof("GET", external+route, theirs, jti)).Want(200)
		c.proves(t, order[1], route, access, h.Proof("GET", external+route, access, nil)).Want(200)
	}
}

// noncesAreShared is case 54 on two nodes.
func (c *cluster) noncesAreShared(t *testing.T, route string) {
	h := harness.NewHolder(t)
	access := c.boundTo(t, h)
	for _, order := range [][2]*harness.Gateway{{c.a, c.b}, {c.b, c.a}} {
		a := c.proves(t, order[0], route, access, h.Proof("GET", external+route, access, nil)).Want(401)
		nonce := a.Header.Get("DPoP-Nonce")
		if nonce == "" || !strings.Contains(a.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			t.Fatalf("nonce %q, challenge %q", nonce, a.Header.Get("WWW-Authenticate"))
		}
		c.proves(t, order[1], route, access, h.Proof("GET", external+route, access, map[string]any{"nonce": nonce})).Want(200)
	}
}

// boundTokensAreShared: the key of client_dpop follows from the session secret,
// so the other node uses a session's tokens, at userinfo and for a refresh.
func (c *cluster) boundTokensAreShared(t *testing.T) {
	c.lifetime(t, 3600)
	cookie := c.login(t, "/client-dpop", "bound")
	if s := c.onB(t).Get("/client-dpop", "Cookie", cookie).Echo().One("X-Userinfo"); s == "" {
		t.Error("the other node gets no userinfo by the bound token")
	}
}
