package admin

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Object is a discovery object as it is shown. It has no place for a secret.
type Object struct {
	ID            string
	Issuer        string // as configured
	CreatedAt     time.Time
	Configuration json.RawMessage   // the discovery document; nil when nothing was discovered
	Keys          []json.RawMessage // public JWKs
}

// Discovery is what the endpoints need of the discovery objects.
type Discovery interface {
	// List returns up to size objects in the order of their ids, after the one
	// whose id is given ("" for the first).
	List(ctx context.Context, after string, size int) ([]Object, error)
	// Get returns one by its id, or by its issuer as configured or normalised; ErrNotFound.
	Get(ctx context.Context, ref string) (Object, error)
	// Delete forgets what Get would have found, on every node; ErrNotFound.
	Delete(ctx context.Context, ref string) error
	// Clear forgets all of them, on every node.
	Clear(ctx context.Context) error
}

// Keys is what the endpoints need of the plugin's own keys.
type Keys interface {
	// Public returns the JWKS document, public members only; ErrNotFound.
	Public(ctx context.Context) ([]byte, error)
	// PublicKey returns one public JWK; ErrNotFound.
	PublicKey(ctx context.Context, kid string) ([]byte, error)
	// Rotate replaces the set, on every node.
	Rotate(ctx context.Context) error
	// DeleteKey forgets one key, on every node; ErrNotFound.
	DeleteKey(ctx context.Context, kid string) error
}

// Health is the state of this process.
type Health struct {
	// Ready is false while requests cannot be served at all. A store that is
	// away does not make it so: memory serves on.
	Ready bool
	// Parts are what may fail, with why it does, nil where it does not. Only
	// the fact is shown; the reason is for the log.
	Parts map[string]error
}

var (
	// ErrNotFound says that there is no such thing: 404.
	ErrNotFound = errors.New("not found")
	// ErrReadOnly says that it cannot be changed here: 405.
	ErrReadOnly = errors.New("read only")
	// ErrUnavailable says that the store cannot be asked now: 503.
	ErrUnavailable = errors.New("unavailable")
)
