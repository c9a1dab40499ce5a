package token

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// MemoryReplays remembers proofs in this process. What is full refuses, rather
// than forget a proof that could come again. It is safe for concurrent use.
type MemoryReplays struct {
	now      func() time.Time
	capacity int
	perKey   int

	mu     sync.Mutex
	seen   map[[sha256.Size]byte]struct{}
	counts map[string]int
	// due lists what to forget by the second after which it cannot come again.
	due   map[int64][]remembered
	first int64 // no second before it is due
}

type remembered struct {
	id  [sha256.Size]byte
	key string
}

// DefaultReplays is how many proofs a process remembers where nothing else is said.
const DefaultReplays = 1 << 19

// NewMemoryReplays returns a memory of at most capacity proofs (0 for
// DefaultReplays), of which a single key may take a quarter, so that one caller
// cannot lock the others out.
func NewMemoryReplays(capacity int, now func() time.Time) *MemoryReplays {
	if capacity <= 0 {
		capacity = DefaultReplays
	}
	return &MemoryReplays{
		now: now, capacity: capacity, perKey: max(capacity/4, 1), first: now().Unix(),
		seen: map[[sha256.Size]byte]struct{}{}, counts: map[string]int{}, due: map[int64][]remembered{},
	}
}

var (
	errReplaysFull = errors.New("the memory is full; raise its size, or shorten dpop_proof_lifetime")
	errKeyFull     = errors.New("this key has used more proofs than one may")
)

// Remember implements Replays.
func (m *MemoryReplays) Remember(_ context.Context, thumbprint string, id [sha256.Size]byte, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.forget(now.Unix())
	if _, ok := m.seen[id]; ok {
		return false, nil
	}
	if !until.After(now) {
		return true, nil // it cannot come again
	}
	if len(m.seen) >= m.capacity {
		return false, errReplaysFull
	}
	if m.counts[thumbprint] >= m.perKey {
		return false, errKeyFull
	}
	m.seen[id] = struct{}{}
	m.counts[thumbprint]++
	second := max(until.Unix()+1, m.first)
	m.due[second] = append(m.due[second], remembered{id, thumbprint})
	return true, nil
}

// forget drops what cannot come again at now.
func (m *MemoryReplays) forget(now int64) {
	drop := func(second int64) {
		for _, r := range m.due[second] {
			delete(m.seen, r.id)
			if m.counts[r.key]--; m.counts[r.key] <= 0 {
				delete(m.counts, r.key)
			}
		}
		delete(m.due, second)
	}
	if now-m.first > int64(len(m.due)) {
		// Long idle: fewer entries than seconds went by.
		for second := range m.due {
			if second <= now {
				drop(second)
			}
		}
	} else {
		for second := m.first; second <= now; second++ {
			drop(second)
		}
	}
	m.first = max(m.first, now+1)
}

// Len returns how many proofs are remembered.
func (m *MemoryReplays) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.seen)
}
