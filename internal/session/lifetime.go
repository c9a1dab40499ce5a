package session

import "time"

// at is the second at which a timer that began at since runs out; 0 for a timer that is off.
func at(since int64, limit time.Duration) int64 {
	if limit <= 0 {
		return 0
	}
	return since + int64(limit/time.Second)
}

// earliest is the first of the times that are set.
func earliest(times ...int64) int64 {
	var first int64
	for _, t := range times {
		if t != 0 && (first == 0 || t < first) {
			first = t
		}
	}
	return first
}

// rememberEnd is when the persistent cookie with these times ends; 0: never by itself.
func (m *Manager) rememberEnd(h *header) int64 {
	return earliest(at(h.rolled, m.c.RememberTimeouts.Rolling), at(h.created, m.c.RememberTimeouts.Absolute))
}

// end is the second from which neither cookie of the session is good; 0 when
// no timer but the idling one bounds it. first is the remember cookie's login.
func (m *Manager) end(h *header, first int64) int64 {
	own := earliest(at(h.rolled, m.c.Timeouts.Rolling), at(h.created, m.c.Timeouts.Absolute))
	if !m.c.Remember || own == 0 {
		return own
	}
	r := *h
	if first != 0 {
		r.created = first
	}
	remembered := m.rememberEnd(&r)
	if remembered == 0 {
		return 0
	}
	return max(own, remembered)
}

// revokedUntil is how long a copy of the session's cookies must be refused. It
// goes by the absolute timeouts alone: another instance that takes the same
// sessions may give them longer rolling and idling ones.
func (m *Manager) revokedUntil(h *header, first int64) time.Time {
	end := at(h.created, m.c.Timeouts.Absolute)
	if m.c.Remember && end != 0 {
		since := h.created
		if first != 0 {
			since = first
		}
		if r := at(since, m.c.RememberTimeouts.Absolute); r == 0 || r > end {
			end = r
		}
	}
	// Another configuration may have made it, and gives it longer.
	if end != 0 && (h.until == 0 || h.until > end) {
		end = h.until
	}
	return m.c.Now().Add(m.ttl(end))
}

// ttl is how long storage has to remember what ends at until.
func (m *Manager) ttl(until int64) time.Duration {
	if until == 0 {
		return maxTTL
	}
	return min(max(time.Duration(until-m.now())*time.Second, time.Second), maxTTL)
}

// rememberAge is the Max-Age of the persistent cookie, in seconds.
func (m *Manager) rememberAge(s *Session) int64 {
	h := s.h
	h.created = s.first
	return int64(m.ttl(m.rememberEnd(&h)) / time.Second)
}
