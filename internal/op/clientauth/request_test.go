package clientauth

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

func TestRequestSigner(t *testing.T) {
	ec, _ := newJWK(t)
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaJWK, err := (&jose.JSONWebKey{Key: k, KeyID: "r"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	own := func(alg string) (*token.Signer, error) {
		if alg == "RS256" || alg == "PS256" {
			return token.NewKeySigner(rsaJWK, alg)
		}
		return nil, errors.New("no such key")
	}
	for _, c := range []struct {
		name       string
		o          Options
		advertised []string
		want       string // algorithm; "" for an error
	}{
		{"client_alg and own key", Options{JWK: rsaJWK, Algorithm: "PS512"}, nil, "PS512"},
		{"client_alg wins over the list", Options{JWK: rsaJWK, Algorithm: "PS512"}, []string{"RS256"}, "PS512"},
		{"client_alg and the plugin's key", Options{Own: own, Algorithm: "PS256"}, nil, "PS256"},
		{"client_alg HS256", Options{Secret: "secret", JWK: ec, Algorithm: "HS256"}, nil, "HS256"},
		{"client_alg HS256 without a secret", Options{Own: own, Algorithm: "HS256"}, nil, ""},
		{"the key's own default", Options{JWK: ec}, nil, "ES256"},
		{"RSA is RS256", Options{JWK: rsaJWK}, nil, "RS256"},
		{"another algorithm of the list", Options{JWK: rsaJWK}, []string{"none", "HS256", "ES256", "PS256"}, "PS256"},
		{"none of the list", Options{JWK: ec}, []string{"none", "RS256"}, ""},
		{"the plugin's key is RS256", Options{Own: own}, nil, "RS256"},
		{"the plugin's key by the list", Options{Own: own}, []string{"none", "HS256", "ES256", "PS256"}, "PS256"},
		{"the plugin has none of the list", Options{Own: own}, []string{"none", "ES256"}, ""},
		{"a secret alone", Options{Secret: "secret"}, nil, ""},
		{"nothing", Options{}, nil, ""},
	} {
		c.o.ID = "client"
		cl, err := New(c.o)
		if err != nil {
			t.Fatal(err)
		}
		s, err := cl.RequestSigner(c.advertised)
		if (err == nil) != (c.want != "") || err == nil && s.Algorithm() != c.want {
			t.Errorf("%s: %v, %v", c.name, s, err)
		}
	}
	if _, err := (*Client)(nil).RequestSigner(nil); !errors.Is(err, ErrNoClient) {
		t.Errorf("no client: %v", err)
	}
}
