package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// token is the token endpoint (RFC 6749 section 3.2). Every grant is a function
// that finds or makes a grant; what follows is the same for all.
func (p *Provider) token(w http.ResponseWriter, x *exchange) {
	c, fail := p.authenticate(x)
	if fail != nil {
		p.refuseClient(w, x, fail)
		return
	}
	kind := x.body.Get("grant_type")
	grants := map[string]func(*exchange, *Client) (issue, *oauthError){
		GrantCode: p.codeGrant, GrantPassword: p.passwordGrant, GrantCredentials: p.credentialsGrant, GrantRefresh: p.refreshGrant,
		GrantExchange: p.exchangeGrant,
	}
	find, ok := grants[kind]
	if !ok {
		writeError(w, refuse("unsupported_grant_type", "grant_type is missing or not supported"))
		return
	}
	if !slices.Contains(c.Grants, kind) {
		writeError(w, refuse("unauthorized_client", "the client may not use this grant"))
		return
	}
	for name, values := range x.body {
		if len(values) > 1 && name != "audience" && name != "resource" {
			writeError(w, refuse("invalid_request", "the argument "+name+" stands more than once"))
			return
		}
	}
	if p.faults.has(EndpointToken, c.ID, "rotate-just-before-signing") {
		if err := p.keys.Rotate(false); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	jkt, fail := p.proof(w, x, c.ID, "")
	if fail == nil && jkt == "" && c.DPoP {
		e := refuse("invalid_dpop_proof", "the client's tokens are bound to a DPoP key, and there is no proof")
		fail = &e
	}
	if fail != nil {
		writeError(w, *fail)
		return
	}
	x.jkt = jkt
	what, fail := find(x, c)
	if fail != nil {
		writeError(w, *fail)
		return
	}
	p.mu.Lock()
	what.grant.jkt = jkt
	p.mu.Unlock()
	answer, err := p.issue(what)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if p.distortAnswer(c.ID, answer) {
		writeJSON(w, http.StatusOK, []any{answer})
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Provider) refuseClient(w http.ResponseWriter, x *exchange, e *oauthError) {
	if e.status == http.StatusUnauthorized && x.claimed.method == AuthBasic {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
	}
	writeError(w, *e)
}

// issue is what a grant comes to.
type issue struct {
	grant *grant
	parts idTokenParts
	// refresh asks for a refresh token; kept is the one to hand out again.
	refresh bool
	kept    string
	// scopes, if narrower than the grant's
	scopes []string
	// kind is issued_token_type (RFC 8693 section 2.2.1), "" for other grants.
	kind string
}

func (p *Provider) issue(what issue) (map[string]any, error) {
	g, scopes := what.grant, what.grant.scopes
	if what.scopes != nil {
		scopes = what.scopes
	}
	access, err := p.newAccessToken(g, scopes, EndpointToken)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{
		"access_token": access, "token_type": g.tokenType(), "scope": strings.Join(scopes, " "),
		"expires_in": int(seconds(g.client.AccessTokenSeconds, 300) / time.Second),
	}
	if what.kind != "" {
		answer["issued_token_type"] = what.kind
	}
	if what.refresh && !g.client.NoRefreshToken && slices.Contains(g.client.Grants, GrantRefresh) {
		value := what.kept
		if value == "" {
			value = random()
			p.mu.Lock()
			p.state.refresh[value] = &refreshToken{grant: g, expires: p.now().Add(seconds(g.client.RefreshTokenSeconds, 1800))}
			p.mu.Unlock()
		}
		answer["refresh_token"] = value
		answer["refresh_expires_in"] = int(seconds(g.client.RefreshTokenSeconds, 1800) / time.Second)
	}
	if g.user != nil && slices.Contains(scopes, "openid") {
		what.parts.access = access
		id, err := p.newIDToken(g, EndpointToken, what.parts)
		if err != nil {
			return nil, err
		}
		answer["id_token"] = id
	}
	return answer, nil
}

// codeGrant is RFC 6749 section 4.1.3. A code that comes twice revokes all that
// came from it (section 4.1.2).
func (p *Provider) codeGrant(x *exchange, c *Client) (issue, *oauthError) {
	bad := func(description string) (issue, *oauthError) {
		e := refuse("invalid_grant", description)
		return issue{}, &e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	value := x.body.Get("code")
	got := p.state.codes[value]
	switch {
	case got == nil || got.grant.client.ID != c.ID:
		return bad("the code is unknown")
	case got.used:
		got.grant.revoked = true
		return bad("the code has been used before")
	case !p.now().Before(got.expires) || got.grant.revoked:
		return bad("the code has expired")
	}
	// From here on the code is spent, whatever comes out.
	got.used = true
	switch {
	case x.body.Get("redirect_uri") != got.redirectURI:
		return bad("redirect_uri differs from the one of the authorization request")
	case got.jkt != "" && got.jkt != x.jkt:
		return bad("the code is bound to another DPoP key")
	case !got.proves(x.body.Get("code_verifier")):
		return bad("code_verifier does not fit the code_challenge")
	}
	parts := idTokenParts{nonce: got.grant.nonce}
	if got.hybrid {
		parts.code = value
	}
	return issue{grant: got.grant, parts: parts, refresh: true}, nil
}

// passwordGrant is RFC 6749 section 4.3.
func (p *Provider) passwordGrant(x *exchange, c *Client) (issue, *oauthError) {
	u := p.user(x.body.Get("username"))
	if u == nil || !same(u.Password, x.body.Get("password")) {
		e := refuse("invalid_grant", "the user name or the password is wrong")
		return issue{}, &e
	}
	g, fail := requested(x, c, u)
	if fail != nil {
		return issue{}, fail
	}
	g.sid, g.authTime = random(), p.now()
	return issue{grant: g, refresh: true}, nil
}

// credentialsGrant is RFC 6749 section 4.4: confidential clients only, and no
// refresh token.
func (p *Provider) credentialsGrant(x *exchange, c *Client) (issue, *oauthError) {
	if c.public() {
		e := refuse("unauthorized_client", "a public client has no credentials")
		return issue{}, &e
	}
	g, fail := requested(x, c, nil)
	return issue{grant: g}, fail
}

func requested(x *exchange, c *Client, u *User) (*grant, *oauthError) {
	scopes := strings.Fields(x.body.Get("scope"))
	if fail := c.checkScopes(scopes); fail != nil {
		return nil, fail
	}
	g := newGrant(c, u, scopes)
	g.audience = append(g.audience, slices.Concat(x.body["audience"], x.body["resource"])...)
	return g, nil
}

// refreshGrant is RFC 6749 section 6 with the rotation of RFC 9700 section
// 4.14.2: a replaced token that comes again revokes the whole grant.
func (p *Provider) refreshGrant(x *exchange, c *Client) (issue, *oauthError) {
	bad := func(code, description string) (issue, *oauthError) {
		e := refuse(code, description)
		return issue{}, &e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	value := x.body.Get("refresh_token")
	got := p.state.refresh[value]
	switch {
	case got == nil || got.grant.client.ID != c.ID:
		return bad("invalid_grant", "the refresh token is unknown")
	case got.used:
		got.grant.revoked = true
		return bad("invalid_grant", "the refresh token has been used before: the grant is revoked")
	case c.public() && got.grant.jkt != "" && got.grant.jkt != x.jkt:
		return bad("invalid_grant", "the refresh token is bound to another DPoP key")
	case got.grant.revoked || !p.now().Before(got.expires):
		return bad("invalid_grant", "the refresh token has expired or is revoked")
	}
	got.grant.client = c // it may have been registered anew meanwhile
	out := issue{grant: got.grant, refresh: true}
	if scopes := strings.Fields(x.body.Get("scope")); len(scopes) > 0 {
		for _, s := range scopes {
			if !slices.Contains(got.grant.scopes, s) {
				return bad("invalid_scope", "the scope is wider than the one granted")
			}
		}
		out.scopes = scopes
	}
	if c.KeepRefreshToken {
		out.kept = value
		return out, nil
	}
	got.used = true
	return out, nil
}

// distortAnswer lets the faults of the token answer act; true asks for an array.
func (p *Provider) distortAnswer(client string, answer map[string]any) (array bool) {
	for _, f := range p.faults.take(func(f Fault) bool {
		return catalogue[f.Name].group == groupTokenAnswer && f.Name != "rotate-just-before-signing" && f.acts(EndpointToken, client)
	}) {
		switch f.Name {
		case "token-without-expires-in":
			delete(answer, "expires_in")
		case "expires-in-zero":
			answer["expires_in"] = 0
		case "expires-in-negative":
			answer["expires_in"] = -1
		case "expires-in-string":
			answer["expires_in"] = fmt.Sprint(answer["expires_in"])
		case "token-type-lowercase":
			answer["token_type"] = "bearer"
		case "token-type-uppercase":
			answer["token_type"] = "BEARER"
		case "token-type-unknown":
			answer["token_type"] = f.valueOr("mac")
		case "token-without-id-token":
			delete(answer, "id_token")
		case "token-without-access-token":
			delete(answer, "access_token")
		case "token-without-refresh-token":
			delete(answer, "refresh_token")
		case "token-without-token-type":
			delete(answer, "token_type")
		case "token-array":
			array = true
		}
	}
	return array
}
