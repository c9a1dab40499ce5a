package op

import (
	"net/http"
	"strings"
	"testing"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

func TestExchange(t *testing.T) {
	i := newIDP(t)
	p := newWorld().provider(t, config(i.URL))
	cl := client1(t, clientauth.Options{Secret: "secret"})
	i.answer(tokenPath, 200, `{"access_token":"new","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":60}`)
	r, err := p.Exchange(t.Context(), ExchangeRequest{Client: cl, SubjectToken: "old", Scopes: []string{"openid", "email"}, Audience: []string{"a", "b"}, Args: []Field{{"x", "y"}}})
	if err != nil || r.AccessToken != "new" {
		t.Fatalf("got %+v, %v", r, err)
	}
	f := i.request(tokenPath).PostForm
	for name, want := range map[string]string{
		"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "old", "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"requested_token_type": "urn:ietf:params:oauth:token-type:access_token", "scope": "openid email", "audience": "a,b", "x": "y",
	} {
		if got := strings.Join(f[name], ","); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	if id, secret, _ := i.request(tokenPath).BasicAuth(); id != "client" || secret != "secret" {
		t.Error("the client did not prove itself")
	}
	if _, err = p.Exchange(t.Context(), ExchangeRequest{Client: cl, SubjectToken: "old"}); err != nil {
		t.Fatal(err)
	}
	if f = i.request(tokenPath).PostForm; f.Has("scope") || f.Has("audience") {
		t.Errorf("sent %v", f)
	}
	for _, c := range []struct {
		status  int
		body    string
		refused bool
	}{
		{200, `{"access_token":"new","issued_token_type":"urn:ietf:params:oauth:token-type:refresh_token","token_type":"N_A"}`, false},
		{200, `{"access_token":"new","token_type":"n_a"}`, false},
		{200, `{"access_token":""}`, false},
		{400, `{"error":"invalid_target"}`, true},
		{503, ``, false},
	} {
		i.answer(tokenPath, c.status, c.body)
		if _, err := p.Exchange(t.Context(), ExchangeRequest{Client: cl, SubjectToken: "old"}); err == nil || IsRefused(err) != c.refused || strings.Contains(err.Error(), "new") {
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
}

func TestLegacyExchange(t *testing.T) {
	i := newIDP(t)
	p := newWorld().provider(t, config(i.URL))
	for _, c := range []struct {
		name    string
		status  int
		body    string
		want    token.Opaque
		refused bool
	}{
		{"a token", 200, "new.to-ken_~+/==", "new.to-ken_~+/==", false},
		{"a token and a line end", 200, "new\r\n", "new", false},
		{"empty", 200, "", "", false},
		{"padding only", 200, "==", "", false},
		{"JSON", 200, `{"access_token":"new"}`, "", false},
		{"two lines", 200, "new\nX-Header: evil", "", false},
		{"two words", 200, "Bearer new", "", false},
		{"not ASCII", 200, "n\xc3\xa9w", "", false},
		{"too large", 200, strings.Repeat("a", maxExchanged+1), "", false},
		{"201", 201, "new", "", false},
		{"401", 401, "new", "", true},
		{"500", 500, "new", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.answer("/exchange", c.status, c.body)
			got, err := p.LegacyExchange(t.Context(), i.URL+"/exchange", "old")
			if got != c.want || (err == nil) != (c.want != "") || IsRefused(err) != c.refused {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
			q := i.request("/exchange")
			if q.Method != http.MethodPost || q.Header.Get("Authorization") != "Bearer old" || q.ContentLength != 0 {
				t.Errorf("sent %s %v", q.Method, q.Header)
			}
		})
	}
}
