package session

import "encoding/hex"

// Audience is the application whose sessions the manager opens.
func (m *Manager) Audience() string { return m.c.Audience }

// IsLoginCookie says whether a cookie of this name can hold a pending login of
// the given base name.
func IsLoginCookie(base, name string) bool { return loginName(base, name) }

// indexAudience keeps apart in an index what is of different providers: their
// subjects may have the same names.
func (m *Manager) indexAudience() string {
	return m.c.Audience + "/" + hex.EncodeToString(m.c.Digest[:8])
}
