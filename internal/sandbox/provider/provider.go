package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxForm bounds every request body.
const maxForm = 1 << 20

// Provider is the OpenID Provider, an http.Handler. Safe for concurrent use.
type Provider struct {
	issuer   atomic.Pointer[url.URL]
	offset   atomic.Int64
	clock    func() time.Time
	sleep    func(context.Context, time.Duration) error
	metadata map[string]any
	remote   bool

	keys    *Keys
	faults  Faults
	records records
	mux     *http.ServeMux
	fetcher *http.Client // client key sets, logout tokens

	mu      sync.Mutex
	clients map[string]*Client
	users   map[string]*User
	state   state
	notices []Notice
}

// New makes a provider. It returns an error that names the client or user that
// is wrong.
func New(o Options) (*Provider, error) {
	p := &Provider{
		clock: o.Now, sleep: o.Sleep, metadata: o.Metadata, remote: o.AllowRemote, keys: o.Keys,
		clients: map[string]*Client{}, users: map[string]*User{}, state: newState(),
		fetcher: &http.Client{Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	if p.sleep == nil {
		p.sleep = sleep
	}
	if p.keys == nil {
		keys, err := NewKeys()
		if err != nil {
			return nil, err
		}
		p.keys = keys
	}
	if o.Issuer != "" {
		if err := p.SetIssuer(o.Issuer); err != nil {
			return nil, err
		}
	}
	if o.Clients == nil {
		o.Clients = DefaultClients()
	}
	for _, c := range o.Clients {
		if err := p.SetClient(c); err != nil {
			return nil, err
		}
	}
	if o.Users == nil {
		o.Users = DefaultUsers()
	}
	for _, u := range o.Users {
		if err := p.SetUser(u); err != nil {
			return nil, err
		}
	}
	p.routes()
	return p, nil
}

// SetIssuer sets the issuer URL, once the listener's address is known. A
// trailing slash is dropped.
func (p *Provider) SetIssuer(issuer string) error {
	u, err := url.Parse(strings.TrimSuffix(issuer, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("provider: setting the issuer: %q is no http(s) URL without query and fragment", issuer)
	}
	p.issuer.Store(u)
	return nil
}

// Issuer is the issuer URL without a trailing slash; "" before it is set.
func (p *Provider) Issuer() string {
	if u := p.issuer.Load(); u != nil {
		return u.String()
	}
	return ""
}

// Faults are the faults in force.
func (p *Provider) Faults() *Faults { return &p.faults }

// Keys are the signing keys.
func (p *Provider) Keys() *Keys { return p.keys }

// SetClient registers a client, or replaces the one of the same id.
func (p *Provider) SetClient(c Client) error {
	if err := c.prepare(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.ID] = &c
	return nil
}

// SetUser registers an account, or replaces the one of the same name.
func (p *Provider) SetUser(u User) error {
	if err := u.prepare(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[u.Username] = &u
	return nil
}

// SetClockOffset moves the provider's clock against the injected one.
func (p *Provider) SetClockOffset(d time.Duration) { p.offset.Store(int64(d)) }

func (p *Provider) now() time.Time { return p.clock().Add(time.Duration(p.offset.Load())) }

func (p *Provider) client(id string) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clients[id]
}

func (p *Provider) user(name string) *User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users[name]
}

// routes are relative to the issuer's path.
func (p *Provider) routes() {
	p.mux = http.NewServeMux()
	handle := func(pattern, endpoint string, h func(http.ResponseWriter, *exchange)) {
		p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, endpoint, h) })
	}
	handle("GET /.well-known/openid-configuration", EndpointDiscovery, p.discovery)
	handle("GET /.well-known/oauth-authorization-server", EndpointDiscovery, p.discovery)
	handle("GET /jwks", EndpointJWKS, p.jwks)
	handle("GET /authorize", EndpointAuthorization, p.authorize)
	handle("POST /authorize", EndpointAuthorization, p.authorize)
	handle("POST /par", EndpointPush, p.push)
	handle("POST /login", EndpointLogin, p.login)
	handle("POST /token", EndpointToken, p.token)
	handle("POST /introspect", EndpointIntrospection, p.introspect)
	handle("POST /revoke", EndpointRevocation, p.revoke)
	handle("GET /userinfo", EndpointUserinfo, p.userinfo)
	handle("POST /userinfo", EndpointUserinfo, p.userinfo)
	handle("GET /logout", EndpointEndSession, p.endSession)
	handle("POST /logout", EndpointEndSession, p.endSession)
	handle("/sandbox/elsewhere", EndpointElsewhere, func(w http.ResponseWriter, _ *exchange) {
		writeJSON(w, http.StatusOK, p.elsewhere())
	})
	p.mux.HandleFunc("GET /{$}", p.index)
	p.control()
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	issuer := p.issuer.Load()
	if issuer == nil {
		http.Error(w, "provider: no issuer is set yet", http.StatusServiceUnavailable)
		return
	}
	if path := issuer.Path; path != "" {
		// RFC 8414 section 3 puts the issuer's path behind the well-known one.
		if r.URL.Path == "/.well-known/oauth-authorization-server"+path {
			r = withPath(r, "/.well-known/oauth-authorization-server")
		} else if rest, ok := strings.CutPrefix(r.URL.Path, path); ok && (rest == "" || rest[0] == '/') {
			r = withPath(r, "/"+strings.TrimPrefix(rest, "/"))
		} else if !strings.HasPrefix(r.URL.Path, "/sandbox/") {
			http.NotFound(w, r)
			return
		}
	}
	p.mux.ServeHTTP(w, r)
}

func withPath(r *http.Request, path string) *http.Request {
	c := *r
	u := *r.URL
	u.Path, u.RawPath = path, ""
	c.URL = &u
	return &c
}

// exchange is one request to a protocol endpoint: parsed once, for every
// handler alike.
type exchange struct {
	r        *http.Request
	endpoint string
	form     url.Values // query and body
	body     url.Values // body alone
	claimed  claimed    // how the client says that it is, unverified
	jkt      string     // thumbprint of the DPoP proof's key, verified
}

// serve runs the steps that every endpoint shares: parse, record, misbehave, answer.
func (p *Provider) serve(w http.ResponseWriter, r *http.Request, endpoint string, h func(http.ResponseWriter, *exchange)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		writeError(w, oauthError{status, "invalid_request", "the arguments cannot be read"})
		return
	}
	// What is left of a body that is no form: the server notices that a caller has
	// gone only after the body has been read.
	io.Copy(io.Discard, r.Body)
	x := &exchange{r: r, endpoint: endpoint, form: r.Form, body: r.PostForm}
	x.claimed = p.claimedBy(x)
	rec := p.records.begin(Record{
		Time: p.now(), Endpoint: endpoint, Method: r.Method, Client: x.claimed.id, AuthMethod: x.claimed.method,
		GrantType: x.body.Get("grant_type"), Header: r.Header.Clone(), Form: cloneValues(r.Form),
	})
	sw := &statusWriter{ResponseWriter: w}
	defer func() { p.records.end(rec, sw.status) }()
	out, after, done := p.misbehave(sw, r, endpoint, x.claimed.id)
	if done {
		return
	}
	h(out, x)
	after()
}

func cloneValues(v url.Values) url.Values {
	out := make(url.Values, len(v))
	for name, values := range v {
		out[name] = append([]string(nil), values...)
	}
	return out
}
