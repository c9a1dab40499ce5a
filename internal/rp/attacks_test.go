package rp

import (
	"testing"

	"kong-openid-connect/internal/claims"
)

// Whoever can plant cookies, from a sibling host say, begins a login under a
// name of his own and hands it to somebody else's browser: it must not lead
// that person, with tokens in the address, to that name.
func TestPlantedLoginDoesNotLeadToItsHost(t *testing.T) {
	for _, c := range []struct {
		name, target, domain, host string
		lands                      bool
	}{
		{"the host itself", "https://gw.example.com/page", "", "gw.example.com", true},
		{"in other case, with a port", "http://GW.example.com:8443/page", "", "gw.example.com", true},
		{"another host", "https://evil.example/page", "", "gw.example.com", false},
		{"a sibling without a cookie for the domain", "https://evil.example.com/page", "", "gw.example.com", false},
		{"a sibling with one", "https://app.example.com/page", "example.com", "gw.example.com", true},
		{"the domain itself", "https://example.com/page", ".example.com", "gw.example.com", true},
		{"an end of a name", "https://evilexample.com/page", "example.com", "gw.example.com", false},
		{"the name as a prefix", "https://gw.example.com.evil.example/", "example.com", "gw.example.com", false},
		{"user information", "https://gw.example.com@evil.example/", "", "gw.example.com", false},
		{"IPv6", "https://[::1]:8443/page", "", "[::1]", true},
		{"another IPv6", "https://[::2]/page", "", "[::1]", false},
		{"too long to be kept", "/", "", "gw.example.com", true},
		{"no origin", "//evil.example/", "", "gw.example.com", false},
		{"a script", "javascript:alert(1)", "", "gw.example.com", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := codePolicy(&fakeLogins{outcome: LoginFound, login: Login{ID: "1", ReturnTo: c.target, Nonce: "n"}})
			p.Login.Action, p.Login.Tokens, p.Login.Fragment = LoginRedirect, []string{"id_token"}, true
			p.Code.CookieDomain = c.domain
			r := newRequest("GET", "/cb", "code=c&state=st", nil)
			r.Gateway.(*fakeGateway).full.External.Host = c.host
			d := p.Decide(t.Context(), r)
			to, redirected := down(d, "Location")
			if redirected != c.lands || !c.lands && d.Respond.Status != 401 {
				t.Errorf("%d to %q, lands there: want %v (%v)", d.Respond.Status, to, c.lands, d.Err)
			}
		})
	}
}

// Case 32 holds for Authorization too, where a claim is to stand there.
func TestClientCannotStandInForAClaimInAuthorization(t *testing.T) {
	rules := []HeaderRule{{Name: "Authorization", Source: FromClaim, Path: claims.Path{"service_token"}}}
	for name, h := range map[string]Header{
		"another place holds the token": {"access-token": {jws}, "authorization": {"Basic Zm9yZ2Vk"}},
		"it holds the token":            {"authorization": {"Bearer " + jws}},
	} {
		p := bearerPolicy(claims.Object{"sub": "s"})
		p.Headers = NewHeaderPolicy(rules, nil)
		d := p.Decide(t.Context(), newRequest("GET", "/", "", h))
		if d.Respond != nil || !cleared(d, "authorization") {
			t.Errorf("%s: %+v %+v", name, d.Respond, d.Upstream)
		}
	}
	p := bearerPolicy(claims.Object{"sub": "s", "service_token": "Bearer t"})
	p.Headers = NewHeaderPolicy(rules, nil)
	if d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}})); d.Respond != nil {
		t.Error(d.Err)
	} else if v, _ := set(d, "Authorization"); v != "Bearer t" {
		t.Errorf("the service gets %q", v)
	}
}
