package op

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"log/slog"
	"sync"
	"time"
)

// Environment is what all providers of a process share.
type Environment struct {
	// Roots are the authorities that sign providers' certificates; nil for the system's.
	Roots *x509.CertPool
	// Store keeps discovery objects; nil for memory.
	Store Store
	// Now is the clock.
	Now func() time.Time
	// Log takes warnings about providers.
	Log *slog.Logger
	// Observe is told of every call to a provider: which endpoint, the status of
	// the answer, 0 where none came whole, and the time it took; nil for nobody.
	Observe func(call string, status int, took time.Duration)
	// Discovered is told of every attempt to learn metadata and keys; nil for nobody.
	Discovered func(error)
}

// maxProviders bounds how many configurations a registry shares. One that was
// pushed out keeps working for those who hold it.
const maxProviders = 1024

// Registry hands out one Provider for equal configurations, so that plugin
// instances share metadata, keys and connections. It is safe for concurrent use.
type Registry struct {
	env Environment

	mu        sync.Mutex
	providers map[[sha256.Size]byte]*Provider
	order     [][sha256.Size]byte // least recently asked for first
}

// NewRegistry returns an empty registry.
func NewRegistry(env Environment) *Registry {
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Store == nil {
		env.Store = NewMemoryStore()
	}
	return &Registry{env: env, providers: map[[sha256.Size]byte]*Provider{}}
}

// Provider returns the provider of a configuration. It performs no I/O: the
// provider is asked when it is first needed. The error says which part of the
// configuration cannot be used.
func (r *Registry) Provider(c Config) (*Provider, error) {
	key := c.key()
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.providers[key]; ok {
		r.touch(key)
		return p, nil
	}
	p, err := newProvider(c.clone(), r.env)
	if err != nil {
		return nil, err
	}
	if len(r.providers) >= maxProviders {
		delete(r.providers, r.order[0])
		r.order = r.order[1:]
	}
	r.providers[key] = p
	r.order = append(r.order, key)
	return p, nil
}

func (r *Registry) touch(key [sha256.Size]byte) {
	for i, k := range r.order {
		if k == key {
			r.order = append(append(r.order[:i:i], r.order[i+1:]...), key)
			return
		}
	}
}

// Providers returns those that are shared at present.
func (r *Registry) Providers() []*Provider {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Provider, 0, len(r.order))
	for _, k := range r.order {
		all = append(all, r.providers[k])
	}
	return all
}

// Delete removes what is known of the issuer (normalised), in the store and in
// this process.
func (r *Registry) Delete(ctx context.Context, issuer string) error {
	err := r.env.Store.Delete(ctx, issuer)
	r.Forget(issuer)
	return err
}

// Forget makes every provider of the issuer (normalised) ask anew when it is
// next needed: another node has deleted what is known of it.
func (r *Registry) Forget(issuer string) {
	for _, p := range r.Providers() {
		if p.Issuer() == issuer {
			p.Forget()
		}
	}
}
