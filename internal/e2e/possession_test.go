package e2e

import (
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// boundTo is an access token that is bound to a DPoP key.
func boundTo(t *testing.T, h *harness.Holder) string {
	t.Helper()
	return mint(t, provider.TokenRequest{Claims: boundClaims(h)})
}

// boundClaims are those of a token that is bound to a DPoP key (RFC 9449 6.1).
func boundClaims(h *harness.Holder) map[string]any {
	return map[string]any{"cnf": map[string]any{"jkt": h.Thumbprint()}}
}

func TestDPoP(t *testing.T) {
	h := harness.NewHolder(t)
	b := newBrowser(t)
	access, url := boundTo(t, h), env.Proxy+"/dpop"
	send := func(scheme, token, proof string) *answer {
		return b.get("/dpop", "Authorization", scheme+" "+token, "DPoP", proof)
	}
	t.Run("a proof lets through, and the service sees a bearer token", func(t *testing.T) {
		for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
			e := send(scheme, access, h.Proof("GET", url, access, nil)).echo(t)
			if e.one(t, "Authorization") != "Bearer "+access || len(e.get("DPoP")) != 0 {
				t.Errorf("the service saw %q and %q", e.get("Authorization"), e.get("DPoP"))
			}
		}
	})
	used := h.Proof("GET", url, access, nil)
	send("DPoP", access, used).want(t, 200)
	for _, c := range []struct{ name, scheme, token, proof string }{
		{"case 53: wrong htm", "DPoP", access, h.Proof("POST", url, access, nil)},
		{"case 53: wrong htu", "DPoP", access, h.Proof("GET", env.Proxy+"/bearer", access, nil)},
		{"case 53: wrong ath", "DPoP", access, h.Proof("GET", url, "another", nil)},
		{"case 53: wrong key", "DPoP", access, harness.NewHolder(t).Proof("GET", url, access, nil)},
		{"case 53: stale", "DPoP", access, h.Proof("GET", url, access, map[string]any{"iat": time.Now().Unix() - 3600})},
		{"case 53: reused", "DPoP", access, used},
		{"case 53: no proof", "DPoP", access, "x"},
		{"case 53: a private key in jwk", "DPoP", access, h.Forged(harness.PrivateKey, "GET", url, access)},
		{"case 53: alg none", "DPoP", access, h.Forged(harness.NoAlgorithm, "GET", url, access)},
		{"case 53: alg HS256", "DPoP", access, h.Forged(harness.Symmetric, "GET", url, access)},
		{"another typ", "DPoP", access, h.Forged(harness.WrongType, "GET", url, access)},
		{"a bad signature", "DPoP", access, h.Forged(harness.BadSign, "GET", url, access)},
		{"case 55: a bound token as Bearer", "Bearer", access, h.Proof("GET", url, access, nil)},
		{"an unbound token", "DPoP", mint(t, provider.TokenRequest{}), h.Proof("GET", url, access, nil)},
		{"an unbound token as Bearer", "Bearer", mint(t, provider.TokenRequest{}), h.Proof("GET", url, access, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(c.scheme, c.token, c.proof).want(t, 401)
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "DPoP ") || !strings.Contains(got, `algs="`) || !strings.Contains(got, `error="`) {
				t.Errorf("challenge %q", got)
			}
		})
	}
	t.Run("case 54: a nonce is asked for, then accepted", func(t *testing.T) {
		url := env.Proxy + "/dpop-nonce"
		a := b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", url, access, nil)).want(t, 401)
		nonce := a.Header.Get("DPoP-Nonce")
		if nonce == "" || !strings.Contains(a.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			t.Fatalf("nonce %q, challenge %q", nonce, a.Header.Get("WWW-Authenticate"))
		}
		b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", url, access, map[string]any{"nonce": nonce})).want(t, 200)
		b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", url, access, map[string]any{"nonce": "made-up"})).want(t, 401)
	})
	t.Run("htu is the URL that the client sees", func(t *testing.T) {
		outside := h.Proof("GET", "https://api.example.test/dpop", access, nil)
		header := []string{"Authorization", "DPoP " + access, "DPoP", outside, "X-Forwarded-Host", "api.example.test", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "443"}
		newBrowser(t).get("/dpop", header...).want(t, 401) // anybody can say so
		newBrowser(t).from(trustedPeer).get("/dpop", header...).want(t, 200)
		over := harness.NewBrowser(t, env.ProxyTLS)
		over.Get("/dpop?x=1", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", env.ProxyTLS+"/dpop", access, nil)).Want(200)
		over.Get("/dpop", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", env.Proxy+"/dpop", access, nil)).Want(401)
	})
	t.Run("DPoP is not a scheme where it is off", func(t *testing.T) {
		b.get("/bearer", "Authorization", "DPoP "+access, "DPoP", h.Proof("GET", env.Proxy+"/bearer", access, nil)).want(t, 401)
	})
}
