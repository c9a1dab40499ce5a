package testproviders

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// prover makes DPoP proofs (RFC 9449 section 4) with one key.
type prover struct{ signer jose.Signer }

func newProver(t *testing.T) prover {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	return prover{signer}
}

func (p prover) proof(t *testing.T, url, nonce string) string {
	t.Helper()
	claims := map[string]any{"htm": http.MethodPost, "htu": url, "jti": rand.Text(), "iat": time.Now().Unix()}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	s, err := jwt.Signed(p.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDPoPBoundTokens(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		to, client := endpoint(t, doc, "token_endpoint"), p.Clients["dpop"]
		form := url.Values{"grant_type": {"client_credentials"}}
		key := newProver(t)
		got := post(t, p.HTTPClient(""), to, form, func(r *http.Request) {
			r.SetBasicAuth(client.ID, client.Secret)
			r.Header.Set("DPoP", key.proof(t, to, ""))
		})
		if got.token(t, "access_token"); got.body["token_type"] != "DPoP" {
			t.Errorf("the token's type is %v", got.body["token_type"])
		}
		if got := post(t, p.HTTPClient(""), to, form, basic(client)); got.status != http.StatusBadRequest {
			t.Errorf("without a proof the answer is %d %s", got.status, got.raw)
		}
	})
}

// TestFAPI2Profile walks the FAPI 2.0 security profile: private_key_jwt, PAR,
// PKCE and DPoP; a request that was not pushed is refused.
func TestFAPI2Profile(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		const redirect = "https://127.0.0.1:9/callback"
		doc := metadata(t, p, p.Issuer)
		client, key, verifier := p.Clients["fapi"], newProver(t), rand.Text()+rand.Text()
		sum := sha256.Sum256([]byte(verifier))
		authenticated := func(form url.Values) url.Values {
			form.Set("client_id", client.ID)
			form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			form.Set("client_assertion", assertion(t, client, p.Issuer))
			return form
		}
		request := url.Values{
			"response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {redirect}, "state": {"s"}, "nonce": {"n"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		}
		pushed := post(t, p.HTTPClient(""), endpoint(t, doc, "pushed_authorization_request_endpoint"), authenticated(request), nil)
		uri, _ := pushed.body["request_uri"].(string)
		if pushed.status != http.StatusCreated || uri == "" {
			t.Fatalf("pushing answers %d %s", pushed.status, pushed.raw)
		}
		at := endpoint(t, doc, "authorization_endpoint")
		back, err := Login(t.Context(), at+"?"+url.Values{"client_id": {client.ID}, "request_uri": {uri}}.Encode(), "alex", "doe")
		if err != nil {
			t.Fatal(err)
		}
		if back.Values().Get("iss") != p.Issuer {
			t.Errorf("iss is %q", back.Values().Get("iss"))
		}
		to := endpoint(t, doc, "token_endpoint")
		got := post(t, p.HTTPClient(""), to, authenticated(url.Values{
			"grant_type": {"authorization_code"}, "code": {back.Values().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
		}), func(r *http.Request) { r.Header.Set("DPoP", key.proof(t, to, "")) })
		if got.token(t, "access_token"); got.body["token_type"] != "DPoP" {
			t.Errorf("the token's type is %v", got.body["token_type"])
		}
		request.Set("client_id", client.ID)
		if back, err := Login(t.Context(), at+"?"+request.Encode(), "alex", "doe"); err == nil && back.Values().Get("code") != "" {
			t.Error("a request that was not pushed got a code")
		}
	})
}

// TestEncryptedIDTokens decrypts with the client's key.
func TestEncryptedIDTokens(t *testing.T) {
	both(t, func(t *testing.T, p *Provider) {
		doc := metadata(t, p, p.Issuer)
		for id, kid := range map[string]string{"encrypted": "client-rsa-enc", "encrypted-ec": "client-ec-enc"} {
			if _, known := p.Clients[id]; !known {
				continue
			}
			token := password(t, p, doc, id, "alex").token(t, "id_token")
			parsed, err := jose.ParseEncrypted(token, []jose.KeyAlgorithm{jose.RSA_OAEP_256, jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM})
			if err != nil {
				t.Fatal(err)
			}
			signed, err := parsed.Decrypt(privateKey(t, kid))
			if err != nil {
				t.Fatal(err)
			}
			if claims := verify(t, p, doc, string(signed)); claims["aud"] != id {
				t.Errorf("the ID token of %s says %v", id, claims)
			}
		}
	})
}
