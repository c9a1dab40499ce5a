package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Key names a discovery object: a provider, and the way in which it was reached.
type Key struct {
	Issuer string // normalised
	Scope  string // what the trust in the object rests on; "" where that needs no telling apart
}

// Discovery is a discovery object. Values that a store handed out must not be changed.
type Discovery struct {
	Key
	ID         string // UUID, given by the store
	Configured string // the issuer as it was configured first
	CreatedAt  time.Time
	UpdatedAt  time.Time // when the content was last confirmed
	// Configuration is the discovery document; nil while nothing was discovered.
	Configuration json.RawMessage
	KeySets       []KeySet
}

// KeySet is a remote key set by the issuer that it is bound to and its URI.
type KeySet struct {
	Issuer string          `json:"issuer,omitempty"` // "" binds it to none
	URI    string          `json:"uri"`
	JWKS   json.RawMessage `json:"jwks"`
}

// Limits of what a store takes.
const (
	MaxIssuer   = 2048     // bytes of an issuer
	MaxDocument = 1 << 20  // bytes of a configuration
	MaxKeySets  = 64       // key sets of an object
	MaxContent  = 4 << 20  // bytes of an object
	MaxObjects  = 4096     // discovery objects
	MaxPageSize = 1000     // objects of a page
	MaxRevoked  = 1 << 21  // revocations held in memory, an eighth of them not for single sessions
	MaxKey      = 512      // bytes of a revocation's or lock's key
	MaxResult   = 64 << 10 // bytes of a lock's result
)

// ErrNotFound says that there is no such object.
var ErrNotFound = errors.New("not found")

// ErrTooLarge says that a value exceeds the limits.
var ErrTooLarge = errors.New("larger than the store takes")

// ErrFull says that the store holds as much as it may.
var ErrFull error = full{}

type full struct{}

func (full) Error() string { return "the store is full" }

// Full lets packages that do not know this one tell the error.
func (full) Full() bool { return true }

// SingleSession begins the names of revocations of one session's id. There is
// one for each renewal, so they may not take the room of those that end logins.
const SingleSession = "session:"

// Unavailable says that the store cannot be asked now; the operation may be
// tried again. Where it stands in the way of a secret, nothing may be invented
// in its place.
type Unavailable struct {
	Op  string // what was attempted
	Err error
}

func (e *Unavailable) Error() string {
	return "store: " + e.Op + ": unavailable: " + e.Err.Error()
}

func (e *Unavailable) Unwrap() error { return e.Err }

// Unreadable says that a value is there and cannot be opened, for want of the
// key that it was sealed with. Nothing may be invented in its place.
type Unreadable struct {
	What string
	Err  error
}

func (e *Unreadable) Error() string {
	return fmt.Sprintf("store: %s cannot be opened: %v: give this node the -seal-key-file of the node that wrote it", e.What, e.Err)
}

func (e *Unreadable) Unwrap() error { return e.Err }

// Objects keeps discovery objects.
type Objects interface {
	// Object returns the object of a key, or ErrNotFound.
	Object(ctx context.Context, k Key) (*Discovery, error)
	// PutObject keeps configuration and key sets in place of those of the same
	// key. ID and CreatedAt are given by the store and stay with the key.
	PutObject(ctx context.Context, d Discovery) error
	// ListObjects returns up to size objects in the order of their ids, from the
	// one after `after` ("" for the first) on.
	ListObjects(ctx context.Context, after string, size int) ([]*Discovery, error)
	// ObjectByID returns the object of an id, or ErrNotFound.
	ObjectByID(ctx context.Context, id string) (*Discovery, error)
	// ObjectsOf returns the objects of a normalised issuer, oldest first; none is no error.
	ObjectsOf(ctx context.Context, issuer string) ([]*Discovery, error)
	// DeleteObject forgets the object of an id with its session secret, or says ErrNotFound.
	DeleteObject(ctx context.Context, id string) error
	// DeleteObjects forgets all objects with their session secrets.
	DeleteObjects(ctx context.Context) error
}

// Secrets keeps the generated session secrets of discovery objects.
type Secrets interface {
	// SessionSecret returns the secret of the key's object, which every node has
	// in common and which is made, once, when there is none. The object is made
	// with it if need be. configured is the issuer as configured.
	SessionSecret(ctx context.Context, k Key, configured string) (Secret, error)
}

// Slot is the age of an own key.
type Slot uint8

const (
	// Current keys sign and are published.
	Current Slot = iota
	// Previous keys are published until the next rotation.
	Previous
)

// OwnKey is a key pair of the plugin's own.
type OwnKey struct {
	KID       string
	Algorithm string // JWS algorithm; one current key for each
	Slot      Slot
	CreatedAt time.Time
	Private   Secret // the private JWK
}

// OwnKeys keeps the plugin's own key pairs.
type OwnKeys interface {
	// OwnKeys returns all keys, current ones first.
	OwnKeys(ctx context.Context) ([]OwnKey, error)
	// AddOwnKey keeps a current key unless its algorithm has one already, and
	// returns the one that the algorithm has then.
	AddOwnKey(ctx context.Context, k OwnKey) (OwnKey, error)
	// RotateOwnKeys drops the previous keys, makes the current ones previous and
	// the given ones current, in one step.
	RotateOwnKeys(ctx context.Context, next []OwnKey) error
	// DeleteOwnKey forgets a key, or says ErrNotFound.
	DeleteOwnKey(ctx context.Context, kid string) error
}

// Revocations is the list of what has ended before its time: sessions, and
// logins by sid or by subject. Keys are digests; they hold no secret.
type Revocations interface {
	// Revoke makes Revoked report the key from `from` on, until `until`. A key
	// that is listed already keeps the wider span. When it fails, this node
	// honours the revocation nevertheless and hands it on as soon as it can.
	Revoke(ctx context.Context, key string, from, until time.Time) error
	// Revoked says whether any of the keys is revoked now.
	Revoked(ctx context.Context, keys ...string) (bool, error)
	// Ended says whether any of the keys is revoked now, or the latest
	// revocation of subject that holds began at `began` or later, to the
	// millisecond: "all sessions of this subject that began before".
	Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error)
}

// ErrLost says that another caller had the lock and came to no result. Whoever
// waited for it must not do the work itself.
var ErrLost = errors.New("another node was at it and came to no result")

// Locks lets one caller among all nodes do a piece of work.
type Locks interface {
	// Once runs do if nobody else is at it, keeps its result for `keep`, and
	// returns it. Whoever comes while it runs, or within keep, gets that result
	// and runs nothing. lease bounds the work: it must be longer than do may
	// take. When do fails its error goes to its own caller, ErrLost to those who
	// waited, and the next caller may try. The result must be sealed by the
	// caller where it is secret.
	Once(ctx context.Context, key string, lease, keep time.Duration, do func(context.Context) ([]byte, error)) ([]byte, error)
}

// Claims has each key claimed once among all nodes.
type Claims interface {
	// Claim claims a key for keep and says whether nobody else had. An error
	// means that this cannot be known now.
	Claim(ctx context.Context, key string, keep time.Duration) (first bool, err error)
}

// ChangeKind is what a Change is about.
type ChangeKind uint8

// The kinds of changes.
const (
	ObjectPut ChangeKind = iota + 1
	ObjectDeleted
	KeysChanged
)

// Change is something that became different, on this node or on another.
type Change struct {
	Kind ChangeKind
	Key  Key // of ObjectPut and ObjectDeleted
}

// Watcher tells of changes.
type Watcher interface {
	// Watch calls f for every change from now on until stop is called. Calls
	// come one at a time; f must not block and must not call the store's writers.
	Watch(f func(Change)) (stop func())
}

// Store is everything that is kept, for the wiring. Users declare what they need of it.
type Store interface {
	Objects
	Secrets
	OwnKeys
	Revocations
	Locks
	Watcher
	// Check reports whether the store works at present; nil if it does.
	Check(ctx context.Context) error
	Close() error
}
