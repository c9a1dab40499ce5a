package rp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

func TestScriptsAreNotRedirected(t *testing.T) {
	for _, c := range []struct {
		name   string
		header Header
		status int // with the extension
	}{
		{"a browser's navigation", Header{"sec-fetch-mode": {"navigate"}, "accept": {"*/*"}}, 302},
		{"fetch()", Header{"sec-fetch-mode": {"cors"}, "accept": {"text/html"}}, 401},
		{"an image", Header{"sec-fetch-mode": {"no-cors"}}, 401},
		{"an older browser", Header{"accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}}, 302},
		{"XMLHttpRequest", Header{"accept": {"text/html"}, "x-requested-with": {"xmlhttprequest"}}, 401},
		{"an API client", Header{"accept": {"application/json"}}, 401},
		{"curl", Header{"accept": {"*/*"}}, 401},
		{"no Accept", Header{}, 401},
		{"never html", Header{"accept": {"text/html;q=0"}}, 401},
		{"WebSocket", Header{"upgrade": {"websocket"}, "sec-fetch-mode": {"websocket"}}, 401},
		{"gRPC", Header{"content-type": {"application/grpc"}, "accept": {"text/html"}}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, on := range []bool{false, true} {
				p := codePolicy(&fakeLogins{})
				p.Code.NavigationsOnly = on
				d := p.Decide(t.Context(), newRequest("GET", "/", "", c.header))
				want := 302
				if on {
					want = c.status
				}
				if d.Respond == nil || d.Respond.Status != want {
					t.Errorf("extension %v: %+v, want %d", on, d.Respond, want)
				}
			}
		})
	}
}

func TestProtectedResourceMetadata(t *testing.T) {
	const path = "/.well-known/oauth-protected-resource/mcp"
	p := codePolicy(&fakeLogins{})
	p.Methods = NewMethodSet(MethodBearer)
	p.Bearer.Places = Places{Header: true, Query: true}
	p.Resource = ResourcePolicy{Resource: "https://api.example.com/mcp", MetadataURL: "https://api.example.com" + path, MetadataPath: path, Scopes: []string{"read"}, Name: "Tools"}
	d := p.Decide(t.Context(), newRequest("GET", path, "", nil))
	var doc map[string]any
	if d.Respond == nil || d.Respond.Status != 200 || json.Unmarshal(d.Respond.Body, &doc) != nil {
		t.Fatalf("%+v", d.Respond)
	}
	want := `{"authorization_servers":["https://idp.example.com"],"bearer_methods_supported":["header","query"],"resource":"https://api.example.com/mcp","resource_name":"Tools","scopes_supported":["read"]}`
	if got := mustJSON(doc); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if v, _ := down(d, "Access-Control-Allow-Origin"); v != "*" {
		t.Error("a browser's client cannot read it")
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", path, 200}, {"OPTIONS", path, 204}, {"POST", path, 405}, {"GET", path + "/", 401}, {"GET", "/x" + path, 401}, {"GET", "/mcp", 401},
		{"GET", "/.well-known/oauth-protected-resource", 401}, {"GET", strings.Replace(path, "/mcp", "/%6dcp", 1), 401},
	} {
		d := p.Decide(t.Context(), newRequest(c.method, c.path, "", nil))
		if d.Respond == nil || d.Respond.Status != c.status {
			t.Errorf("%s %s: %+v, want %d", c.method, c.path, d.Respond, c.status)
		}
		if v, _ := down(d, "WWW-Authenticate"); c.status == 401 && v != `Bearer realm="idp.example.com", resource_metadata="https://api.example.com`+path+`"` {
			t.Errorf("challenge %q", v)
		}
	}
	p.Resource = ResourcePolicy{}
	if d := p.Decide(t.Context(), newRequest("GET", path, "", nil)); d.Respond.Status != 401 {
		t.Errorf("it is served without being switched on: %+v", d.Respond)
	}
}

func TestStepUp(t *testing.T) {
	hour := time.Hour
	now := int64(1e9)
	date := func(ago int64) json.Number { return json.Number(strconv.FormatInt(now-ago, 10)) }
	for _, c := range []struct {
		name   string
		claims claims.Object
		met    bool
	}{
		{"both", claims.Object{"acr": "gold", "auth_time": date(10)}, true},
		{"the other class", claims.Object{"acr": "silver", "auth_time": date(10)}, true},
		{"a lower class", claims.Object{"acr": "bronze", "auth_time": date(10)}, false},
		{"no class", claims.Object{"auth_time": date(10)}, false},
		{"a class that is a list", claims.Object{"acr": []any{"gold"}, "auth_time": date(10)}, false},
		{"on the boundary", claims.Object{"acr": "gold", "auth_time": date(3599)}, true},
		{"too long ago", claims.Object{"acr": "gold", "auth_time": date(3601)}, false},
		{"in the future", claims.Object{"acr": "gold", "auth_time": date(-60)}, false},
		{"no time", claims.Object{"acr": "gold"}, false},
		{"a time that is text", claims.Object{"acr": "gold", "auth_time": "soon"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bearerPolicy(c.claims)
			p.Anonymous, p.Consumers = "nobody", people{"nobody": {ID: "0", Username: "nobody"}}
			p.StepUp = StepUpPolicy{ACR: []string{"gold", "silver"}, MaxAge: &hour}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
			if got := d.Respond == nil; got != c.met {
				t.Fatalf("let through: %v, want %v (%v)", got, c.met, d.Err)
			}
			if v, _ := down(d, "WWW-Authenticate"); !c.met && v != `Bearer realm="idp.example.com", error="insufficient_user_authentication", acr_values="gold silver", max_age="3600"` {
				t.Errorf("challenge %q", v)
			}
		})
	}
}

// stepUpProvider remembers the last authorization request.
type stepUpProvider struct {
	codeProvider
	asked AuthorizationRequest
	acr   string
}

func (p *stepUpProvider) AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error) {
	p.asked = r
	return p.codeProvider.AuthorizationURL(ctx, r)
}
func (p *stepUpProvider) VerifyIDToken(_ context.Context, raw token.Opaque, _ IDTokenExpectation) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s", "acr": p.acr}}, nil
}
func (p *stepUpProvider) Decode(raw token.Opaque) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s", "acr": p.acr}}, nil
}

func TestStepUpOfBrowsers(t *testing.T) {
	pr := &stepUpProvider{acr: "bronze"}
	pr.answer = TokenResponse{AccessToken: "opaque", IDToken: "i.d.t"}
	logins := &fakeLogins{}
	p := codePolicy(logins)
	p.Methods, p.Provider = NewMethodSet(MethodSession, MethodAuthorizationCode), pr
	p.Sessions = &sessionKeeper{s: &Session{ID: "1", Tokens: StoredTokens{Method: MethodAuthorizationCode, AccessToken: "opaque", IDToken: jws}}}
	p.StepUp = StepUpPolicy{ACR: []string{"gold"}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}}))
	if d.Respond == nil || d.Respond.Status != 302 || pr.asked.ACRValues != "gold" {
		t.Fatalf("%+v, acr_values %q", d.Respond, pr.asked.ACRValues)
	}
	// A script is told instead, where scripts are told.
	p.Code.NavigationsOnly = true
	if d = p.Decide(t.Context(), newRequest("GET", "/", "", Header{"cookie": {"session=x"}})); d.Respond.Status != 401 {
		t.Errorf("a script: %+v", d.Respond)
	}
	// The provider did not do better: no second login, no loop.
	p.Code.NavigationsOnly = false
	p.Methods = NewMethodSet(MethodAuthorizationCode)
	logins.login, logins.outcome = logins.begun[0], LoginFound
	d = p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil))
	if d.Respond == nil || d.Respond.Status != 401 || d.Reason != "step_up" {
		t.Errorf("after the login: %+v %s", d.Respond, d.Reason)
	}
	pr.acr = "gold"
	if d = p.Decide(t.Context(), newRequest("GET", "/", "code=c&state=st", nil)); d.Respond != nil {
		t.Errorf("after a better login: %+v %v", d.Respond, d.Err)
	}
}

var scriptText = regexp.MustCompile(`<script>(.*?)</script>`)

func TestFragmentIsKeptOverALogin(t *testing.T) {
	nav := Header{"sec-fetch-mode": {"navigate"}, "accept": {"text/html"}}
	logins := &fakeLogins{}
	p := codePolicy(logins)
	p.Code.Fragment = true
	d := p.Decide(t.Context(), newRequest("GET", "/a", `q=1&x="><script>`, nav))
	if d.Respond == nil || d.Respond.Status != 200 || len(logins.begun) != 0 {
		t.Fatalf("%+v", d.Respond)
	}
	page := string(d.Respond.Body)
	m := scriptText.FindStringSubmatch(page)
	if m == nil || strings.Count(page, "<script") != 1 || !strings.Contains(page, `content="0;url=https://gw.example.com/a?q=1&amp;x=%22%3E%3Cscript%3E&amp;openid_fragment="`) {
		t.Fatalf("%s", page)
	}
	hash := sha256.Sum256([]byte(m[1]))
	if csp, _ := down(d, "Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'; script-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'") {
		t.Errorf("policy %q", csp)
	}
	for _, c := range []struct{ name, query, returnTo string }{
		{"a fragment", "q=1&openid_fragment=%2Fsection%3Fa", "https://gw.example.com/a?q=1#/section?a"},
		{"none", "q=1&openid_fragment=", "https://gw.example.com/a?q=1"},
		{"one that wants out", "openid_fragment=" + url.QueryEscape("x\r\nSet-Cookie: a=b\"<script>#y\\"), "https://gw.example.com/a#x%0D%0ASet-Cookie:%20a=b%22%3Cscript%3E%23y%5C"},
		{"one that is too long", "openid_fragment=" + strings.Repeat("a", maxFragment+1), "https://gw.example.com/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			logins.begun = nil
			d := p.Decide(t.Context(), newRequest("GET", "/a", c.query, nav))
			if len(logins.begun) != 1 || d.Respond.Status != 302 || logins.begun[0].ReturnTo != c.returnTo {
				t.Fatalf("%+v %+v", d.Respond, logins.begun)
			}
			logins.login, logins.outcome = logins.begun[0], LoginFound
			q := *p
			q.Login.Action = LoginRedirect
			d = q.Decide(t.Context(), newRequest("GET", "/a", "code=c&state=st", nav))
			if to, _ := down(d, "Location"); to != c.returnTo {
				t.Errorf("to %q", to)
			}
			d = p.Decide(t.Context(), newRequest("GET", "/a", "code=c&state=st", nav))
			if d.Request.RawQuery == nil || strings.Contains(*d.Request.RawQuery, "#") || strings.Contains(*d.Request.RawQuery, "section") {
				t.Errorf("query toward the service %q", *d.Request.RawQuery)
			}
		})
	}
	for name, c := range map[string]struct {
		method string
		h      Header
	}{"a script": {"GET", Header{"sec-fetch-mode": {"cors"}}}, "a form": {"POST", nav}} {
		logins.begun = nil
		if d := p.Decide(t.Context(), newRequest(c.method, "/a", "", c.h)); d.Respond.Status != 302 {
			t.Errorf("%s gets the page: %+v", name, d.Respond)
		}
	}
	p.Code.Fragment = false
	if d := p.Decide(t.Context(), newRequest("GET", "/a", "openid_fragment=x", nav)); d.Respond.Status != 302 || strings.Contains(logins.begun[len(logins.begun)-1].ReturnTo, "#") {
		t.Errorf("without the extension: %+v", d.Respond)
	}
}
