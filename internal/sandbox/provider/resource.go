package provider

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// bearer reads an access token from the header or the form (RFC 6750 section 2).
func bearer(x *exchange) string {
	scheme, value, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(value)
	}
	return x.body.Get("access_token")
}

// alive finds an access token that has neither expired nor been revoked.
func (p *Provider) alive(value string) *accessToken {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.state.access[value]
	if t == nil || t.revoked || t.grant.revoked || !p.now().Before(t.expires) {
		return nil
	}
	return t
}

// userinfo is OpenID Connect Core section 5.3.
func (p *Provider) userinfo(w http.ResponseWriter, x *exchange) {
	value, dpop := presented(x)
	if value == "" {
		bearerError(w, http.StatusUnauthorized, "")
		return
	}
	t := p.alive(value)
	if t == nil {
		bearerError(w, http.StatusUnauthorized, "invalid_token")
		return
	}
	if !p.possesses(w, x, t, value, dpop) {
		return
	}
	g := t.grant
	if g.user == nil || !strings.Contains(" "+t.claims["scope"].(string)+" ", " openid ") {
		bearerError(w, http.StatusForbidden, "insufficient_scope")
		return
	}
	c := g.user.claims(g.scopes)
	c["sub"] = g.subject()
	take := func(name string) (Fault, bool) { return p.faults.one(EndpointUserinfo, g.client.ID, name) }
	if f, ok := take("userinfo-other-sub"); ok {
		c["sub"] = f.valueOr(otherSubject)
	}
	if _, ok := take("userinfo-no-sub"); ok {
		delete(c, "sub")
	}
	if _, ok := take("userinfo-array"); ok {
		writeJSON(w, http.StatusOK, []any{c})
		return
	}
	_, bad := take("userinfo-bad-signature")
	if !bad && !g.client.SignedUserinfo {
		writeJSON(w, http.StatusOK, c)
		return
	}
	c["iss"], c["aud"] = p.Issuer(), g.client.ID
	p.writeJWT(w, g.client, TokenUserinfo, EndpointUserinfo, "application/jwt", c, bad)
}

func (p *Provider) writeJWT(w http.ResponseWriter, c *Client, token, endpoint, contentType string, claims map[string]any, bad bool) {
	d := p.draft(c, token, claims)
	if bad {
		d.finish = turnBit
	}
	if err := p.forge(d, endpoint, c.ID, token); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	signed, err := d.sign()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Write([]byte(signed))
}

// introspect is RFC 7662, and RFC 9701 when the caller accepts its JWT.
func (p *Provider) introspect(w http.ResponseWriter, x *exchange) {
	c, fail := p.authenticate(x)
	if fail != nil {
		p.refuseClient(w, x, fail)
		return
	}
	value := x.body.Get("token")
	if value == "" {
		writeError(w, refuse("invalid_request", "token is missing"))
		return
	}
	answer := map[string]any{"active": false}
	if t := p.alive(value); t != nil {
		answer = maps.Clone(t.claims)
		answer["active"], answer["token_type"] = true, t.grant.tokenType()
		if t.grant.user != nil {
			answer["username"] = t.grant.user.Username
		}
	} else if g := p.aliveRefresh(value); g != nil {
		answer = map[string]any{"active": true, "client_id": g.client.ID, "sub": g.subject(), "iss": p.Issuer(),
			"scope": strings.Join(g.scopes, " "), "token_type": "refresh_token"}
	}
	array := p.distortIntrospection(c.ID, answer)
	const media = "application/token-introspection+jwt"
	switch {
	case array:
		writeJSON(w, http.StatusOK, []any{answer})
	case strings.Contains(x.r.Header.Get("Accept"), media):
		claims := map[string]any{"iss": p.Issuer(), "aud": c.ID, "iat": p.now().Unix(), "token_introspection": answer}
		p.writeJWT(w, c, TokenIntrospection, EndpointIntrospection, media, claims, false)
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

func (p *Provider) aliveRefresh(value string) *grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.state.refresh[value]
	if t == nil || t.used || t.grant.revoked || !p.now().Before(t.expires) {
		return nil
	}
	return t.grant
}

func (p *Provider) distortIntrospection(client string, answer map[string]any) (array bool) {
	for _, f := range p.faults.take(func(f Fault) bool {
		return catalogue[f.Name].group == groupIntrospection && f.acts(EndpointIntrospection, client)
	}) {
		switch f.Name {
		case "introspection-no-active":
			delete(answer, "active")
		case "introspection-active-string":
			answer["active"] = f.valueOr("true")
		case "introspection-active-number":
			answer["active"] = 1
		case "introspection-inactive":
			clear(answer)
			answer["active"] = false
		case "introspection-wrong-iss":
			answer["iss"] = f.valueOr(otherIssuer)
		case "introspection-expired":
			answer["exp"] = p.now().Unix() - 3600
		case "introspection-array":
			array = true
		}
	}
	return array
}

// revoke is RFC 7009. Revoking a refresh token ends its whole grant.
func (p *Provider) revoke(w http.ResponseWriter, x *exchange) {
	c, fail := p.authenticate(x)
	if fail != nil {
		p.refuseClient(w, x, fail)
		return
	}
	value := x.body.Get("token")
	if value == "" {
		writeError(w, refuse("invalid_request", "token is missing"))
		return
	}
	hints := []string{"", TokenAccess, "refresh_token"}
	if !slices.Contains(hints, x.body.Get("token_type_hint")) {
		writeError(w, refuse("unsupported_token_type", "token_type_hint is not known"))
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.state.access[value]; t != nil && t.grant.client.ID == c.ID {
		t.revoked = true
	}
	if t := p.state.refresh[value]; t != nil && t.grant.client.ID == c.ID {
		t.grant.revoked = true
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}
