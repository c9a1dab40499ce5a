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

// Session is a session as it is shown. It has no place for a token or a secret.
type Session struct {
	ID       string // 32 bytes in base64url: the session's id, or its hash where the storage knows no more
	Audience string
	Storage  string
}

// Sessions is what the endpoints need of sessions.
type Sessions interface {
	// List returns up to size sessions of a subject in the order of their ids,
	// after the one given ("" for the first); ErrNoMetadata.
	List(ctx context.Context, subject, after string, size int) ([]Session, error)
	// EndSubject ends the sessions of a subject that have begun, wherever they are kept.
	EndSubject(ctx context.Context, issuer, subject string) error
	// EndLogin ends the sessions of a login at the provider.
	EndLogin(ctx context.Context, issuer, sid string) error
	// End ends one session. That it is not there is no error.
	End(ctx context.Context, id string) error
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
	// ErrNoMetadata says that no storage lists sessions: 501.
	ErrNoMetadata = errors.New("no session metadata")
	// ErrReadOnly says that it cannot be changed here: 405.
	ErrReadOnly = errors.New("read only")
	// ErrUnavailable says that the store cannot be asked now: 503.
	ErrUnavailable = errors.New("unavailable")
)
