package store

import (
	"context"
	"time"
)

// Broken is the store of a process that could not learn where its store is:
// every operation fails with *Unavailable, so that nothing is made up. What
// needs no store, such as verifying bearer tokens, goes on.
type Broken struct{ Err error }

var (
	_ Store  = Broken{}
	_ Claims = Broken{}
)

func (b Broken) fail(op string) error { return &Unavailable{op, b.Err} }

// Object implements Objects.
func (b Broken) Object(context.Context, Key) (*Discovery, error) {
	return nil, b.fail("read discovery object")
}

// PutObject implements Objects.
func (b Broken) PutObject(context.Context, Discovery) error { return b.fail("keep discovery object") }

// ListObjects implements Objects.
func (b Broken) ListObjects(context.Context, string, int) ([]*Discovery, error) {
	return nil, b.fail("list discovery objects")
}

// ObjectByID implements Objects.
func (b Broken) ObjectByID(context.Context, string) (*Discovery, error) {
	return nil, b.fail("read discovery object")
}

// ObjectsOf implements Objects.
func (b Broken) ObjectsOf(context.Context, string) ([]*Discovery, error) {
	return nil, b.fail("read discovery objects")
}

// DeleteObject implements Objects.
func (b Broken) DeleteObject(context.Context, string) error {
	return b.fail("delete discovery object")
}

// DeleteObjects implements Objects.
func (b Broken) DeleteObjects(context.Context) error { return b.fail("delete discovery objects") }

// SessionSecret implements Secrets.
func (b Broken) SessionSecret(context.Context, Key, string) (Secret, error) {
	return Secret{}, b.fail("read session secret")
}

// OwnKeys implements OwnKeys.
func (b Broken) OwnKeys(context.Context) ([]OwnKey, error) { return nil, b.fail("read own keys") }

// AddOwnKey implements OwnKeys.
func (b Broken) AddOwnKey(context.Context, OwnKey) (OwnKey, error) {
	return OwnKey{}, b.fail("add own key")
}

// RotateOwnKeys implements OwnKeys.
func (b Broken) RotateOwnKeys(context.Context, []OwnKey) error { return b.fail("rotate own keys") }

// DeleteOwnKey implements OwnKeys.
func (b Broken) DeleteOwnKey(context.Context, string) error { return b.fail("delete own key") }

// Revoke implements Revocations.
func (b Broken) Revoke(context.Context, string, time.Time, time.Time) error { return b.fail("revoke") }

// Revoked implements Revocations.
func (b Broken) Revoked(context.Context, ...string) (bool, error) {
	return false, b.fail("read revocations")
}

// Ended implements Revocations.
func (b Broken) Ended(context.Context, time.Time, string, ...string) (bool, error) {
	return false, b.fail("read revocations")
}

// Once implements Locks.
func (b Broken) Once(context.Context, string, time.Duration, time.Duration, func(context.Context) ([]byte, error)) ([]byte, error) {
	return nil, b.fail("take lock")
}

// Claim implements Claims: whether other nodes share the store is not known.
func (b Broken) Claim(context.Context, string, time.Duration) (bool, error) {
	return false, b.fail("claim")
}

// Watch implements Watcher.
func (Broken) Watch(func(Change)) (stop func()) { return func() {} }

// Check implements Store.
func (b Broken) Check(context.Context) error { return b.fail("check") }

// Close implements Store.
func (Broken) Close() error { return nil }
