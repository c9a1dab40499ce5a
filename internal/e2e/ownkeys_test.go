package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/sandbox/provider"
)

// published returns the plugin's own public keys, as a provider reads them.
func published(t *testing.T) *jose.JSONWebKeySet {
	t.Helper()
	all, _ := companion(t, "GET", "jwks", 200)
	set := &jose.JSONWebKeySet{}
	keys, _ := all["keys"].([]any)
	for _, k := range keys {
		raw, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil { // go-jose does not know Ed448
			set.Keys = append(set.Keys, key)
		}
	}
	return set
}

// TestOwnKeys holds that a client without keys of its own uses those that the
// plugin publishes: to authenticate (RFC 7523), and to sign request objects (RFC 9101).
func TestOwnKeys(t *testing.T) {
	until(t, "the plugin's own keys", func() bool { return len(published(t).Keys) >= 10 })
	client := provider.Client{ID: "own-keys", AuthMethods: []string{provider.AuthPrivateKeyJWT}, JWKSURI: env.Admin + "/openid-connect/jwks", LoopbackRedirects: true}
	if err := env.provider.SetClient(client); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t)
	asked := func() (status int, by string) {
		t.Helper()
		env.provider.ResetRecords()
		status = b.get("/own-keys", "Authorization", basic("alex", "doe")).StatusCode
		for _, r := range env.provider.Records(provider.EndpointToken) {
			by = r.AuthMethod
		}
		return status, by
	}
	if status, by := asked(); status != 200 || by != provider.AuthPrivateKeyJWT {
		t.Fatalf("status %d, the client authenticates by %q", status, by)
	}
	old := published(t)
	t.Run("a request object is signed by the published key", func(t *testing.T) {
		to := b.get("/own-keys/page").want(t, 302).location(t)
		o, err := jose.ParseSigned(to.Query().Get("request"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		keys := old.Key(o.Signatures[0].Header.KeyID)
		if len(keys) != 1 {
			t.Fatalf("%d published keys have its kid", len(keys))
		}
		payload, err := o.Verify(keys[0])
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Iss, Aud, State, Nonce string
			ClientID               string `json:"client_id"`
			RedirectURI            string `json:"redirect_uri"`
			Exp                    int64
		}
		if err := json.Unmarshal(payload, &c); err != nil {
			t.Fatal(err)
		}
		if c.Iss != "own-keys" || c.ClientID != "own-keys" || c.Aud != env.Issuer || c.State == "" || c.Nonce == "" || c.RedirectURI == "" || c.Exp <= time.Now().Unix() {
			t.Errorf("claims %s", payload)
		}
		for _, name := range []string{"state", "nonce", "redirect_uri", "code_challenge"} {
			if to.Query().Has(name) {
				t.Errorf("%s stands outside of the signed object too", name)
			}
		}
	})
	t.Run("after a rotation the new key signs", func(t *testing.T) {
		companion(t, "DELETE", "jwks", 204)
		if status, by := asked(); status != 200 || by != provider.AuthPrivateKeyJWT {
			t.Fatalf("status %d, the client authenticates by %q", status, by)
		}
		o, err := jose.ParseSigned(b.get("/own-keys/page").want(t, 302).location(t).Query().Get("request"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if len(old.Key(o.Signatures[0].Header.KeyID)) != 0 {
			t.Error("an old key signs")
		}
	})
	t.Run("a provider that knows other keys refuses", func(t *testing.T) {
		client.JWKSURI = env.second.URL + "/jwks"
		if err := env.provider.SetClient(client); err != nil {
			t.Fatal(err)
		}
		if status, _ := asked(); status < 400 {
			t.Errorf("status %d", status)
		}
	})
}
