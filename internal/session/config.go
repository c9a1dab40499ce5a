package session

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// SameSite is the attribute of that name.
type SameSite string

// The values of the configuration.
const (
	SameSiteDefault SameSite = "Default" // the attribute is left out; the zero value means the same
	SameSiteLax     SameSite = "Lax"
	SameSiteStrict  SameSite = "Strict"
	SameSiteNone    SameSite = "None" // implies Secure: browsers refuse it otherwise
)

// Bind is a property of the request that a session is bound to.
type Bind string

// The values of session_bind.
const (
	BindIP        Bind = "ip"
	BindScheme    Bind = "scheme"
	BindUserAgent Bind = "user-agent"
)

// Cookie is the name of a cookie and its attributes.
type Cookie struct {
	Name     string
	Path     string // "" means "/"
	Domain   string // "" makes a host-only cookie
	SameSite SameSite
	HTTPOnly bool
	Secure   *bool // nil: as the scheme of the request says
}

// Timeouts bound the life of a session. Zero disables a timer; fractions of a second are dropped.
type Timeouts struct {
	Idling   time.Duration // since the last touch
	Rolling  time.Duration // since login or the last renewal; renewed from three quarters on
	Absolute time.Duration // since login; never extended
}

// Config is all that a Manager is made of. It is not changed afterwards.
type Config struct {
	Secret          []byte   // any length but empty; goes through HKDF
	PreviousSecrets [][]byte // accepted for reading; sessions move to Secret at their next use

	Cookie   Cookie // default name "session"
	Timeouts Timeouts

	Remember         bool     // keep a second, persistent cookie
	RememberCookie   string   // its name, default "remember"; attributes as Cookie
	RememberTimeouts Timeouts // Idling is not used

	Audience           string // the application within a shared cookie
	Bind               []Bind
	EnforceSameSubject bool
	Digest             [32]byte // of the identity configuration; only its own sessions are taken

	Store          Store // nil: everything is in the cookie
	StoreMetadata  bool  // needs a Store that implements Index
	HashStorageKey bool
	HashSubject    bool
	Revocations    Revocations // nil: nothing is revoked
	// Unlisted is called when Revocations has no room for a session that was
	// replaced (an error with `Full() bool`). nil: then the replacing fails.
	Unlisted func()

	// Decode makes of Data what Session.Decoded returns. What it makes is shared
	// by requests and has to refer to nothing of them; with an error there is no
	// session. nil: nothing.
	Decode   func(data []byte) (any, error)
	Openings *Openings // nil: every request opens its session anew

	MaxHeaderLine int    // bytes of one request header line, default 8192
	LoginCookie   string // base name of pending logins' cookies, which do not count against MaxHeaderLine

	Now  func() time.Time // default time.Now
	Rand io.Reader        // source of session ids, default crypto/rand
}

const (
	defaultHeaderLine = 8 << 10
	maxSecrets        = 8         // current and previous ones
	maxPayload        = 1 << 20   // bytes of Data, before compression
	maxTTL            = 400 * day // as long as browsers keep a cookie
	day               = 24 * time.Hour

	grace    = 10 * time.Second // a replaced id stays usable for requests in flight
	maxSkew  = 5 * time.Minute  // clocks of nodes may differ by this much
	touchMax = time.Minute      // a session is touched at most this often
)

// normalize fills defaults and refuses what cannot work.
func (c *Config) normalize() error {
	if c.Cookie.Name == "" {
		c.Cookie.Name = "session"
	}
	if c.RememberCookie == "" {
		c.RememberCookie = "remember"
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
	if err := c.Cookie.normalize(); err != nil {
		return fmt.Errorf("session cookie: %w", err)
	}
	if c.Remember {
		r := c.Cookie
		r.Name = c.RememberCookie
		if err := r.normalize(); err != nil {
			return fmt.Errorf("remember cookie: %w", err)
		}
		if overlap(c.Cookie.Name, c.RememberCookie) {
			return fmt.Errorf("session cookie %q and remember cookie %q: the names must differ by more than a digit", c.Cookie.Name, c.RememberCookie)
		}
	}
	for _, b := range c.Bind {
		if b != BindIP && b != BindScheme && b != BindUserAgent {
			return fmt.Errorf("session_bind: %q is none of ip, scheme, user-agent", b)
		}
	}
	for _, d := range []time.Duration{c.Timeouts.Idling, c.Timeouts.Rolling, c.Timeouts.Absolute, c.RememberTimeouts.Rolling, c.RememberTimeouts.Absolute} {
		if d < 0 || d > 100*365*day || d > 0 && d < time.Second {
			return fmt.Errorf("session timeout of %v: give 0, or one second to a hundred years", d)
		}
	}
	if c.MaxHeaderLine < 1024 {
		return fmt.Errorf("a request header line of %d bytes holds no session: give 1024 or more", c.MaxHeaderLine)
	}
	if c.StoreMetadata && c.Store != nil {
		if _, ok := c.Store.(Index); !ok {
			return errors.New("session_store_metadata: this session storage cannot list sessions by subject")
		}
	}
	return nil
}

// normalize checks that the cookie can be written without breaking the header.
func (c *Cookie) normalize() error {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == "" {
		c.SameSite = SameSiteDefault
	}
	if c.Name == "" || len(c.Name) > 64 || strings.IndexFunc(c.Name, notToken) >= 0 {
		return fmt.Errorf("name %q: use 1 to 64 letters, digits and !#$%%&'*+-.^_`|~", c.Name)
	}
	if c.Path[0] != '/' || len(c.Path) > 512 || strings.IndexFunc(c.Path, notAttribute) >= 0 {
		return fmt.Errorf("path %q: begin with / and use no control character, blank or semicolon", c.Path)
	}
	if len(c.Domain) > 255 || strings.IndexFunc(c.Domain, notDomain) >= 0 {
		return fmt.Errorf("domain %q: use letters, digits, - and .", c.Domain)
	}
	switch c.SameSite {
	case SameSiteDefault, SameSiteLax, SameSiteStrict:
	case SameSiteNone:
		if c.Secure != nil && !*c.Secure {
			return errors.New("same_site None needs a secure cookie, and secure is false")
		}
	default:
		return fmt.Errorf("same_site %q is none of Strict, Lax, None, Default", c.SameSite)
	}
	host := strings.HasPrefix(strings.ToLower(c.Name), "__host-")
	if host && (c.Domain != "" || c.Path != "/") {
		return fmt.Errorf("name %q: browsers take it only with path / and without domain", c.Name)
	}
	if (host || strings.HasPrefix(strings.ToLower(c.Name), "__secure-")) && c.Secure != nil && !*c.Secure {
		return fmt.Errorf("name %q: browsers take it only with secure", c.Name)
	}
	return nil
}

// notToken reports characters that no cookie name may have (RFC 6265 section 4.1.1).
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

func notAttribute(r rune) bool { return r <= ' ' || r >= 0x7f || r == ';' || r == ',' }

func notDomain(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// overlap says whether a chunk of one cookie can have the name of a chunk of the other.
func overlap(a, b string) bool {
	return a == b || isChunk(a, b) || isChunk(b, a)
}

// isChunk says whether name is base followed by a digit.
func isChunk(base, name string) bool {
	return len(name) == len(base)+1 && strings.HasPrefix(name, base) && name[len(base)] >= '0' && name[len(base)] <= '9'
}
