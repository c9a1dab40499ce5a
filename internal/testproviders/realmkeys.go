package testproviders

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
)

// realmKeys returns the key providers of a Keycloak realm, JSON for its
// "org.keycloak.keys.KeyProvider". Keycloak would make RSA keys itself, but
// takes most of its start for it.
func realmKeys() ([]byte, error) {
	type provider struct {
		Name     string              `json:"name"`
		Provider string              `json:"providerId"`
		Config   map[string][]string `json:"config"`
	}
	config := func(algorithm string) map[string][]string {
		c := map[string][]string{"priority": {"100"}, "enabled": {"true"}, "active": {"true"}}
		if algorithm != "" {
			c["algorithm"] = []string{algorithm}
		}
		return c
	}
	list := []provider{
		{"es256", "ecdsa-generated", config("")},
		{"eddsa", "eddsa-generated", config("")},
		{"hmac", "hmac-generated", config("HS512")},
		{"aes", "aes-generated", config("")},
	}
	list[0].Config["ecdsaEllipticCurveKey"] = []string{"P-256"}
	for _, k := range []struct{ name, provider, algorithm string }{
		{"rs256", "rsa", "RS256"}, {"ps256", "rsa", "PS256"}, {"rsa-enc", "rsa-enc", "RSA-OAEP"},
	} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		c := config(k.algorithm)
		c["privateKey"] = []string{string(pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)))}
		list = append(list, provider{k.name, k.provider, c})
	}
	return json.Marshal(list)
}
