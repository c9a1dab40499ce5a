package provider

import (
	"net/http"
	"net/url"
	"time"
)

// requestURIPrefix begins what stands for a request that was pushed.
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

const pushedTTL = 60 * time.Second

// pushed is an authorization request that came by the back channel (RFC 9126).
type pushed struct {
	client  string
	form    url.Values
	jkt     string
	expires time.Time
}

// push is the pushed authorization request endpoint (RFC 9126 section 2).
func (p *Provider) push(w http.ResponseWriter, x *exchange) {
	c, fail := p.authenticate(x)
	if fail != nil {
		p.refuseClient(w, x, fail)
		return
	}
	jkt, fail := p.proof(w, x, c.ID, "")
	if fail != nil {
		writeError(w, *fail)
		return
	}
	if x.body.Get("request_uri") != "" || x.body.Get("client_id") != "" && x.body.Get("client_id") != c.ID {
		writeError(w, refuse("invalid_request", "request_uri, or the client_id of another client"))
		return
	}
	form := cloneValues(x.body)
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(name)
	}
	form.Set("client_id", c.ID)
	id := requestURIPrefix + random()
	p.mu.Lock()
	p.state.drop(p.now())
	p.state.pushed[id] = &pushed{c.ID, form, jkt, p.now().Add(pushedTTL)}
	p.mu.Unlock()
	writeJSON(w, http.StatusCreated, map[string]any{"request_uri": id, "expires_in": int(pushedTTL / time.Second)})
}

// unpush puts the pushed arguments in place of those in the browser's address;
// false where they are unknown, used, or another client's.
func (p *Provider) unpush(x *exchange) bool {
	id := x.form.Get("request_uri")
	if id == "" {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.state.pushed[id]
	if got == nil || got.client != x.form.Get("client_id") || !p.now().Before(got.expires) {
		return false
	}
	delete(p.state.pushed, id)
	x.form = got.form
	if got.jkt != "" {
		x.form.Set("dpop_jkt", got.jkt)
	}
	return true
}
