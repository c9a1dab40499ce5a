package session

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// Openings keeps what sessions were opened to, bounded in bytes, so that the
// next request of a session neither decrypts nor inflates nor decodes it again.
// It saves that work and decides nothing: timers, audience, binding, storage
// and the list of ended sessions are examined for every request. An opening is
// found only by the whole text of its session's cookie, byte for byte, and only
// by the Manager that opened it. It is safe for concurrent use.
type Openings struct {
	entries *otter.Cache[openingKey, *opening]
	scopes  atomic.Uint64
	hits    atomic.Uint64
	misses  atomic.Uint64
}

// openingKey is a hash, so that no cookie is kept.
type openingKey [sha256.Size]byte

// opening is what the text of one session was opened to. It is never changed.
type opening struct {
	scope   uint64
	id      string // Session.ID
	stored  string // the name of its record; "" without a Store
	h       header
	key     int               // of the ring
	bound   string            // the properties of the request that it is bound to
	record  [sha256.Size]byte // hash of the Store's record; zero without a Store
	payload *payload
}

// OpeningsOptions sets Openings up.
type OpeningsOptions struct {
	Bytes  uint64        // bound on what is kept, by an estimate of its size in memory
	MaxAge time.Duration // after which the next request opens its session anew
}

// NewOpenings returns empty Openings. It panics for options that are not set:
// they are constants of the program.
func NewOpenings(o OpeningsOptions) *Openings {
	if o.Bytes == 0 || o.MaxAge <= 0 {
		panic("session: options of openings are not set")
	}
	return &Openings{entries: otter.Must(&otter.Options[openingKey, *opening]{
		MaximumWeight:    o.Bytes,
		Weigher:          weigh,
		ExpiryCalculator: otter.ExpiryWriting[openingKey, *opening](o.MaxAge),
		// As for verified tokens: a goroutine for bookkeeping costs more than it does.
		Executor: func(f func()) { f() },
	})}
}

// Weighted is what Config.Decode makes, where that knows the memory that it
// takes, in bytes, with what is yet to be read of it.
type Weighted interface{ Weight() int }

// weigh estimates what an opening takes: the data, what it was decoded to, and
// the bookkeeping.
func weigh(_ openingKey, o *opening) uint32 {
	p := o.payload
	n := 1024 + len(p.subject) + len(p.issuer) + len(p.sid) + 3*len(p.data)
	if w, ok := p.decoded.(Weighted); ok {
		n += w.Weight()
	} else {
		n += 2 * len(p.data)
	}
	return uint32(min(n, 1<<30))
}

// Counts returns how often an opening was found, and how often not.
func (o *Openings) Counts() (hits, misses uint64) { return o.hits.Load(), o.misses.Load() }

// Len returns roughly how many openings are kept.
func (o *Openings) Len() int { return o.entries.EstimatedSize() }

// Weight returns roughly how many bytes the openings take.
func (o *Openings) Weight() uint64 { return o.entries.WeightedSize() }

// newScope tells the openings of m from those of all other managers. They end with m.
func (o *Openings) newScope(m *Manager) uint64 {
	scope := o.scopes.Add(1)
	runtime.AddCleanup(m, o.end, scope)
	return scope
}

func (o *Openings) end(scope uint64) {
	for key, e := range o.entries.All() {
		if e.scope == scope {
			o.entries.Invalidate(key)
		}
	}
}

// openingKey names the text of a session as a cookie holds it.
func (m *Manager) openingKey(text ...string) openingKey {
	// Cookies of usual size are hashed without an allocation.
	var stack [4096]byte
	b := binary.BigEndian.AppendUint64(stack[:0], m.scope)
	for _, t := range text {
		b = append(b, t...)
	}
	return sha256.Sum256(b)
}

// recall returns what is kept of a text. Nothing is of remember cookies: their
// session is renewed at once.
func (m *Manager) recall(text string, remember bool) *opening {
	if m.c.Openings == nil || remember {
		return nil
	}
	e, ok := m.c.Openings.entries.GetIfPresent(m.openingKey(text))
	if !ok {
		m.c.Openings.misses.Add(1)
		return nil
	}
	m.c.Openings.hits.Add(1)
	return e
}

func (m *Manager) newOpening(h header, key int, bound string, record []byte, p *payload) *opening {
	o := &opening{scope: m.scope, id: h.public(), h: h, key: key, bound: bound, payload: p}
	if record != nil {
		o.stored, o.record = m.storageKey(&h), sha256.Sum256(record)
	}
	return o
}

// of says whether the payload came of this record.
func (o *opening) of(record []byte) bool { return o.record == sha256.Sum256(record) }

// keep keeps what s, which has been examined whole, was opened to.
func (m *Manager) keep(s *Session) {
	if m.c.Openings != nil && !s.restored {
		m.c.Openings.entries.Set(m.keyOfOpening(s), s.opening)
	}
}

// keepTouched keeps it on under the header that a touch has written.
func (m *Manager) keepTouched(s *Session) {
	if s.opening == nil {
		return
	}
	o := *s.opening
	o.h, o.key = s.h, 0
	s.opening = &o
	m.keep(s)
}

// forget drops what is kept of s: nobody opens it any more.
func (m *Manager) forget(s *Session) {
	if m.c.Openings != nil && !s.restored {
		m.c.Openings.entries.Invalidate(m.keyOfOpening(s))
	}
}

func (m *Manager) keyOfOpening(s *Session) openingKey {
	if s.body == "" {
		return m.openingKey(s.text)
	}
	return m.openingKey(s.text, ".", s.body)
}
