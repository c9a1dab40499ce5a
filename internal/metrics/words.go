package metrics

import "sync"

// words bounds the values of a label: reasons are constants of the program,
// and a mistake that let something else in must not fill the memory.
type words struct {
	limit int
	mu    sync.RWMutex
	known map[string]struct{}
}

// bounded returns w, or "other" once limit different words were seen or where
// w is no plain word.
func (s *words) bounded(w string) string {
	s.mu.RLock()
	_, ok := s.known[w]
	s.mu.RUnlock()
	if ok {
		return w
	}
	if !plain(w) {
		return "other"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string]struct{}{}
	}
	if len(s.known) >= s.limit {
		if _, ok := s.known[w]; !ok {
			return "other"
		}
	}
	s.known[w] = struct{}{}
	return w
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
