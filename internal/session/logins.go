package session

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// MaxPendingLogins is how many logins one browser can have pending.
	MaxPendingLogins = 5
	// maxRestarts is how often a login whose cookie is gone begins again by itself: a browser that keeps no cookies must not loop.
	maxRestarts = 1

	maxReturn      = 2 << 10 // bytes of a return address, in the cookie
	maxLoginCookie = 4 << 10 // characters of a sealed login
	shortID        = 9       // bytes of the id in a cookie's name: when it began, and 32 random bits
)

// A Login is an authorization request that waits for its callback.
type Login struct {
	Nonce        string
	CodeVerifier string // PKCE (RFC 7636); "" without
	RedirectURI  string
	Client       int    // index of the client
	ReturnTo     string // the address that the user asked for
	Method       string // its method, if the caller keeps it
	Extra        string // anything else the caller needs at the callback

	// Attempt counts how often the login began anew for lack of its cookie.
	// Resume fills it; the caller hands it to Begin unchanged.
	Attempt int

	id    string
	began time.Time
}

// ID names the login for Claim; "" before Begin and in a stale one.
func (l *Login) ID() string { return l.id }

// String hides everything.
func (l Login) String() string { return "[redacted login]" }

// GoString hides everything.
func (l Login) GoString() string { return l.String() }

// Outcome is what Resume found.
type Outcome uint8

const (
	// Rejected: `state` is not ours, or the login has begun anew often
	// enough. Deny, and do not begin another login. The zero value.
	Rejected Outcome = iota
	// Stale: `state` is ours, but this browser does not hold the login (any
	// more), or it is too old. Never exchange the code; begin a login for
	// Login.ReturnTo with Login.Attempt, or go there if there is a session.
	Stale
	// Resumed: the callback belongs to a login of this browser. Claim it, then exchange the code.
	Resumed
)

func (o Outcome) String() string {
	switch o {
	case Resumed:
		return "resumed"
	case Stale:
		return "stale"
	}
	return "rejected"
}

// LoginConfig is all that Logins are made of.
type LoginConfig struct {
	Secret          []byte   // as that of the sessions; the keys differ
	PreviousSecrets [][]byte // accepted for reading

	Cookie  Cookie        // default name "authorization"
	Timeout time.Duration // authorization_rolling_timeout; 0: none
	Digest  [32]byte      // of the identity configuration

	MaxHeaderLine int // bytes of one request header line, default 8192

	Used *Used // remembers used logins; share one between the instances of a process. Default: one of its own
	Now  func() time.Time
	Rand io.Reader
}

// Logins keeps the pending logins of browsers, each in a cookie of its own.
// It is safe for concurrent use.
//
// The first pending login has the cookie that is documented,
// `authorization`; one that begins while it is pending has
// `authorization_<id>`. So a lone login looks as everyone expects it, and
// tabs do not take each other's.
type Logins struct {
	c    LoginConfig
	ring []*keys
}

// NewLogins checks the configuration and derives its keys.
func NewLogins(c LoginConfig) (*Logins, error) {
	if c.Cookie.Name == "" {
		c.Cookie.Name = "authorization"
	}
	if err := c.Cookie.normalize(); err != nil {
		return nil, fmt.Errorf("authorization cookie: %w", err)
	}
	if c.Timeout < 0 || c.Timeout > 0 && c.Timeout < time.Second {
		return nil, fmt.Errorf("authorization_rolling_timeout of %v: give 0, or one second or more", c.Timeout)
	}
	if c.MaxHeaderLine == 0 {
		c.MaxHeaderLine = defaultHeaderLine
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Used == nil {
		c.Used = NewUsed(c.Now)
	}
	ring, err := newKeys(c.Secret, c.PreviousSecrets)
	if err != nil {
		return nil, err
	}
	c.Secret, c.PreviousSecrets = nil, nil
	return &Logins{c: c, ring: ring}, nil
}

// ErrLoginTooLarge says that a login does not fit in a cookie.
var ErrLoginTooLarge = errors.New("the login does not fit in its cookie: shorten redirect_uri or the requested address")

// Begin seals a login. It returns the `state` for the authorization request
// and the Set-Cookie values: the login's own first, then the removal of those
// that gave way to it. Where ReturnTo is longer than 2048 bytes its query is
// dropped, and where that does not help, it becomes "/" of its site.
func (l *Logins) Begin(login Login, in Input) (stateText string, setCookies []string, err error) {
	now := l.c.Now()
	var st state
	putTick(st.id[:], now)
	if _, err := io.ReadFull(l.c.Rand, st.id[tickSize:]); err != nil {
		return "", nil, fmt.Errorf("drawing the id of a login: %w", err)
	}
	login.ReturnTo, _ = shorten(login.ReturnTo, maxReturn)
	st.began, st.attempt = now.Unix(), byte(min(max(login.Attempt, 0), 100))
	st.returnTo, st.trimmed = shorten(login.ReturnTo, maxStateReturn)
	if stateText, err = st.seal(l.ring[0]); err != nil {
		return "", nil, err
	}

	pending, foreign := l.pending(in)
	name := l.name(&st)
	if !slices.ContainsFunc(pending, func(p waiting) bool { return p.name == l.c.Cookie.Name && !p.dead }) {
		name = l.c.Cookie.Name
	}
	login.Attempt = int(st.attempt)
	value, err := l.seal(name, &st, &login)
	if err != nil {
		return "", nil, err
	}
	setCookies = append(setCookies, l.c.Cookie.set(name, value, in.Scheme, -1))

	// The newest stay, as far as their number and the header line allow.
	room := l.c.MaxHeaderLine - len("Cookie: \r\n") - foreign - len(name) - len(value) - 3
	kept := 1
	gone := map[string]bool{name: true}
	for _, p := range pending {
		if gone[p.name] {
			continue
		}
		if size := len(p.name) + len(p.value) + 3; !p.dead && kept < MaxPendingLogins && size <= room {
			kept, room = kept+1, room-size
			continue
		}
		gone[p.name] = true
		setCookies = append(setCookies, l.c.Cookie.set(p.name, "", in.Scheme, 0))
	}
	return stateText, setCookies, nil
}

// Resume finds the login that a callback's `state` belongs to. Resumed comes
// with the whole Login; Stale with ReturnTo and Attempt alone.
func (l *Logins) Resume(stateText string, in Input) (Login, Outcome) {
	st, ok := openState(l.ring, stateText)
	if !ok {
		return Login{}, Rejected
	}
	again := Login{ReturnTo: st.returnTo, Attempt: int(st.attempt) + 1}
	outcome := Stale
	if again.Attempt > maxRestarts {
		outcome = Rejected
	}
	if l.old(st.began) {
		return again, outcome
	}
	pending, _ := l.pending(in)
	for _, p := range pending {
		if p.login == nil || subtle.ConstantTimeCompare(p.id[:], st.id[:]) != 1 {
			continue
		}
		if p.dead {
			break
		}
		return *p.login, Resumed
	}
	return again, outcome
}

// Finish returns the Set-Cookie values that remove the login of this `state`
// from the browser, and with it those that are too old. An empty or foreign
// state removes the old ones alone.
func (l *Logins) Finish(stateText string, in Input) []string {
	st, ok := openState(l.ring, stateText)
	var out []string
	gone := map[string]bool{}
	pending, _ := l.pending(in)
	for _, p := range pending {
		if !gone[p.name] && (p.dead || ok && p.login != nil && p.id == st.id) {
			gone[p.name] = true
			out = append(out, l.c.Cookie.set(p.name, "", in.Scheme, 0))
		}
	}
	return out
}

// Claim says whether the login is used for the first time in this process.
// The second of two parallel callbacks gets false: treat it as Stale, and do
// not exchange its code.
func (l *Logins) Claim(id string) bool {
	until := l.c.Now().Add(time.Hour)
	if l.c.Timeout > 0 {
		until = l.c.Now().Add(l.c.Timeout)
	}
	return l.c.Used.claim(id, until)
}

// Owns says whether a cookie of this name can hold a pending login.
func (l *Logins) Owns(name string) bool { return loginName(l.c.Cookie.Name, name) }

func (l *Logins) old(began int64) bool {
	age := l.c.Now().Unix() - began
	return age < -int64(maxSkew/time.Second) || l.c.Timeout > 0 && age >= int64(l.c.Timeout/time.Second)
}

// waiting is one login cookie of a request. login is nil where it cannot be
// opened: it may be another issuer's.
type waiting struct {
	pair
	login *Login
	id    [stateIDSize]byte
	began int64
	age   int64 // microseconds since it began, by its id
	dead  bool  // ours, and of no use any more
}

// An id begins with the time in microseconds, so that tabs which are opened
// together keep their order. Five bytes of it come round every twelve days; a
// login that old has ended long before.
const tickSize = 5

func putTick(id []byte, t time.Time) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.UnixMicro()))
	copy(id[:tickSize], b[8-tickSize:])
}

// age is how many microseconds before now the id was made; negative where it
// comes from a clock that is ahead.
func age(id []byte, now time.Time) int64 {
	var b [8]byte
	copy(b[8-tickSize:], id[:tickSize])
	const round = 64 - 8*tickSize
	return int64((uint64(now.UnixMicro())-binary.BigEndian.Uint64(b[:]))<<round) >> round
}

// pending reads the login cookies of a request, the newest first. foreign is
// the size of all others.
func (l *Logins) pending(in Input) (list []waiting, foreign int) {
	j := readJar(in.Cookies, func(name string) bool { return loginName(l.c.Cookie.Name, name) })
	for _, p := range j.pairs {
		w := waiting{pair: p}
		if b, err := b64.DecodeString(strings.TrimPrefix(strings.TrimPrefix(p.name, l.c.Cookie.Name), "_")); err == nil && len(b) == shortID {
			w.age = age(b, l.c.Now()) // not authentic, and good enough for an order
		}
		w.dead = p.value == ""
		l.open(&w)
		list = append(list, w)
	}
	slices.SortStableFunc(list, func(a, b waiting) int { return cmp.Compare(a.age, b.age) })
	return list, j.foreign
}

// loginName says whether a cookie of this name can hold a pending login.
func loginName(base, name string) bool {
	rest, ok := strings.CutPrefix(name, base)
	return ok && (rest == "" || len(rest) == 1+shortID*4/3 && rest[0] == '_' && sealedText(rest))
}

func (l *Logins) name(st *state) string {
	return l.c.Cookie.Name + "_" + base64.RawURLEncoding.EncodeToString(st.id[:shortID])
}

func (l *Logins) seal(name string, st *state, login *Login) (string, error) {
	value, err := sealBox(l.ring[0].login, name, login.marshal(st, l.c.Digest))
	if err != nil {
		return "", fmt.Errorf("sealing a login: %w", err)
	}
	if len(l.c.Cookie.set(name, value, "https", -1)) > maxSetCookie {
		return "", ErrLoginTooLarge
	}
	return value, nil
}

// open reads a login cookie into w, as far as it is ours.
func (l *Logins) open(w *waiting) {
	if len(w.value) > maxLoginCookie || !sealedText(w.value) {
		return
	}
	for _, k := range l.ring {
		b, ok := openBox(k.login, w.name, w.value)
		if !ok {
			continue
		}
		login, digest := new(Login), [digestTag]byte{}
		if !login.unmarshal(b, &w.id, &digest) {
			return
		}
		w.login, w.began, w.age = login, login.began.Unix(), age(w.id[:], l.c.Now())
		w.dead = l.old(w.began) || digest != [digestTag]byte(l.c.Digest[:])
		return
	}
}

// shorten fits an address into limit bytes: whole, else without its query,
// else the root of its site, else "/". It says whether anything was lost.
func shorten(address string, limit int) (string, bool) {
	if len(address) <= limit {
		return address, false
	}
	if path, _, _ := strings.Cut(address, "?"); len(path) <= limit {
		return path, true
	}
	if i := strings.Index(address, "://"); i > 0 {
		if k := strings.IndexAny(address[i+3:], "/?#"); k >= 0 && i+3+k < limit {
			return address[:i+3+k] + "/", true
		}
	}
	return "/", true
}
