package provider

import (
	"slices"
	"time"
)

// grant is what a user or client has consented to once: everything that comes
// from one login or one token request belongs to it, and dies with it.
type grant struct {
	id       string
	client   *Client
	user     *User // nil for client credentials
	scopes   []string
	audience []string
	sid      string
	nonce    string
	acr      string
	authTime time.Time
	jkt      string // thumbprint of the DPoP key that its tokens are bound to
	revoked  bool
}

type accessToken struct {
	grant   *grant
	claims  map[string]any
	issued  time.Time
	expires time.Time
	jkt     string
	revoked bool
}

type refreshToken struct {
	grant   *grant
	expires time.Time
	used    bool
}

type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	method      string
	expires     time.Time
	used        bool
	hybrid      bool
	jkt         string // dpop_jkt of the request
}

// login is a browser's session at the provider.
type login struct {
	sid     string
	user    *User
	at      time.Time
	clients map[string]bool
}

// pending is an authorization request that waits for the login page.
type pending struct {
	request authorization
	expires time.Time
}

// state is what the provider remembers, guarded by Provider.mu. Expired entries
// are dropped when a map has doubled since the last time.
type state struct {
	access  map[string]*accessToken
	refresh map[string]*refreshToken
	codes   map[string]*code
	logins  map[string]*login
	pending map[string]*pending
	jtis    map[string]time.Time
	pushed  map[string]*pushed
	sweep   int
}

const (
	sweepAt  = 4096
	loginTTL = 8 * time.Hour
	pageTTL  = 10 * time.Minute
)

func newState() state {
	return state{
		access: map[string]*accessToken{}, refresh: map[string]*refreshToken{}, codes: map[string]*code{},
		logins: map[string]*login{}, pending: map[string]*pending{}, jtis: map[string]time.Time{}, pushed: map[string]*pushed{}, sweep: sweepAt,
	}
}

func (s *state) size() int {
	return len(s.access) + len(s.refresh) + len(s.codes) + len(s.logins) + len(s.pending) + len(s.jtis) + len(s.pushed)
}

// drop forgets what has expired, when enough has come together.
func (s *state) drop(now time.Time) {
	if s.size() < s.sweep {
		return
	}
	dropExpired(s.access, func(t *accessToken) time.Time { return t.expires }, now)
	dropExpired(s.refresh, func(t *refreshToken) time.Time { return t.expires }, now)
	dropExpired(s.codes, func(c *code) time.Time { return c.expires }, now)
	dropExpired(s.logins, func(l *login) time.Time { return l.at.Add(loginTTL) }, now)
	dropExpired(s.pending, func(p *pending) time.Time { return p.expires }, now)
	dropExpired(s.pushed, func(p *pushed) time.Time { return p.expires }, now)
	dropExpired(s.jtis, func(t time.Time) time.Time { return t }, now)
	s.sweep = max(sweepAt, 2*s.size())
}

func dropExpired[V any](m map[string]V, expires func(V) time.Time, now time.Time) {
	for k, v := range m {
		if expires(v).Before(now) {
			delete(m, k)
		}
	}
}

// newGrant makes a grant with the client's default scopes added.
func newGrant(c *Client, u *User, scopes []string) *grant {
	g := &grant{id: random(), client: c, user: u, audience: slices.Clone(c.Audience)}
	for _, s := range append(slices.Clone(scopes), c.DefaultScopes...) {
		if s != "" && !slices.Contains(g.scopes, s) {
			g.scopes = append(g.scopes, s)
		}
	}
	return g
}

// RevokeSessions ends every login and every grant of a user, as an
// administrator would.
func (p *Provider) RevokeSessions(username string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, l := range p.state.logins {
		if l.user.Username == username {
			delete(p.state.logins, id)
		}
	}
	p.revokeGrants(func(g *grant) bool { return g.user != nil && g.user.Username == username })
}

// revokeGrants marks the grants that match; p.mu is held.
func (p *Provider) revokeGrants(match func(*grant) bool) {
	for _, t := range p.state.access {
		if match(t.grant) {
			t.grant.revoked = true
		}
	}
	for _, t := range p.state.refresh {
		if match(t.grant) {
			t.grant.revoked = true
		}
	}
	for _, c := range p.state.codes {
		if match(c.grant) {
			c.grant.revoked = true
		}
	}
}
