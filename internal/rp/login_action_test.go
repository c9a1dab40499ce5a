package rp

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// fakeLogins keeps one pending login, whose state is "st".
type fakeLogins struct {
	login   Login
	outcome LoginOutcome
	begun   []Login
}

func (f *fakeLogins) Owns(name string) bool { return name == "authorization_st" }
func (f *fakeLogins) Begin(_ context.Context, _ Browser, l Login) (string, []string, error) {
	f.begun = append(f.begun, l)
	return "st", []string{"authorization_st=x"}, nil
}
func (f *fakeLogins) Resume(_ context.Context, _ Browser, state string) (Login, LoginOutcome, error) {
	if state != "st" {
		return Login{}, LoginForeign, nil
	}
	return f.login, f.outcome, nil
}
func (f *fakeLogins) Finish(context.Context, Browser, string, string) ([]string, bool, error) {
	return []string{"authorization_st=; Max-Age=0"}, true, nil
}

// codeProvider answers the code "c" with tokens.
type codeProvider struct {
	Provider
	answer TokenResponse
}

func (*codeProvider) Metadata(context.Context) (*Metadata, error) {
	return &Metadata{Issuer: "https://idp.example.com"}, nil
}
func (*codeProvider) UsePKCE(context.Context) (bool, error) { return true, nil }
func (*codeProvider) AuthorizationURL(_ context.Context, r AuthorizationRequest) (string, error) {
	return "https://idp.example.com/authorize?state=" + r.State + "&redirect_uri=" + url.QueryEscape(r.RedirectURI), nil
}
func (p *codeProvider) RedeemCode(context.Context, int, token.Opaque, string, token.Opaque) (*TokenResponse, error) {
	a := p.answer
	return &a, nil
}
func (*codeProvider) VerifyAccessToken(_ context.Context, _ int, raw token.Opaque, _ Method) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s"}}, nil
}
func (*codeProvider) VerifyIDToken(_ context.Context, raw token.Opaque, _ IDTokenExpectation) (*token.Token, error) {
	return &token.Token{Raw: raw, Claims: claims.Object{"sub": "s"}}, nil
}

func codePolicy(l *fakeLogins) *Policy {
	p := bearerPolicy(nil)
	p.Methods = NewMethodSet(MethodAuthorizationCode)
	p.Code = CodePolicy{ResponseMode: ModeQuery, VerifyNonce: true, OpenID: true, PreserveQuery: true}
	p.Login = LoginPolicy{Methods: NewMethodSet(MethodAuthorizationCode), Action: LoginUpstream}
	p.Logins = l
	p.Provider = &codeProvider{answer: TokenResponse{
		AccessToken: jws, IDToken: "i.d.t", RefreshToken: "rt", TokenType: "Bearer",
		Raw: claims.Object{"access_token": jws, "id_token": "i.d.t", "refresh_token": "rt", "expires_in": json.Number("300"), "custom": map[string]any{"a": true}},
	}}
	return p
}

// The answers of every login_action, with every kind of login_tokens, in both
// places of login_redirect_mode (behaviour.md 13).
func TestLoginActions(t *testing.T) {
	all := map[string]string{"id_token": "i.d.t", "access_token": jws, "refresh_token": "rt"}
	only := func(names ...string) map[string]string {
		m := map[string]string{}
		for _, n := range names {
			m[n] = all[n]
		}
		return m
	}
	whole := maps.Clone(all)
	whole["expires_in"], whole["custom"] = "300", `{"a":true}`
	for _, tokens := range []struct {
		name   string
		listed []string
		want   map[string]string
	}{
		{"null", nil, only()},
		{"empty", []string{}, only()},
		{"id_token", []string{"id_token"}, only("id_token")},
		{"access_token", []string{"access_token"}, only("access_token")},
		{"refresh_token", []string{"refresh_token"}, only("refresh_token")},
		{"three", []string{"id_token", "access_token", "refresh_token"}, all},
		{"introspection without a result", []string{"introspection"}, only()},
		{"introspection without a result, beside another", []string{"introspection", "id_token"}, only("id_token")},
		{"tokens", []string{"tokens"}, whole},
		{"tokens before others", []string{"id_token", "tokens", "introspection"}, whole},
	} {
		for _, action := range []LoginAction{LoginUpstream, LoginResponse, LoginRedirect} {
			for _, fragment := range []bool{true, false} {
				for _, target := range []string{"", "https://spa.example.com/in?x=1#top"} {
					t.Run(strings.Join([]string{tokens.name, string(action), map[bool]string{true: "fragment", false: "query"}[fragment], target}, ","), func(t *testing.T) {
						p := codePolicy(&fakeLogins{outcome: LoginFound, login: Login{ID: "1", ReturnTo: "https://gw.example.com/deep?hello=world", Nonce: "n"}})
						p.Login.Action, p.Login.Tokens, p.Login.Fragment = action, tokens.listed, fragment
						p.Clients = []Client{{ID: "a", LoginRedirectURI: target}}
						d := p.Decide(t.Context(), newRequest("GET", "/deep", "code=c&state=st&session_state=q&mine=1", nil))
						if d.Err != nil {
							t.Fatal(d.Err)
						}
						checkLoginAction(t, d, action, fragment, target, tokens.want)
					})
				}
			}
		}
	}
}

func checkLoginAction(t *testing.T, d *Decision, action LoginAction, fragment bool, target string, want map[string]string) {
	t.Helper()
	switch action {
	case LoginUpstream:
		if d.Respond != nil || d.Request.Method != "GET" || d.Request.RawQuery == nil || *d.Request.RawQuery != "hello=world" {
			t.Fatalf("%+v %+v", d.Respond, d.Request)
		}
	case LoginResponse:
		if d.Respond == nil || d.Respond.Status != 200 {
			t.Fatalf("%+v", d.Respond)
		}
		var body map[string]any
		if err := json.Unmarshal(d.Respond.Body, &body); err != nil {
			t.Fatal(err)
		}
		for n, v := range body {
			text, ok := v.(string)
			if !ok {
				b, _ := json.Marshal(v)
				text = string(b)
			}
			if want[n] != text {
				t.Errorf("%s is %s, want %s", n, text, want[n])
			}
		}
		if len(body) != len(want) {
			t.Errorf("%s", d.Respond.Body)
		}
		if v, _ := down(d, "Content-Type"); v != contentJSON {
			t.Errorf("type %q", v)
		}
	case LoginRedirect:
		to, _ := down(d, "Location")
		if target == "" {
			target = "https://gw.example.com/deep?hello=world"
		}
		if d.Respond == nil || d.Respond.Status != 302 {
			t.Fatalf("%+v", d.Respond)
		}
		if len(want) == 0 {
			if to != target {
				t.Fatalf("to %q, want %q", to, target)
			}
			return
		}
		got, _ := url.Parse(to)
		base, _ := url.Parse(target)
		if got.Host != base.Host || got.Path != base.Path {
			t.Fatalf("to %q", to)
		}
		in, other := got.RawQuery, got.EscapedFragment()
		keepIn, keepOther := base.RawQuery, base.EscapedFragment()
		if fragment {
			in, other, keepIn, keepOther = other, in, keepOther, keepIn
		}
		if other != keepOther {
			t.Errorf("%q is not kept in %q", keepOther, to)
		}
		args, err := url.ParseQuery(strings.TrimPrefix(strings.TrimPrefix(in, keepIn), "&"))
		if err != nil || len(args) != len(want) {
			t.Fatalf("%q: %v", to, err)
		}
		for n, v := range want {
			if args.Get(n) != v {
				t.Errorf("%s is %q, want %q", n, args.Get(n), v)
			}
		}
	}
	if d.Respond != nil {
		if v, _ := down(d, "Cache-Control"); v != "no-store" {
			t.Errorf("Cache-Control %q", v)
		}
		if len(d.Upstream.Set)+len(d.Upstream.Clear) > 0 || d.Authenticate != nil {
			t.Error("an answer of our own tells the service something")
		}
	}
}

func TestLoginActionAppliesToListedMethodsOnly(t *testing.T) {
	for _, listed := range []bool{true, false} {
		p := bearerPolicy(claims.Object{"sub": "s"})
		p.Login = LoginPolicy{Action: LoginRedirect, Tokens: []string{"access_token"}}
		if listed {
			p.Login.Methods = NewMethodSet(MethodBearer)
		}
		p.Code.PreserveQuery = true
		d := p.Decide(t.Context(), newRequest("GET", "/a", "b=c&access_token="+jws, nil))
		to, _ := down(d, "Location")
		if !listed && d.Respond != nil || listed && (d.Respond.Status != 302 || to != "https://gw.example.com/a?b=c&access_token="+jws) {
			t.Errorf("listed %v: %+v to %q", listed, d.Respond, to)
		}
	}
}

// Every set of login_tokens, whatever is there: the whole token response comes
// first, then the introspection result, then the tokens that are listed.
func TestEverySetOfLoginTokens(t *testing.T) {
	names := []string{"id_token", "access_token", "refresh_token", "tokens", "introspection"}
	for bits := range 1 << (len(names) + 5) {
		var listed []string
		for i, n := range names {
			if bits&(1<<i) != 0 {
				listed = append(listed, n)
			}
		}
		there := func(i int) bool { return bits&(1<<(len(names)+i)) != 0 }
		id, want := &Identity{}, map[string]any{}
		for i, v := range []*token.Opaque{&id.IDToken, &id.AccessToken, &id.RefreshToken} {
			if there(i) {
				*v = token.Opaque(names[i])
				if slices.Contains(listed, names[i]) {
					want[names[i]] = names[i]
				}
			}
		}
		if there(4) {
			if id.Introspection = (claims.Object{"active": true}); slices.Contains(listed, "introspection") {
				want = id.Introspection
			}
		}
		if there(3) {
			if id.TokenResponse = (claims.Object{"scope": "s"}); slices.Contains(listed, "tokens") {
				want = id.TokenResponse
			}
		}
		p := &Policy{Login: LoginPolicy{Tokens: listed}}
		if got := p.loginTokens(id); !maps.Equal(got, want) {
			t.Errorf("%q of %010b: %v, want %v", listed, bits, got, want)
		}
	}
}

func TestIntrospectionGoesIntoLoginTokens(t *testing.T) {
	p := &Policy{Login: LoginPolicy{Tokens: []string{"id_token", "introspection"}}}
	got := p.loginTokens(&Identity{IDToken: "i", Introspection: claims.Object{"active": true}})
	if len(got) != 1 || got["active"] != true {
		t.Errorf("%v", got)
	}
}

// browserTarget says where a browser goes by a Location: it drops tabs and
// line ends, and takes a backslash for a slash (WHATWG URL 4.4).
func browserTarget(t *testing.T, location string) (origin, user string) {
	t.Helper()
	s := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(strings.TrimFunc(location, func(r rune) bool { return r <= ' ' }))
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "relative", ""
	}
	rest = strings.TrimLeft(rest, "/")
	authority := rest
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority = rest[:i]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i], authority[i+1:]
	}
	return strings.ToLower(scheme + "://" + authority), user
}

// hostileTargets are request targets that lead elsewhere when somebody
// reflects them in a careless way.
var hostileTargets = []string{
	"//evil.example", "///evil.example", "////evil.example/..", `/\evil.example`, `/\/evil.example`, `\\evil.example`, `\/evil.example`,
	"/%09/evil.example", "/%0d%0aLocation:%20https://evil.example", "/\t/evil.example", "/\r\nLocation: https://evil.example\r\n", "/\x00//evil.example",
	"/%2f%2fevil.example", "/%5c%5cevil.example", "/%2e%2e//evil.example", "/..//evil.example", "/.//evil.example", "/;//evil.example",
	"//evil.example%2f%2e%2e", "//evil.example:443", "//gw.example.com@evil.example", "//gw.example.com:x@evil.example", "/@evil.example", ":@evil.example",
	".evil.example", ".evil.example/x", "@evil.example", ":8443@evil.example", "evil.example", "https://evil.example", "https:evil.example", "https:/\\evil.example",
	"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "/javascript:alert(1)", "//evil。example", "//ｅvil.example", "/\u2028//evil.example", "/\u00a0//evil.example",
	"/\xff//evil.example", "/%ff%fe", "/%", "/%zz", "/?//evil.example", "/#//evil.example", "/a?next=https://evil.example", "//[::1]", "//0x7f000001", "//evil.example#@gw.example.com",
	`/"><script>alert(1)</script>`, "/<svg/onload=alert(1)>", "/'onmouseover=1", "", "/", "?", "#",
}

func TestHostileTargetsAreNotFollowed(t *testing.T) {
	here := "https://gw.example.com"
	check := func(t *testing.T, location string) {
		t.Helper()
		if origin, user := browserTarget(t, location); origin != here || user != "" {
			t.Errorf("a browser goes to %s (user %q) by %q", origin, user, location)
		}
		for _, c := range []byte(location) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
				t.Errorf("%q holds the byte %#x", location, c)
			}
		}
	}
	for _, target := range hostileTargets {
		for _, query := range []string{"", "a=b", "//evil.example", "\r\nX: y", `\evil#//evil`} {
			t.Run(target+"?"+query, func(t *testing.T) {
				logins := &fakeLogins{}
				p := codePolicy(logins)
				d := p.Decide(t.Context(), newRequest("GET", target, query, nil))
				if len(logins.begun) != 1 {
					t.Fatalf("%+v %v", d.Respond, d.Err)
				}
				l := logins.begun[0]
				check(t, l.ReturnTo)
				check(t, l.RedirectURI)
				logins.login, logins.outcome = l, LoginFound
				p.Login.Action = LoginRedirect
				d = p.Decide(t.Context(), newRequest("GET", "/cb", "code=c&state=st", nil))
				to, ok := down(d, "Location")
				if !ok || to != l.ReturnTo {
					t.Fatalf("%+v to %q", d.Respond, to)
				}
				check(t, to)
				// The same as the answer to a bearer request.
				p = bearerPolicy(claims.Object{"sub": "s"})
				p.Login, p.Code.PreserveQuery = LoginPolicy{Action: LoginRedirect, Methods: NewMethodSet(MethodBearer)}, true
				d = p.Decide(t.Context(), newRequest("GET", target, query, Header{"authorization": {"Bearer " + jws}}))
				to, _ = down(d, "Location")
				check(t, to)
			})
		}
	}
}

// A state may be authentic and yet name another page than this origin's: it
// was made for another host. Only one's own origin is returned to.
func TestStaleCallbacksReturnToTheirOriginOnly(t *testing.T) {
	for target, restarts := range map[string]bool{
		"https://gw.example.com/page":              true,
		"https://GW.example.com:443/page":          true,
		"https://evil.example/page":                false,
		"https://gw.example.com.evil.example/page": false,
		"https://evil-gw.example.com/page":         false,
		"https://gw.example.com@evil.example/":     false,
		"https://user@gw.example.com/":             false,
		`https://gw.example.com\@evil.example/`:    false,
		"http://gw.example.com/page":               false,
		"https://gw.example.com:8443/page":         false,
		"//gw.example.com/page":                    false,
		"/page":                                    false,
		"javascript://gw.example.com/%0aalert(1)":  false,
		"https:gw.example.com/page":                false,
		"":                                         false,
	} {
		t.Run(target, func(t *testing.T) {
			logins := &fakeLogins{outcome: LoginStale, login: Login{ReturnTo: target}}
			d := codePolicy(logins).Decide(t.Context(), newRequest("GET", "/page", "code=c&state=st", nil))
			if got := len(logins.begun) == 1; got != restarts {
				t.Errorf("begins again: %v, want %v (%v)", got, restarts, d.Err)
			}
			if restarts && logins.begun[0].ReturnTo != target || !restarts && d.Respond.Status != 401 {
				t.Errorf("%+v %+v", d.Respond, logins.begun)
			}
		})
	}
}

func TestSpoofedHostsAreRefused(t *testing.T) {
	for _, host := range []string{"evil.example@gw.example.com", "gw.example.com/evil", `gw.example.com\evil`, "gw.example.com?x", "gw.example.com#x", "gw.example.com:80:80", "gw example", "", "gw\r\nX: y", "gw.example.com%00", "ｇw.example"} {
		r := newRequest("GET", "/", "", nil)
		r.Gateway.(*fakeGateway).full.External.Host = host
		d := codePolicy(&fakeLogins{}).Decide(t.Context(), r)
		if d.Respond == nil || d.Respond.Status != 400 {
			t.Errorf("%q: %+v", host, d.Respond)
		}
	}
}
