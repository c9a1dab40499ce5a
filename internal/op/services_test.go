package op

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// newServices is a provider with all endpoints.
func newServices(t *testing.T, keys ...key) (*idp, *Provider) {
	t.Helper()
	i := newIDP(t, keys...)
	i.set(func(i *idp) {
		for _, n := range []string{"introspection", "userinfo", "revocation"} {
			i.document[n+"_endpoint"] = i.URL + "/" + n + "?tenant=t"
		}
	})
	return i, newWorld().provider(t, config(i.URL))
}

func TestIntrospectionRequest(t *testing.T) {
	i, p := newServices(t)
	i.answer("/introspection", 200, `{"active":true,"sub":"alex"}`)
	cl := client1(t, clientauth.Options{Secret: "secret"})
	a, err := p.Introspect(t.Context(), IntrospectionRequest{Client: cl, Token: "at", Hint: "access_token"})
	if err != nil || !a.Active() || a.Claims["sub"] != "alex" || a.JWT != "" {
		t.Fatalf("got %+v, %v", a, err)
	}
	q := i.request("/introspection")
	if id, secret, _ := q.BasicAuth(); q.PostForm.Get("token") != "at" || q.PostForm.Get("token_type_hint") != "access_token" || q.Header.Get("Accept") != "application/json" || id != "client" || secret != "secret" || q.URL.RawQuery != "tenant=t" {
		t.Errorf("sent %v %v", q.PostForm, q.Header)
	}
	if _, err = p.Introspect(t.Context(), IntrospectionRequest{
		Client: cl, Token: "at", Param: "tok", Accept: "application/jwt", Args: []Field{{"realm", "r"}}, Headers: []Field{{"Authorization", "Custom x"}},
	}); err != nil {
		t.Fatal(err)
	}
	q = i.request("/introspection")
	if q.PostForm.Get("tok") != "at" || q.PostForm.Has("token") || q.PostForm.Has("token_type_hint") || q.PostForm.Get("realm") != "r" || q.Header.Get("Authorization") != "Custom x" || q.Header.Get("Accept") != "application/jwt" {
		t.Errorf("sent %v %v", q.PostForm, q.Header)
	}
}

// Case 38: answers that are none, and what counts as active.
func TestCase38IntrospectionAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		ok     bool
		active bool
		kind   Kind
	}{
		{"active", 200, `{"active":true}`, true, true, 0},
		{"inactive", 200, `{"active":false}`, true, false, 0},
		{"no active", 200, `{}`, true, false, 0},
		{"active is text", 200, `{"active":"true"}`, true, false, 0},
		{"active is text false", 200, `{"active":"false"}`, true, false, 0},
		{"active is a number", 200, `{"active":1}`, true, false, 0},
		{"500", 500, `{"active":true}`, false, false, Unavailable},
		{"404", 404, `{"active":true}`, false, false, Refused},
		{"401", 401, ``, false, false, Refused},
		{"201", 201, `{"active":true}`, false, false, Unavailable},
		{"HTML", 200, `<html>active</html>`, false, false, Unavailable},
		{"array", 200, `[{"active":true}]`, false, false, Unavailable},
		{"empty", 200, ``, false, false, Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, p := newServices(t)
			i.answer("/introspection", c.status, c.body)
			a, err := p.Introspect(t.Context(), IntrospectionRequest{Client: client1(t, clientauth.Options{Secret: "secret"}), Token: "at"})
			if (err == nil) != c.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil && a.Active() != c.active {
				t.Errorf("active: %v", a.Active())
			}
			if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Kind != c.kind) {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestSignedAnswers(t *testing.T) {
	k := newKey(t, "k")
	i, p := newServices(t, k)
	v := &token.Verifier{Keys: p.Keys(nil)}
	inner := map[string]any{"iss": i.URL, "token_introspection": map[string]any{"active": true, "sub": "alex"}, "active": false, "sub": "alex"}
	cl := client1(t, clientauth.Options{Secret: "secret"})
	introspect := func(body string, v *token.Verifier) (*Answer, error) {
		i.answer("/introspection", 200, body)
		return p.Introspect(t.Context(), IntrospectionRequest{Client: cl, Token: "at", Verifier: v})
	}
	userinfo := func(body string, v *token.Verifier) (*Answer, error) {
		i.answer("/userinfo", 200, body)
		return p.Userinfo(t.Context(), UserinfoRequest{AccessToken: "at", Verifier: v})
	}
	good, forged := k.sign(t, inner), newKey(t, "k").sign(t, inner)
	if a, err := introspect(good+"\n", v); err != nil || !a.Active() || string(a.JWT) != good {
		t.Errorf("introspection: %+v, %v", a, err)
	}
	if a, err := userinfo(good, v); err != nil || a.Claims["sub"] != "alex" || string(a.JWT) != good {
		t.Errorf("userinfo: %+v, %v", a, err)
	}
	for name, ask := range map[string]func(string, *token.Verifier) (*Answer, error){"introspection": introspect, "userinfo": userinfo} {
		if _, err := ask(forged, v); !errors.Is(err, token.ErrSignature) {
			t.Errorf("%s, forged: %v", name, err)
		}
		if _, err := ask("eyJhbGciOiJub25lIn0.eyJhY3RpdmUiOnRydWV9.", v); !errors.Is(err, token.ErrAlgorithm) {
			t.Errorf("%s, alg none: %v", name, err)
		}
		if _, err := ask(good, nil); err == nil {
			t.Errorf("%s: a JWT was taken that was not asked for", name)
		}
		if _, err := ask("eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..a.b.c", v); err == nil {
			t.Errorf("%s: a JWE was taken", name)
		}
	}
	// An unsigned answer must not smuggle a nested result in.
	if a, err := introspect(`{"active":false,"token_introspection":{"active":true}}`, v); err != nil || a.Active() {
		t.Errorf("nested result of an unsigned answer: %+v, %v", a, err)
	}
}

// Case 18: userinfo of another subject is discarded; what is no object is refused.
func TestCase18Userinfo(t *testing.T) {
	i, p := newServices(t)
	for _, c := range []struct {
		name    string
		status  int
		body    string
		subject string
		ok      bool
		refused bool
	}{
		{"good", 200, `{"sub":"alex"}`, "alex", true, false},
		{"no subject is known", 200, `{"sub":"alex"}`, "", true, false},
		{"other subject", 200, `{"sub":"mallory"}`, "alex", false, false},
		{"no sub", 200, `{"name":"alex"}`, "alex", false, false},
		{"sub is a list", 200, `{"sub":["alex"]}`, "alex", false, false},
		{"array", 200, `[{"sub":"alex"}]`, "alex", false, false},
		{"HTML", 200, `<html>`, "alex", false, false},
		{"401", 401, ``, "alex", false, true},
		{"403", 403, `{}`, "alex", false, true},
		{"500", 500, `{"sub":"alex"}`, "alex", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.answer("/userinfo", c.status, c.body)
			_, err := p.Userinfo(t.Context(), UserinfoRequest{AccessToken: "at", Subject: c.subject, Args: []Field{{"schema", "a&b"}}, Headers: []Field{{"X-A", "b"}}})
			if (err == nil) != c.ok || IsRefused(err) != c.refused {
				t.Errorf("got %v", err)
			}
			if (c.name == "other subject" || c.name == "no sub") != errors.Is(err, ErrSubject) && c.name != "sub is a list" {
				t.Errorf("got %v", err)
			}
			q := i.request("/userinfo")
			if q.Method != http.MethodGet || q.Header.Get("Authorization") != "Bearer at" || q.Header.Get("X-A") != "b" || q.URL.Query().Encode() != (url.Values{"schema": {"a&b"}, "tenant": {"t"}}).Encode() {
				t.Errorf("sent %s %v", q.URL, q.Header)
			}
		})
	}
}

func TestRevoke(t *testing.T) {
	i, p := newServices(t)
	cl := client1(t, clientauth.Options{Secret: "secret", Method: clientauth.SecretPost})
	for status, ok := range map[int]bool{200: true, 204: true, 400: false, 503: false} {
		i.answer("/revocation", status, "")
		err := p.Revoke(t.Context(), RevocationRequest{Client: cl, Token: "rt", Hint: "refresh_token"})
		if (err == nil) != ok || IsRefused(err) != (status == 400) {
			t.Errorf("status %d: %v", status, err)
		}
		if q := i.request("/revocation"); q.PostForm.Get("token") != "rt" || q.PostForm.Get("token_type_hint") != "refresh_token" || q.PostForm.Get("client_secret") != "secret" {
			t.Errorf("sent %v", q.PostForm)
		}
	}
	i.answer("/revocation", 200, "")
	if err := p.Revoke(t.Context(), RevocationRequest{Client: cl, Token: "rt", Param: "tok"}); err != nil || i.request("/revocation").PostForm.Get("tok") != "rt" {
		t.Error("the name of the argument is not used")
	}
}

// TestAudienceOfAssertions: providers that know another audience than the
// endpoint that is called: the token endpoint's, as Keycloak does at
// revocation, or the issuer, as FAPI 2.0 has it.
func TestAudienceOfAssertions(t *testing.T) {
	for _, c := range []struct {
		name        string
		takes       func(i *idp) string
		elsewhere   bool
		first, next int // calls that the first and the next revocation make
		refused     bool
	}{
		{"the endpoint", func(i *idp) string { return i.URL + "/revocation?tenant=t" }, false, 1, 1, false},
		{"the token endpoint", func(i *idp) string { return i.URL + tokenPath }, false, 2, 1, false},
		{"the issuer", func(i *idp) string { return i.URL }, false, 3, 1, false},
		{"nothing", func(*idp) string { return "" }, false, 3, 3, true},
		{"the token endpoint, on another host", func(i *idp) string { return i.URL + tokenPath }, true, 1, 1, true},
		{"the issuer, on another host", func(i *idp) string { return i.URL }, true, 1, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, p := newServices(t)
			if c.elsewhere {
				i.set(func(i *idp) {
					i.document["revocation_endpoint"] = strings.Replace(i.URL, "127.0.0.1", "localhost", 1) + "/revocation"
				})
			}
			cl := client1(t, clientauth.Options{Secret: "secret-secret-secret-secret-secret-secret", Method: clientauth.SecretJWT})
			var audiences []string
			i.handle("/revocation", func(w http.ResponseWriter, r *http.Request) {
				parts := strings.Split(r.FormValue("client_assertion"), ".")
				raw, err := base64.RawURLEncoding.DecodeString(parts[1])
				if err != nil {
					t.Error(err)
				}
				var claims struct {
					Aud string `json:"aud"`
				}
				if err := json.Unmarshal(raw, &claims); err != nil {
					t.Error(err)
				}
				audiences = append(audiences, claims.Aud)
				if claims.Aud != c.takes(i) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusUnauthorized)
					io.WriteString(w, `{"error":"invalid_client"}`)
				}
			})
			for _, calls := range []int{c.first, c.next} {
				audiences = nil
				err := p.Revoke(t.Context(), RevocationRequest{Client: cl, Token: "rt"})
				if (err != nil) != c.refused || len(audiences) != calls {
					t.Errorf("audiences %q, want %d: %v", audiences, calls, err)
				}
			}
		})
	}
}
