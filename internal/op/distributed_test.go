package op

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/token"
)

func TestDistributedClaims(t *testing.T) {
	k, other := newKey(t, "k"), newKey(t, "other")
	i, p := newServices(t, k)
	now := time.Unix(1_700_000_000, 0)
	jwt := func(k key, iss string, exp time.Duration) string {
		return k.sign(t, map[string]any{"iss": iss, "groups": []string{"a", "b"}, "exp": now.Add(exp).Unix()})
	}
	source := func(change func(*ClaimsSource)) ClaimsSource {
		s := ClaimsSource{Endpoint: i.URL + "/claims", Current: "current", Names: []string{"groups"}, Now: now,
			Verifier: &token.Verifier{Keys: p.Keys(nil)}, Issuers: token.Issuers{Expected: []string{i.URL}}}
		if change != nil {
			change(&s)
		}
		return s
	}
	for _, c := range []struct {
		name   string
		status int
		body   string
		change func(*ClaimsSource)
		bearer string // what the endpoint saw; "-" = nothing asked
		ok     bool
	}{
		{"JSON, the current token", 200, `{"groups":["a","b"]}`, nil, "Bearer current", true},
		{"JSON, the source's token", 200, `{"groups":["a","b"]}`, func(s *ClaimsSource) { s.AccessToken = "own" }, "Bearer own", true},
		{"JSON, no token", 200, `{"groups":["a","b"]}`, func(s *ClaimsSource) { s.Current = "" }, "", true},
		{"JWT", 200, jwt(k, i.URL, time.Minute), nil, "Bearer current", true},
		{"JWT of another key", 200, jwt(other, i.URL, time.Minute), nil, "Bearer current", false},
		{"JWT of another issuer", 200, jwt(k, "https://evil.example", time.Minute), nil, "Bearer current", false},
		{"expired JWT", 200, jwt(k, i.URL, -time.Second), nil, "Bearer current", false},
		{"JWT without a verifier", 200, jwt(k, i.URL, time.Minute), func(s *ClaimsSource) { s.Verifier = nil }, "Bearer current", false},
		{"aggregated", 0, "", func(s *ClaimsSource) { s.JWT = token.Opaque(jwt(k, i.URL, time.Minute)) }, "-", true},
		{"aggregated by another key", 0, "", func(s *ClaimsSource) { s.JWT = token.Opaque(jwt(other, i.URL, time.Minute)) }, "-", false},
		{"aggregated without signature", 0, "", func(s *ClaimsSource) { s.JWT = "eyJhbGciOiJub25lIn0.eyJncm91cHMiOlsiYSIsImIiXX0." }, "-", false},
		{"refused", 401, `{}`, nil, "Bearer current", false},
		{"no content", 204, ``, nil, "Bearer current", false},
		{"an array", 200, `["a","b"]`, nil, "Bearer current", false},
		{"HTML", 200, `<html>`, nil, "Bearer current", false},
		{"too large", 200, `{"groups":["` + strings.Repeat("a", maxBody) + `"]}`, nil, "Bearer current", false},
		{"no address", 200, "", func(s *ClaimsSource) { s.Endpoint = "/claims" }, "-", false},
		{"another scheme", 200, "", func(s *ClaimsSource) { s.Endpoint = "file:///etc/passwd" }, "-", false},
		{"user info", 200, "", func(s *ClaimsSource) { s.Endpoint = "https://a:b@idp.example/" }, "-", false},
		{"http elsewhere", 200, "", func(s *ClaimsSource) { s.Endpoint = "http://other.invalid/" }, "-", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.answer("/claims", c.status, c.body)
			before := i.count("/claims")
			got, err := p.DistributedClaims(t.Context(), source(c.change))
			if ok := err == nil && len(got["groups"].([]any)) == 2; ok != c.ok {
				t.Fatalf("%v, %v", got, err)
			}
			if asked := i.count("/claims") > before; asked != (c.bearer != "-") {
				t.Fatalf("asked: %v", asked)
			}
			if c.bearer != "-" {
				if got := i.request("/claims").Header.Get("Authorization"); got != c.bearer {
					t.Errorf("sent %q, want %q", got, c.bearer)
				}
			}
		})
	}
}

// U98: the current token goes to the provider's own hosts only.
func TestCurrentTokenStaysWithTheProvider(t *testing.T) {
	_, p := newServices(t)
	var seen []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		w.Write([]byte(`{"groups":["a"]}`))
	}))
	defer s.Close()
	p.client.http.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
	for _, src := range []ClaimsSource{{Endpoint: s.URL, Current: "current"}, {Endpoint: s.URL, Current: "current", AccessToken: "own"}} {
		if _, err := p.DistributedClaims(t.Context(), src); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 2 || seen[0] != "" || seen[1] != "Bearer own" {
		t.Errorf("sent %q", seen)
	}
}

func TestGroupsOverage(t *testing.T) {
	for in, want := range map[string]string{
		"https://graph.windows.net/tenant/users/oid/getMemberObjects":       "https://graph.microsoft.com/v1.0/users/oid/getMemberObjects",
		"https://graph.microsoft.com/v1.0/users/oid/getMemberObjects":       "https://graph.microsoft.com/v1.0/users/oid/getMemberObjects",
		"http://graph.windows.net/tenant/users/oid/getMemberObjects":        "",
		"https://graph.windows.net.evil.example/t/users/o/getMemberObjects": "",
		"https://graph.windows.net/tenant/users/oid/delete":                 "",
		"https://graph.windows.net/a/b/users/oid/getMemberObjects":          "",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := memberObjects(u); got != want || ok != (want != "") {
			t.Errorf("%s: %q", in, got)
		}
	}
	if microsoftIssuer("https://login.microsoftonline.com.evil.example/t") || !microsoftIssuer("https://login.microsoftonline.com/t/v2.0") {
		t.Error("the issuer's host is not compared whole")
	}
}
