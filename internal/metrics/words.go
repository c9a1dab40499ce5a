package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// words counts by a label whose values are bounded: reasons are constants of
// the program, and a mistake that let something else in must not fill the
// memory. A reason is looked up once; after that it is a read of a map.
type words struct {
	vec   *prometheus.CounterVec // of one label
	limit int
	mu    sync.RWMutex
	known map[string]prometheus.Counter
	other prometheus.Counter // nil until it is needed
}

// count counts w, or "other" once limit different words were seen or where w,
// spaces aside, is no plain word.
func (s *words) count(w string) {
	s.mu.RLock()
	c, ok := s.known[w]
	s.mu.RUnlock()
	if !ok {
		c = s.learn(w)
	}
	c.Inc()
}

func (s *words) learn(w string) prometheus.Counter {
	label := strings.ReplaceAll(w, " ", "_")
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.known[w]; ok {
		return c
	}
	if !plain(label) || len(s.known) >= s.limit {
		if s.other == nil {
			s.other = s.vec.WithLabelValues("other")
		}
		return s.other
	}
	if s.known == nil {
		s.known = map[string]prometheus.Counter{}
	}
	c := s.vec.WithLabelValues(label)
	s.known[w] = c
	return c
}

func plain(w string) bool {
	if w == "" || len(w) > 48 {
		return false
	}
	for _, c := range []byte(w) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
