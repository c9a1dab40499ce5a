package op

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// demandNonce makes a path refuse proofs without nonce, in the way of the
// provider's endpoints or of resources, and note what came.
func demandNonce(t *testing.T, i *idp, path, nonce string, resource bool, body string) *[]*token.Unverified {
	t.Helper()
	var seen []*token.Unverified
	i.handle(path, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header.Values("DPoP")) != 1 {
			t.Errorf("%d proofs", len(r.Header.Values("DPoP")))
			return
		}
		u, err := token.Parse(r.Header.Get("DPoP"), 0)
		if err != nil {
			t.Error(err)
			return
		}
		seen = append(seen, u)
		if nonce != "" && u.Claims["nonce"] != nonce {
			w.Header().Set("DPoP-Nonce", nonce)
			if resource {
				w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				w.WriteHeader(401)
				return
			}
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"error":"use_dpop_nonce"}`))
			return
		}
		_, _ = w.Write([]byte(body))
	})
	return &seen
}

func newDPoP(t *testing.T) (*idp, *Provider, *token.DPoPSigner) {
	t.Helper()
	s, err := token.NewDPoPSigner(newKey(t, "d").jwk(t), "")
	if err != nil {
		t.Fatal(err)
	}
	i, p := newServices(t)
	i.set(func(i *idp) { i.document["pushed_authorization_request_endpoint"] = i.URL + pushPath })
	return i, p, s
}

// The FAPI 2 client modules with and without a nonce.
func TestDPoPAtTheTokenEndpoint(t *testing.T) {
	for _, nonce := range []string{"", "n1"} {
		i, p, s := newDPoP(t)
		seen := demandNonce(t, i, tokenPath, nonce, false, `{"access_token":"at","token_type":"dPoP"}`)
		cl := client1(t, clientauth.Options{Secret: "a secret that is long enough, really", Method: clientauth.SecretJWT})
		ask := func() {
			r, err := p.Token(t.Context(), TokenRequest{Client: cl, Form: url.Values{"grant_type": {"authorization_code"}, "code": {"c"}}, DPoP: s})
			if err != nil || r.AccessToken != "at" {
				t.Fatalf("got %+v, %v", r, err)
			}
		}
		ask()
		calls := 1
		if nonce != "" {
			calls = 2
		}
		if len(*seen) != calls {
			t.Fatalf("nonce %q: %d calls", nonce, len(*seen))
		}
		ask() // the nonce is known now
		if len(*seen) != calls+1 {
			t.Errorf("nonce %q: %d calls", nonce, len(*seen))
		}
		jtis := map[any]bool{}
		for _, u := range *seen {
			jtis[u.Claims["jti"]] = true
			if u.Header.Type != "dpop+jwt" || u.Claims["htm"] != "POST" || u.Claims["htu"] != i.URL+tokenPath || u.Claims["ath"] != nil || u.Claims["iat"] == nil {
				t.Errorf("proof %+v", u)
			}
		}
		if len(jtis) != len(*seen) {
			t.Error("a jti was used twice")
		}
		if i.request(tokenPath).PostForm.Get("code") != "c" || i.request(tokenPath).PostForm.Get("client_assertion") == "" {
			t.Error("the second attempt lacks something")
		}
	}
}

// What a client of ours sends is what a resource server of ours accepts.
func TestDPoPAtUserinfo(t *testing.T) {
	i, p, s := newDPoP(t)
	seen := demandNonce(t, i, "/userinfo", "n1", true, `{"sub":"alex"}`)
	a, err := p.Userinfo(t.Context(), UserinfoRequest{AccessToken: "at", DPoP: s})
	if err != nil || a.Claims["sub"] != "alex" || len(*seen) != 2 {
		t.Fatalf("got %+v, %v", a, err)
	}
	r := i.request("/userinfo")
	if r.Header.Get("Authorization") != "DPoP at" {
		t.Error("the scheme is not DPoP")
	}
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	v := &token.DPoPVerifier{Lifetime: time.Minute, Replays: token.NewMemoryReplays(0, clock), Now: clock}
	if _, err := v.Verify(t.Context(), token.DPoPRequest{
		Proofs: r.Header.Values("DPoP"), Method: "GET", URL: i.URL + "/userinfo?tenant=t", AccessToken: "at", JKT: s.Thumbprint(),
	}); err != nil {
		t.Error(err)
	}
}

func TestDPoPIsNotRetriedForever(t *testing.T) {
	i, p, s := newDPoP(t)
	calls := 0
	i.handle(tokenPath, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("DPoP-Nonce", fmt.Sprint(calls))
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"use_dpop_nonce"}`))
	})
	if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"}), Form: grant(), DPoP: s}); !IsRefused(err) || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
	// Another refusal is final at once, though it brings a nonce.
	calls = 0
	i.handle(tokenPath, func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.Header().Set("DPoP-Nonce", "next")
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	})
	if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"}), Form: grant(), DPoP: s}); !IsInvalidGrant(err) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	if p.nonces.get(hostOf(i.URL)) != "next" {
		t.Error("the nonce was not kept")
	}
}

func TestDPoPAtAuthorization(t *testing.T) {
	i, p, s := newDPoP(t)
	seen := demandNonce(t, i, pushPath, "n1", false, `{"request_uri":"urn:x"}`)
	r := loginRequest(client1(t, clientauth.Options{Secret: "secret"}))
	r.DPoP, r.Push = s, yes()
	r.ClientArgs = append(r.ClientArgs, Field{"dpop_jkt", "evil"})
	if _, err := p.AuthorizationURL(t.Context(), r); err != nil || len(*seen) != 2 {
		t.Fatalf("%d calls, %v", len(*seen), err)
	}
	if got := i.request(pushPath).PostForm.Get("dpop_jkt"); got != s.Thumbprint() {
		t.Errorf("dpop_jkt is %q", got)
	}
	r.Push = nil
	if to, err := p.AuthorizationURL(t.Context(), r); err != nil || !strings.Contains(to, "dpop_jkt="+s.Thumbprint()) {
		t.Errorf("got %s, %v", to, err)
	}
}

func TestWithoutDPoPNoProof(t *testing.T) {
	i, p, _ := newDPoP(t)
	i.answer(tokenPath, 200, `{"access_token":"at"}`)
	if _, err := p.Token(t.Context(), TokenRequest{Client: client1(t, clientauth.Options{Secret: "secret"}), Form: grant()}); err != nil || i.request(tokenPath).Header.Get("DPoP") != "" {
		t.Errorf("got %v", err)
	}
}
