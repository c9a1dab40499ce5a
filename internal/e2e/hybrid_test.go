package e2e

import (
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// TestHybrid: the ID token that comes with the code is verified, vouches for
// the code, and is about the same login as the one that the code is redeemed
// for (OpenID Connect Core 3.3.2.10 to 3.3.3.7).
func TestHybrid(t *testing.T) {
	t.Run("code id_token", func(t *testing.T) {
		b := newBrowser(t)
		if b.login("/hybrid", "alex").want(t, 302).setCookies()["hybrid"] == nil {
			t.Error("no session")
		}
		b.get("/hybrid").want(t, 200)
	})
	front, back := provider.EndpointAuthorization, provider.EndpointToken
	for _, c := range []struct{ name, endpoint, fault string }{
		{"front: bad c_hash", front, "bad-c-hash"},
		{"front: no c_hash", front, "missing-c-hash"},
		{"front: wrong nonce", front, "wrong-nonce"},
		{"front: no nonce", front, "missing-nonce"},
		{"front: wrong iss", front, "wrong-iss"},
		{"front: wrong aud", front, "wrong-aud"},
		{"front: expired", front, "expired"},
		{"front: bad signature", front, "bad-signature"},
		{"front: alg none", front, "alg-none"},
		{"front: another subject than in back", front, "wrong-sub"},
		{"back: another subject than in front", back, "wrong-sub"},
		{"back: wrong iss", back, "wrong-iss"},
		{"back: bad at_hash", back, "bad-at-hash"},
		{"back: bad c_hash", back, "bad-c-hash"},
		{"back: wrong nonce", back, "wrong-nonce"},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults(t, provider.Fault{Name: c.fault, Endpoint: c.endpoint})
			env.provider.ResetRecords()
			a := newBrowser(t).login("/hybrid", "alex").want(t, 401)
			if a.setCookies()["hybrid"] != nil {
				t.Error("a session is issued")
			}
			if c.endpoint == front && c.fault != "wrong-sub" && count(provider.EndpointToken) != 0 {
				t.Errorf("the code is redeemed %d times", count(provider.EndpointToken))
			}
		})
	}
}
