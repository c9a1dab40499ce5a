package plugin

import (
	"bytes"
	"context"
	"testing"

	"kong-openid-connect/internal/op"
)

// askedSecrets remembers which objects' secrets were asked for.
type askedSecrets struct{ asked [][2]string }

func (s *askedSecrets) SessionSecret(_ context.Context, issuer, scope string) ([]byte, error) {
	s.asked = append(s.asked, [2]string{issuer, scope})
	return bytes.Repeat([]byte{1}, 32), nil
}

// A generated secret stands in the object of the provider's metadata, however
// the provider is reached: who deletes that object ends its sessions.
func TestSessionSecretIsOfTheProvidersObject(t *testing.T) {
	seen := map[string]bool{}
	for _, config := range []string{
		`{"issuer":"https://idp.example.com"}`,
		`{"issuer":"https://idp.example.com","ssl_verify":false}`,
		`{"issuer":"https://idp.example.com","discovery_headers_names":["X-Tenant"],"discovery_headers_values":["a"]}`,
	} {
		c, _, err := Read([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		secrets := &askedSecrets{}
		env := &Environment{Providers: op.NewRegistry(op.Environment{}), Secrets: secrets}
		provider, err := env.Providers.Provider(providerConfig(c, env))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sessionSecret(c, env)(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want := [2]string{"https://idp.example.com", provider.Scope()}; len(secrets.asked) != 1 || secrets.asked[0] != want {
			t.Errorf("%s: asked for %q, want %q", config, secrets.asked, want)
		}
		seen[provider.Scope()] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d scopes, want 3", len(seen))
	}
}
