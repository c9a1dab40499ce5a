package server

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// held is an instance in use. It is closed when the table has forgotten it
// and its last event has ended.
type held struct {
	Instance
	id      int32
	started time.Time
	used    atomic.Int64 // unix seconds of its last event
	refs    atomic.Int64 // its place in the table, and events under way
}

func (h *held) release() {
	if h.refs.Add(-1) == 0 {
		h.Close()
	}
}

// retention bounds what is kept of instances.
type retention struct {
	volatileAge time.Duration // how long a volatile instance is used
	idleAge     time.Duration // how long an unused one is kept
	max         int           // above it, the longest unused ones go sooner
}

// Never evict what Kong still sends events to: it would start it anew at once,
// and all others of that worker with it.
const (
	leastIdle  = time.Minute
	sweepEvery = time.Minute
)

// instances is the table of instances by id.
type instances struct {
	keep retention

	mu        sync.RWMutex
	byID      map[int32]*held
	last      int32
	swept     time.Time
	forgotten time.Time // when a volatile instance was last forgotten
}

func newInstances(keep retention) *instances {
	return &instances{keep: keep, byID: map[int32]*held{}}
}

// idTicks is the unit of instance ids.
const idTicks = 100 * time.Microsecond

// nextID returns an id that neither this process nor an earlier one has given
// out. Kong keeps the ids of a process that has died until it uses them, and
// its __seq__ begins anew, so ids follow the clock: ticks of 100 µs modulo 31
// bits, always above the last. A process that starts later gives out later
// ids; only after 59.6 hours could one return, if Kong still held it unused.
func (t *instances) nextID(now time.Time) int32 {
	id := int32(now.UnixMicro() / idTicks.Microseconds() & 0x7fffffff)
	// Ahead of the clock by less than half of the range: a burst, or a clock
	// that was set back.
	if ahead := (t.last - id) & 0x7fffffff; t.last != 0 && ahead < 1<<30 {
		id = (t.last + 1) & 0x7fffffff
	}
	for {
		if _, taken := t.byID[id]; !taken && id != 0 {
			t.last = id
			return id
		}
		id = (id + 1) & 0x7fffffff
	}
}

// add takes in a new instance, and forgets those that nobody uses.
func (t *instances) add(i Instance, now time.Time) *held {
	h := &held{Instance: i, started: now}
	h.used.Store(now.Unix())
	h.refs.Store(1)
	t.mu.Lock()
	h.id = t.nextID(now)
	t.byID[h.id] = h
	gone := t.sweep(now)
	t.mu.Unlock()
	for _, g := range gone {
		g.release()
	}
	return h
}

// acquire returns an instance for one event, which releases it; nil if the id
// is not known or its instance is due to be started anew.
func (t *instances) acquire(id int32, now time.Time) *held {
	t.mu.RLock()
	h := t.byID[id]
	if h == nil {
		t.mu.RUnlock()
		return nil
	}
	h.refs.Add(1)
	stale := t.stale(h, now)
	t.mu.RUnlock()
	if stale && t.forgetStale(h, now) {
		h.release()
		return nil
	}
	if sec := now.Unix(); h.used.Load() != sec {
		h.used.Store(sec)
	}
	return h
}

// stale reports whether a volatile instance is due. Kong answers a closed
// connection by starting every instance of the plugin anew, so one at a time
// is enough.
func (t *instances) stale(h *held, now time.Time) bool {
	return now.Sub(h.started) >= t.keep.volatileAge && now.Sub(t.forgotten) >= t.keep.volatileAge && h.Volatile()
}

func (t *instances) forgetStale(h *held, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[h.id] != h || !t.stale(h, now) {
		return false
	}
	t.forgotten = now
	delete(t.byID, h.id)
	h.refs.Add(-1) // the caller still holds it
	return true
}

// get returns what is known of an instance.
func (t *instances) get(id int32) (started time.Time, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if h := t.byID[id]; h != nil {
		return h.started, true
	}
	return time.Time{}, false
}

// remove forgets one instance, and returns when it was started.
func (t *instances) remove(id int32) (started time.Time, ok bool) {
	t.mu.Lock()
	h := t.byID[id]
	delete(t.byID, id)
	t.mu.Unlock()
	if h == nil {
		return time.Time{}, false
	}
	h.release()
	return h.started, true
}

// removeAll forgets everything.
func (t *instances) removeAll() {
	t.mu.Lock()
	all := t.byID
	t.byID = map[int32]*held{}
	t.mu.Unlock()
	for _, h := range all {
		h.release()
	}
}

func (t *instances) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}

// sweep takes out what has long been unused: Kong says nothing of a plugin
// that was deleted, or of workers that are gone. It is called with the lock.
func (t *instances) sweep(now time.Time) (gone []*held) {
	if now.Sub(t.swept) < sweepEvery {
		return nil
	}
	t.swept = now
	idle := func(h *held) time.Duration { return now.Sub(time.Unix(h.used.Load(), 0)) }
	for id, h := range t.byID {
		if idle(h) >= t.keep.idleAge {
			delete(t.byID, id)
			gone = append(gone, h)
		}
	}
	over := len(t.byID) - t.keep.max
	if over <= 0 {
		return gone
	}
	var unused []*held
	for _, h := range t.byID {
		if idle(h) >= leastIdle {
			unused = append(unused, h)
		}
	}
	slices.SortFunc(unused, func(a, b *held) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for _, h := range unused[:min(over, len(unused))] {
		delete(t.byID, h.id)
		gone = append(gone, h)
	}
	return gone
}
