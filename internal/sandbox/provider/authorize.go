package provider

import (
	"crypto/sha256"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorization is a valid authorization request (RFC 6749 section 4.1.1,
// OpenID Connect Core section 3.1.2.1).
type authorization struct {
	client      *Client
	redirectURI string
	response    []string // the words of response_type
	mode        string
	jarm        bool   // the response is a JWT
	jkt         string // dpop_jkt
	state       string
	nonce       string
	scopes      []string
	audience    []string
	challenge   string
	method      string
	prompt      []string
	maxAge      int // -1 if absent
	acr         string
	hint        string
}

// authorize is the authorization endpoint. Until client and redirect URI are
// known to be good, errors are shown here; afterwards they are redirected.
func (p *Provider) authorize(w http.ResponseWriter, x *exchange) {
	if !p.unpush(x) {
		p.page(w, http.StatusBadRequest, "message", message{"The request is not known", "The request_uri is unknown, used, or of another application."})
		return
	}
	req := authorization{maxAge: -1, redirectURI: x.form.Get("redirect_uri"), state: x.form.Get("state")}
	for name, values := range x.form {
		if len(values) > 1 && name != "audience" && name != "resource" {
			p.page(w, http.StatusBadRequest, "message", message{"The request is wrong", "The argument " + name + " stands more than once."})
			return
		}
	}
	if req.client = p.client(x.form.Get("client_id")); req.client == nil {
		p.page(w, http.StatusBadRequest, "message", message{"Unknown application", "No client of that client_id is registered here."})
		return
	}
	if !req.client.allowsRedirect(req.client.RedirectURIs, req.redirectURI) {
		p.page(w, http.StatusBadRequest, "message", message{"The return address is not allowed", "The redirect_uri is not registered for this application."})
		return
	}
	if e := req.read(x.form); e != nil {
		p.respond(w, &req, errorParams(e))
		return
	}
	if f, ok := p.faults.one(EndpointAuthorization, req.client.ID, "authorization-error"); ok {
		e := refuse(f.valueOr("access_denied"), "injected by the sandbox <script>alert(1)</script>")
		p.respond(w, &req, errorParams(&e))
		return
	}
	if l := p.loginOf(x.r); l != nil && !req.wantsLogin(l, p.now()) {
		p.consent(w, &req, l)
		return
	}
	if slices.Contains(req.prompt, "none") {
		e := refuse("login_required", "nobody is logged in")
		p.respond(w, &req, errorParams(&e))
		return
	}
	id := random()
	p.mu.Lock()
	p.state.drop(p.now())
	p.state.pending[id] = &pending{request: req, expires: p.now().Add(pageTTL)}
	p.mu.Unlock()
	p.page(w, http.StatusOK, "login", loginPage{Action: p.Issuer() + "/login", Client: req.client.Name, Login: id, Username: req.hint})
}

func (q *authorization) read(form url.Values) *oauthError {
	fail := func(code, description string) *oauthError {
		e := refuse(code, description)
		return &e
	}
	q.response = strings.Fields(form.Get("response_type"))
	slices.Sort(q.response)
	q.mode, q.jarm = strings.CutSuffix(form.Get("response_mode"), ".jwt")
	if q.mode == "jwt" {
		q.mode, q.jarm = "", true
	}
	q.jkt = form.Get("dpop_jkt")
	hybrid := len(q.response) > 1
	if q.mode == "" {
		q.mode = "query"
		if hybrid {
			q.mode = "fragment"
		}
	}
	if !slices.Contains([]string{"query", "fragment", "form_post"}, q.mode) {
		q.mode = "query"
		return fail("invalid_request", "response_mode is not supported")
	}
	if !slices.Contains(q.response, "code") || slices.ContainsFunc(q.response, func(s string) bool {
		return s != "code" && s != "id_token" && s != "token"
	}) {
		return fail("unsupported_response_type", "response_type must contain code")
	}
	if hybrid && q.mode == "query" && !q.jarm {
		return fail("invalid_request", "tokens are not returned in the query")
	}
	q.scopes = strings.Fields(form.Get("scope"))
	if e := q.client.checkScopes(q.scopes); e != nil {
		return e
	}
	if !slices.Contains(q.client.Grants, GrantCode) {
		return fail("unauthorized_client", "the client may not use this grant")
	}
	q.nonce = form.Get("nonce")
	if slices.Contains(q.response, "id_token") && q.nonce == "" {
		return fail("invalid_request", "nonce is required")
	}
	q.challenge, q.method = form.Get("code_challenge"), form.Get("code_challenge_method")
	if q.challenge != "" && q.method == "" {
		q.method = "plain"
	}
	switch {
	case q.challenge == "" && (q.client.RequirePKCE || q.client.public()):
		return fail("invalid_request", "code_challenge is required")
	case q.challenge != "" && q.method != "S256" && q.method != "plain":
		return fail("invalid_request", "code_challenge_method is not supported")
	case q.challenge != "" && (len(q.challenge) < 43 || len(q.challenge) > 128):
		return fail("invalid_request", "code_challenge has a wrong length")
	}
	q.prompt = strings.Fields(form.Get("prompt"))
	if slices.Contains(q.prompt, "none") && len(q.prompt) > 1 {
		return fail("invalid_request", "prompt=none stands alone")
	}
	if s := form.Get("max_age"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fail("invalid_request", "max_age is no number")
		}
		q.maxAge = n
	}
	if acr := strings.Fields(form.Get("acr_values")); len(acr) > 0 {
		q.acr = acr[0]
	}
	q.audience = slices.Concat(form["audience"], form["resource"])
	q.hint = form.Get("login_hint")
	return nil
}

// wantsLogin says whether the browser's login does not suffice.
func (q *authorization) wantsLogin(l *login, now time.Time) bool {
	if slices.Contains(q.prompt, "login") || slices.Contains(q.prompt, "select_account") {
		return true
	}
	return q.maxAge >= 0 && now.Sub(l.at) > time.Duration(q.maxAge)*time.Second
}

// consent issues the code: the user is logged in, and this provider asks for no
// further consent.
func (p *Provider) consent(w http.ResponseWriter, q *authorization, l *login) {
	g := newGrant(q.client, l.user, q.scopes)
	g.audience = append(g.audience, q.audience...)
	g.sid, g.nonce, g.acr, g.authTime = l.sid, q.nonce, q.acr, l.at
	value := random()
	now := p.now()
	p.mu.Lock()
	p.state.drop(now)
	p.state.codes[value] = &code{
		grant: g, redirectURI: q.redirectURI, challenge: q.challenge, method: q.method,
		expires: now.Add(seconds(q.client.CodeSeconds, 60)), hybrid: len(q.response) > 1, jkt: q.jkt,
	}
	l.clients[q.client.ID] = true
	p.mu.Unlock()

	params := url.Values{"code": {value}}
	var access string
	if slices.Contains(q.response, "token") {
		var err error
		if access, err = p.newAccessToken(g, g.scopes, EndpointAuthorization); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		params.Set("access_token", access)
		params.Set("token_type", "Bearer")
		params.Set("expires_in", strconv.Itoa(int(seconds(q.client.AccessTokenSeconds, 300)/time.Second)))
	}
	if slices.Contains(q.response, "id_token") {
		id, err := p.newIDToken(g, EndpointAuthorization, idTokenParts{nonce: g.nonce, code: value, access: access})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		params.Set("id_token", id)
	}
	p.respond(w, q, params)
}

func errorParams(e *oauthError) url.Values {
	return url.Values{"error": {e.code}, "error_description": {e.description}}
}

// respond sends the answer to the client by the response mode (OAuth 2.0
// Multiple Response Types, Form Post Response Mode, RFC 9207).
func (p *Provider) respond(w http.ResponseWriter, q *authorization, params url.Values) {
	if q.state != "" {
		params.Set("state", q.state)
	}
	params.Set("iss", p.Issuer())
	p.distortResponse(q.client.ID, params)
	if q.jarm {
		signed, err := p.jarm(q.client, params)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		params = url.Values{"response": {signed}}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if q.mode == "form_post" {
		var fields []field
		for _, name := range slices.Sorted(maps.Keys(params)) {
			for _, v := range params[name] {
				fields = append(fields, field{name, v})
			}
		}
		p.page(w, http.StatusOK, "formpost", formPost{Action: q.redirectURI, Client: q.client.Name, Fields: fields})
		return
	}
	u, err := url.Parse(q.redirectURI)
	if err != nil {
		http.Error(w, "provider: the redirect_uri cannot be read", http.StatusBadRequest)
		return
	}
	location := u.String()
	switch {
	case q.mode == "fragment":
		location += "#" + params.Encode()
	case u.RawQuery != "":
		location += "&" + params.Encode()
	default:
		location += "?" + params.Encode()
	}
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// jarm makes the response a JWT (JARM section 2.1).
func (p *Provider) jarm(c *Client, params url.Values) (string, error) {
	claims := map[string]any{"exp": p.now().Add(10 * time.Minute).Unix(), "aud": c.ID}
	for name := range params {
		claims[name] = params.Get(name)
	}
	d := p.draft(c, TokenResponse, claims)
	if err := p.forge(d, EndpointAuthorization, c.ID, TokenResponse); err != nil {
		return "", err
	}
	return d.sign()
}

func (p *Provider) distortResponse(client string, params url.Values) {
	take := func(name string) (Fault, bool) { return p.faults.one(EndpointAuthorization, client, name) }
	if f, ok := take("authorization-iss-wrong"); ok {
		params.Set("iss", f.valueOr(otherIssuer))
	}
	if _, ok := take("authorization-iss-missing"); ok {
		params.Del("iss")
	}
	if _, ok := take("authorization-state-wrong"); ok {
		params.Set("state", random())
	}
	if _, ok := take("authorization-state-missing"); ok {
		params.Del("state")
	}
	if f, ok := take("authorization-code-wrong"); ok {
		params.Set("code", f.valueOr(random()))
	}
	if _, ok := take("authorization-code-missing"); ok {
		params.Del("code")
	}
	if _, ok := take("authorization-code-twice"); ok {
		params.Add("code", random())
	}
}

func (c *Client) checkScopes(scopes []string) *oauthError {
	for _, s := range scopes {
		if c.Scopes != nil && !slices.Contains(c.Scopes, s) {
			e := refuse("invalid_scope", "the client may not ask for that scope")
			return &e
		}
	}
	return nil
}

// proves says whether a verifier fits the challenge (RFC 7636 section 4.6).
func (c *code) proves(verifier string) bool {
	switch c.method {
	case "":
		return verifier == ""
	case "plain":
		return same(c.challenge, verifier)
	}
	sum := sha256.Sum256([]byte(verifier))
	return same(c.challenge, b64(sum[:]))
}
