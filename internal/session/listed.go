package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
)

// Listed returns the storage keys of the subject's sessions in this audience,
// in their order. It needs StoreMetadata; without it there are none.
func (m *Manager) Listed(ctx context.Context, subject string) ([]string, error) {
	if m.index == nil {
		return nil, nil
	}
	var all []string
	for _, k := range m.ring {
		list, err := m.index.Sessions(ctx, m.indexAudience(), m.indexed(k, subject))
		if err != nil {
			return nil, &StorageError{"read the index of subjects", err}
		}
		all = append(all, list...)
		if !m.c.HashSubject {
			break
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Live says whether a storage key holds a session that was not ended by its
// id or replaced.
func (m *Manager) Live(ctx context.Context, key string) (bool, error) {
	if m.c.Store == nil {
		return false, nil
	}
	record, err := m.c.Store.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, &StorageError{"read", err}
	}
	if len(record) == 0 || record[0] != recordPayload {
		return false, nil
	}
	if id := IDKey(key); id != "" && m.c.Revocations != nil && !m.c.HashStorageKey {
		revoked, err := m.c.Revocations.Revoked(ctx, id)
		if err != nil {
			return false, &StorageError{"read the list of revoked sessions", err}
		}
		return !revoked, nil
	}
	return true, nil
}

// Forget removes the record of a session from storage, by its id or storage
// key. A missing one is no error.
func (m *Manager) Forget(ctx context.Context, id string) error {
	raw, err := b64.DecodeString(id)
	if m.c.Store == nil || err != nil || len(raw) != len(header{}.id) {
		return nil
	}
	sum := sha256.Sum256(raw)
	for _, key := range []string{id, base64.RawURLEncoding.EncodeToString(sum[:])} {
		if err := m.c.Store.Delete(ctx, key); err != nil {
			return &StorageError{"delete", err}
		}
	}
	return nil
}
