package session

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxSubject bounds a subject (OpenID Connect Core section 2 allows 255 characters).
const maxSubject = 4 << 10

// Reason says why a request has no session. For logs and metrics only: toward
// the client there is no difference.
type Reason uint8

// The reasons, in the order in which a session is examined.
const (
	OK           Reason = iota
	NoCookie            // no session cookie came
	Malformed           // pieces missing, or not our text
	NotAuthentic        // tampered, or sealed under another secret or cookie name
	OtherAudience
	OtherConfiguration // made under another identity configuration
	Unbound            // address, scheme or user agent differ
	FromFuture         // made by a clock far ahead of this one
	IdlingTimeout
	RollingTimeout
	AbsoluteTimeout
	Revoked
	NotStored  // the storage does not hold it (any more)
	BadPayload // the payload does not belong to the header
	Ambiguous  // two cookies hold live sessions of different subjects
)

var reasonTexts = [...]string{"ok", "no cookie", "malformed", "not authentic", "other audience", "other configuration",
	"binding differs", "from the future", "idling timeout", "rolling timeout", "absolute timeout", "revoked", "not stored",
	"bad payload", "ambiguous"}

func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return "unknown"
}

// A Session is one login of one subject in one application. The exported
// fields are the caller's to set before Save. It belongs to one request and is
// not safe for concurrent use.
type Session struct {
	Subject string
	Issuer  string // who vouched for the subject; with it a provider can end the session
	SID     string // the login at the provider (`sid`); "" where it names none
	Data    []byte // what the caller keeps; never logged, not part of String. Its bytes are never changed in place: requests share them

	h        header
	text     string // the sealed header
	body     string // the sealed payload as it stands in the cookie; "" in a Store
	record   []byte // the Store's record, for swapping it
	opened   bool   // it came with a request or was saved
	moved    bool   // the request's id was replaced a moment ago; the browser still needs the new cookie
	restored bool   // it came from the remember cookie
	oldKey   bool   // a previous secret opened it
	first    int64  // first login as the remember cookie has it; 0 without one
	remember string // the sealed header of the remember cookie of a moved session

	opening *opening // that was kept of it, to be kept on under another header
	decoded any

	chain [chainSize]byte // the same in all sessions that one login was renewed to
	began int64           // that login, in Unix milliseconds
}

// New returns a session that begins now. It exists nowhere before Save.
func New(subject string, data []byte) *Session { return &Session{Subject: subject, Data: data} }

// String hides everything.
func (s *Session) String() string { return "[redacted session]" }

// GoString hides everything.
func (s *Session) GoString() string { return s.String() }

// Decoded is what Config.Decode made of the Data that the session was opened
// with, shared with other requests; nil for a session from New or Save.
func (s *Session) Decoded() any { return s.decoded }

// ID is the session's id in base64url, or "" before the first Save. A renewed session has a new one.
func (s *Session) ID() string {
	switch {
	case !s.opened:
		return ""
	case s.opening != nil:
		return s.opening.id
	}
	return s.h.public()
}

// Remaining is what is left of each timer, in whole seconds; zero stands for
// a timer that is off.
type Remaining struct {
	Idling, Rolling, Absolute time.Duration
	Timeout                   time.Duration // the smallest of those that are on
}

// Remaining returns what is left of the session's timers.
func (m *Manager) Remaining(s *Session) Remaining {
	now := m.now()
	t := m.c.Timeouts
	var r Remaining
	left := func(limit time.Duration, since int64) time.Duration {
		if limit == 0 {
			return 0
		}
		d := max(limit.Truncate(time.Second)-time.Duration(max(now-since, 0))*time.Second, 0)
		if r.Timeout == 0 || d < r.Timeout {
			r.Timeout = d
		}
		return d
	}
	r.Idling = left(t.Idling, s.h.touched)
	r.Rolling = left(t.Rolling, s.h.rolled)
	r.Absolute = left(t.Absolute, s.h.created)
	return r
}

// A Manager opens and saves the sessions of one configuration. It is safe for concurrent use.
type Manager struct {
	c        Config
	remember Cookie
	ring     []*keys
	index    Index
	codec    codec
	own      []ownTags // by key of the ring
	joint    Joint     // nil where storage and list are apart
	scope    uint64    // of the openings that this manager keeps
}

// ownTags is what this configuration's sessions have in their headers.
type ownTags struct {
	digest   [16]byte
	audience [8]byte
}

// NewManager checks the configuration and derives its keys. The error names the parameter.
func NewManager(c Config) (*Manager, error) {
	if err := c.normalize(); err != nil {
		return nil, err
	}
	ring, err := newKeys(c.Secret, c.PreviousSecrets)
	if err != nil {
		return nil, err
	}
	m := &Manager{c: c, ring: ring, remember: c.Cookie}
	m.c.Secret, m.c.PreviousSecrets = nil, nil
	m.remember.Name = c.RememberCookie
	if c.StoreMetadata && c.Store != nil {
		m.index = c.Store.(Index)
	}
	for _, k := range ring {
		t := ownTags{audience: k.tag("audience", c.Audience)}
		copy(t.digest[:], c.Digest[:])
		m.own = append(m.own, t)
	}
	if j, ok := c.Store.(Joint); ok && c.Revocations == Revocations(j) {
		m.joint = j
	}
	if c.Openings != nil {
		m.scope = c.Openings.newScope(m)
	}
	return m, nil
}

// Owns says whether a cookie of this name is a piece of a session's, so that
// it can be kept from the service.
func (m *Manager) Owns(name string) bool {
	return chunkIndex(m.c.Cookie.Name, name) > 0 || m.c.Remember && chunkIndex(m.remember.Name, name) > 0
}

// Binds says whether sessions are bound to this property, so that Input has to hold it at Open.
func (m *Manager) Binds(b Bind) bool { return slices.Contains(m.c.Bind, b) }

func (m *Manager) now() int64 { return m.c.Now().Unix() }

// errUnbindable says that the request lacks what sessions are bound to.
var errUnbindable = errors.New("session_bind: the request has no client address or scheme to bind the session to")

// binding is the text of the request's properties that sessions are bound to; "" when there are none.
func (m *Manager) binding(in Input) (string, error) {
	if len(m.c.Bind) == 0 {
		return "", nil
	}
	var ip, scheme, agent string
	for _, b := range m.c.Bind {
		switch b {
		case BindIP:
			a, err := netip.ParseAddr(in.ClientIP)
			if err != nil {
				return "", errUnbindable
			}
			ip = "ip=" + a.Unmap().WithZone("").String()
		case BindScheme:
			if in.Scheme == "" {
				return "", errUnbindable
			}
			scheme = "scheme=" + strings.ToLower(in.Scheme)
		case BindUserAgent:
			agent = fmt.Sprintf("user-agent=%q", in.UserAgent)
		}
	}
	return ip + "\n" + scheme + "\n" + agent, nil
}
