package session

import (
	"context"
	"strings"
)

// carried is a segment of the request whose header could be opened.
type carried struct {
	h   header
	key int
}

// present lists the authentic headers of both cookies, each id once.
func (m *Manager) present(j *jar) []carried {
	var out []carried
	seen := map[[32]byte]bool{}
	read := func(base string, remember bool) {
		for _, text := range j.assemble(base) {
			for _, seg := range segments(text) {
				if h, key, ok := m.head(seg, remember); ok && !seen[h.id] {
					seen[h.id] = true
					out = append(out, carried{h, key})
				}
			}
		}
	}
	read(m.c.Cookie.Name, false)
	if m.c.Remember {
		read(m.remember.Name, true)
	}
	return out
}

// Destroy ends the session s, which may be nil, and every session of this
// audience that the request carries, also those of other identity
// configurations, so that one route can log out of all. It returns the
// Set-Cookie values that remove every piece of the cookies, or leave only
// the sessions of other applications in them.
//
// With a *StorageError the cookies are returned too: the browser should
// forget the session even where the storage could not.
func (m *Manager) Destroy(ctx context.Context, in Input, s *Session) ([]string, error) {
	j := m.jar(in)
	var failed error
	end := func(key int, h *header, listed bool) {
		if err := m.endHeader(ctx, key, h, 0, listed); err != nil && failed == nil {
			failed = err
		}
	}
	if s != nil && s.opened {
		m.forget(s)
		if err := m.endChain(ctx, s); err != nil {
			failed = err
		}
		if key := m.keyOf(s); key >= 0 {
			end(key, &s.h, true)
		}
		if m.index != nil {
			for _, k := range m.ring {
				if err := m.index.RemoveSession(ctx, m.indexAudience(), m.indexed(k, s.Subject), m.storageKey(&s.h)); err != nil && failed == nil {
					failed = &StorageError{"write the index of subjects", err}
				}
			}
		}
	}
	for _, p := range m.present(&j) {
		if audience, _ := m.mine(&p.h, p.key); audience && (s == nil || p.h.id != s.h.id) {
			end(p.key, &p.h, false)
		}
	}
	cookies, _, _ := m.c.Cookie.emit(&j, m.c.Cookie.Name, m.rest(&j, false), in.Scheme, -1, false)
	if m.c.Remember {
		more, _, _ := m.remember.emit(&j, m.remember.Name, m.rest(&j, true), in.Scheme, m.rememberRest(), false)
		cookies = append(cookies, more...)
	}
	return cookies, failed
}

// rememberRest is the Max-Age for what stays in the persistent cookie: its
// own end stands in each sealed header.
func (m *Manager) rememberRest() int64 {
	return int64(m.ttl(at(m.now(), m.c.RememberTimeouts.Absolute)).Seconds())
}

// rest is the text of the segments that belong to other audiences, or that
// this secret does not open.
func (m *Manager) rest(j *jar, remember bool) string {
	base := m.c.Cookie.Name
	if remember {
		base = m.remember.Name
	}
	var keep []string
	for _, text := range j.assemble(base) {
		for _, seg := range segments(text) {
			h, key, known := m.head(seg, remember)
			if known {
				if audience, _ := m.mine(&h, key); audience || h.until != 0 && h.until <= m.now() {
					continue
				}
			}
			if len(keep) < maxSegments && !contains(keep, seg.text) {
				keep = append(keep, seg.text)
			}
		}
	}
	return strings.Join(keep, "~")
}

// EndSubject ends every indexed session of the subject in this audience and
// says how many there were. It needs StoreMetadata; without it there are none.
func (m *Manager) EndSubject(ctx context.Context, subject string) (int, error) {
	if m.index == nil {
		return 0, nil
	}
	ended := 0
	for _, k := range m.ring {
		name := m.indexed(k, subject)
		list, err := m.index.Sessions(ctx, m.indexAudience(), name)
		if err != nil {
			return ended, &StorageError{"read the index of subjects", err}
		}
		for _, key := range list {
			if err := m.c.Store.Delete(ctx, key); err != nil {
				return ended, &StorageError{"delete", err}
			}
			if err := m.index.RemoveSession(ctx, m.indexAudience(), name, key); err != nil {
				return ended, &StorageError{"write the index of subjects", err}
			}
			ended++
		}
		if !m.c.HashSubject {
			break
		}
	}
	return ended, nil
}
