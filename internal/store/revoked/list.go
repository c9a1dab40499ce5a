// Package revoked holds the list of revocations in memory, for the stores. It
// is bounded, and when it is full it refuses: a revocation is never dropped
// before its time. An eighth is kept free of single sessions.
package revoked

import (
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"time"

	"kong-openid-connect/internal/store"
)

// Span is when a key is revoked, and when its latest revocation began.
type Span struct{ From, Latest, Until time.Time }

// Merge returns the span that covers both.
func (s Span) Merge(o Span) Span {
	if o.From.Before(s.From) {
		s.From = o.From
	}
	if o.Latest.After(s.Latest) {
		s.Latest = o.Latest
	}
	if o.Until.After(s.Until) {
		s.Until = o.Until
	}
	return s
}

// digest keeps the list small: 128 bits tell two million keys apart.
type digest [16]byte

type span struct{ from, latest, until int64 } // Unix microseconds

// sweepEvery is how many additions pass between two sweeps.
const sweepEvery = 4096

// sweepPause passes at least between two sweeps of a full list.
const sweepPause = 10 * time.Second

// List is safe for concurrent use.
type List struct {
	now func() time.Time
	max int

	mu    sync.RWMutex
	spans map[digest]span
	added int
	// nextSweep is when a full list is swept again: it takes long where it frees nothing.
	nextSweep time.Time
}

// NewList returns an empty list of at most max keys (store.MaxRevoked where 0).
func NewList(now func() time.Time, max int) *List {
	if max <= 0 {
		max = store.MaxRevoked
	}
	return &List{now: now, max: max, spans: map[digest]span{}}
}

func digestOf(key string) digest {
	sum := sha256.Sum256([]byte(key))
	return digest(sum[:16])
}

// Add lists a key, or says store.ErrFull. changed is false when the list knew that already.
func (l *List) Add(key string, s Span) (changed bool, err error) {
	now := l.now()
	if !s.Until.After(now) {
		return false, nil
	}
	d := digestOf(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.added++; l.added >= sweepEvery {
		l.sweep(now)
	}
	old, known := l.spans[d]
	if most := l.room(key); !known && len(l.spans) >= most {
		if !now.Before(l.nextSweep) {
			l.sweep(now)
		}
		if len(l.spans) >= most {
			return false, store.ErrFull
		}
	}
	next := span{s.From.UnixMicro(), s.Latest.UnixMicro(), s.Until.UnixMicro()}
	if known {
		next = span{min(old.from, next.from), max(old.latest, next.latest), max(old.until, next.until)}
	}
	l.spans[d] = next
	return next != old, nil
}

func (l *List) room(key string) int {
	if strings.HasPrefix(key, store.SingleSession) {
		return l.max - l.max/8
	}
	return l.max
}

// Learn lists what another node did. A single session that finds no room is left
// out, so that what comes after it is learned: its copy ends by its own timers.
func (l *List) Learn(key string, s Span) error {
	_, err := l.Add(key, s)
	if errors.Is(err, store.ErrFull) && strings.HasPrefix(key, store.SingleSession) {
		return nil
	}
	return err
}

func (l *List) sweep(now time.Time) {
	l.added, l.nextSweep = 0, now.Add(sweepPause)
	t := now.UnixMicro()
	for d, s := range l.spans {
		if s.until <= t {
			delete(l.spans, d)
		}
	}
}

// Revoked reports whether any of the keys is revoked now.
func (l *List) Revoked(keys ...string) bool {
	t := l.now().UnixMicro()
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.spans) == 0 {
		return false
	}
	for _, k := range keys {
		if s, ok := l.spans[digestOf(k)]; ok && s.from <= t && t < s.until {
			return true
		}
	}
	return false
}

// Ended reports whether any of the keys is revoked now, or the latest
// revocation of subject that holds began in the millisecond of began or later.
func (l *List) Ended(began time.Time, subject string, keys ...string) bool {
	if l.Revoked(keys...) {
		return true
	}
	at := l.revokedAt(subject)
	return !at.IsZero() && at.UnixMilli() >= began.UnixMilli()
}

// revokedAt returns when the latest revocation of a key began that has begun
// by now and holds still; zero for none.
func (l *List) revokedAt(key string) time.Time {
	t := l.now().UnixMicro()
	l.mu.RLock()
	s, ok := l.spans[digestOf(key)]
	l.mu.RUnlock()
	switch {
	case !ok || t >= s.until:
		return time.Time{}
	case s.latest <= t:
		return time.UnixMicro(s.latest)
	case s.from <= t:
		return time.UnixMicro(s.from)
	}
	return time.Time{}
}

// Len returns how many keys are listed, expired ones that were not swept included.
func (l *List) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.spans)
}
