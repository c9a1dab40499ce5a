package op

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

const pushPath = "/par"

// newPush is a provider that takes pushed requests.
func newPush(t *testing.T) (*idp, *world, *Provider) {
	t.Helper()
	i := newIDP(t)
	i.set(func(i *idp) {
		i.document["pushed_authorization_request_endpoint"] = i.URL + pushPath
		i.document["authorization_endpoint"] = i.URL + "/authorize?tenant=t"
	})
	i.answer(pushPath, 201, `{"request_uri":"urn:ietf:params:oauth:request_uri:abc","expires_in":60}`)
	w := newWorld()
	return i, w, w.provider(t, config(i.URL))
}

func yes() *bool { b := true; return &b }

// loginRequest is a request with everything in it.
func loginRequest(cl *clientauth.Client) AuthorizationRequest {
	return AuthorizationRequest{
		Client: cl, RedirectURI: "https://gw.example/cb?x=1", ResponseType: "code", ResponseMode: "form_post.jwt", Scopes: []string{"openid", "email"},
		State: "st", Nonce: "no", Verifier: "verifier-verifier-verifier-verifier-verifier", Audience: []string{"one", "two"}, MaxAge: "60",
		Args: []Field{{"claims", `{"id_token":{"acr":null}}`}, {"sub", "alex"}}, ClientArgs: []Field{{"login_hint", "a&b"}, {"request_uri", "https://evil.example"}, {"exp", "99999999999"}, {"iss", "evil"}},
	}
}

func (p *Provider) location(t *testing.T, r AuthorizationRequest) url.Values {
	t.Helper()
	to, err := p.AuthorizationURL(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Path != "/authorize" || q.Get("tenant") != "t" {
		t.Errorf("sent to %s", to)
	}
	q.Del("tenant")
	return q
}

func (p *Provider) checkPlain(t *testing.T, f url.Values) {
	t.Helper()
	for name, want := range map[string]string{
		"client_id": "client", "redirect_uri": "https://gw.example/cb?x=1", "response_type": "code", "response_mode": "form_post.jwt", "scope": "openid email", "state": "st",
		"nonce": "no", "audience": "one two", "max_age": "60", "login_hint": "a&b", "code_challenge_method": "S256", "claims": `{"id_token":{"acr":null}}`,
	} {
		if got := strings.Join(f[name], " "); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if f.Has("request_uri") || f.Has("request") {
		t.Errorf("the caller got through: %v", f)
	}
}

func TestPushedAuthorizationRequest(t *testing.T) {
	for name, c := range map[string]struct {
		options clientauth.Options
		auth    clientauth.Method
		proof   func(*http.Request) bool
	}{
		"client_secret_basic": {clientauth.Options{Secret: "secret"}, "", func(r *http.Request) bool { id, s, _ := r.BasicAuth(); return id == "client" && s == "secret" }},
		"client_secret_post":  {clientauth.Options{Secret: "secret", Method: clientauth.SecretPost}, "", func(r *http.Request) bool { return r.PostForm.Get("client_secret") == "secret" }},
		"own method": {clientauth.Options{Secret: "secret", Method: clientauth.SecretPost}, clientauth.SecretJWT, func(r *http.Request) bool {
			return r.PostForm.Get("client_assertion") != "" && !r.PostForm.Has("client_secret")
		}},
		"private_key_jwt": {clientauth.Options{JWK: newKey(t, "ck").jwk(t), Method: clientauth.PrivateKeyJWT}, "", func(r *http.Request) bool { return r.PostForm.Get("client_assertion") != "" }},
		"none": {clientauth.Options{Method: clientauth.None}, "", func(r *http.Request) bool {
			return r.Header.Get("Authorization") == "" && !r.PostForm.Has("client_assertion")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			i, _, p := newPush(t)
			r := loginRequest(client1(t, c.options))
			r.Push, r.PushAuth, r.PushHeaders = yes(), c.auth, []Field{{"X-Tenant", "t"}}
			q := p.location(t, r)
			if len(q) != 2 || q.Get("client_id") != "client" || q.Get("request_uri") != "urn:ietf:params:oauth:request_uri:abc" {
				t.Errorf("the client takes %v", q)
			}
			p.checkPlain(t, i.request(pushPath).PostForm)
			if !c.proof(i.request(pushPath)) || i.request(pushPath).Header.Get("X-Tenant") != "t" {
				t.Errorf("sent %v", i.request(pushPath).Header)
			}
		})
	}
}

func (k key) jwk(t testing.TB) []byte {
	t.Helper()
	b, err := (&jose.JSONWebKey{Key: k.priv, KeyID: k.kid}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPushAnswers(t *testing.T) {
	i, w, p := newPush(t)
	cl := client1(t, clientauth.Options{Secret: "secret"})
	for _, c := range []struct {
		status int
		body   string
		ok     bool
		kind   Kind
	}{
		{201, `{"request_uri":"urn:x","expires_in":90}`, true, 0},
		{200, `{"request_uri":"urn:x","expires_in":"90"}`, true, 0},
		{201, `{"request_uri":"urn:x"}`, true, 0},
		{201, `{"request_uri":""}`, false, Unavailable},
		{201, `{"expires_in":90}`, false, Unavailable},
		{201, `{"request_uri":["urn:x"]}`, false, Unavailable},
		{201, `{"request_uri":"urn:x\nLocation: evil"}`, false, Unavailable},
		{201, `{"request_uri":"` + strings.Repeat("a", maxRequestURI+1) + `"}`, false, Unavailable},
		{201, `{"request_uri":"urn:x","expires_in":"soon"}`, false, Unavailable},
		{201, `<html>`, false, Unavailable},
		{302, `{"request_uri":"urn:x"}`, false, Unavailable},
		{400, `{"error":"invalid_request"}`, false, Refused},
		{401, `{"error":"invalid_client"}`, false, Refused},
		{503, ``, false, Unavailable},
	} {
		i.answer(pushPath, c.status, c.body)
		got, err := p.PushAuthorizationRequest(t.Context(), PushRequest{Client: cl, Form: url.Values{"client_id": {"client"}}})
		if c.ok {
			if err != nil || got.RequestURI != "urn:x" || !got.Expiry.IsZero() && !got.Expiry.Equal(w.Now().Add(90*time.Second)) {
				t.Errorf("%d %s: %+v, %v", c.status, c.body, got, err)
			}
			continue
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != c.kind {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
}

func TestWhenRequestsArePushedAndSigned(t *testing.T) {
	no := false
	for _, c := range []struct {
		name         string
		push, sign   *bool
		demands      bool
		wantP, wantS bool
	}{
		{"by default neither", nil, nil, false, false, false},
		{"as the provider demands", nil, nil, true, true, true},
		{"configured off", &no, &no, true, false, false},
		{"pushed", yes(), nil, false, true, false},
		{"signed", nil, yes(), false, false, true},
	} {
		i, _, p := newPush(t)
		i.set(func(i *idp) {
			i.document["require_pushed_authorization_requests"], i.document["require_signed_request_object"] = c.demands, c.demands
		})
		r := loginRequest(client1(t, clientauth.Options{Secret: "secret", JWK: newKey(t, "ck").jwk(t)}))
		r.Push, r.Sign = c.push, c.sign
		q := p.location(t, r)
		if q.Has("request_uri") != c.wantP || i.count(pushPath) > 0 != c.wantP {
			t.Errorf("%s: pushed %v", c.name, q)
		}
		signed := q.Has("request")
		if c.wantP {
			signed = i.request(pushPath).PostForm.Has("request")
		}
		if signed != c.wantS {
			t.Errorf("%s: signed %v", c.name, signed)
		}
	}
	// An endpoint that is missing is no reason to send the arguments in clear.
	i := newIDP(t)
	r := loginRequest(client1(t, clientauth.Options{Secret: "secret"}))
	r.Push = yes()
	if to, err := newWorld().provider(t, config(i.URL)).AuthorizationURL(t.Context(), r); err == nil || to != "" {
		t.Errorf("got %q", to)
	}
}

// checkObject verifies a request object and returns its claims.
func checkObject(t *testing.T, raw string, k key, i *idp, w *world) map[string]any {
	t.Helper()
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(k.priv.Public())
	if err != nil {
		t.Fatal(err)
	}
	head := jws.Signatures[0].Protected
	if head.ExtraHeaders["typ"] != "oauth-authz-req+jwt" || head.KeyID != k.kid {
		t.Errorf("header %+v", head)
	}
	var c map[string]any
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	now := float64(w.Now().Unix())
	for name, want := range map[string]any{
		"iss": "client", "aud": i.URL, "iat": now, "nbf": now, "exp": now + 300, "client_id": "client", "redirect_uri": "https://gw.example/cb?x=1",
		"response_type": "code", "response_mode": "form_post.jwt", "scope": "openid email", "state": "st", "nonce": "no", "max_age": float64(60), "login_hint": "a&b", "code_challenge_method": "S256",
	} {
		if c[name] != want {
			t.Errorf("%s is %v", name, c[name])
		}
	}
	if a, _ := json.Marshal(c["audience"]); string(a) != `["one","two"]` {
		t.Errorf("audience is %s", a)
	}
	if a, _ := json.Marshal(c["claims"]); string(a) != `{"id_token":{"acr":null}}` {
		t.Errorf("claims is %s", a)
	}
	for _, n := range []string{"request", "request_uri", "sub"} {
		if _, ok := c[n]; ok {
			t.Errorf("%s is in the object", n)
		}
	}
	return c
}

func TestSignedRequestObject(t *testing.T) {
	i, w, p := newPush(t)
	k := newKey(t, "ck")
	r := loginRequest(client1(t, clientauth.Options{Secret: "secret", JWK: k.jwk(t)}))
	r.Sign = yes()
	q := p.location(t, r)
	if len(q) != 4 || q.Get("client_id") != "client" || q.Get("response_type") != "code" || q.Get("scope") != "openid email" {
		t.Errorf("beside the object stand %v", q)
	}
	first := checkObject(t, q.Get("request"), k, i, w)
	if second := checkObject(t, p.location(t, r).Get("request"), k, i, w); first["jti"] == second["jti"] || first["jti"] == "" {
		t.Error("jti is used twice")
	}
}

func TestSignedAndPushed(t *testing.T) {
	i, w, p := newPush(t)
	k := newKey(t, "ck")
	r := loginRequest(client1(t, clientauth.Options{Secret: "secret", JWK: k.jwk(t), Method: clientauth.PrivateKeyJWT}))
	r.Sign, r.Push = yes(), yes()
	if q := p.location(t, r); len(q) != 2 || q.Get("client_id") != "client" || !q.Has("request_uri") {
		t.Errorf("the client takes %v", q)
	}
	f := i.request(pushPath).PostForm
	checkObject(t, f.Get("request"), k, i, w)
	if f.Has("state") || f.Has("redirect_uri") || f.Has("code_challenge") || f.Get("client_id") != "client" || f.Get("client_assertion") == "" {
		t.Errorf("beside the object stand %v", f)
	}
}

func TestUnsignableRequestIsNotSent(t *testing.T) {
	i, _, p := newPush(t)
	for name, cl := range map[string]*clientauth.Client{
		"no key": client1(t, clientauth.Options{Secret: "secret"}), "no client": nil,
		"own keys away": client1(t, clientauth.Options{Own: func(string) (*token.Signer, error) { return nil, errors.New("away") }}),
	} {
		r := loginRequest(cl)
		r.Sign, r.Push = yes(), yes()
		if to, err := p.AuthorizationURL(t.Context(), r); err == nil || to != "" || i.count(pushPath) != 0 {
			t.Errorf("%s: %q", name, to)
		}
	}
}
