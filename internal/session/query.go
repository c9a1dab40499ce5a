package session

// Audience is the application whose sessions the manager opens.
func (m *Manager) Audience() string { return m.c.Audience }

// IsLoginCookie says whether a cookie of this name can hold a pending login of
// the given base name.
func IsLoginCookie(base, name string) bool { return loginName(base, name) }
