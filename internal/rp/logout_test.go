package rp

import (
	"context"
	"slices"
	"testing"
	"time"

	"kong-openid-connect/internal/token"
)

// endProvider has an end session endpoint, or none, and notes what is revoked.
type endProvider struct {
	Provider
	endpoint string
	err      error
	revoked  []string
}

func (p *endProvider) EndSessionURL(_ context.Context, _ int, idToken token.Opaque, returnTo string) (string, error) {
	if p.endpoint == "" || p.err != nil {
		return "", p.err
	}
	return p.endpoint + "?hint=" + idToken.Reveal() + "&to=" + returnTo, nil
}

func (p *endProvider) Revoke(_ context.Context, _ int, raw token.Opaque, hint string) error {
	p.revoked = append(p.revoked, hint+"="+raw.Reveal())
	return p.err
}

func (p *endProvider) Decode(raw token.Opaque) (*token.Token, error) {
	return &token.Token{Raw: raw}, nil
}

// mortal is a session that may have ended.
type mortal struct {
	oneSession
	dead bool
}

func (m *mortal) Open(ctx context.Context, b Browser) (*Session, error) {
	if m.dead {
		return nil, nil
	}
	return m.oneSession.Open(ctx, b)
}

// TestLogoutAnswers: all triggers and all answers of behaviour.md 14.
func TestLogoutAnswers(t *testing.T) {
	const endpoint, home = "https://idp.example.com/logout", "https://app.example.com/bye"
	outage := &Error{Description: "down", Reason: "test"}
	form := "application/x-www-form-urlencoded"
	both := []string{"access_token=at", "refresh_token=rt"}
	type row struct {
		name, method, path, query, body string
		endpoint, home                  string
		err                             error // of the provider
		dead, nothing                   bool  // without a session; not even a cookie
		refuse                          error // of the session storage
		access, refresh                 bool  // revoke these
		status                          int   // 0: no logout
		to                              string
		revoked                         []string
	}
	for _, c := range []row{
		{name: "suffix", method: "POST", path: "/a/logout", endpoint: endpoint, home: home, access: true, refresh: true, status: 302, to: endpoint + "?hint=id&to=" + home, revoked: both},
		{name: "suffix, whatever the query", method: "POST", path: "/a/logout", query: "x=/y", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "suffix, encoded and with dots", method: "POST", path: "/a/x/../%6cogout", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "DELETE", method: "DELETE", path: "/a/logout", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "query argument", method: "POST", path: "/a", query: "x=1&bye", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "query argument with a value", method: "POST", path: "/a", query: "bye=no", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "body argument", method: "POST", path: "/a", body: "x=1&leave=1", endpoint: endpoint, status: 302, to: endpoint + "?hint=id&to="},
		{name: "case 52: GET is not enabled", method: "GET", path: "/a/logout", query: "bye", endpoint: endpoint},
		{name: "another path", method: "POST", path: "/a/logout/not", endpoint: endpoint},
		{name: "suffix in the query alone", method: "POST", path: "/a", query: "to=/logout", endpoint: endpoint},
		{name: "body argument in the query alone", method: "POST", path: "/a", query: "leave=1", endpoint: endpoint},
		{name: "access token alone is revoked", method: "POST", path: "/a/logout", access: true, status: 200, revoked: both[:1]},
		{name: "refresh token alone is revoked", method: "POST", path: "/a/logout", refresh: true, status: 200, revoked: both[1:]},
		{name: "no endpoint", method: "POST", path: "/a/logout", home: home, status: 302, to: home},
		{name: "nowhere to go", method: "POST", path: "/a/logout", status: 200},
		{name: "the provider is down", method: "POST", path: "/a/logout", endpoint: endpoint, home: home, err: outage, access: true, refresh: true, status: 302, to: home, revoked: both},
		{name: "the provider is down, nowhere to go", method: "POST", path: "/a/logout", endpoint: endpoint, err: outage, access: true, status: 200, revoked: both[:1]},
		{name: "a dead session", method: "POST", path: "/a/logout", endpoint: endpoint, home: home, dead: true, access: true, refresh: true, status: 302, to: endpoint + "?hint=&to=" + home},
		{name: "no cookie", method: "POST", path: "/a/logout", endpoint: endpoint, home: home, nothing: true, status: 302, to: endpoint + "?hint=&to=" + home},
		{name: "no session, no endpoint", method: "POST", path: "/a/logout", home: home, nothing: true, status: 302, to: home},
		{name: "the session's storage is down", method: "POST", path: "/a/logout", endpoint: endpoint, refuse: &Error{Kind: Unavailable, Description: "down", Reason: "session_storage"}, access: true, status: 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			provider := &endProvider{endpoint: c.endpoint, err: c.err}
			now := time.Unix(1e9, 0)
			sessions := &mortal{oneSession: oneSession{refuse: c.refuse, stored: StoredTokens{Method: MethodPassword, AccessToken: "at", IDToken: "id", RefreshToken: "rt", Expiry: now.Add(time.Hour)}}, dead: c.dead}
			p := &Policy{
				Methods: NewMethodSet(MethodSession), Provider: provider, Sessions: sessions, Now: func() time.Time { return now }, Flight: &Flight{},
				Clients: []Client{{LogoutRedirectURI: c.home}},
				Logout:  LogoutPolicy{Methods: []string{"POST", "DELETE"}, Suffix: "/logout", QueryArg: "bye", PostArg: "leave", RevokeAccess: c.access, RevokeRefresh: c.refresh},
			}
			h := Header{"cookie": {"session=1"}}
			if c.nothing {
				h = Header{}
			}
			if c.body != "" {
				h["content-type"] = []string{form}
			}
			r := newRequest(c.method, c.path, c.query, h)
			r.Gateway.(*fakeGateway).body = []byte(c.body)
			d := p.Decide(t.Context(), r)
			if c.status == 0 {
				if d.Respond != nil || len(provider.revoked) != 0 {
					t.Fatalf("logged out: %d %v", d.Respond.Status, d.Err)
				}
				return
			}
			if d.Respond == nil || d.Respond.Status != c.status {
				t.Fatalf("%+v, %v", d.Respond, d.Err)
			}
			to, _ := down(d, "Location")
			if to != c.to {
				t.Errorf("sent to %q, want %q", to, c.to)
			}
			if v, _ := down(d, "Cache-Control"); v != "no-store" {
				t.Errorf("Cache-Control %q", v)
			}
			if c.status == 200 && string(d.Respond.Body) != "{}" {
				t.Errorf("body %s", d.Respond.Body)
			}
			if !slices.Equal(provider.revoked, c.revoked) {
				t.Errorf("revoked %q, want %q", provider.revoked, c.revoked)
			}
		})
	}
}
