// Package memory keeps sessions and the list of revoked ones in the process:
// for one node without shared storage, for the sandbox, and for tests.
// Imported by the wiring and by tests.
package memory

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"kong-openid-connect/internal/session"
)

// ErrFull says that the bound on entries is reached and none has expired.
var ErrFull = errors.New("memory for sessions is full")

// Store keeps at most a given number of sessions. It implements
// session.Store, session.Index, session.Revocations and session.Joint, and is
// safe for concurrent use.
type Store struct {
	now   func() time.Time
	limit int

	mu      sync.Mutex
	entries map[string]entry
	revoked map[string]window
	index   map[subject]map[string]time.Time
	sweepAt int // number of entries and revocations at which the expired ones are looked for
}

type entry struct {
	value []byte
	until time.Time
}

type window struct{ from, latest, until time.Time }

type subject struct{ audience, subject string }

var (
	_ session.Store       = (*Store)(nil)
	_ session.Index       = (*Store)(nil)
	_ session.Revocations = (*Store)(nil)
	_ session.Joint       = (*Store)(nil)
)

// New returns an empty store of at most limit sessions and limit revocations,
// 1<<18 each if limit is not positive. now nil means time.Now. When it is
// full, writes fail: forgetting a revocation would bring a session back.
func New(limit int, now func() time.Time) *Store {
	if limit <= 0 {
		limit = 1 << 18
	}
	if now == nil {
		now = time.Now
	}
	return &Store{now: now, limit: limit, entries: map[string]entry{}, revoked: map[string]window{},
		index: map[subject]map[string]time.Time{}, sweepAt: 1024}
}

// Get implements session.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok || !s.now().Before(e.until) {
		return nil, session.ErrNotFound
	}
	return bytes.Clone(e.value), nil
}

// Set implements session.Store.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	if _, ok := s.entries[key]; !ok && len(s.entries) >= s.limit {
		return ErrFull
	}
	s.entries[key] = entry{bytes.Clone(value), s.now().Add(ttl)}
	return nil
}

// Swap implements session.Store.
func (s *Store) Swap(ctx context.Context, key string, old, value []byte, ttl time.Duration) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok || !s.now().Before(e.until) || !bytes.Equal(e.value, old) {
		return false, nil
	}
	s.entries[key] = entry{bytes.Clone(value), s.now().Add(ttl)}
	return true, nil
}

// Delete implements session.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, key)
	return nil
}

// AddSession implements session.Index.
func (s *Store) AddSession(ctx context.Context, audience, sub, key string, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	keys := s.index[subject{audience, sub}]
	if keys == nil {
		if len(s.index) >= s.limit {
			return ErrFull
		}
		keys = map[string]time.Time{}
		s.index[subject{audience, sub}] = keys
	}
	if _, ok := keys[key]; !ok && len(keys) >= s.limit {
		return ErrFull
	}
	keys[key] = s.now().Add(ttl)
	return nil
}

// RemoveSession implements session.Index.
func (s *Store) RemoveSession(ctx context.Context, audience, sub, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.index[subject{audience, sub}]
	delete(keys, key)
	if len(keys) == 0 {
		delete(s.index, subject{audience, sub})
	}
	return nil
}

// Sessions implements session.Index.
func (s *Store) Sessions(ctx context.Context, audience, sub string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	now := s.now()
	for key, until := range s.index[subject{audience, sub}] {
		if now.Before(until) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Revoke implements session.Revocations. Of two revocations of a key the
// earlier beginning and the later end count.
func (s *Store) Revoke(ctx context.Context, key string, from, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	w, ok := s.revoked[key]
	if !ok && len(s.revoked) >= s.limit {
		return ErrFull
	}
	next := window{from, from, until}
	if ok && w.from.Before(from) {
		next.from = w.from
	}
	if ok && w.latest.After(from) {
		next.latest = w.latest
	}
	if ok && w.until.After(until) {
		next.until = w.until
	}
	s.revoked[key] = next
	return nil
}

// Ended implements session.Revocations.
func (s *Store) Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	if revoked, err := s.Revoked(ctx, keys...); revoked || err != nil {
		return revoked, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	w, ok := s.revoked[subject]
	if !ok || now.Before(w.from) || !now.Before(w.until) {
		return false, nil
	}
	at := w.latest
	if now.Before(at) {
		at = w.from
	}
	return at.UnixMilli() >= began.UnixMilli(), nil
}

// GetEnded implements session.Joint.
func (s *Store) GetEnded(ctx context.Context, key string, began time.Time, subject string, keys ...string) ([]byte, bool, error) {
	value, err := s.Get(ctx, key)
	if err != nil {
		return nil, false, err
	}
	ended, err := s.Ended(ctx, began, subject, keys...)
	return value, ended, err
}

// Revoked implements session.Revocations.
func (s *Store) Revoked(ctx context.Context, keys ...string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, key := range keys {
		if w, ok := s.revoked[key]; ok && !now.Before(w.from) && now.Before(w.until) {
			return true, nil
		}
	}
	return false, nil
}

// Len is the number of sessions kept, expired ones that were not swept yet among them.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// sweep forgets what has expired, each time their number has doubled: amortized, an entry is looked at twice.
func (s *Store) sweep() {
	if n := len(s.entries) + len(s.revoked) + len(s.index); n < s.sweepAt && max(len(s.entries), len(s.revoked), len(s.index)) < s.limit {
		return
	}
	now := s.now()
	for key, e := range s.entries {
		if !now.Before(e.until) {
			delete(s.entries, key)
		}
	}
	for key, w := range s.revoked {
		if !now.Before(w.until) {
			delete(s.revoked, key)
		}
	}
	for sub, keys := range s.index {
		for key, until := range keys {
			if !now.Before(until) {
				delete(keys, key)
			}
		}
		if len(keys) == 0 {
			delete(s.index, sub)
		}
	}
	s.sweepAt = max(1024, 2*(len(s.entries)+len(s.revoked)+len(s.index)))
}
