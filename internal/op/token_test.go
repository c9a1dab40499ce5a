package op

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

func client1(t testing.TB, o clientauth.Options) *clientauth.Client {
	t.Helper()
	if o.ID == "" {
		o.ID = "client"
	}
	c, err := clientauth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// s256 is base64url(SHA-256(s)).
func s256(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// leftHalf is the at_hash of s under a 256-bit algorithm.
func leftHalf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func TestTokenRequest(t *testing.T) {
	i := newIDP(t)
	i.answer(tokenPath, 200, `{"access_token":"at","id_token":"it","refresh_token":"rt","token_type":"bearer","scope":"a b","expires_in":60}`)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	r, err := p.Token(t.Context(), TokenRequest{
		Client: client1(t, clientauth.Options{Secret: "s+/ ec", Method: clientauth.SecretBasic}),
		Form:   url.Values{"grant_type": {"authorization_code"}, "code": {"co&de"}, "resource": {"fixed"}},
		Args:   []Field{{"resource", "r1"}, {"resource", "r2"}}, Headers: []Field{{"X-Tenant", "t"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.AccessToken != "at" || r.IDToken != "it" || r.RefreshToken != "rt" || r.TokenType != "bearer" || r.Scope != "a b" || !r.Expiry.Equal(w.Now().Add(time.Minute)) {
		t.Errorf("got %+v", r)
	}
	q := i.request(tokenPath)
	if q.Method != "POST" || q.PostForm.Get("code") != "co&de" || q.Header.Get("X-Tenant") != "t" || q.Header.Get("Accept") != "application/json" ||
		strings.Join(q.PostForm["resource"], ",") != "r1,r2" || q.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("sent %v %v", q.PostForm, q.Header)
	}
	if id, secret, _ := q.BasicAuth(); id != "client" || secret != "s+/ ec" {
		t.Errorf("authenticated as %q", id)
	}
	if q.PostForm.Has("client_id") || q.PostForm.Has("client_secret") {
		t.Error("the client stands in the body too")
	}
}

// A caller's arguments never replace a grant.
func TestCallersArgumentsAtTheTokenEndpoint(t *testing.T) {
	i := newIDP(t)
	i.answer(tokenPath, 200, `{"access_token":"at"}`)
	evil := []Field{{"scope", "narrow"}, {"tenant", "t"}, {"fixed", "evil"}}
	for _, n := range grantArguments {
		evil = append(evil, Field{n, "evil"}, Field{strings.ToUpper(n), "evil"})
	}
	_, err := newWorld().provider(t, config(i.URL)).Token(t.Context(), TokenRequest{
		Client: client1(t, clientauth.Options{Secret: "secret", Method: clientauth.SecretPost}),
		Form:   url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid"}, "fixed": {"good"}}, ClientArgs: evil,
	})
	if err != nil {
		t.Fatal(err)
	}
	q := i.request(tokenPath).PostForm
	if strings.Contains(q.Encode(), "evil") || q.Get("scope") != "narrow" || q.Get("tenant") != "t" || q.Get("grant_type") != "password" || q.Get("client_secret") != "secret" {
		t.Errorf("sent %v", q)
	}
}

// The provider's verdict is told apart from its trouble.
func TestTokenErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		kind   Kind
		code   string
	}{
		{"invalid_grant", 400, `{"error":"invalid_grant","error_description":"no"}`, Refused, "invalid_grant"},
		{"invalid_client", 401, `{"error":"invalid_client"}`, Refused, "invalid_client"},
		{"403 without JSON", 403, `<html>`, Refused, ""},
		{"404", 404, `nothing`, Refused, ""},
		{"throttled", 429, `{"error":"slow_down"}`, Unavailable, "slow_down"},
		{"500", 500, `{"error":"invalid_grant"}`, Unavailable, "invalid_grant"},
		{"503", 503, ``, Unavailable, ""},
		{"redirect", 302, ``, Unavailable, ""},
		{"204", 204, ``, Unavailable, ""},
		{"201", 201, `{"access_token":"x"}`, Unavailable, ""},
		{"HTML", 200, `<html>`, Unavailable, ""},
		{"array", 200, `[]`, Unavailable, ""},
		{"no access token", 200, `{"token_type":"bearer"}`, Unavailable, ""},
		{"access token is a number", 200, `{"access_token":1}`, Unavailable, ""},
		{"refused with 200", 200, `{"error":"bad_verification_code"}`, Refused, "bad_verification_code"},
		{"code that would break a log line", 400, `{"error":"a\nb\"c"}`, Refused, "a.b.c"},
		{"expires_in an object", 200, `{"access_token":"x","expires_in":{}}`, Unavailable, ""},
		{"expires_in a word", 200, `{"access_token":"x","expires_in":"soon"}`, Unavailable, ""},
		{"expires_in NaN", 200, `{"access_token":"x","expires_in":"NaN"}`, Unavailable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newIDP(t)
			i.answer(tokenPath, c.status, c.body)
			_, err := newWorld().provider(t, config(i.URL)).Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret-word"}), Form: url.Values{"code": {"secret-code"}}})
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != c.kind || e.Code != c.code || e.Status != c.status {
				t.Fatalf("got %#v", err)
			}
			if IsRefused(err) != (c.kind == Refused) || IsInvalidGrant(err) != (c.name == "invalid_grant") {
				t.Error("is classified wrongly")
			}
			if strings.Contains(err.Error(), "secret-") {
				t.Errorf("shows a secret: %v", err)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		i := newIDP(t)
		p := newWorld().provider(t, config(i.URL))
		if _, err := p.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.Close()
		if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"})}); err == nil || IsRefused(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no client", func(t *testing.T) {
		i := newIDP(t)
		_, err := newWorld().provider(t, config(i.URL)).Token(t.Context(), TokenRequest{})
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Misconfigured || !errors.Is(err, clientauth.ErrNoClient) {
			t.Errorf("got %v", err)
		}
		if i.count(tokenPath) != 0 {
			t.Error("the provider was asked")
		}
	})
}

// Case 61, and the other forms of a lifetime.
func TestCase61ExpiresIn(t *testing.T) {
	w := newWorld()
	jwt := newKey(t, "").sign(t, map[string]any{"exp": w.Now().Unix() + 77})
	for _, c := range []struct {
		name, member, access string
		want                 time.Duration // 0: unknown
	}{
		{"number", `60`, "at", 60 * time.Second},
		{"numeric string", `"60"`, "at", 60 * time.Second},
		{"fraction", `60.9`, "at", 60 * time.Second},
		{"exponent", `6e1`, "at", 60 * time.Second},
		{"zero", `0`, "at", -time.Second},
		{"zero string", `"0"`, "at", -time.Second},
		{"negative", `-5`, "at", -time.Second},
		{"huge", `1e300`, "at", maxLifetime},
		{"beyond float", `1e999`, "at", -2},
		{"null", `null`, "at", 0},
		{"missing, JWT", ``, jwt, 77 * time.Second},
		{"missing, opaque", ``, "at", 0},
		{"present beats exp", `60`, jwt, 60 * time.Second},
		{"zero beats exp", `0`, jwt, -time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newIDP(t)
			body := fmt.Sprintf(`{"access_token":%q`, c.access)
			if c.member != "" {
				body += `,"expires_in":` + c.member
			}
			i.answer(tokenPath, 200, body+"}")
			r, err := w.provider(t, config(i.URL)).Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"})})
			if c.want == -2 {
				if err == nil {
					t.Error("accepted")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.want == 0 {
				if !r.Expiry.IsZero() {
					t.Errorf("expires %v", r.Expiry)
				}
			} else if got := r.Expiry.Sub(w.Now()); got != c.want {
				t.Errorf("expires in %v", got)
			}
		})
	}
}

func TestClientAuthenticationIsChosenByMetadata(t *testing.T) {
	i := newIDP(t)
	i.answer(tokenPath, 200, `{"access_token":"x"}`)
	i.set(func(i *idp) {
		i.document["token_endpoint_auth_methods_supported"] = []any{"private_key_jwt", "client_secret_post", "client_secret_basic"}
	})
	p := newWorld().provider(t, config(i.URL))
	if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"})}); err != nil {
		t.Fatal(err)
	}
	if q := i.request(tokenPath); q.PostForm.Get("client_secret") != "secret" || q.Header.Get("Authorization") != "" {
		t.Errorf("sent %v", q.PostForm)
	}
	if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"}), Auth: clientauth.SecretBasic}); err != nil {
		t.Fatal(err)
	}
	if q := i.request(tokenPath); q.PostForm.Has("client_secret") || q.Header.Get("Authorization") == "" {
		t.Errorf("sent %v", q.PostForm)
	}
}

func TestConfiguredTokenEndpointNeedsNoDiscovery(t *testing.T) {
	i := newIDP(t)
	i.answer(tokenPath, 200, `{"access_token":"x"}`)
	c := config(i.URL + "/nowhere")
	c.Endpoints.Token = i.URL + tokenPath
	if _, err := newWorld().provider(t, c).Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "s2", Method: clientauth.SecretPost})}); err != nil {
		t.Fatal(err)
	}
	if len(i.calls) != 1 {
		t.Errorf("asked %v", i.calls)
	}
}

// Case 28: a caller's arguments never replace the protocol's; an endpoint's own
// query stays.
func TestCase28AuthorizationURL(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) { i.document["authorization_endpoint"] = i.URL + "/authorize?tenant=a%26b" })
	p := newWorld().provider(t, config(i.URL))
	var evil []Field
	for _, n := range append(reserved, "STATE", "Redirect_URI") {
		evil = append(evil, Field{n, "evil"})
	}
	to, err := p.AuthorizationURL(t.Context(), AuthorizationRequest{
		ClientID: "client", RedirectURI: "https://gw.example/cb?x=1&y", ResponseMode: "form_post", Scopes: []string{"openid", "email"},
		State: "st", Nonce: "no", Verifier: "verifier-verifier-verifier-verifier-verifier", Audience: []string{"one", "two"}, MaxAge: "60",
		Args: []Field{{"prompt", "login"}, {"state", "fixed"}}, ClientArgs: append(evil, Field{"login_hint", "a&b"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"tenant": "a&b", "client_id": "client", "redirect_uri": "https://gw.example/cb?x=1&y", "response_type": "code", "response_mode": "form_post",
		"scope": "openid email", "state": "st", "nonce": "no", "audience": "one two", "max_age": "60", "prompt": "login", "login_hint": "a&b",
		"code_challenge_method": "S256", "code_challenge": s256("verifier-verifier-verifier-verifier-verifier"),
	} {
		if got := strings.Join(q[name], " "); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if strings.Contains(to, "evil") {
		t.Errorf("the caller got through: %s", to)
	}
	if strings.Contains(to, "verifier-verifier") {
		t.Error("the code verifier is shown")
	}
	bare, err := p.AuthorizationURL(t.Context(), AuthorizationRequest{ClientID: "client", RedirectURI: "https://gw.example/", State: "st", ResponseType: "code id_token"})
	if err != nil {
		t.Fatal(err)
	}
	u, _ = url.Parse(bare)
	if q = u.Query(); q.Has("scope") || q.Has("nonce") || q.Has("code_challenge") || q.Has("max_age") || q.Has("response_mode") || q.Get("response_type") != "code id_token" {
		t.Errorf("got %v", q)
	}
}

// Case 27: a provider that is silent about PKCE gets S256.
func TestCase27PKCE(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		name       string
		configured *bool
		list       []string
		use        bool
		method     string
	}{
		{"silent", nil, nil, true, "S256"}, {"silent, required", &yes, nil, true, "S256"}, {"silent, off", &no, nil, false, "S256"},
		{"S256", nil, []string{"plain", "S256"}, true, "S256"}, {"plain only", nil, []string{"plain"}, true, "plain"},
		{"none", nil, []string{}, false, "S256"}, {"none, required", &yes, []string{}, true, "S256"}, {"unknown", nil, []string{"S512"}, false, "S256"},
		{"unknown, required", &yes, []string{"S512"}, true, "S256"},
	} {
		if got := UsePKCE(c.configured, c.list); got != c.use {
			t.Errorf("%s: used %v", c.name, got)
		}
		if got := PKCEMethod(c.list); got != c.method {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestPlainChallenge(t *testing.T) {
	i := newIDP(t)
	i.set(func(i *idp) { i.document["code_challenge_methods_supported"] = []any{"plain"} })
	to, err := newWorld().provider(t, config(i.URL)).AuthorizationURL(t.Context(), AuthorizationRequest{ClientID: "c", Verifier: "the-verifier"})
	if err != nil || !strings.Contains(to, "code_challenge=the-verifier") || !strings.Contains(to, "code_challenge_method=plain") {
		t.Errorf("got %s, %v", to, err)
	}
}

func TestVerifyIDToken(t *testing.T) {
	k := newKey(t, "k")
	i := newIDP(t, k)
	w := newWorld()
	p := w.provider(t, config(i.URL))
	base := func(changes map[string]any) map[string]any {
		c := map[string]any{"iss": i.URL, "sub": "alex", "aud": []string{"client", "api"}, "azp": "client", "exp": w.Now().Unix() + 60, "iat": w.Now().Unix(), "nonce": "n"}
		for n, v := range changes {
			if v == nil {
				delete(c, n)
			} else {
				c[n] = v
			}
		}
		return c
	}
	for _, c := range []struct {
		name    string
		changes map[string]any
		rules   func(*token.IDRules)
		want    error
	}{
		{"good", nil, nil, nil},
		{"at_hash of the access token", map[string]any{"at_hash": leftHalf("access")}, nil, nil},
		{"at_hash of another", map[string]any{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, nil, token.ErrClaims},
		{"foreign issuer", map[string]any{"iss": "https://evil.example"}, nil, token.ErrClaims},
		{"foreign audience", map[string]any{"aud": "other", "azp": nil}, nil, token.ErrClaims},
		{"wrong nonce", map[string]any{"nonce": "x"}, nil, token.ErrClaims},
		{"expired", map[string]any{"exp": w.Now().Unix() - 1}, nil, token.ErrExpired},
		{"within leeway", map[string]any{"exp": w.Now().Unix() - 1}, func(r *token.IDRules) { r.Leeway = time.Minute }, nil},
		{"no sub", map[string]any{"sub": nil}, nil, token.ErrClaims},
		{"sub is a number", map[string]any{"sub": 7}, nil, token.ErrClaims},
		{"verify_claims off", map[string]any{"iss": "x", "aud": "x", "sub": nil}, func(r *token.IDRules) { r.VerifyClaims = false }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			rules := &token.IDRules{VerifyClaims: true, ClientID: "client", Issuers: token.Issuers{Expected: []string{i.URL}}, VerifyNonce: true, Nonce: "n", AccessToken: "access"}
			if c.rules != nil {
				c.rules(rules)
			}
			tok, err := p.VerifyIDToken(t.Context(), &token.Verifier{Keys: p.Keys(nil)}, token.Opaque(k.sign(t, base(c.changes))), rules)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v", err)
			}
			if err == nil && (tok.Key == nil || tok.Header.KeyID != "k") {
				t.Errorf("got %+v", tok)
			}
		})
	}
	rules := &token.IDRules{VerifyClaims: true, ClientID: "client", Issuers: token.Issuers{Expected: []string{i.URL}}}
	t.Run("forged", func(t *testing.T) {
		_, err := p.VerifyIDToken(t.Context(), &token.Verifier{Keys: p.Keys(nil)}, token.Opaque(newKey(t, "k").sign(t, base(nil))), rules)
		if !errors.Is(err, token.ErrSignature) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no token", func(t *testing.T) {
		for _, raw := range []token.Opaque{"", "opaque", "a.b.c", "eyJhbGciOiJub25lIn0.e30."} {
			_, err := p.VerifyIDToken(t.Context(), &token.Verifier{Keys: p.Keys(nil), SkipSignature: true}, raw, rules)
			if !errors.Is(err, token.ErrMalformed) && !errors.Is(err, token.ErrAlgorithm) {
				t.Errorf("%q: %v", raw.Reveal(), err)
			}
		}
	})
	t.Run("provider down", func(t *testing.T) {
		i := newIDP(t, k)
		i.set(func(i *idp) { i.down = true })
		p := newWorld().provider(t, config(i.URL))
		_, err := p.VerifyIDToken(t.Context(), &token.Verifier{Keys: p.Keys(nil)}, token.Opaque(k.sign(t, base(nil))), rules)
		if !errors.Is(err, token.ErrKeysUnavailable) {
			t.Errorf("an outage is hidden: %v", err)
		}
	})
}
