package testproviders

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

const redirect = "http://127.0.0.1:9/callback"

func authorization(t *testing.T, doc map[string]any, client, verifier string, extra url.Values) string {
	t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {client}, "response_type": {"code"}, "scope": {"openid profile email"}, "redirect_uri": {redirect}, "state": {"state-1"},
		"nonce": {"nonce-1"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for name, values := range extra {
		query[name] = values
	}
	return endpoint(t, doc, "authorization_endpoint") + "?" + query.Encode()
}

// codeFlow logs alex in and exchanges the code.
func codeFlow(t *testing.T, p *Provider, doc map[string]any, b *Browser, client string, extra url.Values) answer {
	t.Helper()
	verifier := rand.Text() + rand.Text()
	back, err := b.Login(t.Context(), authorization(t, doc, client, verifier, extra), "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	if back.Values().Get("state") != "state-1" || back.Values().Get("code") == "" {
		t.Fatalf("the callback is %+v", back)
	}
	return post(t, p.HTTPClient(""), endpoint(t, doc, "token_endpoint"), url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Values().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}, basic(p.Clients[client]))
}

func TestCodeFlow(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		for mode, extra := range map[string]url.Values{"query": nil, "form_post": {"response_mode": {"form_post"}}} {
			t.Run(mode, func(t *testing.T) {
				got := codeFlow(t, p, doc, NewBrowser(), "kong", extra)
				id := verify(t, p, doc, got.token(t, "id_token"))
				if id["nonce"] != "nonce-1" || id["preferred_username"] != "alex" || id["aud"] != "kong" {
					t.Errorf("the ID token says %v", id)
				}
				verify(t, p, doc, got.token(t, "access_token"))
			})
		}
		t.Run("the session spares the form", func(t *testing.T) {
			b := NewBrowser()
			codeFlow(t, p, doc, b, "kong", nil)
			first := b.ShownForm()
			codeFlow(t, p, doc, b, "second", nil)
			if !first || b.ShownForm() {
				t.Errorf("the form was shown: first %v, then %v", first, b.ShownForm())
			}
		})
		t.Run("a wrong password", func(t *testing.T) {
			_, err := Login(t.Context(), authorization(t, doc, "kong", rand.Text(), nil), "alex", "wrong")
			if !errors.Is(err, ErrRefused) {
				t.Errorf("it is answered by %v", err)
			}
		})
		t.Run("JARM", func(t *testing.T) {
			back, err := Login(t.Context(), authorization(t, doc, "kong", rand.Text(), url.Values{"response_mode": {"jwt"}}), "alex", "doe")
			if err != nil {
				t.Fatal(err)
			}
			if claims := verify(t, p, doc, back.Values().Get("response")); claims["code"] == nil || claims["aud"] != "kong" {
				t.Errorf("the response says %v", claims)
			}
		})
	})
}

func TestPushedRequests(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		if back, err := Login(t.Context(), authorization(t, doc, "par", rand.Text(), nil), "alex", "doe"); err == nil && back.Values().Get("code") != "" {
			t.Error("a request that was not pushed got a code")
		}
		full, err := url.Parse(authorization(t, doc, "par", rand.Text(), nil))
		if err != nil {
			t.Fatal(err)
		}
		pushed := post(t, p.HTTPClient(""), endpoint(t, doc, "pushed_authorization_request_endpoint"), full.Query(), basic(p.Clients["par"]))
		uri, _ := pushed.body["request_uri"].(string)
		if pushed.status != http.StatusCreated || uri == "" {
			t.Fatalf("pushing answers %d %s", pushed.status, pushed.raw)
		}
		full.RawQuery = url.Values{"client_id": {"par"}, "request_uri": {uri}}.Encode()
		back, err := Login(t.Context(), full.String(), "alex", "doe")
		if err != nil {
			t.Fatal(err)
		}
		if back.Values().Get("code") == "" {
			t.Errorf("the callback is %+v", back)
		}
	})
}

func TestLoginAtTheSandbox(t *testing.T) {
	p, err := provider.New(provider.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(p)
	defer srv.Close()
	if err := p.SetIssuer(srv.URL); err != nil {
		t.Fatal(err)
	}
	doc := map[string]any{"authorization_endpoint": srv.URL + "/authorize"}
	var discovered map[string]any
	if err := fetchJSON(t.Context(), srv.Client(), http.MethodGet, srv.URL+"/.well-known/openid-configuration", nil, nil, &discovered); err == nil {
		doc = discovered
	}
	back, err := Login(t.Context(), authorization(t, doc, "kong", rand.Text(), nil), "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	if back.Values().Get("code") == "" {
		t.Errorf("the callback is %+v", back)
	}
	if _, err := Login(t.Context(), authorization(t, doc, "kong", rand.Text(), nil), "alex", "wrong"); !errors.Is(err, ErrRefused) {
		t.Errorf("a wrong password is answered by %v", err)
	}
}
