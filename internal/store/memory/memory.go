// Package memory is the store of a gateway without a database: process memory,
// which all workers share, and a state directory that carries generated
// secrets, own keys and revocations over a reload. Two processes may use one
// directory at once, as they do while Kong reloads.
package memory

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/revoked"
	"kong-openid-connect/internal/store/seal"
)

// Options of a Store.
type Options struct {
	// Dir is the state directory; it is made with mode 0700. "" keeps everything
	// in memory: whoever restarts logs everybody out.
	Dir string
	// Sealer encrypts what goes into Dir.
	Sealer *seal.Sealer
	// Now is the clock; nil for time.Now.
	Now func() time.Time
}

// Store implements store.Store.
type Store struct {
	store.Watchers
	now     func() time.Time
	dir     *directory // nil without a state directory
	revoked *revoked.List
	locks   locks

	mu      sync.RWMutex
	objects map[store.Key]*store.Discovery
	state   state
}

var _ store.Store = (*Store)(nil)

// Open returns a store, with what the state directory holds. A directory that
// cannot be used, or a file in it that cannot be read, is an error: nothing is
// made up in its place.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{now: o.Now, revoked: revoked.NewList(o.Now, 0), objects: map[store.Key]*store.Discovery{}}
	s.locks.now = o.Now
	if o.Dir == "" {
		return s, nil
	}
	d, err := openDirectory(o.Dir, o.Sealer, o.Now)
	if err != nil {
		return nil, err
	}
	s.dir = d
	if s.state, err = d.load(); err != nil {
		d.close()
		return nil, err
	}
	if err := d.readRevoked(s.revoked, true); err != nil {
		d.close()
		return nil, err
	}
	return s, nil
}

// Close gives up the state directory. What is in memory stays readable.
func (s *Store) Close() error {
	if s.dir != nil {
		s.dir.close()
	}
	return nil
}

// Check implements store.Store.
func (s *Store) Check(context.Context) error {
	if s.dir == nil {
		return nil
	}
	_, err := s.dir.load()
	return err
}

// Object implements store.Objects.
func (s *Store) Object(_ context.Context, k store.Key) (*store.Discovery, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if d, ok := s.objects[k]; ok {
		return d, nil
	}
	return nil, store.ErrNotFound
}

// PutObject implements store.Objects.
func (s *Store) PutObject(_ context.Context, d store.Discovery) error {
	if err := store.CheckObject(&d); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.put(&d)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.Tell(store.Change{Kind: store.ObjectPut, Key: d.Key})
	return nil
}

// put keeps d, with the id that its key has; s.mu is held.
func (s *Store) put(d *store.Discovery) error {
	old, known := s.objects[d.Key]
	if !known && len(s.objects) >= store.MaxObjects {
		return store.ErrFull
	}
	switch kept := s.state.secret(d.Key); {
	case known:
		d.ID, d.CreatedAt, d.Configured = old.ID, old.CreatedAt, old.Configured
	case kept != nil:
		d.ID, d.CreatedAt, d.Configured = kept.ID, kept.CreatedAt, kept.Configured
	default:
		d.ID, d.CreatedAt = uuid.NewString(), s.now().Truncate(time.Second)
	}
	if d.UpdatedAt.IsZero() {
		d.UpdatedAt = s.now()
	}
	s.objects[d.Key] = d
	return nil
}

// ListObjects implements store.Objects.
func (s *Store) ListObjects(_ context.Context, after string, size int) ([]*store.Discovery, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*store.Discovery, 0, len(s.objects))
	for _, d := range s.objects {
		if d.ID > after {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *store.Discovery) int { return strings.Compare(a.ID, b.ID) })
	return all[:min(len(all), size, store.MaxPageSize+1)], nil
}

// ObjectByID implements store.Objects.
func (s *Store) ObjectByID(_ context.Context, id string) (*store.Discovery, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.objects {
		if d.ID == id {
			return d, nil
		}
	}
	return nil, store.ErrNotFound
}

// ObjectsOf implements store.Objects.
func (s *Store) ObjectsOf(_ context.Context, issuer string) ([]*store.Discovery, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []*store.Discovery
	for k, d := range s.objects {
		if k.Issuer == issuer {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *store.Discovery) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, nil
}

// DeleteObject implements store.Objects.
func (s *Store) DeleteObject(ctx context.Context, id string) error {
	d, err := s.ObjectByID(ctx, id)
	if err != nil {
		return err
	}
	return s.forget(ctx, func(k store.Key) bool { return k == d.Key })
}

// DeleteObjects implements store.Objects.
func (s *Store) DeleteObjects(ctx context.Context) error {
	return s.forget(ctx, func(store.Key) bool { return true })
}

// forget drops objects and secrets, the secrets on disk first: what cannot be
// forgotten there would come back with the next process.
func (s *Store) forget(ctx context.Context, which func(store.Key) bool) error {
	gone := map[store.Key]bool{}
	err := s.change(ctx, "delete discovery object", func(st *state) (bool, error) {
		n := len(st.Secrets)
		st.Secrets = slices.DeleteFunc(slices.Clone(st.Secrets), func(k keptSecret) bool {
			if which(k.key()) {
				gone[k.key()] = true
				return true
			}
			return false
		})
		return len(st.Secrets) != n, nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	for k := range s.objects {
		if which(k) {
			delete(s.objects, k)
			gone[k] = true
		}
	}
	s.mu.Unlock()
	for k := range gone {
		s.Tell(store.Change{Kind: store.ObjectDeleted, Key: k})
	}
	return nil
}

// SessionSecret implements store.Secrets.
func (s *Store) SessionSecret(ctx context.Context, k store.Key, configured string) (store.Secret, error) {
	if err := store.CheckObject(&store.Discovery{Key: k, Configured: configured}); err != nil {
		return store.Secret{}, err
	}
	s.refresh()
	s.mu.RLock()
	kept := s.state.secret(k)
	s.mu.RUnlock()
	if kept != nil {
		return kept.secret, nil
	}
	var made keptSecret
	err := s.change(ctx, "make session secret", func(st *state) (bool, error) {
		if kept := st.secret(k); kept != nil { // another process was first
			made = *kept
			return false, nil
		}
		if len(st.Secrets) >= store.MaxObjects {
			return false, store.ErrFull
		}
		s.mu.RLock()
		d := s.objects[k]
		s.mu.RUnlock()
		made = keptSecret{Issuer: k.Issuer, Scope: k.Scope, Configured: configured, secret: store.GenerateSecret()}
		if d != nil {
			made.ID, made.CreatedAt, made.Configured = d.ID, d.CreatedAt, d.Configured
		} else {
			made.ID, made.CreatedAt = uuid.NewString(), s.now().Truncate(time.Second)
		}
		st.Secrets = append(slices.Clone(st.Secrets), made)
		return true, nil
	})
	if err != nil {
		return store.Secret{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[k]; !ok {
		if err := s.put(&store.Discovery{Key: k, Configured: configured, UpdatedAt: made.CreatedAt}); err != nil {
			return store.Secret{}, err
		}
	}
	return made.secret, nil
}

// OwnKeys implements store.OwnKeys.
func (s *Store) OwnKeys(context.Context) ([]store.OwnKey, error) {
	s.refresh()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.ownKeys(), nil
}

// AddOwnKey implements store.OwnKeys.
func (s *Store) AddOwnKey(ctx context.Context, k store.OwnKey) (store.OwnKey, error) {
	added := false
	err := s.change(ctx, "add own key", func(st *state) (bool, error) {
		for _, old := range st.Keys {
			if old.Slot == store.Current && old.Algorithm == k.Algorithm {
				k = old.own()
				return false, nil
			}
		}
		k.Slot = store.Current
		st.Keys = append(slices.Clone(st.Keys), keptKeyOf(k))
		added = true
		return true, nil
	})
	if err == nil && added {
		s.Tell(store.Change{Kind: store.KeysChanged})
	}
	return k, err
}

// RotateOwnKeys implements store.OwnKeys.
func (s *Store) RotateOwnKeys(ctx context.Context, next []store.OwnKey) error {
	err := s.change(ctx, "rotate own keys", func(st *state) (bool, error) {
		var keys []keptKey
		for _, k := range next {
			k.Slot = store.Current
			keys = append(keys, keptKeyOf(k))
		}
		for _, k := range st.Keys {
			if k.Slot == store.Current {
				k.Slot = store.Previous
				keys = append(keys, k)
			}
		}
		st.Keys = keys
		return true, nil
	})
	if err == nil {
		s.Tell(store.Change{Kind: store.KeysChanged})
	}
	return err
}

// DeleteOwnKey implements store.OwnKeys.
func (s *Store) DeleteOwnKey(ctx context.Context, kid string) error {
	err := s.change(ctx, "delete own key", func(st *state) (bool, error) {
		n := len(st.Keys)
		st.Keys = slices.DeleteFunc(slices.Clone(st.Keys), func(k keptKey) bool { return k.KID == kid })
		if len(st.Keys) == n {
			return false, store.ErrNotFound
		}
		return true, nil
	})
	if err == nil {
		s.Tell(store.Change{Kind: store.KeysChanged})
	}
	return err
}

// change applies f to the state as it is on disk now, and writes it if f says
// that it changed. Nobody else changes it meanwhile.
func (s *Store) change(ctx context.Context, op string, f func(*state) (bool, error)) error {
	if s.dir == nil {
		s.locks.state.Lock()
		defer s.locks.state.Unlock()
		s.mu.RLock()
		next := s.state
		s.mu.RUnlock()
		if changed, err := f(&next); err != nil || !changed {
			return err
		}
		s.mu.Lock()
		s.state = next
		s.mu.Unlock()
		return nil
	}
	unlock, err := s.dir.lock(ctx)
	if err != nil {
		return &store.Unavailable{Op: op, Err: err}
	}
	defer unlock()
	next, err := s.dir.load()
	if err != nil {
		return err
	}
	changed, err := f(&next)
	if err != nil {
		return err
	}
	if changed {
		if err := s.dir.save(next); err != nil {
			return &store.Unavailable{Op: op, Err: err}
		}
	}
	s.mu.Lock()
	s.state = next
	s.mu.Unlock()
	return nil
}

// refresh takes over what another process wrote, looking at most once a second.
func (s *Store) refresh() {
	if s.dir == nil || !s.dir.changed() {
		return
	}
	next, err := s.dir.load()
	if err != nil {
		return // what is held stays; Check tells of the fault
	}
	s.mu.Lock()
	keys := keysDiffer(s.state.Keys, next.Keys)
	var gone []store.Change
	for _, k := range s.state.Secrets {
		if n := next.secret(k.key()); n == nil || !bytes.Equal(n.secret.Reveal(), k.secret.Reveal()) {
			delete(s.objects, k.key())
			gone = append(gone, store.Change{Kind: store.ObjectDeleted, Key: k.key()})
		}
	}
	s.state = next
	s.mu.Unlock()
	if keys {
		gone = append(gone, store.Change{Kind: store.KeysChanged})
	}
	s.Tell(gone...)
}
