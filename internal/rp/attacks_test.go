package rp

import (
	"context"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
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

// refusingUserInfo is a provider whose userinfo endpoint fails with err.
type refusingUserInfo struct {
	codeProvider
	err error
}

func (p *refusingUserInfo) UserInfo(context.Context, token.Opaque, string, time.Time, Forward) (*UserInfo, error) {
	return nil, p.err
}

// A claim that forbids the request must not be missed because its source can be
// kept from answering, as by asking it too often.
func TestForbiddenClaimIsNotMissedWhenItsSourceFails(t *testing.T) {
	login := func(pr Provider, opaque string) *Policy {
		p := codePolicy(&fakeLogins{outcome: LoginFound, login: Login{ID: "1"}})
		switch pr := pr.(type) {
		case *refusingUserInfo:
			pr.answer = TokenResponse{AccessToken: token.Opaque(opaque), IDToken: "i.d.t"}
		case *sourceProvider:
			pr.answer = TokenResponse{AccessToken: token.Opaque(opaque), IDToken: "i.d.t"}
		}
		p.Provider, p.SearchUserInfo, p.Claims.Forbidden = pr, true, []string{"blocked"}
		return p
	}
	for _, c := range []struct {
		name, token string
		err         error
		status      int // 0: let through
	}{
		{"outage", "opaque", &Error{Description: "down", Reason: "provider_unavailable"}, 500},
		{"refusal", "opaque", &Error{Kind: Unauthorized, Description: "refused", Reason: "provider_refused"}, 401},
		{"no such endpoint", "opaque", ErrNoEndpoint, 0},
		{"the claims of a JWT count", jws, &Error{Description: "down", Reason: "provider_unavailable"}, 0},
	} {
		t.Run("userinfo: "+c.name, func(t *testing.T) {
			d := login(&refusingUserInfo{err: c.err}, c.token).Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil))
			if got := statusOf(d); got != c.status {
				t.Errorf("status %d, want %d (%v)", got, c.status, d.Err)
			}
		})
	}
	for name, endpoint := range map[string]string{"a source that fails": "https://down", "a source that does not tell": "https://ok"} {
		t.Run(name, func(t *testing.T) {
			id := overage(map[string]any{"blocked": "a"}, map[string]any{"a": map[string]any{"endpoint": endpoint}})
			pr := &sourceProvider{id: id, answers: map[string]claims.Object{"https://ok": {}}}
			p := login(pr, "opaque")
			p.SearchUserInfo, p.DistributedClaims = false, true
			if d := p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil)); statusOf(d) != 403 {
				t.Errorf("status %d, want 403 (%v)", statusOf(d), d.Err)
			}
		})
	}
}

func statusOf(d *Decision) int {
	if d.Respond == nil {
		return 0
	}
	return d.Respond.Status
}
