package provider

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// newAccessToken makes and remembers an access token of a grant (RFC 9068), with
// all of its scopes or fewer.
func (p *Provider) newAccessToken(g *grant, scopes []string, endpoint string) (string, error) {
	now := p.now()
	expires := now.Add(seconds(g.client.AccessTokenSeconds, 300))
	claims := p.accessClaims(g, scopes, now, expires)
	if g.jkt != "" {
		claims["cnf"], claims["typ"] = map[string]any{"jkt": g.jkt}, "DPoP"
	}
	value := random()
	if !g.client.OpaqueTokens {
		d := p.draft(g.client, TokenAccess, maps.Clone(claims))
		if err := p.forge(d, endpoint, g.client.ID, TokenAccess); err != nil {
			return "", err
		}
		signed, err := d.sign()
		if err != nil {
			return "", err
		}
		value = signed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.drop(now)
	p.state.access[value] = &accessToken{grant: g, claims: claims, issued: now, expires: expires, jkt: g.jkt}
	return value, nil
}

func (p *Provider) accessClaims(g *grant, scopes []string, now, expires time.Time) map[string]any {
	aud := any(g.audience)
	if len(g.audience) == 1 {
		aud = g.audience[0]
	}
	c := map[string]any{
		"iss": p.Issuer(), "sub": g.subject(), "aud": aud, "azp": g.client.ID, "client_id": g.client.ID, "typ": "Bearer",
		"scope": strings.Join(scopes, " "), "exp": expires.Unix(), "iat": now.Unix(), "jti": random(),
	}
	if g.user == nil {
		overlay(c, g.client.Claims)
		return c
	}
	if g.sid != "" {
		c["sid"] = g.sid
	}
	if !g.authTime.IsZero() {
		c["auth_time"] = g.authTime.Unix()
	}
	if g.acr != "" {
		c["acr"] = g.acr
	}
	maps.Copy(c, g.user.claims(scopes))
	return c
}

// tokenType is token_type of what the grant's tokens are used as.
func (g *grant) tokenType() string {
	if g.jkt != "" {
		return "DPoP"
	}
	return "Bearer"
}

func (g *grant) subject() string {
	if g.user == nil {
		return "service-account-" + g.client.ID
	}
	return g.user.Subject
}

// claims are what is said about a user: who it is by the scopes profile and
// email, groups and roles always.
func (u *User) claims(scopes []string) map[string]any {
	c := map[string]any{}
	if slices.Contains(scopes, "profile") {
		c["preferred_username"] = u.Username
		if u.Name != "" {
			c["name"] = u.Name
		}
	}
	if slices.Contains(scopes, "email") && u.Email != "" {
		c["email"], c["email_verified"] = u.Email, true
	}
	if u.Groups != nil {
		c["groups"] = u.Groups
	}
	if u.Roles != nil {
		c["roles"] = u.Roles
		c["realm_access"] = map[string]any{"roles": u.Roles}
		c["resource_access"] = map[string]any{"account": map[string]any{"roles": u.Roles}}
	}
	overlay(c, u.Claims)
	return c
}

// idTokenParts are what an ID token is bound to; empty ones are left out.
type idTokenParts struct{ nonce, code, access string }

// newIDToken makes an ID token of a grant (OpenID Connect Core section 2).
func (p *Provider) newIDToken(g *grant, endpoint string, parts idTokenParts) (string, error) {
	now := p.now()
	c := map[string]any{
		"iss": p.Issuer(), "sub": g.subject(), "aud": g.client.ID, "azp": g.client.ID, "jti": random(), "typ": "ID",
		"exp": now.Add(seconds(g.client.IDTokenSeconds, 300)).Unix(), "iat": now.Unix(),
	}
	maps.Copy(c, g.user.claims(g.scopes))
	if g.sid != "" {
		c["sid"] = g.sid
	}
	if !g.authTime.IsZero() {
		c["auth_time"] = g.authTime.Unix()
	}
	if g.acr != "" {
		c["acr"] = g.acr
	}
	if parts.nonce != "" {
		c["nonce"] = parts.nonce
	}
	d := p.draft(g.client, TokenID, c)
	d.parts = parts
	d.bind()
	if err := p.forge(d, endpoint, g.client.ID, TokenID); err != nil {
		return "", err
	}
	return d.sign()
}

// draft starts a token of a client in the client's algorithm.
func (p *Provider) draft(c *Client, token string, claims map[string]any) *draft {
	alg := c.SigningAlg
	typ := "JWT"
	switch token {
	case TokenAccess:
		typ = "at+jwt"
		if c.PlainTyp {
			typ = "JWT"
		}
	case TokenLogout:
		typ = "logout+jwt"
	case TokenIntrospection:
		typ = "token-introspection+jwt"
	}
	if alg == HS256 {
		if token == TokenID {
			return &draft{header: map[string]any{"alg": HS256, "typ": typ}, claims: claims, alg: HS256, secret: []byte(c.Secret)}
		}
		alg = RS256
	}
	k := p.keys.get(alg)
	return &draft{header: map[string]any{"alg": alg, "typ": typ, "kid": k.kid}, claims: claims, alg: alg, key: k.signer}
}

// TokenRequest describes a JWT to mint. Nothing of it is checked: it is for
// tokens that a correct provider would not issue.
type TokenRequest struct {
	// Kind is access_token (if empty), id_token or logout_token.
	Kind string `json:"kind,omitempty"`
	// Client and User name registered ones; kong and alex if empty. User "-"
	// makes a token of the client itself.
	Client string   `json:"client,omitempty"`
	User   string   `json:"user,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// Seconds is the lifetime; the client's if zero.
	Seconds int `json:"seconds,omitempty"`
	// Faults are applied in order; then Claims and Header are laid over it.
	Faults []string       `json:"faults,omitempty"`
	Claims map[string]any `json:"claims,omitempty"`
	Header map[string]any `json:"header,omitempty"`
	// Alg signs with that algorithm's current key.
	Alg string `json:"alg,omitempty"`
}

// Mint makes one JWT. A minted access token is known to introspection and
// userinfo as one of its grant, whatever the JWT says.
func (p *Provider) Mint(q TokenRequest) (string, error) {
	if q.Client == "" {
		q.Client = "kong"
	}
	if q.User == "" {
		q.User = "alex"
	}
	c := p.client(q.Client)
	if c == nil {
		return "", refuse("invalid_request", "minting a token: no client "+q.Client+" is registered")
	}
	var u *User
	if q.User != "-" {
		if u = p.user(q.User); u == nil {
			return "", refuse("invalid_request", "minting a token: no user "+q.User+" is registered")
		}
	}
	if q.Scopes == nil {
		q.Scopes = []string{"openid"}
	}
	own := *c
	if q.Alg != "" {
		own.SigningAlg = q.Alg
		if err := own.prepare(); err != nil {
			return "", err
		}
	}
	g := newGrant(c, u, q.Scopes)
	if u != nil {
		g.sid, g.authTime = random(), p.now()
	}
	d, expires, err := p.mintDraft(q, g, &own)
	if err != nil {
		return "", err
	}
	claims := maps.Clone(d.claims)
	for _, name := range q.Faults {
		if catalogue[name].group != groupToken {
			return "", refuse("invalid_request", "minting a token: "+name+" is no fault of tokens")
		}
		if err := p.distort(d, Fault{Name: name}, c.ID); err != nil {
			return "", err
		}
	}
	overlay(d.claims, q.Claims)
	overlay(d.header, q.Header)
	value, err := d.sign()
	if err != nil || q.Kind == TokenID || q.Kind == TokenLogout {
		return value, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.drop(p.now())
	p.state.access[value] = &accessToken{grant: g, claims: claims, issued: p.now(), expires: expires}
	return value, nil
}

func (p *Provider) mintDraft(q TokenRequest, g *grant, c *Client) (*draft, time.Time, error) {
	now := p.now()
	life := seconds(q.Seconds, int(seconds(c.AccessTokenSeconds, 300)/time.Second))
	expires := now.Add(life)
	switch q.Kind {
	case "", TokenAccess:
		return p.draft(c, TokenAccess, p.accessClaims(g, g.scopes, now, expires)), expires, nil
	case TokenID:
		if g.user == nil {
			return nil, expires, refuse("invalid_request", "minting a token: an ID token needs a user")
		}
		claims := map[string]any{"iss": p.Issuer(), "sub": g.subject(), "aud": c.ID, "azp": c.ID, "jti": random(),
			"exp": expires.Unix(), "iat": now.Unix(), "auth_time": now.Unix(), "sid": g.sid}
		maps.Copy(claims, g.user.claims(g.scopes))
		return p.draft(c, TokenID, claims), expires, nil
	case TokenLogout:
		return p.draft(c, TokenLogout, p.logoutClaims(c, g.subject(), g.sid)), expires, nil
	}
	return nil, expires, refuse("invalid_request", "minting a token: kind must be access_token, id_token or logout_token")
}

// logoutClaims are those of a logout token (OpenID Connect Back-Channel Logout
// section 2.4).
func (p *Provider) logoutClaims(c *Client, sub, sid string) map[string]any {
	now := p.now()
	return map[string]any{
		"iss": p.Issuer(), "sub": sub, "sid": sid, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": random(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": json.RawMessage("{}")},
	}
}
