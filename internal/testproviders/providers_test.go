package testproviders

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// both runs a test at each provider.
func both(t *testing.T, test func(t *testing.T, p *Provider)) {
	t.Run("oidc-provider", func(t *testing.T) { test(t, OIDCProvider(t)) })
	t.Run("keycloak", func(t *testing.T) { test(t, Keycloak(t)) })
}

func metadata(t *testing.T, p *Provider, issuer string) map[string]any {
	t.Helper()
	doc, err := p.Metadata(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func endpoint(t *testing.T, doc map[string]any, name string) string {
	t.Helper()
	s, ok := doc[name].(string)
	if !ok {
		t.Fatalf("discovery has no %s", name)
	}
	return s
}

type answer struct {
	status int
	raw    string
	body   map[string]any
}

func post(t *testing.T, c *http.Client, to string, form url.Values, edit func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if edit != nil {
		edit(req)
	}
	return do(t, c, req)
}

func do(t *testing.T, c *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, raw: string(raw), body: map[string]any{}}
	_ = json.Unmarshal(raw, &a.body)
	return a
}

func basic(c Client) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(c.ID, c.Secret) }
}

func (a answer) token(t *testing.T, name string) string {
	t.Helper()
	s, ok := a.body[name].(string)
	if a.status != http.StatusOK || !ok {
		t.Fatalf("status %d without %s: %s", a.status, name, a.raw)
	}
	return s
}

func password(t *testing.T, p *Provider, doc map[string]any, client, user string) answer {
	t.Helper()
	return post(t, p.HTTPClient(""), endpoint(t, doc, "token_endpoint"), url.Values{
		"grant_type": {"password"}, "username": {user}, "password": {p.Users[user].Password}, "scope": {"openid profile email"},
	}, basic(p.Clients[client]))
}

// verify checks a token against the key set of the discovery document and
// returns its claims.
func verify(t *testing.T, p *Provider, doc map[string]any, token string) map[string]any {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := fetchJSON(t.Context(), p.HTTPClient(""), http.MethodGet, endpoint(t, doc, "jwks_uri"), nil, nil, &set); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		t.Fatalf("%v: %s", err, token)
	}
	if err := parsed.Claims(set); err != nil {
		t.Fatal(err)
	}
	// The standard decoder takes the last of members that stand twice, as iss
	// does in Keycloak's JARM responses; go-jose's refuses them.
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(body, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestPasswordGrantGivesVerifiableTokens(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		t.Logf("%s %s started in %s", p.Name, p.Version, p.StartTime.Round(time.Millisecond))
		issuers := []string{p.Issuer}
		if p.IssuerB != "" {
			issuers = append(issuers, p.IssuerB)
		}
		for _, issuer := range issuers {
			doc := metadata(t, p, issuer)
			if doc["issuer"] != issuer {
				t.Errorf("issuer is %v, want %s", doc["issuer"], issuer)
			}
			got := password(t, p, doc, "kong", "alex")
			claims := verify(t, p, doc, got.token(t, "access_token"))
			for name, want := range map[string]any{"iss": issuer, "azp": "kong", "preferred_username": "alex", "email": "alex@example.test", "tier": "gold"} {
				if claims[name] != want {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
			if groups, _ := json.Marshal(claims["groups"]); string(groups) != `["employees","marketing"]` {
				t.Errorf("groups are %s", groups)
			}
			if aud, _ := json.Marshal(claims["aud"]); !strings.Contains(string(aud), API) {
				t.Errorf("aud is %s, want %s in it", aud, API)
			}
			if id := verify(t, p, doc, got.token(t, "id_token")); id["iss"] != issuer || id["preferred_username"] != "alex" {
				t.Errorf("the ID token says %v", id)
			}
		}
		wrong := p.Clients["kong"]
		wrong.Secret = "wrong"
		if got := post(t, p.HTTPClient(""), endpoint(t, metadata(t, p, p.Issuer), "token_endpoint"),
			url.Values{"grant_type": {"client_credentials"}}, basic(wrong)); got.status != http.StatusUnauthorized {
			t.Errorf("a wrong secret is answered by %d", got.status)
		}
	})
}

func TestRefreshTokensRotate(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		first := password(t, p, doc, "kong", "blake").token(t, "refresh_token")
		refresh := func(token string) answer {
			return post(t, p.HTTPClient(""), endpoint(t, doc, "token_endpoint"),
				url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, basic(p.Clients["kong"]))
		}
		second := refresh(first).token(t, "refresh_token")
		if second == first {
			t.Error("the refresh token stayed the same")
		}
		if got := refresh(first); got.status != http.StatusBadRequest || got.body["error"] != "invalid_grant" {
			t.Errorf("reuse is answered by %d %s", got.status, got.raw)
		}
	})
}

func privateKey(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	raw, err := ClientKeys()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	return set.Key(kid)[0]
}

func assertion(t *testing.T, c Client, audience string) string {
	t.Helper()
	key := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(c.Secret)}
	if c.Auth == AuthPrivateKeyJWT {
		jwk := privateKey(t, "client-ec")
		key = jose.SigningKey{Algorithm: jose.ES256, Key: jwk}
	}
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": c.ID, "sub": c.ID, "aud": audience, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMTLSAliases: the issuer's metadata name the endpoints of the other
// listener (RFC 8705 section 5).
func TestMTLSAliases(t *testing.T) {
	p := OIDCProvider(t)
	aliases, _ := metadata(t, p, p.Issuer)["mtls_endpoint_aliases"].(map[string]any)
	if aliases["token_endpoint"] != p.TLSIssuer+"/token" {
		t.Errorf("aliases are %v", aliases)
	}
}

// TestClientAuthentication asks for tokens by every method that a provider
// knows, and again with something wrong.
func TestClientAuthentication(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		plain := endpoint(t, doc, "token_endpoint")
		overTLS := p.TLSIssuer + "/token"
		if p.Name == "keycloak" {
			overTLS = p.TLSIssuer + "/protocol/openid-connect/token"
		}
		for id, c := range p.Clients {
			if strings.HasPrefix(id, "dpop") || strings.HasPrefix(id, "fapi") || id == "hybrid" || id == "mtls-bound" {
				continue // these need more than authentication
			}
			t.Run(id, func(t *testing.T) {
				ask := func(good bool) answer {
					form, to, edit, client := url.Values{"grant_type": {"client_credentials"}}, plain, (func(*http.Request))(nil), p.HTTPClient("")
					secret := c.Secret
					if !good {
						secret = strings.Repeat("wrong", 9)
					}
					switch c.Auth {
					case AuthBasic:
						edit = basic(Client{ID: c.ID, Secret: secret})
					case AuthPost:
						form.Set("client_id", c.ID)
						form.Set("client_secret", secret)
					case AuthSecretJWT, AuthPrivateKeyJWT:
						signed := c
						signed.Secret = secret
						audience := p.Issuer
						if !good {
							audience = "https://elsewhere.example.test"
						}
						form.Set("client_id", c.ID)
						form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
						form.Set("client_assertion", assertion(t, signed, audience))
					case AuthTLS, AuthSelfSignedTLS:
						certificate := "other"
						if good {
							certificate = c.Certificate
						}
						form.Set("client_id", c.ID)
						to, client = overTLS, p.HTTPClient(certificate)
					case AuthNone:
						form = url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "client_id": {c.ID}}
						if !good {
							form.Set("client_id", "nobody")
						}
					}
					return post(t, client, to, form, edit)
				}
				ask(true).token(t, "access_token")
				if got := ask(false); got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest {
					t.Errorf("bad authentication is answered by %d %s", got.status, got.raw)
				}
			})
		}
	})
}

func TestTokensBoundToCertificates(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		to := p.TLSIssuer + "/token"
		if p.Name == "keycloak" {
			to = p.TLSIssuer + "/protocol/openid-connect/token"
		}
		got := post(t, p.HTTPClient("tls"), to, url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid"}},
			basic(p.Clients["mtls-bound"]))
		parsed, err := jwt.ParseSigned(got.token(t, "access_token"), []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Confirm map[string]string `json:"cnf"`
		}
		if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(p.Certificates["tls"].Certificate[0])
		if want := base64.RawURLEncoding.EncodeToString(sum[:]); claims.Confirm["x5t#S256"] != want {
			t.Errorf("cnf is %v, want x5t#S256 %s", claims.Confirm, want)
		}
	})
}

func TestIntrospectionUserinfoRevocation(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		id := "kong"
		if p.Name == "oidc-provider" {
			id = "opaque"
		}
		client := basic(p.Clients[id])
		token := password(t, p, doc, id, "alex").token(t, "access_token")
		introspect := func() answer {
			return post(t, p.HTTPClient(""), endpoint(t, doc, "introspection_endpoint"), url.Values{"token": {token}}, client)
		}
		if got := introspect(); got.body["active"] != true || got.body["preferred_username"] != "alex" {
			t.Errorf("introspection answers %s", got.raw)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, endpoint(t, doc, "userinfo_endpoint"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if got := do(t, p.HTTPClient(""), req); got.body["preferred_username"] != "alex" {
			t.Errorf("userinfo answers %d %s", got.status, got.raw)
		}
		if got := post(t, p.HTTPClient(""), endpoint(t, doc, "revocation_endpoint"), url.Values{"token": {token}}, client); got.status != http.StatusOK {
			t.Errorf("revocation answers %d %s", got.status, got.raw)
		}
		if got := introspect(); got.body["active"] != false {
			t.Errorf("after its revocation the token is %s", got.raw)
		}
	})
}

func TestTokenExchange(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		subject := password(t, p, doc, "kong", "alex").token(t, "access_token")
		got := post(t, p.HTTPClient(""), endpoint(t, doc, "token_endpoint"), url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {subject},
			"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		}, basic(p.Clients["second"]))
		if claims := verify(t, p, doc, got.token(t, "access_token")); claims["azp"] != "second" || claims["preferred_username"] != "alex" {
			t.Errorf("the exchanged token says %v", claims)
		}
	})
}

func TestFrontCountsAndPlaysDead(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		if err := p.ResetCounts(); err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(endpoint(t, doc, "token_endpoint"))
		if err != nil {
			t.Fatal(err)
		}
		password(t, p, doc, "kong", "alex")
		if n := p.Count(at.Path); n != 1 {
			t.Errorf("one request counts %d", n)
		}
		p.SetDown(true)
		_, err = p.Metadata(t.Context(), p.Issuer)
		p.SetDown(false)
		if err == nil {
			t.Error("a provider that is down answers")
		}
		metadata(t, p, p.Issuer)
	})
}

func TestMissingSaysWhatToDo(t *testing.T) {
	err := error(&Missing{Provider: "keycloak", Reason: "java is not on PATH"})
	var missing *Missing
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "left out: java is not on PATH") {
		t.Errorf("it says %q", err)
	}
}

func TestBackchannelLogout(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		logoutToken := make(chan string, 1)
		rp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case logoutToken <- r.FormValue("logout_token"):
			default:
			}
		}))
		defer rp.Close()
		if err := p.SetBackchannelLogout(t.Context(), "second", rp.URL); err != nil {
			t.Fatal(err)
		}
		doc := metadata(t, p, p.Issuer)
		browser := NewBrowser()
		tokens := codeFlow(t, p, doc, browser, "second", nil)
		out := endpoint(t, doc, "end_session_endpoint") + "?" + url.Values{
			"id_token_hint": {tokens.token(t, "id_token")}, "post_logout_redirect_uri": {"http://127.0.0.1:9/out"}, "state": {"s"}, "client_id": {"second"},
		}.Encode()
		back, err := browser.Logout(t.Context(), out)
		if err != nil {
			t.Fatal(err)
		}
		if back == nil || !strings.HasPrefix(back.URL, "http://127.0.0.1:9/out") || back.Values().Get("state") != "s" {
			t.Errorf("logout comes back to %v", back)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		select {
		case token := <-logoutToken:
			claims := verify(t, p, doc, token)
			if _, ok := claims["events"]; !ok || claims["aud"] == nil {
				t.Errorf("the logout token says %v", claims)
			}
		case <-ctx.Done():
			t.Errorf("no logout token came; the provider says: %s", p.proc.out)
		}
	})
}
