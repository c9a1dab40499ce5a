package certcheck

import (
	"sync"
	"time"
)

const (
	maxVerdicts = 4096
	maxLists    = 32
)

// memory keeps values until their time, a bounded number of them.
type memory[K comparable, V any] struct {
	capacity int
	now      func() time.Time

	mu      sync.Mutex
	entries map[K]kept[V]
}

type kept[V any] struct {
	value V
	until time.Time
}

func newMemory[K comparable, V any](capacity int, now func() time.Time) *memory[K, V] {
	return &memory[K, V]{capacity: capacity, now: now, entries: map[K]kept[V]{}}
}

func (m *memory[K, V]) get(key K) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok || !m.now().Before(e.until) {
		return v, false
	}
	return e.value, true
}

func (m *memory[K, V]) put(key K, v V, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if !now.Before(until) {
		return
	}
	if _, known := m.entries[key]; !known && len(m.entries) >= m.capacity {
		m.makeRoom(now)
	}
	m.entries[key] = kept[V]{v, until}
}

// makeRoom drops what is over, else some entry: it can be found out again.
func (m *memory[K, V]) makeRoom(now time.Time) {
	var some K
	for k, e := range m.entries {
		if !now.Before(e.until) {
			delete(m.entries, k)
		}
		some = k
	}
	if len(m.entries) >= m.capacity {
		delete(m.entries, some)
	}
}
