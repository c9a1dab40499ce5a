package testproviders

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Client authentication methods (OpenID Connect Core section 9, RFC 8705).
const (
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthSecretJWT     = "client_secret_jwt"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthTLS           = "tls_client_auth"
	AuthSelfSignedTLS = "self_signed_tls_client_auth"
	AuthNone          = "none"
)

// API is the audience of JWT access tokens at both providers.
const API = "https://api.example.test"

// Client is a client that a provider knows. Every loopback URL is one of its
// redirect URIs.
type Client struct {
	ID     string
	Secret string // empty unless Auth needs one
	Auth   string
	// KeyIDs names the client's keys in testdata/oidc-provider/client-keys.json.
	KeyIDs []string
	// Certificate names its certificate in Provider.Certificates.
	Certificate string
	// Use says what the client is for.
	Use string
}

// User is an account. Its subject differs between providers.
type User struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	Roles    []string `json:"roles"`
}

// clientTable is built anew for each provider, so that a test may change what
// it was given.
func clientTable(oidcProvider bool) map[string]Client {
	both := []Client{
		{ID: "kong", Auth: AuthBasic, Use: "JWT access tokens; claim tier is gold"},
		{ID: "second", Auth: AuthBasic, Use: "another client; claim tier is silver"},
		{ID: "short", Auth: AuthBasic, Use: "access tokens that live for two seconds"},
		{ID: "post", Auth: AuthPost, Use: "authentication in the body only"},
		{ID: "secret-jwt", Auth: AuthSecretJWT, Use: "assertions signed by the secret"},
		{ID: "key-jwt", Auth: AuthPrivateKeyJWT, KeyIDs: []string{"client-rsa", "client-ec"}, Use: "assertions signed by a key"},
		{ID: "tls", Auth: AuthTLS, Certificate: "tls", Use: "certificate of the test CA"},
		{ID: "public", Auth: AuthNone, Use: "no authentication, PKCE required"},
		{ID: "dpop", Auth: AuthBasic, Use: "DPoP-bound access tokens required"},
		{ID: "mtls-bound", Auth: AuthBasic, Use: "certificate-bound access tokens"},
		{ID: "par", Auth: AuthBasic, Use: "pushed authorization requests required"},
		{ID: "jar", Auth: AuthBasic, KeyIDs: []string{"client-rsa", "client-ec"}, Use: "signed request objects required"},
		{ID: "hybrid", Auth: AuthBasic, Use: "response types code and code id_token"},
		{ID: "signed", Auth: AuthBasic, Use: "userinfo as JWT; introspection too where asked for"},
		{ID: "encrypted", Auth: AuthBasic, KeyIDs: []string{"client-rsa-enc"}, Use: "ID token, userinfo and JARM encrypted with RSA-OAEP-256"},
		{ID: "fapi", Auth: AuthPrivateKeyJWT, KeyIDs: []string{"client-ec"}, Use: "FAPI 2.0 security profile: PAR, PKCE, DPoP"},
		{ID: "fapi-key", Auth: AuthPrivateKeyJWT, KeyIDs: []string{"client-ec"}, Use: "FAPI 2.0 security profile but for sender-constrained tokens"},
		{ID: "fapi-tls", Auth: AuthTLS, Certificate: "tls", Use: "FAPI 2.0 security profile: PAR, PKCE, certificate-bound access tokens"},
		{ID: "fapi-signing", Auth: AuthPrivateKeyJWT, KeyIDs: []string{"client-ec"}, Use: "as fapi-key, with FAPI 2.0 message signing: JAR and JARM"},
	}
	if oidcProvider {
		both = append(both,
			Client{ID: "opaque", Auth: AuthBasic, Use: "opaque access tokens, good for userinfo, introspection and revocation"},
			Client{ID: "dpop-opaque", Auth: AuthBasic, Use: "as dpop, with opaque access tokens"},
			Client{ID: "self-signed", Auth: AuthSelfSignedTLS, Certificate: "self-signed", Use: "registered self-signed certificate"},
			Client{ID: "encrypted-ec", Auth: AuthBasic, KeyIDs: []string{"client-ec-enc"}, Use: "as encrypted, with ECDH-ES"},
			Client{ID: "fapi-message", Auth: AuthPrivateKeyJWT, KeyIDs: []string{"client-ec"}, Use: "FAPI 2.0 message signing: JAR and JARM as well"})
	}
	table := map[string]Client{}
	for _, c := range both {
		switch c.Auth {
		case AuthBasic, AuthPost, AuthSecretJWT:
			c.Secret = c.ID + "-secret-0123456789abcdef0123456789abcdef"
		}
		table[c.ID] = c
	}
	return table
}

func userTable(root string) (map[string]User, error) {
	raw, err := os.ReadFile(filepath.Join(root, "testdata", "oidc-provider", "users.json"))
	if err != nil {
		return nil, err
	}
	var list []User
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("reading the test users: %w", err)
	}
	table := map[string]User{}
	for _, u := range list {
		table[u.Username] = u
	}
	return table, nil
}

// ClientKeys returns the private keys of the test clients, a JWK set.
func ClientKeys() ([]byte, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(root, "testdata", "oidc-provider", "client-keys.json"))
}

// publicKeySet returns the public halves of the client keys with this use, as
// a JWK set.
func publicKeySet(use string) ([]byte, error) {
	raw, err := ClientKeys()
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("reading the client keys: %w", err)
	}
	public := []map[string]any{}
	for _, key := range set.Keys {
		if key["use"] != use {
			continue
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
			delete(key, private)
		}
		public = append(public, key)
	}
	return json.Marshal(map[string]any{"keys": public})
}

// checkout finds the root of the working tree from the current directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the current directory: run the tests inside the checkout")
		}
		dir = up
	}
}
