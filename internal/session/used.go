package session

import (
	"sync"
	"time"
)

// maxUsed bounds how many used logins are remembered.
const maxUsed = 1 << 16

// Used remembers which logins were used, so that parallel callbacks of one
// login make one token request. It is bounded: under a flood the oldest are
// forgotten first, and then the provider's own single use of codes remains.
type Used struct {
	now func() time.Time

	mu    sync.Mutex
	until map[string]time.Time
	ring  []string // in the order of claiming
	next  int
}

// NewUsed returns an empty memory; now nil means time.Now.
func NewUsed(now func() time.Time) *Used {
	if now == nil {
		now = time.Now
	}
	return &Used{now: now, until: map[string]time.Time{}}
}

// claim says whether id was not claimed, or only before its time ran out.
func (u *Used) claim(id string, until time.Time) bool {
	if id == "" {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if end, ok := u.until[id]; ok {
		if u.now().Before(end) {
			return false
		}
		u.until[id] = until
		return true
	}
	if len(u.ring) < maxUsed {
		u.ring = append(u.ring, id)
	} else {
		delete(u.until, u.ring[u.next])
		u.ring[u.next] = id
		u.next = (u.next + 1) % maxUsed
	}
	u.until[id] = until
	return true
}
