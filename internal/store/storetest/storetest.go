// Package storetest is the suite that every store passes. Imported by tests only.
package storetest

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
)

// Nodes are two stores on the same data, as two nodes or two processes have them.
type Nodes struct {
	A, B store.Store
	// Eventually calls f until it returns true, letting time pass between, and
	// fails the test when that takes longer than a second of the nodes' time.
	Eventually func(t *testing.T, what string, f func() bool)
}

// Run runs the suite. open gives fresh, empty data each time.
func Run(t *testing.T, open func(t *testing.T) Nodes) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Nodes)
	}{
		{"an object is kept by issuer and scope", objectByKey},
		{"an object keeps id and time of creation", objectIdentity},
		{"objects are listed in pages", objectPages},
		{"an object is found by id and by issuer", objectFound},
		{"a deleted object is gone with its secret", objectDeleted},
		{"all objects are deleted", objectsDeleted},
		{"an object that is too large is refused", objectTooLarge},
		{"a session secret is made once", secretOnce},
		{"session secrets of two scopes differ", secretScopes},
		{"a session secret makes its object", secretMakesObject},
		{"an own key is added once for an algorithm", ownKeyOnce},
		{"rotation keeps the previous keys once", ownKeyRotation},
		{"an own key is deleted by kid", ownKeyDeleted},
		{"a revoked key is revoked on every node", revoke},
		{"a revocation begins and ends in its time", revokeSpan},
		{"a subject is revoked with a time", revokeSubject},
		{"a result is made once", onceMany},
		{"a failure goes to its own caller only", onceFailure},
		{"a result is forgotten after its time", onceForgotten},
		{"a panic leaves nobody waiting", oncePanic},
		{"changes are told", watch},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

var (
	keyX = store.Key{Issuer: "https://idp.test/realms/x"}
	keyY = store.Key{Issuer: "https://idp.test/realms/x", Scope: "insecure"}
	keyZ = store.Key{Issuer: "https://other.test"}
)

func object(k store.Key, doc string) store.Discovery {
	return store.Discovery{
		Key: k, Configured: k.Issuer + "/", Configuration: json.RawMessage(doc),
		KeySets: []store.KeySet{
			{Issuer: k.Issuer, URI: k.Issuer + "/jwks", JWKS: json.RawMessage(`{"keys":[{"kty":"RSA","kid":"1"}]}`)},
			{URI: "https://extra.test/jwks", JWKS: json.RawMessage(`{"keys":[]}`)},
		},
	}
}

func put(t *testing.T, s store.Store, d store.Discovery) {
	t.Helper()
	if err := s.PutObject(t.Context(), d); err != nil {
		t.Fatalf("PutObject: %v", err)
	}
}

func get(t *testing.T, s store.Store, k store.Key) *store.Discovery {
	t.Helper()
	d, err := s.Object(t.Context(), k)
	if err != nil {
		t.Fatalf("Object: %v", err)
	}
	return d
}

func list(t *testing.T, s store.Store) []*store.Discovery {
	t.Helper()
	all, err := s.ListObjects(t.Context(), "", 100)
	if err != nil {
		t.Fatalf("ListObjects: %v", err)
	}
	return all
}

func secret(t *testing.T, s store.Store, k store.Key) store.Secret {
	t.Helper()
	v, err := s.SessionSecret(t.Context(), k, k.Issuer)
	if err != nil {
		t.Fatalf("SessionSecret: %v", err)
	}
	if len(v.Reveal()) < store.SecretSize {
		t.Fatalf("secret has %d bytes", len(v.Reveal()))
	}
	return v
}

func ownKey(kid, alg string) store.OwnKey {
	return store.OwnKey{KID: kid, Algorithm: alg, CreatedAt: time.Unix(1_700_000_000, 0), Private: store.NewSecret([]byte(`{"kty":"oct","k":"` + kid + `"}`))}
}

func ownKeys(t *testing.T, s store.Store) []store.OwnKey {
	t.Helper()
	all, err := s.OwnKeys(t.Context())
	if err != nil {
		t.Fatalf("OwnKeys: %v", err)
	}
	return all
}

func background() context.Context { return context.Background() }
