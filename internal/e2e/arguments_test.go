package e2e

import (
	"crypto/rand"
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/sandbox/provider"
)

func TestJWTSessionCookie(t *testing.T) {
	b := newBrowser(t)
	tok := "Bearer " + mint(t, provider.TokenRequest{Claims: map[string]any{"sid": "the-session"}})
	b.get("/bound-cookie", "Authorization", tok, "Cookie", "a=b; appsession=the-session").want(t, 200)
	for name, cookie := range map[string]string{"another": "appsession=other", "none": "a=b", "empty": "appsession="} {
		t.Run(name, func(t *testing.T) { b.get("/bound-cookie", "Authorization", tok, "Cookie", cookie).want(t, 401) })
	}
	b.get("/bound-cookie", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Claims: map[string]any{"sid": nil}}), "Cookie", "appsession=").want(t, 401)
}

func TestAccompanyingIDToken(t *testing.T) {
	b := newBrowser(t)
	access := "Bearer " + mint(t, provider.TokenRequest{})
	id := mint(t, provider.TokenRequest{Kind: "id_token"})
	if e := b.get("/with-id", "Authorization", access, "X-Id-Token", id).echo(t); e.one(t, "X-Checked-Id") != id {
		t.Error("the ID token does not reach the service")
	}
	b.get("/with-id", "Authorization", access, "X-Id-Token", mint(t, provider.TokenRequest{Kind: "id_token", Faults: []string{"wrong-aud"}})).want(t, 401)
	b.get("/with-id", "Authorization", access, "X-Id-Token", mint(t, provider.TokenRequest{Kind: "id_token", Faults: []string{"bad-signature"}})).want(t, 401)
	t.Run("alone it authenticates nobody", func(t *testing.T) { b.get("/with-id", "X-Id-Token", id).want(t, 401) })
}

func TestArgumentsOfTheCaller(t *testing.T) {
	env.provider.ResetRecords()
	newBrowser(t).get("/forwarded?tenant=blue&grant_type=x&password=y", "Authorization", basic("alex", "doe"), "X-Request-Tag", "tag-1", "Scope", "openid").want(t, 200)
	r := env.provider.Records(provider.EndpointToken)
	if len(r) != 1 {
		t.Fatalf("%d token requests", len(r))
	}
	for name, want := range map[string]string{"fixed": "1", "tenant": "blue", "grant_type": "password", "password": "doe"} {
		if got := r[0].Form[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if r[0].Header.Get("X-Request-Tag") != "tag-1" {
		t.Error("the caller's header is not passed on")
	}
	// Other arguments are another question, so the answer is not shared.
	newBrowser(t).get("/forwarded?tenant=red", "Authorization", basic("alex", "doe")).want(t, 200)
	if n := count(provider.EndpointToken); n != 2 {
		t.Errorf("%d token requests", n)
	}
}

// TestClientAssertionOfTheCaller authenticates by an assertion in place of id
// and secret (RFC 7523 2.2).
func TestClientAssertionOfTheCaller(t *testing.T) {
	assertion := func(key string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(key)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := json.Marshal(map[string]any{
			"iss": "secret-jwt", "sub": "secret-jwt", "aud": env.Issuer + "/token", "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign(claims)
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	form := func(a string) url.Values {
		return url.Values{"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {a}, "x": {"y"}}
	}
	b := newBrowser(t)
	env.provider.ResetRecords()
	if e := b.post("/credentials", form(assertion("jwt-secret-0123456789abcdef0123456789abcdef0123456789abcdef01234567"))).echo(t); e.Body != "x=y" {
		t.Errorf("the service saw %q", e.Body)
	}
	if r := env.provider.Records(provider.EndpointToken); len(r) != 1 || r[0].GrantType != "client_credentials" || r[0].AuthMethod != "client_secret_jwt" {
		t.Errorf("token requests: %+v", r)
	}
	b.post("/credentials", form(assertion("another-secret-0123456789abcdef0123456789abcdef0123456789abcdef0123"))).want(t, 401)
}
