package rp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// deep nests n objects.
func deep(n int) any {
	var v any = "end"
	for range n {
		v = map[string]any{"a": v}
	}
	return v
}

func TestHeaderValuesFromClaims(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name   string
		value  any
		want   string // "" = not set
		status int
	}{
		{"text", "alex", "alex", 0},
		{"number", json.Number("12345678901234567890"), "12345678901234567890", 0},
		{"boolean", false, "false", 0},
		{"null", nil, "", 0},
		{"empty", "", "", 0},
		{"list", []any{"a", "b c"}, "a, b c", 0},
		{"empty list", []any{}, "", 0},
		{"list with an element that would become two", []any{"users", "x,admin", "y"}, "users, y", 0},
		{"list with controls", []any{"emp\x00loyees", "a\r\nb", "c"}, "c", 0},
		{"list with blank ends", []any{" admin", "admin ", "", "c"}, "c", 0},
		{"mixed list", []any{"a", json.Number("1")}, b64(`["a",1]`), 0},
		{"object", map[string]any{"a": "<b>"}, b64(`{"a":"<b>"}`), 0},
		{"non-ASCII", "Ångström ☃", "Ångström ☃", 0},
		{"blank before", " admin", "", 0},
		{"control before", "\x00admin", "", 0},
		{"line end after", "admin\r\n", "", 0},
		{"tab after", "admin\t", "", 0},
		{"controls within are left to the wire", "a\r\nX-Admin: 1", "a\r\nX-Admin: 1", 0},
		{"as long as may be", strings.Repeat("a", DefaultMaxHeader), strings.Repeat("a", DefaultMaxHeader), 0},
		{"too long", strings.Repeat("a", DefaultMaxHeader+1), "", 500},
		{"64 KB", strings.Repeat("a", 64<<10), "", 500},
		{"deep", deep(32), b64(mustJSON(deep(32))), 0},
		{"deep and too long", map[string]any{"a": deep(3000)}, "", 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bearerPolicy(claims.Object{"sub": "s", "v": c.value})
			rule := []HeaderRule{{Name: "X-V", Source: FromClaim, Path: claims.Path{"v"}}}
			p.Headers = NewHeaderPolicy(rule, nil)
			r := newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}, "x-v": {"spoof"}, "x_v": {"spoof"}})
			d := p.Decide(t.Context(), r)
			status := 0
			if d.Respond != nil {
				status = d.Respond.Status
			}
			if got, _ := set(d, "X-V"); got != c.want || status != c.status {
				t.Fatalf("%.80q (status %d), want %.80q", got, status, c.want)
			}
			if d.Respond == nil && (!cleared(d, "x-v") || !cleared(d, "x_v")) {
				t.Error("the client's own value goes through")
			}
			// Toward the client a value that is too long is left out.
			p.Headers = NewHeaderPolicy(nil, rule)
			d = p.Decide(t.Context(), r)
			if got, _ := down(d, "X-V"); got != c.want || d.Respond != nil {
				t.Errorf("toward the client: %.80q", got)
			}
		})
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestLargeTokensGoUp(t *testing.T) {
	long := jws + strings.Repeat("A", 20<<10)
	p := bearerPolicy(nil)
	p.Provider = &fakeProvider{tokens: map[string]claims.Object{long: {"sub": "s"}}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + long}}))
	if v, _ := set(d, "Authorization"); v != "Bearer "+long {
		t.Errorf("%.40q %v", v, d.Err)
	}
}

func TestCredentialAndGroupHeadersAreUnambiguous(t *testing.T) {
	p := bearerPolicy(claims.Object{"sub": " admin", "groups": []any{"users", "x,admins", "\x00admins"}})
	p.Groups = claims.Path{"groups"}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	if v, ok := set(d, "X-Credential-Identifier"); ok {
		t.Errorf("credential %q", v)
	}
	if v, _ := set(d, "X-Authenticated-Groups"); v != "users" {
		t.Errorf("groups %q", v)
	}
	if len(d.Authenticate.Groups) != 3 {
		t.Errorf("the context has %q", d.Authenticate.Groups)
	}
}

// A mapping onto a header of the consumer's does not double it.
func TestIdentityHeadersAreSetOnce(t *testing.T) {
	p := bearerPolicy(claims.Object{"sub": "s", "name": "mapped"})
	p.Headers = NewHeaderPolicy([]HeaderRule{{Name: "X-Credential-Identifier", Source: FromClaim, Path: claims.Path{"name"}}}, nil)
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	n := 0
	for _, f := range d.Upstream.Set {
		if strings.EqualFold(f.Name, "x-credential-identifier") {
			n++
		}
	}
	if v, _ := set(d, "X-Credential-Identifier"); n != 1 || v != "s" {
		t.Errorf("%d times, %q", n, v)
	}
}

// sessionKeeper opens one session.
type sessionKeeper struct {
	Sessions
	s *Session
}

func (k *sessionKeeper) Open(context.Context, Browser) (*Session, error) { return k.s, nil }
func (*sessionKeeper) Due(context.Context, *Session) bool                { return false }
func (*sessionKeeper) Owns(name string) bool                             { return name == "session" }
func (*sessionKeeper) Binds() Needs                                      { return 0 }

// keyProvider verifies what it decodes, with a key, unless the key has gone.
type keyProvider struct {
	Provider
	gone     bool
	verified int
}

func (k *keyProvider) verify(raw token.Opaque) (*token.Token, error) {
	k.verified++
	if k.gone {
		return nil, &Error{Kind: Unauthorized, Description: "no key"}
	}
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s"}, Key: &jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "k1"}}, nil
}
func (k *keyProvider) VerifyAccessToken(_ context.Context, _ int, raw token.Opaque, _ Method) (*token.Token, error) {
	return k.verify(raw)
}
func (k *keyProvider) VerifyIDToken(_ context.Context, raw token.Opaque, _ IDTokenExpectation) (*token.Token, error) {
	return k.verify(raw)
}
func (*keyProvider) Decode(raw token.Opaque) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s"}}, nil
}

func TestKeyHeadersInSessions(t *testing.T) {
	for _, c := range []struct {
		name            string
		mapped, gone    bool
		verified        int
		header, allowed bool
	}{
		{"mapped", true, false, 2, true, true},
		{"not mapped: nothing is verified", false, false, 0, false, true},
		{"the key has gone: only the header is missing", true, true, 2, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			pr := &keyProvider{gone: c.gone}
			p := bearerPolicy(nil)
			p.Methods = NewMethodSet(MethodSession)
			p.Provider = pr
			p.Sessions = &sessionKeeper{s: &Session{ID: "1", Tokens: StoredTokens{Method: MethodAuthorizationCode, AccessToken: jws, IDToken: jws}}}
			if c.mapped {
				p.Headers = NewHeaderPolicy([]HeaderRule{{Name: "X-Key", Source: FromAccessTokenJWK}, {Name: "X-Id-Key", Source: FromIDTokenJWK}}, nil)
			}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}, "x-key": {"spoof"}}))
			_, access := set(d, "X-Key")
			_, id := set(d, "X-Id-Key")
			if access != c.header || id != c.header || (d.Respond == nil) != c.allowed || pr.verified != c.verified {
				t.Errorf("access %v, id %v, %d verified, %v", access, id, pr.verified, d.Err)
			}
		})
	}
}

// What somebody else judged is not read from the token in the session either (U31).
func TestSessionsOfOpaqueMethodsDoNotReadTheToken(t *testing.T) {
	for _, m := range []Method{MethodIntrospection, MethodUserInfo} {
		p := bearerPolicy(nil)
		p.Methods, p.Provider = NewMethodSet(MethodSession), &keyProvider{}
		p.Sessions = &sessionKeeper{s: &Session{ID: "1", Tokens: StoredTokens{Method: m, AccessToken: jws}}}
		d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}}))
		if d.Respond != nil || d.Authenticate.CredentialID != "" {
			t.Errorf("%s: %+v %v", m, d.Authenticate, d.Err)
		}
	}
}

// Kong's token is bound to a service and a consumer, which a session would lose.
func TestSessionsOfKongOAuth2AreNotAccepted(t *testing.T) {
	p := bearerPolicy(nil)
	p.Methods, p.Provider = NewMethodSet(MethodSession), &keyProvider{}
	p.Sessions = &sessionKeeper{s: &Session{ID: "1", Tokens: StoredTokens{Method: MethodKongOAuth2, AccessToken: jws}}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}}))
	if d.Respond == nil || d.Respond.Status != 401 {
		t.Errorf("%+v", d)
	}
	x := &Exchange{Policy: p}
	if !x.unbound(&Identity{Method: MethodKongOAuth2}) || x.unbound(&Identity{Method: MethodBearer}) {
		t.Error("a session is started for kong_oauth2, or for nothing")
	}
}

// exchanging exchanges every token for other.
type exchanging struct {
	fakeProvider
	sent claims.Object
}

const other = "eyJhbGciOiJub25lIn0.eyJvIjoxfQ.c2ln"

func (e *exchanging) Exchange(context.Context, int, token.Opaque) (*TokenResponse, error) {
	return &TokenResponse{AccessToken: other}, nil
}

func (e *exchanging) Decode(raw token.Opaque) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: e.sent}, nil
}

// trading gives other for every token at the legacy endpoint, or refuses.
type trading struct {
	fakeProvider
	refuse bool
}

func (e *trading) LegacyExchange(context.Context, token.Opaque, time.Time) (token.Opaque, error) {
	if e.refuse {
		return "", &Error{Description: "refused", Reason: "token_exchange"}
	}
	return other, nil
}

func TestLegacyExchangeIsForTheServiceAlone(t *testing.T) {
	rule := []HeaderRule{{Name: "X-Token", Source: FromAccessToken}, {Name: "X-Sub", Source: FromClaim, Path: claims.Path{"sub"}}}
	for _, refuse := range []bool{false, true} {
		p := bearerPolicy(nil)
		p.LegacyExchange = true
		p.Headers = NewHeaderPolicy(rule, rule)
		p.Provider = &trading{fakeProvider{tokens: map[string]claims.Object{jws: {"sub": "s"}}}, refuse}
		d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
		if refuse {
			if d.Respond == nil || d.Respond.Status != 500 {
				t.Errorf("refused: %+v", d)
			}
			continue
		}
		if d.Respond != nil || !slices.Contains(d.Upstream.Set, Field{"X-Token", other}) || !slices.Contains(d.Upstream.Set, Field{"X-Sub", "s"}) ||
			!slices.Contains(d.Downstream.Set, Field{"X-Token", jws}) {
			t.Errorf("up %v, down %v", d.Upstream.Set, d.Downstream.Set)
		}
	}
}

// bound notes what it is asked to prove, and refuses bound tokens.
type bound struct {
	Possession
	asked Proof
}

func (*bound) Algorithms() string { return "ES256" }

func (*bound) Required() bool { return false }

func (b *bound) Prove(_ context.Context, _ *Request, q Proof) ([]Field, error) {
	b.asked = q
	if _, ok := q.Claims["cnf"]; ok {
		return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "no proof", Reason: "test", Final: true}
	}
	return nil, nil
}

func TestProofIsAboutTheTokenThatWasSent(t *testing.T) {
	for _, c := range []struct {
		name    string
		sent    claims.Object
		allowed bool
	}{
		{"bound before the exchange", claims.Object{"cnf": map[string]any{"jkt": "x"}}, false},
		{"bound to nobody", claims.Object{"sub": "s"}, true},
	} {
		p, b := bearerPolicy(nil), &bound{}
		p.Provider = &exchanging{fakeProvider{tokens: map[string]claims.Object{other: {"sub": "s"}}}, c.sent}
		p.Possession = b
		// A session would keep the exchanged token, which is bound to nobody.
		p.Methods = NewMethodSet(MethodBearer, MethodSession)
		p.Sessions = &sessionKeeper{}
		d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
		if (d.Respond == nil) != c.allowed || b.asked.AccessToken != jws {
			t.Errorf("%s: %+v %v, asked about %q", c.name, d.Respond, d.Err, b.asked.AccessToken.Reveal())
		}
	}
}

func TestBodyCredentialsAreNotReadBehindAnUpgrade(t *testing.T) {
	for _, c := range []struct {
		name   string
		header Header
		status int
	}{
		{"a form", Header{"content-type": {"application/x-www-form-urlencoded"}}, 0},
		{"websocket", Header{"content-type": {"application/x-www-form-urlencoded"}, "upgrade": {"websocket"}}, 401},
		{"grpc", Header{"content-type": {"application/grpc"}}, 401},
	} {
		p := bearerPolicy(claims.Object{"sub": "s"})
		r := newRequest("POST", "/", "", c.header)
		r.Gateway.(*fakeGateway).body = []byte("access_token=" + jws)
		d := p.Decide(t.Context(), r)
		status := 0
		if d.Respond != nil {
			status = d.Respond.Status
		}
		if status != c.status {
			t.Errorf("%s: status %d, want %d", c.name, status, c.status)
		}
	}
}
