package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotFound is what a Store answers for a key that it does not hold.
var ErrNotFound = errors.New("session is not in storage")

// Store keeps sealed sessions on the server side. Values are opaque and
// already encrypted. Implementations are safe for concurrent use, respect the
// context's deadline, and put their own prefix before keys. Package storetest
// holds the suite that each of them passes.
type Store interface {
	// Get returns the value of key, or ErrNotFound. Any other error is a failure of the storage.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set writes the value, to be forgotten after ttl, which is positive.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error
	// Swap writes the value if key still holds old, in one atomic step, and says whether it did.
	Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error)
	// Delete forgets key; a missing key is no error.
	Delete(ctx context.Context, key string) error
}

// Index lists live sessions by audience and subject (session_store_metadata).
// Stores that can, implement it beside Store.
type Index interface {
	// AddSession notes that the session under key belongs to subject for ttl.
	AddSession(ctx context.Context, audience, subject, key string, ttl time.Duration) error
	// RemoveSession forgets the note; a missing one is no error.
	RemoveSession(ctx context.Context, audience, subject, key string) error
	// Sessions returns the keys of the subject's live sessions, in no order.
	Sessions(ctx context.Context, audience, subject string) ([]string, error)
}

// Revocations is the list of sessions that have ended before their time, so
// that a copied cookie dies at logout too. Keys hold no session id in clear.
type Revocations interface {
	// Revoke makes Revoked report the key from `from` on, at least until `until`.
	Revoke(ctx context.Context, key string, from, until time.Time) error
	// Revoked says whether any of the keys is revoked now.
	Revoked(ctx context.Context, keys ...string) (bool, error)
	// Ended says whether any of the keys is revoked now, or the latest
	// revocation of subject that holds began at `began` or later.
	Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error)
}

// Joint is a Store that holds its own Revocations and reads both at once.
type Joint interface {
	Store
	Revocations
	// GetEnded is Get and Ended in one round trip. Where the key is missing the
	// error is ErrNotFound.
	GetEnded(ctx context.Context, key string, began time.Time, subject string, keys ...string) (value []byte, ended bool, err error)
}

// StorageError is a failure of the Store or of the Revocations: the session
// may be good, but that cannot be known (or written) now.
type StorageError struct {
	Op  string // what was attempted: "read", "write", "delete", "revoke" ...
	Err error
}

func (e *StorageError) Error() string { return "session storage: " + e.Op + ": " + e.Err.Error() }
func (e *StorageError) Unwrap() error { return e.Err }

// TooLargeError says that a session does not fit in what a request may carry.
type TooLargeError struct {
	Size  int // bytes of the Cookie header line that would come back
	Limit int // bytes that one header line may have
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the session needs a Cookie header line of %d bytes and the gateway accepts %d: "+
		"keep the session on the server (session_storage redis or memcached), ask the provider for smaller tokens, "+
		"or raise the gateway's large_client_header_buffers and this plugin server's -max-header-line together", e.Size, e.Limit)
}
