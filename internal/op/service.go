package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// service is an endpoint at which the client authenticates.
type service struct {
	name string
	// plain is its address; alias that for connections with a client
	// certificate (RFC 8705 section 5).
	plain, alias func(*Endpoints) string
	// configuredWins says that a configured plain address goes before a
	// discovered alias: there is no parameter for the alias.
	configuredWins bool
	// methods are what the provider advertises for client authentication.
	methods func(*Metadata) []string
}

var (
	tokenService = service{
		name: "token endpoint", plain: func(e *Endpoints) string { return e.Token }, alias: func(e *Endpoints) string { return e.MTLSToken },
		methods: func(m *Metadata) []string { return m.TokenAuthMethods },
	}
	introspectionService = service{
		name: "introspection endpoint", plain: func(e *Endpoints) string { return e.Introspection }, alias: func(e *Endpoints) string { return e.MTLSIntrospection },
		methods: func(m *Metadata) []string { return either(m.IntrospectionAuthMethods, m.TokenAuthMethods) },
	}
	revocationService = service{
		name: "revocation endpoint", plain: func(e *Endpoints) string { return e.Revocation }, alias: func(e *Endpoints) string { return e.MTLSRevocation },
		methods: func(m *Metadata) []string { return either(m.RevocationAuthMethods, m.TokenAuthMethods) },
	}
	// RFC 9126 section 5 has no list of its own: that of the token endpoint holds.
	pushService = service{
		name: "pushed authorization request endpoint", plain: func(e *Endpoints) string { return e.PushedAuthorization },
		alias: func(e *Endpoints) string { return e.MTLSPushedAuthorization }, configuredWins: true,
		methods: func(m *Metadata) []string { return m.TokenAuthMethods },
	}
)

// either returns the endpoint's own list, where the provider has one.
func either(own, general []string) []string {
	if own != nil {
		return own
	}
	return general
}

// address returns where s is called by a client that authenticates with method.
func (p *Provider) address(ctx context.Context, s service, method clientauth.Method) (string, error) {
	if !method.UsesCertificate() {
		return p.endpoint(ctx, s.name, s.plain)
	}
	address := s.alias(&p.config.Endpoints)
	if address == "" && s.configuredWins {
		address = s.plain(&p.config.Endpoints)
	}
	if address == "" {
		// Without metadata the ordinary address is tried, which may be configured.
		if m, err := p.Metadata(ctx); err == nil {
			address = s.alias(&m.Endpoints)
		}
	}
	if address == "" {
		var err error
		if address, err = p.endpoint(ctx, s.name, s.plain); err != nil {
			return "", err
		}
	}
	if !isHTTPS(address) {
		return "", &Error{Call: s.name, Kind: Misconfigured, Host: hostOf(address), Err: errors.New("client authentication by certificate needs an https address")}
	}
	return address, nil
}

// postRequest is a form sent with the client's proof.
type postRequest struct {
	client        *clientauth.Client
	auth          clientauth.Method
	form          url.Values
	args, headers []Field
	// bare requests hold the caller's own proof in their form: nothing of ours
	// goes with them.
	bare bool
	dpop *token.DPoPSigner // nil for none
}

// fields returns the form as it stands without a proof of the client.
func (r *postRequest) fields() url.Values {
	form := url.Values{}
	for k, v := range r.form {
		form[k] = v
	}
	for _, f := range r.args {
		form[f.Name] = nil
	}
	for _, f := range r.args {
		form.Add(f.Name, f.Value.Reveal())
	}
	return form
}

// post sends a form with the client's proof to a service. It returns the host
// for messages.
func (p *Provider) post(ctx context.Context, s service, r postRequest) (*answer, string, error) {
	method := clientauth.None
	if !r.bare {
		var advertised []string
		// What is discovered matters only where nothing is configured; a provider
		// whose endpoint is configured need not be discoverable.
		if r.client.NeedsChoice(r.auth) {
			if m, err := p.Metadata(ctx); err == nil {
				advertised = s.methods(m)
			}
		}
		method = r.client.Choose(r.auth, advertised)
	}
	address, err := p.address(ctx, s, method)
	if err != nil {
		return nil, "", err
	}
	host := hostOf(address)
	connections := p.client
	if method.UsesCertificate() {
		if connections, err = p.mtls.client(ctx); err != nil {
			kind := Unavailable
			if errors.Is(err, errNoCertificate) {
				kind = Misconfigured
			}
			return nil, host, &Error{Call: s.name, Kind: kind, Host: host, Err: err}
		}
	}
	send := func(audience string) (*answer, error) {
		return p.withDPoP(r.dpop, http.MethodPost, address, "", func(proof http.Header) (*answer, error) {
			// Anew for each attempt: an assertion is good for one.
			form, header := r.fields(), proof
			if !r.bare {
				if err := r.client.Authenticate(method, clientauth.Call{Endpoint: audience, Form: form, Header: header, Now: p.env.Now()}); err != nil {
					return nil, &Error{Call: s.name, Kind: Misconfigured, Host: host, Err: err}
				}
			}
			setHeaders(header, r.headers)
			return connections.do(ctx, call{name: s.name, method: http.MethodPost, url: address, header: header, form: form})
		})
	}
	var a *answer
	if method.UsesAssertion() {
		a, err = p.tryAudiences(ctx, s, method, address, send)
	} else {
		a, err = send(address)
	}
	return a, host, err
}

// tryAudiences sends a request whose assertion has the audience that the service
// is known to take, and where it refuses that, each of the others in turn. The
// one that it takes is remembered.
func (p *Provider) tryAudiences(ctx context.Context, s service, method clientauth.Method, address string, send func(audience string) (*answer, error)) (*answer, error) {
	first := p.audience(ctx, s, method, address)
	a, err := send(first)
	if err != nil || !a.refusesClient() {
		return a, err
	}
	for kind := range audienceKinds {
		other := p.audienceOf(ctx, kind, method, address)
		if other == "" || other == first || kind == tokenAudience && other == address {
			continue
		}
		if a, err = send(other); err != nil || !a.refusesClient() {
			if err == nil && a.status < http.StatusInternalServerError {
				p.learned.Store(s.name, kind)
				p.learned.Store("", kind)
			}
			break
		}
	}
	return a, err
}

// audienceKind is what the audience of an assertion is.
type audienceKind int

// The kinds, in the order in which they are tried. RFC 7523 section 3 names the
// token endpoint, and some providers know no other; FAPI 2.0 (section 5.3.2.1)
// lets them take nothing but the issuer.
const (
	endpointAudience audienceKind = iota
	tokenAudience
	issuerAudience
	audienceKinds
)

// audience returns what a service is tried with first: what it has taken, or
// else what another of the provider's has taken at last, or else its address.
func (p *Provider) audience(ctx context.Context, s service, method clientauth.Method, address string) string {
	for _, name := range []string{s.name, ""} {
		if v, ok := p.learned.Load(name); ok {
			if kind, ok := v.(audienceKind); ok {
				if audience := p.audienceOf(ctx, kind, method, address); audience != "" {
					return audience
				}
			}
		}
	}
	return address
}

// audienceOf returns the audience of a kind; "" where there is none. An
// assertion for one host goes to no other.
func (p *Provider) audienceOf(ctx context.Context, kind audienceKind, method clientauth.Method, address string) string {
	audience := address
	switch kind {
	case tokenAudience:
		audience, _ = p.address(ctx, tokenService, method)
	case issuerAudience:
		if m, err := p.Metadata(ctx); err == nil {
			audience = m.Issuer
		} else {
			audience = ""
		}
	}
	if audience != "" && hostOf(audience) != hostOf(address) {
		return ""
	}
	return audience
}

// refusesClient reports whether the answer refuses the client's proof: it is
// invalid_client (RFC 6749 section 5.2), or, as Keycloak has it under its FAPI
// profiles, an invalid_request that complains of the assertion's audience.
func (a *answer) refusesClient() bool {
	if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized {
		return false
	}
	o, err := a.object()
	if err != nil {
		return false
	}
	code := stringOf(o, "error")
	return code == "invalid_client" || code == "invalid_request" && strings.Contains(stringOf(o, "error_description"), "audience in client assertion")
}
