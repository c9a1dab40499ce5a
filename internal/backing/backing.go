// Package backing joins what is stored to those who use it: it makes of one
// store.Store the stores of op and jwks/own and what the admin endpoints show,
// and passes changes on that other nodes made. Imported by the wiring.
package backing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/jwks"
	"kong-openid-connect/internal/jwks/own"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// Registry is what of op.Registry is told of deletions.
type Registry interface {
	Providers() []*op.Provider
	// Forget makes the providers of a normalised issuer ask anew.
	Forget(issuer string)
}

// Connect passes on what changes in the store, on this node or on another:
// deleted discovery objects to the registry, changed keys to the set. It
// returns how to end that.
func Connect(s store.Watcher, r Registry, keys *own.Set) (stop func()) {
	return s.Watch(func(c store.Change) {
		switch c.Kind {
		case store.ObjectDeleted:
			if r != nil {
				r.Forget(c.Key.Issuer)
			}
		case store.KeysChanged:
			if keys != nil {
				keys.Invalidate()
			}
		}
	})
}

// Objects is op.Store on a store.
type Objects struct{ Store store.Objects }

var _ op.Store = Objects{}

// Load implements op.Store.
func (o Objects) Load(ctx context.Context, issuer, scope string) (*op.Object, error) {
	d, err := o.Store.Object(ctx, store.Key{Issuer: issuer, Scope: scope})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	obj := &op.Object{Issuer: d.Issuer, Scope: d.Scope, Configured: d.Configured, Created: d.CreatedAt, Updated: d.UpdatedAt}
	if d.Configuration != nil {
		if obj.Configuration, err = claims.Decode(d.Configuration); err != nil {
			return nil, fmt.Errorf("stored configuration of %s: %w", issuer, err)
		}
	}
	for _, ks := range d.KeySets {
		set, err := jwks.Parse(ks.JWKS)
		if err != nil {
			continue // the provider is asked for it
		}
		obj.Sets = append(obj.Sets, op.StoredSet{Source: jwks.Source{Issuer: ks.Issuer, URI: ks.URI}, Set: set})
	}
	return obj, nil
}

// Save implements op.Store.
func (o Objects) Save(ctx context.Context, obj *op.Object) error {
	d := store.Discovery{
		Key: store.Key{Issuer: obj.Issuer, Scope: obj.Scope}, Configured: obj.Configured, UpdatedAt: obj.Updated,
	}
	if obj.Configuration != nil {
		b, err := claims.JSON(map[string]any(obj.Configuration))
		if err != nil {
			return fmt.Errorf("configuration of %s: %w", obj.Issuer, err)
		}
		d.Configuration = b
	}
	for _, s := range obj.Sets {
		b, err := json.Marshal(s.Set)
		if err != nil {
			return fmt.Errorf("keys of %s: %w", obj.Issuer, err)
		}
		d.KeySets = append(d.KeySets, store.KeySet{Issuer: s.Issuer, URI: s.URI, JWKS: b})
	}
	return o.Store.PutObject(ctx, d)
}

// Delete implements op.Store.
func (o Objects) Delete(ctx context.Context, issuer string) error {
	all, err := o.Store.ObjectsOf(ctx, issuer)
	if err != nil {
		return err
	}
	for _, d := range all {
		if err := o.Store.DeleteObject(ctx, d.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// OwnKeys is own.Store on a store.
type OwnKeys struct{ Store store.OwnKeys }

var _ own.Store = OwnKeys{}

func ownKey(k store.OwnKey) own.Key {
	return own.Key{KID: k.KID, Algorithm: k.Algorithm, Previous: k.Slot == store.Previous, Created: k.CreatedAt, Private: token.Opaque(k.Private.Reveal())}
}

func storeKey(k own.Key) store.OwnKey {
	return store.OwnKey{KID: k.KID, Algorithm: k.Algorithm, CreatedAt: k.Created, Private: store.NewSecret([]byte(k.Private.Reveal()))}
}

// OwnKeys implements own.Store.
func (o OwnKeys) OwnKeys(ctx context.Context) ([]own.Key, error) {
	keys, err := o.Store.OwnKeys(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]own.Key, 0, len(keys))
	for _, k := range keys {
		all = append(all, ownKey(k))
	}
	return all, nil
}

// AddOwnKey implements own.Store.
func (o OwnKeys) AddOwnKey(ctx context.Context, k own.Key) (own.Key, error) {
	kept, err := o.Store.AddOwnKey(ctx, storeKey(k))
	return ownKey(kept), err
}

// RotateOwnKeys implements own.Store.
func (o OwnKeys) RotateOwnKeys(ctx context.Context, next []own.Key) error {
	all := make([]store.OwnKey, 0, len(next))
	for _, k := range next {
		all = append(all, storeKey(k))
	}
	return o.Store.RotateOwnKeys(ctx, all)
}

// DeleteOwnKey implements own.Store.
func (o OwnKeys) DeleteOwnKey(ctx context.Context, kid string) error {
	err := o.Store.DeleteOwnKey(ctx, kid)
	if errors.Is(err, store.ErrNotFound) {
		return own.ErrNotFound
	}
	return err
}

// Keys is admin.Keys on a set.
type Keys struct {
	*own.Set
	Rotated func() // is told of every rotation; nil for nobody
}

var _ admin.Keys = Keys{}

// Public implements admin.Keys.
func (k Keys) Public(ctx context.Context) ([]byte, error) {
	b, err := k.Set.Public(ctx)
	return b, adminError(err)
}

// PublicKey implements admin.Keys.
func (k Keys) PublicKey(ctx context.Context, kid string) ([]byte, error) {
	b, err := k.Set.PublicKey(ctx, kid)
	return b, adminError(err)
}

// Rotate implements admin.Keys.
func (k Keys) Rotate(ctx context.Context) error {
	err := k.Set.Rotate(ctx)
	if err == nil && k.Rotated != nil {
		k.Rotated()
	}
	return adminError(err)
}

// DeleteKey implements admin.Keys.
func (k Keys) DeleteKey(ctx context.Context, kid string) error {
	return adminError(k.Set.DeleteKey(ctx, kid))
}

// adminError puts an error into the words of the endpoints.
func adminError(err error) error {
	if err == nil {
		return nil
	}
	_, away := errors.AsType[*store.Unavailable](err)
	switch {
	case errors.Is(err, own.ErrNotFound), errors.Is(err, store.ErrNotFound):
		return admin.ErrNotFound
	case errors.Is(err, own.ErrReadOnly):
		return fmt.Errorf("%w: %w", admin.ErrReadOnly, err)
	case away:
		return fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
	}
	return err
}
