package rp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

func TestFlightKeepsResultsForTenSeconds(t *testing.T) {
	f, now := &Flight{}, time.Unix(1e9, 0)
	r := &refreshed{}
	f.keep("a", r, now)
	for _, c := range []struct {
		after time.Duration
		want  *refreshed
	}{{0, r}, {10*time.Second - 1, r}, {10 * time.Second, nil}} {
		if got := f.recall("a", now.Add(c.after)); got != c.want {
			t.Errorf("after %v: %p, want %p", c.after, got, c.want)
		}
	}
	other := &refreshed{}
	f.keep("a", other, now.Add(5*time.Second)) // the older note must not take it along
	f.keep("b", r, now.Add(12*time.Second))
	if f.recall("a", now.Add(12*time.Second)) != other {
		t.Error("a newer result of the same session is forgotten with the older one")
	}
}

func TestFlightIsBounded(t *testing.T) {
	f, now := &Flight{}, time.Unix(1e9, 0)
	for i := range 3 * maxKept {
		f.keep(fmt.Sprint(i), &refreshed{}, now)
	}
	if len(f.kept) > maxKept || len(f.queue) > maxKept {
		t.Errorf("%d results are kept, %d in the queue", len(f.kept), len(f.queue))
	}
	if f.recall(fmt.Sprint(3*maxKept-1), now) == nil || f.recall("0", now) != nil {
		t.Error("it is not the oldest that gave way")
	}
	for i := range 2 * maxKept {
		f.keep(fmt.Sprint("later", i), &refreshed{}, now.Add(time.Minute+time.Duration(i)*time.Second))
	}
	if len(f.kept) > 16 || len(f.queue) > 16 {
		t.Errorf("%d results are kept after their time, %d in the queue", len(f.kept), len(f.queue))
	}
}

// oneSession keeps the tokens of one session, whoever asks.
type oneSession struct {
	Sessions
	stored StoredTokens
	refuse error
}

func (o *oneSession) session() *Session {
	return &Session{ID: "1", Subject: "alex", Tokens: o.stored}
}
func (o *oneSession) Open(context.Context, Browser) (*Session, error) { return o.session(), nil }
func (o *oneSession) Start(_ context.Context, _ Browser, _ string, t StoredTokens) (*Session, []string, error) {
	o.stored = t
	return o.session(), []string{"session=1; Path=/"}, nil
}
func (o *oneSession) Refresh(ctx context.Context, _ Browser, _ *Session, do func(context.Context) (StoredTokens, error)) (*Session, []string, error) {
	t, err := do(ctx)
	if err != nil {
		return nil, nil, err
	}
	o.stored = t
	return o.session(), []string{"session=2; Path=/"}, nil
}
func (*oneSession) Due(context.Context, *Session) bool { return false }
func (o *oneSession) Destroy(context.Context, Browser, *Session) ([]string, error) {
	return []string{"session=; Max-Age=0"}, o.refuse
}
func (*oneSession) Owns(name string) bool { return strings.HasPrefix(name, "session") }
func (*oneSession) Binds() Needs          { return 0 }

// sealingProvider encrypts its ID tokens: "jwe:" stands before the signed one.
type sealingProvider struct {
	fakeProvider
	now     time.Time
	refresh func() (*TokenResponse, error)
	hint    token.Opaque
}

func (p *sealingProvider) Refresh(context.Context, int, token.Opaque) (*TokenResponse, error) {
	return p.refresh()
}
func (p *sealingProvider) VerifyIDToken(_ context.Context, raw token.Opaque, _ IDTokenExpectation) (*token.Token, error) {
	inner, ok := strings.CutPrefix(raw.Reveal(), "jwe:")
	if !ok {
		return nil, &Error{Kind: Unauthorized, Description: "not encrypted", Reason: "test"}
	}
	return &token.Token{Raw: token.Opaque(inner), Claims: claims.Object{"sub": "alex"}}, nil
}
func (p *sealingProvider) Decode(raw token.Opaque) (*token.Token, error) {
	if strings.HasPrefix(raw.Reveal(), "jwe:") {
		return nil, errors.New("still encrypted")
	}
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "alex", "n": raw.Reveal()}}, nil
}
func (p *sealingProvider) EndSessionURL(_ context.Context, _ int, idToken token.Opaque, _ string) (string, error) {
	p.hint = idToken
	return "https://idp.example.com/logout?" + url.Values{"id_token_hint": {idToken.Reveal()}}.Encode(), nil
}
func (p *sealingProvider) Revoke(context.Context, int, token.Opaque, string) error { return nil }

// An encrypted ID token is kept as what it holds: it is decrypted once, its
// claims can be read at every request, and a provider takes it as a hint.
func TestEncryptedIDTokensAreKeptDecrypted(t *testing.T) {
	now := time.Unix(1e9, 0)
	provider := &sealingProvider{now: now, refresh: func() (*TokenResponse, error) {
		return &TokenResponse{AccessToken: "opaque-2", IDToken: "jwe:second", RefreshToken: "r2", Expiry: now.Add(time.Hour)}, nil
	}}
	sessions := &oneSession{stored: StoredTokens{Method: MethodAuthorizationCode, AccessToken: "opaque-1", IDToken: "first", RefreshToken: "r1", Expiry: now.Add(time.Hour)}}
	p := &Policy{
		Methods: NewMethodSet(MethodSession), Provider: provider, Sessions: sessions, Refresh: true, Now: func() time.Time { return now }, Flight: &Flight{}, Credential: claims.Path{"sub"},
		Headers: NewHeaderPolicy([]HeaderRule{{Name: "X-N", Source: FromClaim, Path: claims.Path{"n"}}}, nil),
		Logout:  LogoutPolicy{Methods: []string{"POST"}, Suffix: "/logout"},
	}
	cookie := Header{"cookie": {"session=1"}}
	n := func() string {
		d := p.Decide(t.Context(), newRequest("GET", "/", "", cookie))
		if d.Respond != nil {
			t.Fatalf("status %d: %v", d.Respond.Status, d.Err)
		}
		v, _ := set(d, "X-N")
		return v
	}
	if got := n(); got != "first" {
		t.Errorf("before the refresh the ID token is %q", got)
	}
	sessions.stored.Expiry = now
	if got := n(); got != "second" || sessions.stored.IDToken != "second" || sessions.stored.RefreshToken != "r2" {
		t.Errorf("after the refresh the ID token is %q, kept as %q", got, sessions.stored.IDToken.Reveal())
	}
	d := p.Decide(t.Context(), newRequest("POST", "/logout", "", cookie))
	if d.Respond == nil || d.Respond.Status != 302 || provider.hint != "second" {
		t.Errorf("logout with the hint %q: %+v", provider.hint.Reveal(), d)
	}
}

// TestRefreshOutcomes: cases 48 and 49 as far as one request goes.
func TestRefreshOutcomes(t *testing.T) {
	now := time.Unix(1e9, 0)
	outage := &Error{Description: "down", Reason: "test"}
	refusal := &Error{Kind: Unauthorized, Code: "invalid_grant", Reason: "test"}
	good := &TokenResponse{AccessToken: "new", Expiry: now.Add(time.Hour)}
	for _, c := range []struct {
		name    string
		left    time.Duration // of the access token
		leeway  time.Duration
		refresh string // the refresh token that is kept
		answer  *TokenResponse
		err     error
		status  int
		token   token.Opaque // toward the service
		asked   bool
	}{
		{"a second before it is due", 61 * time.Second, time.Minute, "r", good, nil, 0, "old", false},
		{"at the second that it is due", time.Minute, time.Minute, "r", good, nil, 0, "new", true},
		{"a second before the end, without leeway", time.Second, 0, "r", good, nil, 0, "old", false},
		{"at the end, without leeway", 0, 0, "r", good, nil, 0, "new", true},
		{"case 49: an outage while the token lives", time.Second, time.Minute, "r", nil, outage, 0, "old", true},
		{"case 49: an outage within the leeway", -time.Minute, time.Minute, "r", nil, outage, 0, "old", true},
		{"case 49: an outage after the leeway", -61 * time.Second, time.Minute, "r", nil, outage, 500, "", true},
		{"case 49: a refusal while the token lives", time.Second, time.Minute, "r", nil, refusal, 401, "", true},
		{"no refresh token, within the leeway", -time.Minute, time.Minute, "", nil, nil, 0, "old", false},
		{"no refresh token, after the leeway", -61 * time.Second, time.Minute, "", nil, nil, 401, "", false},
		{"what comes has expired already", time.Second, time.Minute, "r", &TokenResponse{AccessToken: "new", Expiry: now}, nil, 401, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := false
			provider := &sealingProvider{refresh: func() (*TokenResponse, error) { asked = true; return c.answer, c.err }}
			sessions := &oneSession{stored: StoredTokens{Method: MethodPassword, AccessToken: "old", RefreshToken: token.Opaque(c.refresh), Expiry: now.Add(c.left)}}
			p := &Policy{
				Methods: NewMethodSet(MethodSession), Provider: provider, Sessions: sessions, Refresh: true, Leeway: c.leeway, Now: func() time.Time { return now }, Flight: &Flight{},
				Headers: NewHeaderPolicy([]HeaderRule{{Name: "X-T", Source: FromAccessToken}}, nil),
			}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=1"}}))
			got := 0
			if d.Respond != nil {
				got = d.Respond.Status
			}
			v, _ := set(d, "X-T")
			if got != c.status || v != c.token.Reveal() || asked != c.asked {
				t.Errorf("status %d, token %q, asked %v: %v", got, v, asked, d.Err)
			}
			ended := false
			for _, f := range d.Downstream.Add {
				ended = ended || strings.HasPrefix(f.Value, "session=;")
			}
			if ended != (c.status == 401) {
				t.Errorf("cookie removed: %v", ended)
			}
		})
	}
}

func TestNoStoreGoesWithSessionsOnly(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := bearerPolicy(claims.Object{"sub": "alex"})
	p.Methods, p.Session.NoStore = NewMethodSet(MethodSession, MethodBearer), true
	p.Session.Disabled = NewMethodSet(MethodBearer)
	p.Sessions = &oneSession{stored: StoredTokens{Method: MethodPassword, AccessToken: "old", Expiry: now.Add(time.Hour)}}
	for name, c := range map[string]struct {
		header Header
		want   bool
	}{
		"session": {Header{"cookie": {"session=1"}}, true},
		"bearer":  {Header{"authorization": {"Bearer " + jws}}, false},
	} {
		d := p.Decide(t.Context(), newRequest("GET", "/", "", c.header))
		v, _ := down(d, "Cache-Control")
		if d.Respond != nil || (v == "no-store") != c.want {
			t.Errorf("%s: Cache-Control %q: %v", name, v, d.Err)
		}
	}
}
