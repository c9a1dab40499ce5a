package session

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
)

const maxSegments = 8 // applications in one cookie

// segment is one session's text in a cookie. Its payload is not looked at
// before its header is known to be this instance's.
type segment struct{ text string }

// segments cuts a cookie's text. Whatever cannot be a segment is dropped.
func segments(text string) []segment {
	var out []segment
	for len(text) > 0 && len(out) < maxSegments {
		var s string
		s, text, _ = strings.Cut(text, "~")
		head, _, _ := strings.Cut(s, ".")
		if len(head) >= minHeaderText && len(head) <= maxHeaderText {
			out = append(out, segment{s})
		}
	}
	return out
}

// head opens a segment's header with whichever secret fits.
func (m *Manager) head(seg segment, remember bool) (h header, key int, ok bool) {
	text, _, _ := strings.Cut(seg.text, ".")
	for i, k := range m.ring {
		box, name := m.box(k, remember)
		if b, good := openBox(box, name, text); good && h.unmarshal(b) {
			return h, i, true
		}
	}
	return header{}, 0, false
}

func (m *Manager) box(k *keys, remember bool) (*securecookie.SecureCookie, string) {
	if remember {
		return k.remember, m.remember.Name
	}
	return k.header, m.c.Cookie.Name
}

// mine says whether a header is of this audience, and of this very configuration.
func (m *Manager) mine(h *header, key int) (audience, configuration bool) {
	audience = h.audience == m.own[key].audience
	return audience, audience && h.digest == m.own[key].digest
}

// Open returns the session that the request carries, or nil and the reason
// why there is none. An error means that this cannot be known, because the
// storage failed (*StorageError); the request must not be treated as logged in.
func (m *Manager) Open(ctx context.Context, in Input) (*Session, Reason, error) {
	j := m.jar(in)
	s, reason, err := m.openCookie(ctx, in, &j, false)
	if s != nil || err != nil || !m.c.Remember {
		return s, reason, err
	}
	r, _, err := m.openCookie(ctx, in, &j, true)
	if r != nil || err != nil {
		return r, OK, err
	}
	return nil, reason, nil
}

// OpenSealed returns the session whose Sealed text another request got from
// Save a moment ago, on this node or another. The caller sets its cookie by Touch.
func (m *Manager) OpenSealed(ctx context.Context, in Input, sealed string) (*Session, Reason, error) {
	segs := segments(sealed)
	if len(segs) != 1 || !sealedText(sealed) {
		return nil, Malformed, nil
	}
	s, reason, err := m.openSegment(ctx, in, segs[0], false, 0)
	if s != nil {
		s.moved = true
	}
	return s, reason, err
}

// Sealed is the session's text as its cookie holds it: good for handing a
// saved session to requests that wait for it, and as secret as the cookie.
func (s *Session) Sealed() string {
	if s.body == "" {
		return s.text
	}
	return s.text + "." + s.body
}

func (m *Manager) jar(in Input) jar {
	return readJar(in.Cookies, func(name string) bool {
		return m.Owns(name) || m.c.LoginCookie != "" && loginName(m.c.LoginCookie, name)
	})
}

// openCookie looks for this instance's live session among the candidates of one cookie.
func (m *Manager) openCookie(ctx context.Context, in Input, j *jar, remember bool) (*Session, Reason, error) {
	base := m.c.Cookie.Name
	if remember {
		base = m.remember.Name
	}
	candidates := j.assemble(base)
	reason := NoCookie
	if len(candidates) == 0 {
		for _, p := range j.pairs {
			if p.name == base {
				reason = Malformed
			}
		}
		return nil, reason, nil
	}
	reason = Malformed
	var found *Session
	for _, text := range candidates {
		for _, seg := range segments(text) {
			s, why, err := m.openSegment(ctx, in, seg, remember, 0)
			if err != nil {
				return nil, why, err
			}
			reason = max(reason, why)
			if s == nil {
				continue
			}
			// Two live ones come of a cookie that moved to another path or domain. A different person's was planted.
			if found != nil && found.Subject != s.Subject {
				return nil, Ambiguous, nil
			}
			if found == nil || s.h.rolled > found.h.rolled {
				found = s
			}
		}
	}
	if found != nil {
		return found, OK, nil
	}
	return nil, reason, nil
}

// openSegment examines one segment from its header to its payload.
func (m *Manager) openSegment(ctx context.Context, in Input, seg segment, remember bool, hops int) (*Session, Reason, error) {
	known := m.recall(seg.text, remember)
	var h header
	var key int
	if known != nil {
		h, key = known.h, known.key
	} else {
		var ok bool
		if h, key, ok = m.head(seg, remember); !ok {
			return nil, NotAuthentic, nil
		}
	}
	audience, configuration := m.mine(&h, key)
	switch {
	case !audience:
		return nil, OtherAudience, nil
	case !configuration:
		return nil, OtherConfiguration, nil
	}
	k := m.ring[key]
	bound, err := m.binding(in)
	if err != nil || m.bindingTag(k, bound) != h.binding {
		return nil, Unbound, nil
	}
	if known != nil && known.bound != bound {
		known = nil // the header names the binding by a short tag, the payload's key by all of it
	}
	if why := m.expired(&h, remember); why != OK {
		return nil, why, nil
	}
	if h.flags&flagStored != 0 != (m.c.Store != nil) {
		return nil, NotStored, nil // made under the other kind of storage
	}
	s := &Session{h: h, opened: true, oldKey: key > 0, restored: remember}
	if remember {
		s.first = h.created
	}
	var sealed []byte
	var ended, asked bool
	s.text, s.body, _ = strings.Cut(seg.text, ".")
	if m.c.Store == nil {
		if known == nil {
			if sealed, err = b64.DecodeString(s.body); err != nil {
				return nil, BadPayload, nil
			}
		}
	} else {
		if s.body != "" {
			return nil, BadPayload, nil
		}
		var record []byte
		if known != nil && m.joint != nil {
			n := &known.payload.names
			record, ended, err = m.joint.GetEnded(ctx, known.stored, time.UnixMilli(known.payload.began), n.subject, n.keys...)
			asked = true
		} else {
			record, err = m.c.Store.Get(ctx, m.storageKey(&h))
		}
		if errors.Is(err, ErrNotFound) {
			return nil, NotStored, nil
		}
		if err != nil {
			return nil, NotStored, &StorageError{"read", err}
		}
		if next, moved := m.followMoved(k, &h, record); moved {
			if hops == maxHops {
				return nil, NotStored, nil
			}
			return m.openMoved(ctx, in, next, hops+1)
		}
		switch {
		case len(record) > 0 && record[0] == recordPayload:
		case len(record) > 0 && record[0] == recordEnded:
			return nil, Revoked, nil
		default:
			return nil, BadPayload, nil
		}
		s.record = record
		if known != nil && !known.of(record) {
			known, asked = nil, false // what was asked of the list were another payload's names
		}
		if known == nil {
			sealed = append([]byte(nil), record[1:]...)
		}
	}
	fresh := known == nil
	if fresh {
		p := m.openPayload(k, &h, info(m.c.Digest, m.c.Audience, bound), sealed)
		if p == nil {
			return nil, BadPayload, nil
		}
		known = m.newOpening(h, key, bound, s.record, p)
	}
	s.take(known)
	if !asked {
		if ended, err = m.ended(ctx, s.began, known.payload.names); err != nil {
			return nil, Revoked, err
		}
	}
	if ended {
		m.forget(s)
		return nil, Revoked, nil
	}
	if fresh {
		m.keep(s)
	}
	return s, OK, nil
}

// openPayload returns what sealed holds, decoded; nil for what is not of this
// header, and for what Config.Decode does not know.
func (m *Manager) openPayload(k *keys, h *header, info string, sealed []byte) *payload {
	p := m.codec.open(k, h, info, sealed)
	if p == nil {
		return nil
	}
	if m.c.Decode != nil {
		var err error
		if p.decoded, err = m.c.Decode(p.data); err != nil {
			return nil
		}
	}
	p.names = m.names(h, p)
	return p
}

// take fills s with what an opening holds.
func (s *Session) take(o *opening) {
	p := o.payload
	s.opening, s.decoded = o, p.decoded
	s.chain, s.began = p.chain, p.began
	s.Subject, s.Issuer, s.SID, s.Data = p.subject, p.issuer, p.sid, p.data
}

// expired applies the timers: at the very second that a timer names, the session is over.
func (m *Manager) expired(h *header, remember bool) Reason {
	now, t := m.now(), m.c.Timeouts
	if remember {
		t = m.c.RememberTimeouts
		t.Idling = 0
	}
	over := func(limit time.Duration, since int64) bool {
		return limit > 0 && now-since >= int64(limit/time.Second)
	}
	switch {
	case max(h.created, h.rolled, h.touched)-now > int64(maxSkew/time.Second):
		return FromFuture
	case over(t.Absolute, h.created):
		return AbsoluteTimeout
	case over(t.Rolling, h.rolled):
		return RollingTimeout
	case over(t.Idling, h.touched):
		return IdlingTimeout
	}
	return OK
}

func (m *Manager) bindingTag(k *keys, binding string) [8]byte {
	if binding == "" {
		return [8]byte{}
	}
	return k.tag("binding", binding)
}
