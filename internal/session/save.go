package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// ErrEnded says that the session was ended elsewhere while the request was
// under way: a logout is never undone by a late renewal.
var ErrEnded = errors.New("the session has ended meanwhile")

// Save seals the session under a new id and returns the Set-Cookie values
// that hand it to the browser. It is called at login and whenever Data has
// changed. The times of a session that came from Open are kept, but for
// the rolling and idling ones, which begin anew; its former id lives on for
// ten seconds where storage allows. A session from New takes the place of
// the one that the request carries, which ends at once.
//
// Errors: *StorageError; *TooLargeError; ErrEnded. With an error no cookie is
// to be set.
func (m *Manager) Save(ctx context.Context, in Input, s *Session) ([]string, error) {
	return m.save(ctx, in, s, false)
}

// Renew is Save for a session whose data has not changed. If another request
// has renewed it first, s becomes what that one made.
func (m *Manager) Renew(ctx context.Context, in Input, s *Session) ([]string, error) {
	return m.save(ctx, in, s, true)
}

// Touch does for an opened session what its age asks for, and returns the
// Set-Cookie values, none when there is nothing to do: renewal from three
// quarters of the rolling timeout on, else a note of its use, at most once a
// minute. Call it once for each request that the session was used for.
func (m *Manager) Touch(ctx context.Context, in Input, s *Session) ([]string, error) {
	if !s.opened {
		return nil, errors.New("a session that was never saved cannot be touched")
	}
	switch m.due(s) {
	case renewal:
		return m.Renew(ctx, in, s)
	case handover:
		j := m.jar(in)
		cookies, err := m.cookies(in, &j, s, true)
		s.moved = err != nil
		return cookies, err
	case nothing:
		return nil, nil
	}
	h := s.h
	h.touched = m.now()
	box, name := m.box(m.ring[0], false)
	text, err := sealBox(box, name, h.marshal())
	if err != nil {
		return nil, fmt.Errorf("sealing a session's header: %w", err)
	}
	s.h, s.text = h, text
	m.keepTouched(s)
	j := m.jar(in)
	return m.cookies(in, &j, s, false)
}

// Due says whether Touch would set a cookie.
func (m *Manager) Due(s *Session) bool { return m.due(s) != nothing }

// work is what a session's age asks for.
type work uint8

const (
	nothing  work = iota
	touch         // note the use
	handover      // the browser lacks the cookie of the id that replaced its own
	renewal       // a new id
)

func (m *Manager) due(s *Session) work {
	now := m.now()
	rolling := int64(m.c.Timeouts.Rolling / time.Second)
	idling := int64(m.c.Timeouts.Idling / time.Second)
	switch {
	case s.restored, s.oldKey, rolling > 0 && 4*(now-s.h.rolled) >= 3*rolling:
		return renewal
	case s.moved:
		return handover
	case idling > 0 && now-s.h.touched >= max(min(int64(touchMax/time.Second), idling/4), 1):
		return touch
	}
	return nothing
}

func (m *Manager) save(ctx context.Context, in Input, s *Session, adopt bool) ([]string, error) {
	if n := max(len(s.Subject), len(s.Issuer), len(s.SID)); n > maxSubject {
		return nil, fmt.Errorf("a subject, issuer or sid of %d bytes: at most %d are kept in a session", n, maxSubject)
	}
	if len(s.Data) > maxPayload {
		return nil, &TooLargeError{Size: len(s.Data), Limit: maxPayload}
	}
	bound, err := m.binding(in)
	if err != nil {
		return nil, err
	}
	j := m.jar(in)
	k, now := m.ring[0], m.now()
	next := Session{Subject: s.Subject, Issuer: s.Issuer, SID: s.SID, Data: s.Data, opened: true, chain: s.chain, began: s.began}
	h := &next.h
	if _, err := io.ReadFull(m.c.Rand, h.id[:]); err != nil {
		return nil, fmt.Errorf("drawing a session id: %w", err)
	}
	if !s.opened {
		if _, err := io.ReadFull(m.c.Rand, next.chain[:]); err != nil {
			return nil, fmt.Errorf("drawing a session id: %w", err)
		}
		next.began = m.c.Now().UnixMilli()
	}
	h.created, h.rolled, h.touched = now, now, now
	if s.opened && !s.restored {
		h.created = s.h.created
	}
	h.digest, h.audience = m.own[0].digest, m.own[0].audience
	h.subject = k.tag("subject", s.Subject)
	h.binding = m.bindingTag(k, bound)
	h.until = earliest(at(h.rolled, m.c.Timeouts.Rolling), at(h.created, m.c.Timeouts.Absolute))
	if m.c.Store != nil {
		h.flags |= flagStored
	}
	sealed, err := m.codec.seal(k, h, info(m.c.Digest, m.c.Audience, bound), &next)
	if err != nil {
		return nil, fmt.Errorf("sealing a session: %w", err)
	}
	if m.c.Store == nil {
		next.body = b64.EncodeToString(sealed)
	} else {
		next.record = append([]byte{recordPayload}, sealed...)
	}
	box, name := m.box(k, false)
	if next.text, err = sealBox(box, name, h.marshal()); err != nil {
		return nil, fmt.Errorf("sealing a session's header: %w", err)
	}
	if err := m.sealRemember(&j, s, &next); err != nil {
		return nil, err
	}

	// Before anything is written: will the browser be able to send it back?
	cookies, err := m.cookies(in, &j, &next, true)
	if err != nil {
		return nil, err
	}
	winner, err := m.replace(ctx, in, &j, s, &next, adopt)
	if err != nil {
		return nil, err
	}
	if winner != nil {
		*s = *winner
		return m.cookies(in, &j, s, true)
	}
	*s = next
	return cookies, nil
}

// sealRemember gives next its persistent cookie, if there is to be one still.
func (m *Manager) sealRemember(j *jar, s, next *Session) error {
	if !m.c.Remember {
		return nil
	}
	next.first = next.h.created
	if s.opened {
		if s.first != 0 {
			next.first = s.first
		} else if first, ok := m.firstLogin(j, &s.h); ok {
			next.first = first
		}
	}
	h := next.h
	h.created = next.first
	h.until = m.rememberEnd(&h)
	if m.expired(&h, true) != OK {
		return nil
	}
	box, name := m.box(m.ring[0], true)
	var err error
	if next.remember, err = sealBox(box, name, h.marshal()); err != nil {
		return fmt.Errorf("sealing a remember cookie's header: %w", err)
	}
	return nil
}

// firstLogin reads the time of the first login from the remember cookie that belongs to h.
func (m *Manager) firstLogin(j *jar, h *header) (int64, bool) {
	for _, text := range j.assemble(m.remember.Name) {
		for _, seg := range segments(text) {
			if r, _, ok := m.head(seg, true); ok && r.id == h.id {
				return r.created, true
			}
		}
	}
	return 0, false
}

// replace makes next exist and s end, in storage and in the list of revoked
// sessions. A winner is what a parallel request has renewed s to.
func (m *Manager) replace(ctx context.Context, in Input, j *jar, s, next *Session, adopt bool) (winner *Session, err error) {
	until := m.end(&next.h, next.first)
	if s.opened {
		p := payload{chain: s.chain, subject: s.Subject, issuer: s.Issuer, sid: s.SID}
		ended, err := m.ended(ctx, s.began, m.names(&s.h, &p))
		if err != nil {
			return nil, err
		}
		if ended {
			return nil, ErrEnded
		}
	}
	if m.c.Store != nil {
		if err := m.c.Store.Set(ctx, m.storageKey(&next.h), next.record, m.ttl(until)); err != nil {
			return nil, &StorageError{"write", err}
		}
	}
	if !s.opened {
		return nil, m.endPrevious(ctx, j, next)
	}
	if m.c.Store != nil {
		swapped, err := m.swapMoved(ctx, s, next)
		if err == nil && !swapped {
			winner, err = m.lost(ctx, in, s)
			if winner != nil && !adopt {
				winner = nil // newer data: next lives beside what the other made
			} else if rm := m.c.Store.Delete(ctx, m.storageKey(&next.h)); rm != nil && err == nil {
				err = &StorageError{"delete", rm}
			}
		}
		if err != nil || winner != nil {
			return winner, err
		}
	}
	if m.c.Revocations != nil {
		err := m.c.Revocations.Revoke(ctx, s.h.revocationKey(), m.c.Now().Add(grace), m.revokedUntil(&s.h, s.first))
		if m.c.Unlisted != nil && isFull(err) {
			// Its copies end by their timers, and with their login: next must not be lost for them.
			m.c.Unlisted()
		} else if err != nil {
			return nil, &StorageError{"revoke the replaced session", err}
		}
	}
	return nil, m.reindex(ctx, s, next, until)
}

// lost finds out who replaced the record of s: a parallel renewal, whose
// session it returns, or a logout.
func (m *Manager) lost(ctx context.Context, in Input, s *Session) (*Session, error) {
	w, _, err := m.openSegment(ctx, in, segment{s.Sealed()}, s.restored, 0)
	if err == nil && w == nil {
		err = ErrEnded
	}
	return w, err
}

// endPrevious ends the sessions of this configuration that the request of a login still carries.
func (m *Manager) endPrevious(ctx context.Context, j *jar, next *Session) error {
	for _, p := range m.present(j) {
		if _, same := m.mine(&p.h, p.key); same && p.h.id != next.h.id {
			err := m.endHeader(ctx, p.key, &p.h, 0, false)
			if m.c.Unlisted != nil && isFull(err) {
				m.c.Unlisted()
				err = m.endHeader(ctx, p.key, &p.h, 0, true)
			}
			if err != nil {
				return err
			}
		}
	}
	return m.reindex(ctx, nil, next, m.end(&next.h, next.first))
}

func (m *Manager) reindex(ctx context.Context, old, next *Session, until int64) error {
	if m.index == nil {
		return nil
	}
	if err := m.index.AddSession(ctx, m.indexAudience(), m.indexed(m.ring[0], next.Subject), m.storageKey(&next.h), m.ttl(until)); err != nil {
		return &StorageError{"write the index of subjects", err}
	}
	if old == nil {
		return nil
	}
	for _, k := range m.ring {
		if err := m.index.RemoveSession(ctx, m.indexAudience(), m.indexed(k, old.Subject), m.storageKey(&old.h)); err != nil {
			return &StorageError{"write the index of subjects", err}
		}
	}
	return nil
}

// indexed is the subject as the index knows it.
func (m *Manager) indexed(k *keys, subject string) string {
	if !m.c.HashSubject {
		return subject
	}
	t := k.tag("index", subject)
	return base64.RawURLEncoding.EncodeToString(t[:])
}

// storageKey is the name of the session's record.
func (m *Manager) storageKey(h *header) string {
	if !m.c.HashStorageKey {
		return h.public()
	}
	s := sha256.Sum256(h.id[:])
	return base64.RawURLEncoding.EncodeToString(s[:])
}

// cookies writes s into the cookies, beside the sessions of other
// applications. Where they do not all fit, those saved longest ago give way.
func (m *Manager) cookies(in Input, j *jar, s *Session, all bool) ([]string, error) {
	others := m.others(j, &s.h, false)
	var remembered []string
	writeRemember := m.c.Remember && (s.remember != "" || all && s.first != 0)
	if m.c.Remember {
		remembered = m.others(j, &s.h, true)
	}
	for {
		text := strings.Join(append([]string{s.Sealed()}, others...), "~")
		cookies, size, ok := m.c.Cookie.emit(j, m.c.Cookie.Name, text, in.Scheme, -1, all)
		if m.c.Remember {
			list := remembered
			if s.remember != "" {
				list = append([]string{with(s.remember, s.body)}, remembered...)
			}
			more, n, fits := m.remember.emit(j, m.remember.Name, strings.Join(list, "~"), in.Scheme, m.rememberAge(s), all)
			if writeRemember {
				cookies = append(cookies, more...)
			}
			size, ok = size+n, ok && fits
		}
		if line := len("Cookie: \r\n") + j.foreign + size; !ok || line > m.c.MaxHeaderLine {
			switch {
			case len(others) > 0 && len(others) >= len(remembered):
				others = others[:len(others)-1]
			case len(remembered) > 0:
				remembered = remembered[:len(remembered)-1]
			default:
				return nil, &TooLargeError{Size: line, Limit: m.c.MaxHeaderLine}
			}
			continue
		}
		return cookies, nil
	}
}

func with(head, body string) string {
	if body == "" {
		return head
	}
	return head + "." + body
}

// others are the segments that stay beside the session h: other applications
// and other configurations, dead ones left out.
func (m *Manager) others(j *jar, h *header, remember bool) []string {
	base := m.c.Cookie.Name
	if remember {
		base = m.remember.Name
	}
	var out []string
	for _, text := range j.assemble(base) {
		for _, seg := range segments(text) {
			o, key, known := m.head(seg, remember)
			if known {
				if _, same := m.mine(&o, key); same || o.until != 0 && o.until <= m.now() {
					continue
				}
				// Tags are comparable only under one secret.
				if m.c.EnforceSameSubject && (key != 0 || o.subject != h.subject) {
					continue
				}
			} else if m.c.EnforceSameSubject {
				continue
			}
			if len(out) < maxSegments-1 && !slices.Contains(out, seg.text) {
				out = append(out, seg.text)
			}
		}
	}
	return out
}
