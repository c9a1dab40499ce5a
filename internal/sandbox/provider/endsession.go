package provider

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// endSession is RP-initiated logout (OpenID Connect RP-Initiated Logout section 2).
// A correct provider would ask the user when there is no hint; this one does not.
func (p *Provider) endSession(w http.ResponseWriter, x *exchange) {
	clientID, sid := x.form.Get("client_id"), ""
	if hint := x.form.Get("id_token_hint"); hint != "" {
		aud, s, ok := p.readHint(hint)
		if !ok || clientID != "" && clientID != aud {
			p.page(w, http.StatusBadRequest, "message", message{"The request is wrong", "The id_token_hint is not one of this provider, or of another client."})
			return
		}
		clientID, sid = aud, s
	}
	target := x.form.Get("post_logout_redirect_uri")
	if target != "" {
		c := p.client(clientID)
		if c == nil || !c.allowsRedirect(c.PostLogoutRedirectURIs, target) {
			p.page(w, http.StatusBadRequest, "message", message{"The return address is not allowed", "The post_logout_redirect_uri is not registered, or the client is unknown."})
			return
		}
	}
	frames := p.logOut(x.r, sid)
	http.SetCookie(w, p.cookie("", -1))
	if len(frames) > 0 {
		p.page(w, http.StatusOK, "logout", loggedOut{frames, withState(target, x.form.Get("state"))})
		return
	}
	if target == "" {
		p.page(w, http.StatusOK, "message", message{"You are logged out", "This window may be closed."})
		return
	}
	w.Header().Set("Location", withState(target, x.form.Get("state")))
	w.WriteHeader(http.StatusSeeOther)
}

func withState(target, state string) string {
	return withQuery(target, func(q url.Values) {
		if state != "" {
			q.Set("state", state)
		}
	})
}

func withQuery(target string, edit func(url.Values)) string {
	u, err := url.Parse(target)
	if err != nil || target == "" {
		return target
	}
	q := u.Query()
	edit(q)
	u.RawQuery = q.Encode()
	return u.String()
}

// readHint verifies an ID token of ours; that it has expired does not matter.
func (p *Provider) readHint(hint string) (client, sid string, ok bool) {
	jws, err := jose.ParseSignedCompact(hint, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA, jose.HS256})
	if err != nil {
		return "", "", false
	}
	var c struct {
		Issuer string `json:"iss"`
		Party  string `json:"azp"`
		SID    string `json:"sid"`
	}
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &c) != nil || c.Issuer != p.Issuer() {
		return "", "", false
	}
	if jws.Signatures[0].Header.Algorithm == HS256 {
		known := p.client(c.Party)
		if known == nil || known.Secret == "" {
			return "", "", false
		}
		_, err = jws.Verify([]byte(known.Secret))
		return c.Party, c.SID, err == nil
	}
	for _, k := range p.keys.published() {
		if _, err := jws.Verify(k.signer.Public()); err == nil {
			return c.Party, c.SID, true
		}
	}
	return "", "", false
}

// logOut ends the browser's login and the one of the sid, revokes what came from
// them, and tells the clients that asked for it. It returns what a page has to
// frame (OpenID Connect Front-Channel Logout section 3).
func (p *Provider) logOut(r *http.Request, sid string) (frames []string) {
	ended := map[string]*login{}
	p.mu.Lock()
	cookie, _ := r.Cookie(p.cookieName())
	for id, l := range p.state.logins {
		if cookie != nil && id == cookie.Value || sid != "" && l.sid == sid {
			delete(p.state.logins, id)
			ended[l.sid] = l
		}
	}
	p.revokeGrants(func(g *grant) bool { return g.sid != "" && (g.sid == sid || ended[g.sid] != nil) })
	type notice struct{ client, sub, sid string }
	var notices []notice
	for _, l := range ended {
		for id := range l.clients {
			notices = append(notices, notice{id, l.user.Subject, l.sid})
		}
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, n := range notices {
		wg.Go(func() { p.notify(r.Context(), n.client, n.sub, n.sid) })
	}
	wg.Wait()
	for _, n := range notices {
		if c := p.client(n.client); c != nil && c.FrontchannelLogoutURI != "" {
			frames = append(frames, withQuery(c.FrontchannelLogoutURI, func(q url.Values) {
				q.Set("iss", p.Issuer())
				q.Set("sid", n.sid)
			}))
		}
	}
	return frames
}

// Notice is a logout token that was sent, and what the client answered.
type Notice struct {
	Client, Token string
	Status        int
	Header        http.Header
	Body          string
}

// maxNotices bounds what is remembered.
const maxNotices = 200

// Notices lists the last logout tokens that were sent, oldest first.
func (p *Provider) Notices() []Notice {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.notices)
}

// notify sends a logout token (OpenID Connect Back-Channel Logout section 2.5).
// What the client answers is its own matter.
func (p *Provider) notify(ctx context.Context, client, sub, sid string) {
	c := p.client(client)
	if c == nil || c.BackchannelLogoutURI == "" {
		return
	}
	d := p.draft(c, TokenLogout, p.logoutClaims(c, sub, sid))
	if p.forge(d, EndpointEndSession, c.ID, TokenLogout) != nil {
		return
	}
	signed, err := d.sign()
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, strings.NewReader(url.Values{"logout_token": {signed}}.Encode()))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.fetcher.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxForm)) // what came of it is shown
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.notices) >= maxNotices {
		p.notices = slices.Delete(p.notices, 0, maxNotices/2)
	}
	p.notices = append(p.notices, Notice{client, signed, res.StatusCode, res.Header, string(body)})
}
