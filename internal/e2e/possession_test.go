package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/sandbox/provider"
)

// holder has a DPoP key.
type holder struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{t, k}
}

// token is an access token that is bound to the key.
func (h *holder) token() string {
	h.t.Helper()
	return mint(h.t, provider.TokenRequest{Claims: h.bound()})
}

// bound are the claims of a token that is bound to the key (RFC 9449 6.1).
func (h *holder) bound() map[string]any {
	h.t.Helper()
	sum, err := (&jose.JSONWebKey{Key: h.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		h.t.Fatal(err)
	}
	return map[string]any{"cnf": map[string]any{"jkt": base64.RawURLEncoding.EncodeToString(sum)}}
}

// proof is a DPoP proof (RFC 9449 4.2); change is laid over its claims.
func (h *holder) proof(method, url, access string, change map[string]any) string {
	h.t.Helper()
	ath := sha256.Sum256([]byte(access))
	claims := map[string]any{
		"htm": method, "htu": url, "iat": time.Now().Unix(), "jti": rand.Text(), "ath": base64.RawURLEncoding.EncodeToString(ath[:]),
	}
	for k, v := range change {
		claims[k] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: h.key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		h.t.Fatal(err)
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		h.t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

func TestDPoP(t *testing.T) {
	h := newHolder(t)
	b := newBrowser(t)
	access, url := h.token(), env.Proxy+"/dpop"
	send := func(scheme, token, proof string) *answer {
		return b.get("/dpop", "Authorization", scheme+" "+token, "DPoP", proof)
	}
	t.Run("a proof lets through, and the service sees a bearer token", func(t *testing.T) {
		for _, scheme := range []string{"DPoP", "dpop", "DPOP"} {
			e := send(scheme, access, h.proof("GET", url, access, nil)).echo(t)
			if e.one(t, "Authorization") != "Bearer "+access || len(e.get("DPoP")) != 0 {
				t.Errorf("the service saw %q and %q", e.get("Authorization"), e.get("DPoP"))
			}
		}
	})
	used := h.proof("GET", url, access, nil)
	send("DPoP", access, used).want(t, 200)
	for _, c := range []struct{ name, scheme, token, proof string }{
		{"case 53: wrong htm", "DPoP", access, h.proof("POST", url, access, nil)},
		{"case 53: wrong htu", "DPoP", access, h.proof("GET", env.Proxy+"/bearer", access, nil)},
		{"case 53: wrong ath", "DPoP", access, h.proof("GET", url, "another", nil)},
		{"case 53: wrong key", "DPoP", access, newHolder(t).proof("GET", url, access, nil)},
		{"case 53: stale", "DPoP", access, h.proof("GET", url, access, map[string]any{"iat": time.Now().Unix() - 3600})},
		{"case 53: reused", "DPoP", access, used},
		{"case 53: no proof", "DPoP", access, "x"},
		{"case 55: a bound token as Bearer", "Bearer", access, h.proof("GET", url, access, nil)},
		{"an unbound token", "DPoP", mint(t, provider.TokenRequest{}), h.proof("GET", url, access, nil)},
		{"an unbound token as Bearer", "Bearer", mint(t, provider.TokenRequest{}), h.proof("GET", url, access, nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := send(c.scheme, c.token, c.proof).want(t, 401)
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "DPoP ") || !strings.Contains(got, `algs="`) || !strings.Contains(got, `error="`) {
				t.Errorf("challenge %q", got)
			}
		})
	}
	t.Run("case 54: a nonce is asked for, then accepted", func(t *testing.T) {
		url := env.Proxy + "/dpop-nonce"
		a := b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.proof("GET", url, access, nil)).want(t, 401)
		nonce := a.Header.Get("DPoP-Nonce")
		if nonce == "" || !strings.Contains(a.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
			t.Fatalf("nonce %q, challenge %q", nonce, a.Header.Get("WWW-Authenticate"))
		}
		b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.proof("GET", url, access, map[string]any{"nonce": nonce})).want(t, 200)
		b.get("/dpop-nonce", "Authorization", "DPoP "+access, "DPoP", h.proof("GET", url, access, map[string]any{"nonce": "made-up"})).want(t, 401)
	})
	t.Run("DPoP is not a scheme where it is off", func(t *testing.T) {
		b.get("/bearer", "Authorization", "DPoP "+access, "DPoP", h.proof("GET", env.Proxy+"/bearer", access, nil)).want(t, 401)
	})
}

func TestCertificateBoundTokens(t *testing.T) {
	b := newBrowser(t)
	bound := mint(t, provider.TokenRequest{Claims: map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}}})
	for name, tok := range map[string]string{"bound, without a certificate": bound, "not bound": mint(t, provider.TokenRequest{})} {
		t.Run(name, func(t *testing.T) {
			b.get("/mtls", "Authorization", "Bearer "+tok).want(t, 401)
		})
	}
}
