package backing

import (
	"context"
	"encoding/json"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/store"
)

// Discovery is admin.Discovery on a store.
type Discovery struct {
	Store store.Objects
	// Registry is told of what is deleted though it was never stored; nil for none.
	Registry Registry
}

var _ admin.Discovery = Discovery{}

func shown(d *store.Discovery) admin.Object {
	o := admin.Object{ID: d.ID, Issuer: d.Configured, CreatedAt: d.CreatedAt, Configuration: d.Configuration}
	for _, s := range d.KeySets {
		var doc struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if json.Unmarshal(s.JWKS, &doc) == nil {
			o.Keys = append(o.Keys, doc.Keys...)
		}
	}
	return o
}

// List implements admin.Discovery.
func (a Discovery) List(ctx context.Context, after string, size int) ([]admin.Object, error) {
	all, err := a.Store.ListObjects(ctx, after, size)
	if err != nil {
		return nil, adminError(err)
	}
	out := make([]admin.Object, 0, len(all))
	for _, d := range all {
		out = append(out, shown(d))
	}
	return out, nil
}

// find returns what a reference names: one object by id, or those of an
// issuer, of which there are several where configurations reach it in ways
// that are kept apart.
func (a Discovery) find(ctx context.Context, ref string) ([]*store.Discovery, error) {
	d, err := a.Store.ObjectByID(ctx, ref)
	if err == nil {
		return []*store.Discovery{d}, nil
	}
	if err = adminError(err); err != admin.ErrNotFound {
		return nil, err
	}
	all, err := a.Store.ObjectsOf(ctx, op.NormaliseIssuer(ref))
	if err != nil {
		return nil, adminError(err)
	}
	if len(all) == 0 {
		return nil, admin.ErrNotFound
	}
	return all, nil
}

// Get implements admin.Discovery.
func (a Discovery) Get(ctx context.Context, ref string) (admin.Object, error) {
	all, err := a.find(ctx, ref)
	if err != nil {
		return admin.Object{}, err
	}
	return shown(all[0]), nil
}

// Delete implements admin.Discovery.
func (a Discovery) Delete(ctx context.Context, ref string) error {
	all, err := a.find(ctx, ref)
	if err != nil {
		if err == admin.ErrNotFound && a.forget(op.NormaliseIssuer(ref)) {
			return nil // only this node knew it: it could not be stored
		}
		return err
	}
	found := false
	for _, d := range all {
		switch err := adminError(a.Store.DeleteObject(ctx, d.ID)); err {
		case nil:
			found = true
		case admin.ErrNotFound: // another node was first
		default:
			return err
		}
		// The store's own word of it reaches every node; this one forgets before it answers.
		a.forget(d.Issuer)
	}
	if !found {
		return admin.ErrNotFound
	}
	return nil
}

// forget drops what this node holds of an issuer and reports whether it held something.
func (a Discovery) forget(issuer string) bool {
	if a.Registry == nil {
		return false
	}
	known := false
	for _, p := range a.Registry.Providers() {
		known = known || p.Issuer() == issuer && p.Object() != nil
	}
	a.Registry.Forget(issuer)
	return known
}

// Clear implements admin.Discovery.
func (a Discovery) Clear(ctx context.Context) error {
	if err := a.Store.DeleteObjects(ctx); err != nil {
		return adminError(err)
	}
	if a.Registry != nil {
		for _, p := range a.Registry.Providers() {
			a.Registry.Forget(p.Issuer())
		}
	}
	return nil
}
