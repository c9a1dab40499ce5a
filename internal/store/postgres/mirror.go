package postgres

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"kong-openid-connect/internal/store"
)

// entry is a discovery object with its secret as it is in memory.
type entry struct {
	d       *store.Discovery
	version int64
	secret  store.Secret // zero when none was made
	broken  error        // why the secret cannot be opened
}

// mirror is what this node knows of the tables.
type mirror struct {
	mu     sync.RWMutex
	byID   map[string]*entry
	byKey  map[store.Key]*entry
	gone   map[string]time.Time // ids that were dropped, and when
	now    func() time.Time
	keys   []store.OwnKey
	broken error // why an own key cannot be opened
}

// goneFor is how long a dropped id is refused: longer than a row that was read
// before the deletion can be on its way here. Ids are never given twice.
const goneFor = time.Minute

func (m *mirror) init(now func() time.Time) {
	m.byID, m.byKey, m.gone, m.now = map[string]*entry{}, map[store.Key]*entry{}, map[string]time.Time{}, now
}

func (m *mirror) object(k store.Key) *entry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.byKey[k]
}

func (m *mirror) ids() map[string]int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make(map[string]int64, len(m.byID))
	for id, e := range m.byID {
		all[id] = e.version
	}
	return all
}

// put takes an entry over, unless a later version is known or it is gone. It reports whether
// something changed; replaced is a former object of the same key.
func (m *mirror) put(e *entry) (changed, replaced bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, gone := m.gone[e.d.ID]; gone {
		return false, false
	}
	if old := m.byID[e.d.ID]; old != nil && old.version >= e.version {
		return false, false
	}
	if old := m.byKey[e.d.Key]; old != nil && old.d.ID != e.d.ID {
		if old.version > e.version {
			return false, false
		}
		delete(m.byID, old.d.ID)
		replaced = true
	}
	m.byID[e.d.ID], m.byKey[e.d.Key] = e, e
	return true, replaced
}

// drop forgets an object and returns its key.
func (m *mirror) drop(id string) (store.Key, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for old, at := range m.gone {
		if now.Sub(at) > goneFor {
			delete(m.gone, old)
		}
	}
	m.gone[id] = now
	e := m.byID[id]
	if e == nil {
		return store.Key{}, false
	}
	delete(m.byID, id)
	if m.byKey[e.d.Key] == e {
		delete(m.byKey, e.d.Key)
	}
	return e.d.Key, true
}

func (m *mirror) list(want func(*entry) bool, order func(a, b *store.Discovery) int) []*store.Discovery {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var all []*store.Discovery
	for _, e := range m.byID {
		if want(e) {
			all = append(all, e.d)
		}
	}
	slices.SortFunc(all, order)
	return all
}

func byID(a, b *store.Discovery) int { return strings.Compare(a.ID, b.ID) }

func byAge(a, b *store.Discovery) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), byID(a, b))
}

// setKeys takes the own keys over and reports whether they changed.
func (m *mirror) setKeys(keys []store.OwnKey, broken error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	same := slices.EqualFunc(m.keys, keys, func(a, b store.OwnKey) bool {
		return a.KID == b.KID && a.Slot == b.Slot && a.Algorithm == b.Algorithm
	})
	m.keys, m.broken = keys, broken
	return !same
}

func (m *mirror) ownKeys() ([]store.OwnKey, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.keys), m.broken
}

func encodeKeySets(sets []store.KeySet) ([]byte, error) {
	if len(sets) == 0 {
		return nil, nil
	}
	// Not json.Marshal of RawMessage: that would compact and check it anew, and
	// what a provider sent is kept byte for byte.
	type stored struct {
		Issuer string `json:"issuer,omitempty"`
		URI    string `json:"uri"`
		JWKS   []byte `json:"jwks"`
	}
	all := make([]stored, 0, len(sets))
	for _, s := range sets {
		all = append(all, stored{s.Issuer, s.URI, s.JWKS})
	}
	return json.Marshal(all)
}

func decodeKeySets(b []byte) ([]store.KeySet, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var all []struct {
		Issuer string `json:"issuer"`
		URI    string `json:"uri"`
		JWKS   []byte `json:"jwks"`
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, err
	}
	sets := make([]store.KeySet, 0, len(all))
	for _, s := range all {
		sets = append(sets, store.KeySet{Issuer: s.Issuer, URI: s.URI, JWKS: s.JWKS})
	}
	return sets, nil
}
