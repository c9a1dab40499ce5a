package redisconn

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"time"
)

const (
	gcpMetadata = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
	gcpToken    = "https://oauth2.googleapis.com/token"
	gcpScope    = "https://www.googleapis.com/auth/cloud-platform"
)

// gcpIssuer gets Google access tokens: by the key of a service account (RFC
// 7523), or from the machine's metadata service. Memorystore's user is "default".
type gcpIssuer struct {
	account Secret
	cl      *cloudClient
}

func (g *gcpIssuer) issue(ctx context.Context) (login, error) {
	if g.account == "" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, gcpMetadata, nil)
		if err != nil {
			return login{}, err
		}
		req.Header.Set("Metadata-Flavor", "Google")
		return g.ask(req, "Google's metadata service")
	}
	var account struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		KeyID    string `json:"private_key_id"`
		Key      string `json:"private_key"`
		TokenURI string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(g.account), &account); err != nil || account.Type != "service_account" || account.Email == "" {
		return login{}, errors.New("gcp_service_account_json is not the JSON key of a service account")
	}
	key, err := rsaKey(account.Key)
	if err != nil {
		return login{}, err
	}
	endpoint := or(account.TokenURI, gcpToken)
	now := g.cl.now()
	assertion, err := signJWT(key, account.KeyID, map[string]any{
		"iss": account.Email, "scope": gcpScope, "aud": endpoint, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		return login{}, errors.New("the private key of gcp_service_account_json cannot sign")
	}
	req, err := postForm(ctx, endpoint, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}})
	if err != nil {
		return login{}, errors.New("token_uri of gcp_service_account_json is no URL of https")
	}
	return g.ask(req, "Google's token endpoint")
}

func (g *gcpIssuer) ask(req *http.Request, what string) (login, error) {
	body, err := g.cl.do(req, what)
	if err != nil {
		return login{}, err
	}
	l, err := g.cl.token(body, what)
	l.user = "default"
	return l, err
}

func rsaKey(text string) (*rsa.PrivateKey, error) {
	fault := errors.New("private_key of gcp_service_account_json is no RSA key in PEM")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fault
	}
	if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if rk, ok := k.(*rsa.PrivateKey); ok {
			return rk, nil
		}
		return nil, fault
	}
	k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault
	}
	return k, nil
}

// signJWT makes a JWS of RFC 7515 in its compact form, by RS256.
func signJWT(key *rsa.PrivateKey, kid string, claims map[string]any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": kid})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}
