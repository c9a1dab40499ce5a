package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/token"
)

// bound fails unless the service saw a token that is bound to a DPoP key, as
// the bearer's.
func wantBound(t *testing.T, e echo) string {
	t.Helper()
	raw, ok := strings.CutPrefix(e.one(t, "Authorization"), "Bearer ")
	u, err := token.Parse(raw, 0)
	if !ok || err != nil {
		t.Fatalf("Authorization: %v", err)
	}
	cnf, _ := u.Claims["cnf"].(map[string]any)
	jkt, _ := cnf["jkt"].(string)
	if jkt == "" {
		t.Error("the token is not bound")
	}
	return jkt
}

// proofs returns the claims of the DPoP proofs that an endpoint got.
func proofs(t *testing.T, endpoint string) (out []*token.Unverified) {
	t.Helper()
	for _, r := range env.provider.Records(endpoint) {
		for _, raw := range r.Header.Values("DPoP") {
			u, err := token.Parse(raw, 0)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, u)
		}
	}
	return out
}

// TestFAPI2Client are the modules of the FAPI 2.0 client plan, by their names.
func TestFAPI2Client(t *testing.T) {
	for _, page := range []string{"/fapi", "/fapi-jarm"} {
		t.Run("happy flow"+page, func(t *testing.T) {
			env.provider.ResetRecords()
			b := newBrowser(t)
			to := b.begin(page)
			if q := to.Query(); q.Get("request_uri") == "" || len(q) != 2 {
				t.Errorf("sent with %v", q)
			}
			b.back(b.atProvider(to, "alex")).want(t, 302)
			e := b.get(page).echo(t)
			jkt := wantBound(t, e)
			if e.one(t, "X-Userinfo") == "" {
				t.Error("no userinfo by the bound token")
			}
			for endpoint, want := range map[string]string{provider.EndpointPush: "/par", provider.EndpointToken: "/token", provider.EndpointUserinfo: "/userinfo"} {
				got := proofs(t, endpoint)
				if len(got) == 0 {
					t.Errorf("%s got no proof", endpoint)
				}
				for _, u := range got {
					if u.Claims["htu"] != env.Issuer+want || (u.Claims["ath"] != nil) != (endpoint == provider.EndpointUserinfo) {
						t.Errorf("%s: proof %v", endpoint, u.Claims)
					}
				}
			}
			pushed := env.provider.Records(provider.EndpointPush)[0].Form
			if pushed.Get("dpop_jkt") != jkt || pushed.Get("code_challenge_method") != "S256" {
				t.Errorf("pushed %v", pushed)
			}
		})
	}
	for _, c := range []struct {
		name  string
		fault provider.Fault
		end   int // status of the callback; 302 finishes the login
	}{
		{"authorization response with invalid iss", provider.Fault{Name: "authorization-iss-wrong"}, 401},
		{"authorization response with iss removed", provider.Fault{Name: "authorization-iss-missing"}, 401},
		{"authorization response with invalid state", provider.Fault{Name: "authorization-state-wrong"}, 401},
		{"authorization response with missing state", provider.Fault{Name: "authorization-state-missing"}, 0},
		{"token endpoint response without expires_in", provider.Fault{Name: "token-without-expires-in"}, 302},
		{"token type case-insensitive", provider.Fault{Name: "token-type-unknown", Value: "dPoP"}, 302},
		{"token type of a bearer where DPoP is required", provider.Fault{Name: "token-type-lowercase"}, 500},
		{"DPoP with nonce at the token endpoint", provider.Fault{Name: "dpop-nonce", Endpoint: provider.EndpointToken, Value: "n1"}, 302},
		{"DPoP with nonce at the pushed request", provider.Fault{Name: "dpop-nonce", Endpoint: provider.EndpointPush, Value: "n2"}, 302},
		{"DPoP with nonce at the resource", provider.Fault{Name: "dpop-nonce", Endpoint: provider.EndpointUserinfo, Value: "n3"}, 302},
	} {
		t.Run(c.name, func(t *testing.T) {
			faults(t, c.fault)
			b := newBrowser(t)
			a := b.login("/fapi", "alex")
			if c.end != 0 {
				a.want(t, c.end)
			}
			if got := a.setCookies()["fapi"] != nil; got != (c.end == 302) {
				t.Errorf("a session is issued: %t, status %d", got, a.StatusCode)
			}
			if c.end == 302 {
				if e := b.get("/fapi").echo(t); e.one(t, "X-Userinfo") == "" {
					t.Error("no userinfo")
				}
			}
		})
	}
	for _, c := range []struct {
		name  string
		fault provider.Fault
	}{
		{"JARM response with invalid iss", provider.Fault{Name: "wrong-iss"}},
		{"JARM response without iss", provider.Fault{Name: "missing-iss"}},
		{"JARM response with invalid aud", provider.Fault{Name: "wrong-aud"}},
		{"JARM response without aud", provider.Fault{Name: "missing-aud"}},
		{"JARM response that has expired", provider.Fault{Name: "expired"}},
		{"JARM response without exp", provider.Fault{Name: "missing-exp"}},
		{"JARM response with a bad signature", provider.Fault{Name: "bad-signature"}},
		{"JARM response with alg none", provider.Fault{Name: "alg-none"}},
		{"JARM response with alg NoNe", provider.Fault{Name: "alg-none", Value: "NoNe"}},
		{"JARM response by an unknown key", provider.Fault{Name: "foreign-key"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fault.Token = provider.TokenResponse
			faults(t, c.fault)
			env.provider.ResetRecords()
			a := newBrowser(t).login("/fapi-jarm", "alex").want(t, 401)
			if a.setCookies()["fapi-jarm"] != nil || count(provider.EndpointToken) != 0 {
				t.Errorf("a session, or %d token requests", count(provider.EndpointToken))
			}
		})
	}
	t.Run("a plain response where JARM is configured", func(t *testing.T) {
		b := newBrowser(t)
		b.begin("/fapi-jarm")
		if a := b.get("/fapi-jarm?code=x&state=y&iss=" + env.Issuer); a.setCookies()["fapi-jarm"] != nil {
			t.Error("a session is issued")
		}
	})
	t.Run("refresh", func(t *testing.T) {
		b := newBrowser(t)
		b.login("/fapi-refresh", "alex").want(t, 302)
		record := auditSize(t)
		before := wantBound(t, b.get("/fapi-refresh").echo(t))
		env.provider.ResetRecords()
		faults(t, provider.Fault{Name: "dpop-nonce", Endpoint: provider.EndpointToken, Value: "n4"})
		if after := wantBound(t, b.get("/fapi-refresh").echo(t)); after != before {
			t.Error("the key is another one")
		}
		refreshed := false
		for _, r := range env.provider.Records(provider.EndpointToken) {
			refreshed = refreshed || r.GrantType == "refresh_token" && r.Header.Get("DPoP") != "" && r.Status == 200
		}
		if !refreshed {
			t.Error("no refresh with a proof")
		}
		recorded := 0
		for _, e := range auditSince(t, record) {
			if e["event"] == "refresh" && e["method"] == "authorization_code" && e["subject"] != "" && e["session"] != "" && e["client"] != "" {
				recorded++
			}
		}
		if recorded == 0 {
			t.Error("no refresh is in the record")
		}
	})
	t.Run("grants with a proof, by metadata", func(t *testing.T) {
		for name, secret := range map[string]string{"alex": "doe", "second": "second-secret-0123456789abcdef0123456789abcde"} {
			wantBound(t, newBrowser(t).get("/fapi-grants", "Authorization", harness.Basic(name, secret)).echo(t))
		}
	})
	t.Run("no login sends its secrets in the address", func(t *testing.T) {
		to := newBrowser(t).begin("/fapi")
		text, err := json.Marshal(to.Query())
		if err != nil || strings.Contains(string(text), "code_challenge") || strings.Contains(string(text), "state") {
			t.Errorf("sent to %s, %v", to, err)
		}
	})
}
