package provider

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

var errNoKey = errors.New("no published key has that kid")

func b64decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

// go-oidc and x/oauth2 are clients that we did not write: what they accept is
// protocol, not agreement with ourselves.
func TestInteroperatesWithGoOIDC(t *testing.T) {
	for _, alg := range []string{RS256, PS256, ES256, EdDSA} {
		t.Run(alg, func(t *testing.T) {
			f := start(t, Client{ID: "interop", Secret: "a/secret:with%signs+and space-0123456789", LoopbackRedirects: true, SigningAlg: alg})
			ctx := oidc.ClientContext(t.Context(), f.http)
			op, err := oidc.NewProvider(ctx, f.Issuer())
			if err != nil {
				t.Fatal(err)
			}
			conf := oauth2.Config{ClientID: "interop", ClientSecret: "a/secret:with%signs+and space-0123456789", Endpoint: op.Endpoint(), RedirectURL: redirect, Scopes: []string{"openid", "email"}}
			verifier := oauth2.GenerateVerifier()
			cb, err := SignIn(ctx, f.http, conf.AuthCodeURL("s", oidc.Nonce("n"), oauth2.S256ChallengeOption(verifier)), "alex", "doe")
			if err != nil {
				t.Fatal(err)
			}
			tok, err := conf.Exchange(ctx, cb.Params.Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			id, err := op.Verifier(&oidc.Config{ClientID: "interop", Now: f.clock.Now, SupportedSigningAlgs: []string{alg}}).Verify(ctx, tok.Extra("id_token").(string))
			if err != nil {
				t.Fatal(err)
			}
			if id.Nonce != "n" || id.Subject != "sub-alex" {
				t.Errorf("nonce %q, subject %q", id.Nonce, id.Subject)
			}
			if err := id.VerifyAccessToken(tok.AccessToken); err != nil {
				t.Error(err)
			}
			info, err := op.UserInfo(ctx, oauth2.StaticTokenSource(tok))
			if err != nil || info.Subject != "sub-alex" || info.Email != "alex@example.test" {
				t.Errorf("userinfo: %+v, %v", info, err)
			}
			if next, err := conf.TokenSource(ctx, &oauth2.Token{RefreshToken: tok.RefreshToken, Expiry: time.Unix(1, 0)}).Token(); err != nil || next.RefreshToken == tok.RefreshToken {
				t.Errorf("refresh: %v, rotated %v", err, next != nil && next.RefreshToken != tok.RefreshToken)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	p, err := New(Options{Metadata: map[string]any{"userinfo_endpoint": nil, "extra": "member"}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(p)
	defer srv.Close()
	status := func(path string) (int, map[string]any) {
		res, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var m map[string]any
		json.NewDecoder(res.Body).Decode(&m)
		return res.StatusCode, m
	}
	if code, _ := status("/jwks"); code != http.StatusServiceUnavailable {
		t.Errorf("without an issuer: %d, want 503", code)
	}
	for _, c := range []struct{ issuerPath, path string }{
		{"", "/.well-known/openid-configuration"},
		{"", "/.well-known/oauth-authorization-server"},
		{"/realms/a", "/realms/a/.well-known/openid-configuration"},
		{"/realms/a", "/realms/a/.well-known/oauth-authorization-server"},
		{"/realms/a", "/.well-known/oauth-authorization-server/realms/a"},
	} {
		if err := p.SetIssuer(srv.URL + c.issuerPath + "/"); err != nil {
			t.Fatal(err)
		}
		code, doc := status(c.path)
		if code != 200 || doc["issuer"] != srv.URL+c.issuerPath || doc["extra"] != "member" || doc["userinfo_endpoint"] != nil {
			t.Errorf("issuer path %q, %s: %d %v", c.issuerPath, c.path, code, doc)
		}
		if code, keys := status(strings.TrimPrefix(doc["jwks_uri"].(string), srv.URL)); code != 200 || len(keys["keys"].([]any)) != 4 {
			t.Errorf("keys: %d %v", code, keys)
		}
	}
	if code, _ := status("/.well-known/openid-configuration"); code != 404 {
		t.Errorf("outside of the issuer's path: %d, want 404", code)
	}
	for _, bad := range []string{"", "host", "ftp://x", "http://x?y", "http://x#y", "http://"} {
		if p.SetIssuer(bad) == nil {
			t.Errorf("SetIssuer(%q) is accepted", bad)
		}
	}
}

func TestKeysArePublicAndRotate(t *testing.T) {
	f := startWith(t, nil)
	old := f.password()["access_token"]
	if err := f.verify(old); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"k"`} {
		if strings.Contains(string(f.get("/jwks").body), member) {
			t.Errorf("the published keys hold %s", member)
		}
	}
	f.control("POST", "/sandbox/rotate-keys", `{"keep":true}`)
	if err := f.verify(old); err != nil {
		t.Errorf("kept key: %v", err)
	}
	if err := f.verify(f.password()["access_token"]); err != nil {
		t.Errorf("new key: %v", err)
	}
	f.control("POST", "/sandbox/rotate-keys", "")
	if err := f.verify(old); !errors.Is(err, errNoKey) {
		t.Errorf("key of two rotations ago: %v, want none", err)
	}
}

func TestPasswordGrant(t *testing.T) {
	f := start(t, Client{ID: "narrow", Secret: "narrow-secret-0123456789abcdef", Grants: []string{GrantCode}, Scopes: []string{"openid"}})
	got := f.password()
	if got["scope"] != "openid email profile" || got["token_type"] != "Bearer" || got["expires_in"] != 300.0 || got["refresh_token"] == nil {
		t.Errorf("answer %v", got)
	}
	header, claims := open(t, got["access_token"])
	if header["typ"] != "at+jwt" || claims["iss"] != f.Issuer() || claims["sub"] != "sub-alex" || claims["aud"] != "account" || claims["azp"] != "kong" ||
		claims["client_id"] != "kong" || claims["preferred_username"] != "alex" || claims["sid"] == nil || claims["jti"] == nil || claims["realm_access"] == nil {
		t.Errorf("access token %v %v", header, claims)
	}
	r := f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "audience", "api-1", "audience", "api-2", "scope", "groups")
	if _, claims = open(t, r.json["access_token"]); len(claims["aud"].([]any)) != 3 {
		t.Errorf("aud %v, want the client's and both asked for", claims["aud"])
	}
	if r.json["id_token"] != nil {
		t.Error("an ID token without the scope openid")
	}
	wantError(t, f.post("/token", "grant_type", "password", "username", "alex", "password", "wrong"), 400, "invalid_grant")
	wantError(t, f.post("/token", "grant_type", "password", "username", "nobody", "password", ""), 400, "invalid_grant")
	wantError(t, f.post("/token", "grant_type", "magic"), 400, "unsupported_grant_type")
	wantError(t, f.post("/token", "grant_type", "password", "grant_type", "password"), 400, "invalid_request")
	wantError(t, f.post("/token", "grant_type", "password", "client_id", "narrow", "client_secret", "narrow-secret-0123456789abcdef"), 400, "unauthorized_client")
}

func TestClientCredentialsGrant(t *testing.T) {
	f := start(t, Client{ID: "narrow", Secret: "narrow-secret-0123456789abcdef", Scopes: []string{"read"}})
	r := f.post("/token", "grant_type", "client_credentials", "scope", "openid")
	if r.status != 200 || r.json["refresh_token"] != nil || r.json["id_token"] != nil {
		t.Errorf("answer %d %s", r.status, r.body)
	}
	if _, c := open(t, r.json["access_token"]); c["sub"] != "service-account-kong" || c["tier"] != "gold" || c["sid"] != nil {
		t.Errorf("claims %v", c)
	}
	if i := f.userinfo(r.json["access_token"].(string)); i.status != 403 {
		t.Errorf("userinfo of a client: %d, want 403", i.status)
	}
	wantError(t, f.post("/token", "grant_type", "client_credentials", "client_id", "public"), 400, "unauthorized_client")
	wantError(t, f.post("/token", "grant_type", "client_credentials", "scope", "write", "client_id", "narrow", "client_secret", "narrow-secret-0123456789abcdef"), 400, "invalid_scope")
}

func TestOpaqueTokens(t *testing.T) {
	f := start(t)
	secret := "opaque-secret-0123456789abcdef0123456789abcde"
	r := f.post("/token", "grant_type", "password", "username", "blake", "password", "doe", "scope", "openid", "client_id", "opaque", "client_secret", secret)
	token := r.json["access_token"].(string)
	if strings.Contains(token, ".") {
		t.Errorf("token %q is a JWT", token)
	}
	i := f.post("/introspect", "token", token)
	if i.json["active"] != true || i.json["username"] != "blake" || i.json["client_id"] != "opaque" {
		t.Errorf("introspection %s", i.body)
	}
	if f.userinfo(token).json["sub"] != "sub-blake" {
		t.Error("userinfo does not know the token")
	}
}

func TestRefreshGrant(t *testing.T) {
	f := start(t, Client{ID: "keep", Secret: "keep-secret-0123456789abcdef01", KeepRefreshToken: true})
	first := f.password()
	refresh := func(token any, more ...string) reply {
		return f.post("/token", append([]string{"grant_type", "refresh_token", "refresh_token", token.(string)}, more...)...)
	}
	second := refresh(first["refresh_token"])
	if second.status != 200 || second.json["refresh_token"] == first["refresh_token"] || second.json["id_token"] == nil {
		t.Fatalf("refresh: %d %s", second.status, second.body)
	}
	if _, c := open(t, second.json["id_token"]); c["nonce"] != nil {
		t.Error("a refreshed ID token has a nonce")
	}
	wantError(t, refresh(second.json["refresh_token"], "scope", "openid admin"), 400, "invalid_scope")
	narrowed := refresh(second.json["refresh_token"], "scope", "email")
	if narrowed.json["scope"] != "email" || narrowed.json["id_token"] != nil {
		t.Errorf("narrowed: %s", narrowed.body)
	}
	third := narrowed.json["refresh_token"]

	t.Run("reuse revokes the whole family", func(t *testing.T) {
		wantError(t, refresh(first["refresh_token"]), 400, "invalid_grant")
		wantError(t, refresh(third), 400, "invalid_grant")
		for _, token := range []any{first["access_token"], narrowed.json["access_token"]} {
			if i := f.post("/introspect", "token", token.(string)); i.json["active"] != false {
				t.Errorf("access token of a revoked family: %s", i.body)
			}
		}
	})
	t.Run("expired", func(t *testing.T) {
		got := f.password()
		f.clock.Add(30 * time.Minute)
		wantError(t, refresh(got["refresh_token"]), 400, "invalid_grant")
	})
	t.Run("another client's", func(t *testing.T) {
		got := f.password()
		wantError(t, refresh(got["refresh_token"], "client_id", "public"), 400, "invalid_grant")
	})
	t.Run("kept where rotation is off", func(t *testing.T) {
		as := []string{"client_id", "keep", "client_secret", "keep-secret-0123456789abcdef01"}
		got := f.post("/token", append(as, "grant_type", "password", "username", "alex", "password", "doe")...)
		for range 2 {
			if next := refresh(got.json["refresh_token"], as...); next.json["refresh_token"] != got.json["refresh_token"] {
				t.Errorf("answer %s", next.body)
			}
		}
	})
}

// RFC 8693: the subject stays, scopes and audience are those asked for.
func TestExchangeGrant(t *testing.T) {
	f := start(t)
	const kind = "urn:ietf:params:oauth:token-type:access_token"
	subject := f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "scope", "openid").json["access_token"].(string)
	ask := func(more ...string) reply {
		return f.post("/token", append([]string{"grant_type", GrantExchange, "subject_token_type", kind}, more...)...)
	}
	r := ask("subject_token", subject, "scope", "openid groups", "audience", "https://api.example.test")
	if r.status != 200 || r.json["issued_token_type"] != kind || r.json["refresh_token"] != nil || r.json["access_token"] == subject {
		t.Fatalf("%d %v", r.status, r.json)
	}
	if u := f.userinfo(r.json["access_token"].(string)); u.json["sub"] != "sub-alex" {
		t.Errorf("userinfo %d %v", u.status, u.json)
	}
	if scope, _ := r.json["scope"].(string); !strings.HasPrefix(scope, "openid groups") {
		t.Errorf("scope %q", scope)
	}
	for name, pairs := range map[string][]string{
		"an unknown token":      {"subject_token", "unknown"},
		"another type":          {"subject_token", subject, "requested_token_type", "urn:ietf:params:oauth:token-type:saml2"},
		"an actor":              {"subject_token", subject, "actor_token", subject},
		"a public client":       {"subject_token", subject, "client_id", "public"},
		"no token":              {},
		"a type that is absent": {"subject_token", subject, "subject_token_type", ""},
	} {
		if r := ask(pairs...); r.status != 400 || r.json["error"] == nil {
			t.Errorf("%s: %d %v", name, r.status, r.json)
		}
	}
	f.clock.Add(time.Hour)
	if r := ask("subject_token", subject); r.status != 400 {
		t.Errorf("an expired token: %d %v", r.status, r.json)
	}
}

func TestClientAuthentication(t *testing.T) {
	key, err := newKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newKey(ES256)
	f := start(t, Client{ID: "key-jwt", JWKS: &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.jwk()}}})
	sign := func(alg jose.SignatureAlgorithm, k any, id string, change func(map[string]any)) string {
		c := map[string]any{"iss": id, "sub": id, "aud": f.URL + "/token", "jti": random(), "exp": f.clock.Now().Unix() + 60}
		if change != nil {
			change(c)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(c)
		jws, err := signer.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := jws.CompactSerialize()
		return s
	}
	secret := []byte("jwt-secret-0123456789abcdef0123456789abcdef0123456789abcdef01234567")
	good := sign(jose.ES256, key.signer, "key-jwt", nil)
	for _, c := range []struct {
		name   string
		form   []string
		status int
	}{
		{"post", []string{"client_id", "kong", "client_secret", kongSecret}, 200},
		{"post, wrong secret", []string{"client_id", "kong", "client_secret", kongSecret + "x"}, 401},
		{"post, empty secret", []string{"client_id", "kong", "client_secret", ""}, 401},
		{"none where a secret is needed", []string{"client_id", "kong"}, 401},
		{"unknown client", []string{"client_id", "nobody", "client_secret", "x"}, 401},
		{"none", []string{"client_id", "public"}, 200},
		{"secret_jwt", []string{"client_assertion", sign(jose.HS256, secret, "secret-jwt", nil)}, 200},
		{"secret_jwt, HS512", []string{"client_assertion", sign(jose.HS512, secret, "secret-jwt", nil)}, 200},
		{"secret_jwt, wrong secret", []string{"client_assertion", sign(jose.HS256, append(secret, 'x'), "secret-jwt", nil)}, 401},
		{"secret where only assertions are allowed", []string{"client_id", "secret-jwt", "client_secret", string(secret)}, 401},
		{"private_key_jwt", []string{"client_assertion", good}, 200},
		{"private_key_jwt, replayed", []string{"client_assertion", good}, 401},
		{"private_key_jwt, unknown key", []string{"client_assertion", sign(jose.ES256, other.signer, "key-jwt", nil)}, 401},
		{"private_key_jwt, expired", []string{"client_assertion", sign(jose.ES256, key.signer, "key-jwt", func(c map[string]any) { c["exp"] = f.clock.Now().Unix() })}, 401},
		{"private_key_jwt, foreign aud", []string{"client_assertion", sign(jose.ES256, key.signer, "key-jwt", func(c map[string]any) { c["aud"] = []string{"https://x"} })}, 401},
		{"private_key_jwt, issuer as aud", []string{"client_assertion", sign(jose.ES256, key.signer, "key-jwt", func(c map[string]any) { c["aud"] = []string{"https://x", f.URL} })}, 200},
		{"private_key_jwt, foreign iss", []string{"client_assertion", sign(jose.ES256, key.signer, "key-jwt", func(c map[string]any) { c["iss"] = "kong" })}, 401},
		{"private_key_jwt, no jti", []string{"client_assertion", sign(jose.ES256, key.signer, "key-jwt", func(c map[string]any) { delete(c, "jti") })}, 401},
		{"private_key_jwt, other client_id", []string{"client_id", "kong", "client_assertion", sign(jose.ES256, key.signer, "key-jwt", nil)}, 401},
		{"assertion that is none", []string{"client_assertion", "x.y.z"}, 401},
		{"two methods", []string{"client_id", "kong", "client_secret", kongSecret, "client_assertion", sign(jose.HS256, secret, "secret-jwt", nil)}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := append([]string{"grant_type", "password", "username", "alex", "password", "doe"}, c.form...)
			if slices.Contains(c.form, "client_assertion") {
				form = append(form, "client_assertion_type", assertionType)
			}
			if r := f.post("/token", form...); r.status != c.status {
				t.Errorf("answer %d %s, want %d", r.status, r.body, c.status)
			}
		})
	}
	t.Run("basic, wrong secret", func(t *testing.T) {
		req, _ := http.NewRequest("POST", f.URL+"/token", strings.NewReader("grant_type=client_credentials"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("kong", "wrong")
		if r := f.do(req); r.status != 401 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("answer %d, challenge %q", r.status, r.header.Get("WWW-Authenticate"))
		}
	})
	t.Run("keys by jwks_uri", func(t *testing.T) {
		keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, map[string]any{"keys": []any{map[string]any{"kty": "future"}, key.jwk()}})
		}))
		defer keys.Close()
		f.SetClient(Client{ID: "by-uri", JWKSURI: keys.URL})
		r := f.post("/token", "grant_type", "client_credentials", "client_assertion_type", assertionType, "client_assertion", sign(jose.ES256, key.signer, "by-uri", nil))
		if r.status != 200 {
			t.Errorf("answer %d %s", r.status, r.body)
		}
	})
	var methods []string
	for _, rec := range f.Records(EndpointToken) {
		if !slices.Contains(methods, rec.AuthMethod) {
			methods = append(methods, rec.AuthMethod)
		}
	}
	for _, want := range []string{AuthBasic, AuthPost, AuthNone, AuthSecretJWT, AuthPrivateKeyJWT} {
		if !slices.Contains(methods, want) {
			t.Errorf("the records show %v, %s is missing", methods, want)
		}
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	f := start(t)
	got := f.password()
	access, refresh := got["access_token"].(string), got["refresh_token"].(string)
	active := func(token string) any { return f.post("/introspect", "token", token).json["active"] }
	if active(access) != true || active(refresh) != true || active("nonsense") != false {
		t.Error("introspection knows not what is active")
	}
	wantError(t, f.post("/introspect", "token", access, "client_id", "kong", "client_secret", "x"), 401, "invalid_client")
	wantError(t, f.post("/introspect"), 400, "invalid_request")
	wantError(t, f.post("/revoke", "token", access, "token_type_hint", "cookie"), 400, "unsupported_token_type")

	if r := f.post("/revoke", "token", access, "client_id", "public"); r.status != 200 || active(access) != true {
		t.Error("another client could revoke the token")
	}
	if r := f.post("/revoke", "token", "nonsense"); r.status != 200 {
		t.Errorf("an unknown token: %d, want 200", r.status)
	}
	f.post("/revoke", "token", access, "token_type_hint", "access_token")
	if active(access) != false || active(refresh) != true {
		t.Error("revoking the access token should end that alone")
	}
	other := f.post("/token", "grant_type", "refresh_token", "refresh_token", refresh).json
	f.post("/revoke", "token", other["refresh_token"].(string))
	if active(other["access_token"].(string)) != false {
		t.Error("revoking the refresh token should end the grant")
	}
	if r := f.userinfo(access); r.status != 401 || !strings.Contains(r.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("userinfo of a revoked token: %d", r.status)
	}
	late := f.password()["access_token"].(string)
	f.clock.Add(5 * time.Minute)
	if active(late) != false {
		t.Error("an expired token is active")
	}

	t.Run("as a JWT", func(t *testing.T) {
		form := url.Values{"token": {f.password()["access_token"].(string)}}
		req, _ := http.NewRequest("POST", f.URL+"/introspect", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/token-introspection+jwt")
		req.SetBasicAuth("kong", kongSecret)
		r := f.do(req)
		_, c := open(t, string(r.body))
		if r.header.Get("Content-Type") != "application/token-introspection+jwt" || c["token_introspection"].(map[string]any)["active"] != true {
			t.Errorf("answer %v", c)
		}
	})
}

func TestUserinfo(t *testing.T) {
	f := start(t, Client{ID: "signed", Secret: "signed-secret-0123456789abcdef0", SignedUserinfo: true})
	token := f.password()["access_token"].(string)
	if r := f.userinfo(token); r.json["sub"] != "sub-alex" || r.json["email"] != "alex@example.test" {
		t.Errorf("userinfo %s", r.body)
	}
	if r := f.post("/userinfo", "client_id", "x", "access_token", token); r.status != 200 {
		t.Errorf("POST: %d", r.status)
	}
	if r := f.get("/userinfo"); r.status != 401 || r.header.Get("WWW-Authenticate") != `Bearer realm="userinfo"` {
		t.Errorf("without a token: %d %q", r.status, r.header.Get("WWW-Authenticate"))
	}
	signed := f.post("/token", "grant_type", "password", "username", "alex", "password", "doe", "scope", "openid", "client_id", "signed", "client_secret", "signed-secret-0123456789abcdef0")
	r := f.userinfo(signed.json["access_token"].(string))
	if r.header.Get("Content-Type") != "application/jwt" || f.verify(string(r.body)) != nil {
		t.Errorf("signed userinfo: %s %v", r.header.Get("Content-Type"), f.verify(string(r.body)))
	}
}
