package op

import (
	"context"
	"sync"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/jwks"
)

// Object is what is known of a provider: the discovery object of the admin
// endpoints. It is immutable once stored.
type Object struct {
	// Issuer is normalised; Scope tells configurations apart that reach the
	// provider in ways which one must not vouch for the other, such as without
	// verifying certificates. Both are the key.
	Issuer     string
	Scope      string
	Configured string    // the issuer as configured
	Created    time.Time // when it was first discovered
	Updated    time.Time // when it was last confirmed
	// Configuration is the discovery document; nil when there is none.
	Configuration claims.Object
	// Sets are the key sets that were read.
	Sets []StoredSet
}

// StoredSet is a key set of an object.
type StoredSet struct {
	jwks.Source
	Set *jwks.Set
}

// Store keeps discovery objects beyond the life of a provider, or of a
// process. Whatever it answers, providers go on with what they hold.
type Store interface {
	// Load returns the object of an issuer and scope; nil when there is none.
	Load(ctx context.Context, issuer, scope string) (*Object, error)
	// Save puts the object in place of the one of the same issuer and scope.
	Save(ctx context.Context, o *Object) error
	// Delete forgets the objects of an issuer in every scope.
	Delete(ctx context.Context, issuer string) error
}

// MemoryStore is the Store of one process.
type MemoryStore struct {
	mu      sync.Mutex
	objects map[[2]string]*Object
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{objects: map[[2]string]*Object{}} }

// Load implements Store.
func (s *MemoryStore) Load(_ context.Context, issuer, scope string) (*Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[[2]string{issuer, scope}], nil
}

// Save implements Store.
func (s *MemoryStore) Save(_ context.Context, o *Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.objects[[2]string{o.Issuer, o.Scope}]; !known && len(s.objects) >= maxProviders {
		return nil // bounded; providers hold what they need themselves
	}
	s.objects[[2]string{o.Issuer, o.Scope}] = o
	return nil
}

// Delete implements Store.
func (s *MemoryStore) Delete(_ context.Context, issuer string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.objects {
		if k[0] == issuer {
			delete(s.objects, k)
		}
	}
	return nil
}
