package redisconn

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestGCP(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@b", "private_key_id": "kid",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": "https://token.test/t"})
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	t.Run("service account", func(t *testing.T) {
		f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
			parts := strings.Split(form.Get("assertion"), ".")
			sig, _ := base64.RawURLEncoding.DecodeString(parts[len(parts)-1])
			sum := sha256.Sum256([]byte(strings.Join(parts[:len(parts)-1], ".")))
			body, _ := base64.RawURLEncoding.DecodeString(parts[1])
			var claims map[string]any
			_ = json.Unmarshal(body, &claims)
			if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil || claims["iss"] != "a@b" || claims["aud"] != "https://token.test/t" ||
				claims["exp"] != float64(c.at.Unix()+3600) || form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
				return 400, `{"error":"invalid_grant"}`
			}
			return 200, `{"access_token":"ya29","expires_in":3599}`
		})
		user, token := must(t, provider(t, f, c, Cloud{Provider: GCP, GCPServiceAccountJSON: Secret(account)}, "", nil))
		if user != "default" || token != "ya29" || f.asked[0] != "POST https://token.test/t" {
			t.Error(user, token, f.asked)
		}
	})
	t.Run("machine", func(t *testing.T) {
		f := newCloud(t, func(r *http.Request, form url.Values) (int, string) {
			if r.Header.Get("Metadata-Flavor") != "Google" {
				return 403, ""
			}
			return 200, `{"access_token":"ya29","expires_in":3599}`
		})
		if _, token := must(t, provider(t, f, c, Cloud{Provider: GCP}, "", nil)); token != "ya29" {
			t.Error(token)
		}
	})
	for _, bad := range []string{"", "{", `{"type":"user"}`, `{"type":"service_account","client_email":"x","private_key":"` + cloudSecret + `"}`,
		strings.Replace(string(account), "https://token", "http://token", 1), strings.Replace(string(account), "https://token.test/t", "https://"+cloudSecret+"@x", 1)} {
		f := newCloud(t, func(*http.Request, url.Values) (int, string) { return 400, `{"error":"invalid_grant"}` })
		_, _, err := provider(t, f, c, Cloud{Provider: GCP, GCPServiceAccountJSON: Secret(bad)}, "", nil)(t.Context())
		if err == nil || strings.Contains(err.Error(), cloudSecret) || bad != "" && f.count() != 0 {
			t.Errorf("%v, asked %q", err, f.asked)
		}
	}
}
