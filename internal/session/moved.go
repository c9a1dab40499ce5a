package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// The first byte of a record in a Store.
const (
	recordPayload byte = 1 // the sealed payload follows
	recordMoved   byte = 2 // the sealed headers of the session that replaced this one follow
	recordEnded   byte = 3 // the session was ended; kept for the grace, so that a renewal in flight sees it
)

// maxHops bounds how far a request follows replaced sessions; each lives ten seconds.
const maxHops = 3

// swapMoved turns the record of s into a pointer to next, unless someone else
// has changed it since it was read.
func (m *Manager) swapMoved(ctx context.Context, s, next *Session) (bool, error) {
	key := m.keyOf(s)
	if key < 0 {
		return false, nil
	}
	g, err := aead(m.ring[key].moved, s.h.id[:], labelMoved)
	if err != nil {
		return false, fmt.Errorf("sealing a replaced session: %w", err)
	}
	// Unlike a payload's key this one may seal twice, in two requests at once: the nonce is random.
	n := make([]byte, g.NonceSize(), g.NonceSize()+1024)
	if _, err := rand.Read(n); err != nil {
		return false, err
	}
	text := next.text
	if next.remember != "" {
		text += "~" + next.remember
	}
	record := append([]byte{recordMoved}, g.Seal(n, n, []byte(text), s.h.associated())...)
	ok, err := m.c.Store.Swap(ctx, m.storageKey(&s.h), s.record, record, grace)
	if err != nil {
		return false, &StorageError{"write", err}
	}
	return ok, nil
}

// keyOf is the secret under which the session's own header stands; -1 for none.
func (m *Manager) keyOf(s *Session) int {
	if _, key, ok := m.head(segment{s.text}, s.restored); ok {
		return key
	}
	return -1
}

// followMoved opens a pointer; ok is false for any other record.
func (m *Manager) followMoved(k *keys, h *header, record []byte) (text string, ok bool) {
	if len(record) == 0 || record[0] != recordMoved {
		return "", false
	}
	g, err := aead(k.moved, h.id[:], labelMoved)
	if err != nil || len(record) < 1+g.NonceSize() {
		return "", false
	}
	n, sealed := record[1:1+g.NonceSize()], record[1+g.NonceSize():]
	b, err := g.Open(nil, n, sealed, h.associated())
	return string(b), err == nil
}

// openMoved opens the session that a pointer names.
func (m *Manager) openMoved(ctx context.Context, in Input, text string, hops int) (*Session, Reason, error) {
	head, remember, _ := strings.Cut(text, "~")
	s, why, err := m.openSegment(ctx, in, segment{head}, false, hops)
	if s == nil || s.moved {
		return s, why, err
	}
	s.moved, s.remember = true, remember
	if r, _, ok := m.head(segment{remember}, true); remember != "" && ok {
		s.first = r.created
	}
	return s, why, err
}

// endHeader ends the session of a header in storage and for copies of its
// cookie, and whatever it was replaced by in the last seconds. listed says
// that its whole chain is in the list of revocations already.
func (m *Manager) endHeader(ctx context.Context, key int, h *header, hops int, listed bool) error {
	if m.c.Revocations != nil && !listed {
		if err := m.c.Revocations.Revoke(ctx, h.revocationKey(), m.c.Now().Add(-ClockSkew), m.revokedUntil(h, 0)); err != nil {
			return &StorageError{"revoke", err}
		}
	}
	if m.c.Store == nil {
		return nil
	}
	name := m.storageKey(h)
	for range 4 { // a renewal may change the record between reading and writing
		record, err := m.c.Store.Get(ctx, name)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return &StorageError{"read", err}
		}
		if text, moved := m.followMoved(m.ring[key], h, record); moved && hops < maxHops {
			head, _, _ := strings.Cut(text, "~")
			if n, nk, ok := m.head(segment{head}, false); ok {
				if err := m.endHeader(ctx, nk, &n, hops+1, listed); err != nil {
					return err
				}
			}
		}
		swapped, err := m.c.Store.Swap(ctx, name, record, []byte{recordEnded}, grace)
		if err != nil {
			return &StorageError{"delete", err}
		}
		if swapped {
			return nil
		}
	}
	if err := m.c.Store.Delete(ctx, name); err != nil {
		return &StorageError{"delete", err}
	}
	return nil
}
