package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// holder makes DPoP proofs.
type holder struct {
	*fixture
	key *ecdsa.PrivateKey
}

func newHolder(f *fixture) *holder {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return &holder{f, k}
}

func (h *holder) jkt() string {
	sum, err := (&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		h.t.Fatal(err)
	}
	return b64(sum)
}

func (h *holder) proof(method, path, access, nonce string) string {
	h.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		h.t.Fatal(err)
	}
	c := map[string]any{"jti": random(), "htm": method, "htu": h.URL + path, "iat": h.clock.Now().Unix()}
	if access != "" {
		sum := sha256.Sum256([]byte(access))
		c["ath"] = b64(sum[:])
	}
	if nonce != "" {
		c["nonce"] = nonce
	}
	raw, _ := json.Marshal(c)
	jws, err := s.Sign(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// send posts as the client kong with a proof, or gets with a token.
func (h *holder) send(path, proof, access, scheme string, form url.Values) reply {
	h.t.Helper()
	method := "POST"
	if form == nil {
		method = "GET"
	}
	req, _ := http.NewRequest(method, h.URL+path, strings.NewReader(form.Encode()))
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("kong", kongSecret)
	} else {
		req.Header.Set("Authorization", scheme+" "+access)
	}
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	return h.do(req)
}

func TestDPoPBoundTokens(t *testing.T) {
	f := start(t)
	h, other := newHolder(f), newHolder(f)
	form := url.Values{"grant_type": {"password"}, "username": {"alex"}, "password": {"doe"}, "scope": {"openid"}}
	got := h.send("/token", h.proof("POST", "/token", "", ""), "", "", form)
	access, _ := got.json["access_token"].(string)
	if got.status != 200 || got.json["token_type"] != "DPoP" {
		t.Fatalf("%d %s", got.status, got.body)
	}
	if _, c := open(t, access); c["cnf"].(map[string]any)["jkt"] != h.jkt() {
		t.Errorf("cnf is %v", c["cnf"])
	}
	good := h.proof("GET", "/userinfo", access, "")
	for _, c := range []struct {
		name, scheme, proof string
		status              int
	}{
		{"the holder", "DPoP", good, 200},
		{"the same proof again", "DPoP", good, 401},
		{"as a bearer's", "Bearer", "", 401},
		{"without a proof", "DPoP", "", 401},
		{"by another key", "DPoP", other.proof("GET", "/userinfo", access, ""), 401},
		{"of another token", "DPoP", h.proof("GET", "/userinfo", "another", ""), 401},
		{"of another method", "DPoP", h.proof("POST", "/userinfo", access, ""), 401},
		{"of another address", "DPoP", h.proof("GET", "/token", access, ""), 401},
	} {
		if r := h.send("/userinfo", c.proof, access, c.scheme, nil); r.status != c.status {
			t.Errorf("%s: %d %s", c.name, r.status, r.body)
		}
	}
	f.set(Fault{Name: "dpop-nonce", Endpoint: EndpointToken, Value: "n"})
	r := h.send("/token", h.proof("POST", "/token", "", ""), "", "", form)
	wantError(t, r, 400, "use_dpop_nonce")
	if r.header.Get("DPoP-Nonce") != "n" {
		t.Error("the nonce is not told")
	}
	if r := h.send("/token", h.proof("POST", "/token", "", "n"), "", "", form); r.status != 200 {
		t.Errorf("with the nonce: %d %s", r.status, r.body)
	}
	c := *f.client("kong")
	c.DPoP = true
	if err := f.SetClient(c); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.send("/token", "", "", "", form), 400, "invalid_dpop_proof")
}

func TestPushedAndSignedResponses(t *testing.T) {
	f := start(t)
	h := newHolder(f)
	form := url.Values{"response_type": {"code"}, "redirect_uri": {redirect}, "scope": {"openid"}, "state": {"s"}, "response_mode": {"jwt"}}
	r := h.send("/par", h.proof("POST", "/par", "", ""), "", "", form)
	id, _ := r.json["request_uri"].(string)
	if r.status != 201 || !strings.HasPrefix(id, requestURIPrefix) {
		t.Fatalf("%d %s", r.status, r.body)
	}
	cb, err := SignIn(t.Context(), f.http, f.URL+"/authorize?"+url.Values{"client_id": {"kong"}, "request_uri": {id}}.Encode(), "alex", "doe")
	if err != nil {
		t.Fatal(err)
	}
	raw := cb.Params.Get("response")
	if err := f.verify(raw); err != nil {
		t.Fatalf("%v: %v", cb.Params, err)
	}
	_, c := open(t, raw)
	if c["iss"] != f.URL || c["aud"] != "kong" || c["state"] != "s" || c["exp"] == nil || len(cb.Params) != 1 {
		t.Errorf("response %v", c)
	}
	code, _ := c["code"].(string)
	redeem := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirect}}
	other := newHolder(f)
	wantError(t, other.send("/token", other.proof("POST", "/token", "", ""), "", "", redeem), 400, "invalid_grant")
	if _, err := SignIn(t.Context(), f.http, f.URL+"/authorize?"+url.Values{"client_id": {"kong"}, "request_uri": {id}}.Encode(), "alex", "doe"); err == nil {
		t.Error("a request_uri was used twice")
	}
}
