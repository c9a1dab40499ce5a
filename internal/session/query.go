package session

import "time"

// Audience is the application whose sessions the manager opens.
func (m *Manager) Audience() string { return m.c.Audience }

// Due says whether Touch would write for a session at its age, so that a
// caller need not gather what a cookie depends on.
func (m *Manager) Due(s *Session) bool {
	now := m.now()
	rolling, idling := int64(m.c.Timeouts.Rolling/time.Second), int64(m.c.Timeouts.Idling/time.Second)
	return s.restored || s.oldKey || s.moved || rolling > 0 && 4*(now-s.h.rolled) >= 3*rolling ||
		idling > 0 && now-s.h.touched >= max(min(int64(touchMax/time.Second), idling/4), 1)
}

// IsLoginCookie says whether a cookie of this name can hold a pending login of
// the given base name.
func IsLoginCookie(base, name string) bool { return loginName(base, name) }
