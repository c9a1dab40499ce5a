package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"kong-openid-connect/internal/claims"
)

// The kinds of names in Revocations. None tells what it names.
const (
	kindSession = "session:" // one id
	kindChain   = "chain:"   // all ids that one login was renewed to
	kindLogin   = "login:"   // a login at the provider
	kindSubject = "subject:" // a subject, with the time of the revocation
	kindToken   = "logout:"  // a logout token that was used
)

// ClockSkew is how far the clocks of two nodes may be apart: what names one
// login or token counts as revoked a little earlier.
const ClockSkew = 5 * time.Minute

// key names parts in Revocations.
func key(kind string, parts ...string) string {
	h := sha256.New()
	h.Write([]byte("openid-connect/revoked/" + kind))
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return kind + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// LoginKey names in Revocations every session of a login at a provider (`sid`).
func LoginKey(issuer, sid string) string { return key(kindLogin, claims.BareIssuer(issuer), sid) }

// SubjectKey names in Revocations the sessions of a subject that began before
// the revocation does.
func SubjectKey(issuer, subject string) string {
	return key(kindSubject, claims.BareIssuer(issuer), subject)
}

// LogoutTokenKey names in Revocations a logout token, by its `jti`, that was used.
func LogoutTokenKey(issuer, jti string) string { return key(kindToken, claims.BareIssuer(issuer), jti) }

// IDKey names in Revocations the session of an id as Session.ID writes it; ""
// for what is no id.
func IDKey(id string) string {
	b, err := b64.DecodeString(id)
	if err != nil || len(b) != len(header{}.id) {
		return ""
	}
	return key(kindSession, string(b))
}

func (h *header) revocationKey() string { return key(kindSession, string(h.id[:])) }

// names are those by which Revocations can list a session: its id, its login
// here and at the provider; and apart from these its subject.
type names struct {
	keys    []string
	subject string
}

// names returns those of the session h with this payload; none where nothing is listed.
func (m *Manager) names(h *header, p *payload) names {
	if m.c.Revocations == nil {
		return names{}
	}
	n := names{keys: make([]string, 2, 3), subject: SubjectKey(p.issuer, p.subject)}
	n.keys[0], n.keys[1] = h.revocationKey(), key(kindChain, string(p.chain[:]))
	if p.sid != "" {
		n.keys = append(n.keys, LoginKey(p.issuer, p.sid))
	}
	return n
}

// ended says whether a session was ended: its id, its login here or at the
// provider, or all sessions of its subject.
func (m *Manager) ended(ctx context.Context, began int64, n names) (bool, error) {
	if m.c.Revocations == nil {
		return false, nil
	}
	ended, err := m.c.Revocations.Ended(ctx, time.UnixMilli(began), n.subject, n.keys...)
	if err != nil {
		return false, &StorageError{"read the list of revoked sessions", err}
	}
	return ended, nil
}

// endChain lists the login of s, so that none of the ids that it was renewed
// to, or from, is good any more.
func (m *Manager) endChain(ctx context.Context, s *Session) error {
	if m.c.Revocations == nil {
		return nil
	}
	if err := m.c.Revocations.Revoke(ctx, key(kindChain, string(s.chain[:])), m.c.Now().Add(-ClockSkew), m.revokedUntil(&s.h, s.first)); err != nil {
		return &StorageError{"revoke", err}
	}
	return nil
}

// MaxLife is how long after its login a session of this configuration can be good at most.
func (m *Manager) MaxLife() time.Duration {
	c := &m.c
	life := c.Timeouts.Absolute
	if c.Remember && (c.RememberTimeouts.Absolute == 0 || life != 0 && c.RememberTimeouts.Absolute > life) {
		life = c.RememberTimeouts.Absolute
	}
	if life == 0 || life > maxTTL {
		return maxTTL
	}
	return life
}

// isFull says whether a list refused for want of room.
func isFull(err error) bool {
	var f interface{ Full() bool }
	return errors.As(err, &f) && f.Full()
}
