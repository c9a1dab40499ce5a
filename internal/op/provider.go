package op

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/jwks"
)

// Provider is one OpenID Provider as one configuration sees it. It learns
// metadata and keys when they are first needed and keeps them for good; what
// is old is renewed in the background. It is safe for concurrent use.
type Provider struct {
	config Config
	env    Environment
	issuer string // normalised
	scope  string
	client *client
	mtls   *mtls
	nonces nonces
	state  *jwks.Kept[state]

	counter  atomic.Uint64             // the last generation that was given
	restored atomic.Pointer[sync.Once] // of what the store holds; another one after Forget
	warned   sync.Map                  // messages that were logged once
	learned  sync.Map                  // audienceKind by the service's name, and of the last under ""
}

// state is what is known of a provider. It is immutable.
type state struct {
	document claims.Object // nil: never discovered
	metadata *Metadata     // overrides applied; nil: never discovered and not pseudo
	failure  error         // why there is no metadata
	ring     *jwks.Ring
	created  time.Time
	// generation of ring. It is part of the state so that whoever reads it never
	// takes new keys for old ones.
	generation uint64
}

func newProvider(c Config, env Environment) (*Provider, error) {
	cl, err := newClient(c.HTTP, env.Roots, nil)
	if err != nil {
		return nil, err
	}
	cl.observe = env.Observe
	if !c.PseudoIssuer {
		if _, err := parseEndpoint(c.Issuer); err != nil {
			return nil, errors.New("issuer is not an absolute http or https URL: set it to the provider's issuer, or set using_pseudo_issuer")
		}
	}
	p := &Provider{config: c, env: env, issuer: NormaliseIssuer(c.Issuer), scope: c.Scope(), client: cl, mtls: &mtls{config: c.HTTP, roots: env.Roots, observe: env.Observe}}
	p.restored.Store(new(sync.Once))
	p.state = jwks.NewKept(jwks.Pace{
		Floor:  c.RediscoveryLifetime,
		Pause:  jwks.FailurePause,
		MaxAge: c.CacheTTL,
		Budget: 4 * c.HTTP.timeout(),
		Now:    env.Now,
	}, p.load)
	return p, nil
}

// Issuer returns the configured issuer, normalised.
func (p *Provider) Issuer() string { return p.issuer }

// Forget drops metadata and keys; the next use takes what another node has
// stored since, or asks the provider at once.
func (p *Provider) Forget() {
	// A restore under way ends first; the next reads what was stored since.
	p.restored.Load().Do(func() {})
	p.restored.Store(new(sync.Once))
	p.state.Forget()
	p.counter.Add(1)
}

// Generation changes whenever the trusted keys change. A verification belongs
// to the generation that was read before it began: keys that were withdrawn
// meanwhile must not live on under the next one.
func (p *Provider) Generation() uint64 {
	if s := p.state.Peek(); s != nil {
		return s.generation
	}
	return p.counter.Load()
}

// Close gives idle connections back. The provider remains usable.
func (p *Provider) Close() {
	p.client.close()
	p.mtls.close()
}

// known returns what is known, asking the provider if that is nothing.
func (p *Provider) known(ctx context.Context) (*state, error) {
	p.restored.Load().Do(func() { p.restore(ctx) })
	s, err := p.state.Get(ctx)
	if err != nil {
		return nil, p.unavailable(err)
	}
	return s, nil
}

func (p *Provider) unavailable(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Call: "discovery", Host: hostOf(p.config.Issuer), Err: err}
}

// Metadata returns what the provider says of itself, overrides applied. Where
// it was never reached, the configuration suffices if it names the token
// endpoint and the keys. Errors are *Error.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	s, err := p.known(ctx)
	if err == nil && s.metadata == nil {
		s, err = p.state.Refresh(ctx)
	}
	if err == nil && s.metadata != nil {
		return s.metadata, nil
	}
	if p.config.Endpoints.Token != "" && p.config.JWKSURI != "" {
		return Metadata{}.override(&p.config), nil
	}
	if err == nil {
		err = s.failure
	}
	return nil, p.unavailable(err)
}

// endpoint returns an address: the configured one without any call, else the
// discovered one. A provider that lacks it is asked once more.
func (p *Provider) endpoint(ctx context.Context, name string, of func(*Endpoints) string) (string, error) {
	if s := of(&p.config.Endpoints); s != "" {
		return s, nil
	}
	m, err := p.Metadata(ctx)
	if err != nil {
		return "", err
	}
	if s := of(&m.Endpoints); s != "" {
		return s, nil
	}
	if !p.config.PseudoIssuer {
		if s, err := p.state.Refresh(ctx); err == nil && s.metadata != nil {
			if address := of(&s.metadata.Endpoints); address != "" {
				return address, nil
			}
		}
	}
	return "", &Error{Call: name, Kind: Misconfigured, Host: hostOf(p.config.Issuer), Err: errors.New("its address is neither configured nor discovered")}
}

// load asks the provider for everything: metadata, then the primary keys,
// beside them the other sets. What fails stays as it was.
func (p *Provider) load(ctx context.Context, prev *state) (*state, error) {
	if prev == nil {
		prev = &state{ring: &jwks.Ring{}}
	}
	c := &p.config
	next := &state{document: prev.document, metadata: prev.metadata, created: prev.created, generation: prev.generation, ring: &jwks.Ring{}}
	ring := next.ring
	ring.Bound, ring.Loose = p.otherSources()
	var group sync.WaitGroup
	for _, sets := range [][]jwks.Fetched{ring.Bound, ring.Loose} {
		for i := range sets {
			group.Go(func() { sets[i] = p.fetchKeys(ctx, sets[i].Source, prev.ring) })
		}
	}
	var metadataErr error
	if c.PseudoIssuer {
		next.metadata = Metadata{}.override(c)
	} else if m, err := p.discover(ctx); err != nil {
		metadataErr, next.failure = err, err
	} else {
		next.document, next.metadata = m.Document, m.override(c)
	}
	primary := jwks.Source{Issuer: p.issuer, URI: c.JWKSURI}
	if primary.URI == "" && next.metadata != nil {
		primary.URI = next.metadata.JWKSURI
	}
	switch {
	case primary.URI != "":
		ring.Primary = p.fetchKeys(ctx, primary, prev.ring)
	case metadataErr != nil:
		ring.Primary = jwks.Fetched{Source: primary, Err: metadataErr}
	default:
		ring.Primary = jwks.Fetched{Source: primary, Err: jwks.ErrNoKeys}
	}
	group.Wait()
	ring.Names = namesOf(next.metadata)
	if next.created.IsZero() {
		next.created = p.env.Now()
	}
	err := errors.Join(metadataErr, failures(ring))
	if p.env.Discovered != nil {
		p.env.Discovered(err)
	}
	if err != nil {
		p.env.Log.WarnContext(ctx, "openid-connect: the provider could not be asked for everything; what is known serves on: see openid-connect doctor", "issuer", p.issuer, "error", err)
		if next.metadata == nil && !readAny(ring) {
			return nil, p.unavailable(err)
		}
	}
	if !ring.Equal(prev.ring) || next.generation == 0 {
		next.generation = p.counter.Add(1)
	}
	p.save(ctx, next)
	return next, err
}

// namesOf returns the issuer of a document.
func namesOf(m *Metadata) []string {
	if m == nil {
		return nil
	}
	return []string{m.Issuer}
}

// otherSources lists the sources of keys beside the primary one.
func (p *Provider) otherSources() (bound, loose []jwks.Fetched) {
	for _, k := range p.config.IssuerKeys {
		for _, uri := range k.URIs {
			bound = append(bound, jwks.Fetched{Source: jwks.Source{Issuer: NormaliseIssuer(k.Issuer), URI: uri}})
		}
	}
	for _, uri := range p.config.ExtraJWKSURIs {
		loose = append(loose, jwks.Fetched{Source: jwks.Source{URI: uri}})
	}
	return bound, loose
}

func failures(r *jwks.Ring) error {
	var errs []error
	if r.Primary.URI != "" {
		errs = append(errs, r.Primary.Err)
	}
	for _, sets := range [][]jwks.Fetched{r.Bound, r.Loose} {
		for i := range sets {
			errs = append(errs, sets[i].Err)
		}
	}
	return errors.Join(errs...)
}

func readAny(r *jwks.Ring) bool {
	if r.Primary.Set != nil {
		return true
	}
	for _, sets := range [][]jwks.Fetched{r.Bound, r.Loose} {
		for i := range sets {
			if sets[i].Set != nil {
				return true
			}
		}
	}
	return false
}

// discover fetches the metadata: the OpenID location first, where that is
// missing those of RFC 8414.
func (p *Provider) discover(ctx context.Context) (*Metadata, error) {
	var first error
	for _, address := range metadataURLs(p.config.Issuer) {
		a, doc, err := p.client.getObject(ctx, "discovery", address, p.config.DiscoveryHeaders)
		if err == nil {
			return p.accept(ctx, doc)
		}
		if first == nil {
			first = err
		}
		if a == nil || a.status != http.StatusNotFound {
			break
		}
	}
	return nil, first
}

// accept judges a discovery document.
func (p *Provider) accept(ctx context.Context, doc claims.Object) (*Metadata, error) {
	m := readMetadata(doc)
	if m.Issuer == "" && m.JWKSURI == "" && m.Endpoints == (Endpoints{}) {
		return nil, &Error{Call: "discovery", Host: hostOf(p.config.Issuer), Status: http.StatusOK, Err: errors.New("its answer names neither an issuer nor any endpoint")}
	}
	if p.config.VerifyParameters {
		if err := p.config.verifyParameters(m); err != nil {
			return nil, &Error{Call: "discovery", Kind: Misconfigured, Host: hostOf(p.config.Issuer), Err: fmt.Errorf("verify_parameters: %w", err)}
		}
	}
	if m.Issuer != "" && !sameIssuer(m.Issuer, p.config.Issuer) {
		p.warnOnce(ctx, "the provider's metadata is of another issuer than the configured one; tokens of that issuer are expected: set issuer to it", "configured", p.issuer, "issuer", printable(m.Issuer, 200))
	}
	return m, nil
}

// warnOnce logs a warning the first time that it occurs.
func (p *Provider) warnOnce(ctx context.Context, message string, args ...any) {
	if _, seen := p.warned.LoadOrStore(fmt.Sprint(append([]any{message}, args...)...), true); !seen {
		p.env.Log.WarnContext(ctx, "openid-connect: "+message, args...)
	}
}

// fetchKeys reads the key set of a source. If that fails the set that was read
// before from the same source stays.
func (p *Provider) fetchKeys(ctx context.Context, s jwks.Source, prev *jwks.Ring) (f jwks.Fetched) {
	var headers []Field
	if s.Issuer == p.issuer || hostOf(s.URI) == hostOf(p.config.Issuer) {
		headers = p.config.DiscoveryHeaders
	}
	f = jwks.Fetched{Source: s, Set: earlier(prev, s)}
	defer fault.Recover(&f.Err) // it may run in a goroutine of its own
	a, _, err := p.client.getObject(ctx, "key set", s.URI, headers)
	if err != nil {
		f.Err = err
		return f
	}
	set, err := jwks.Parse(a.body)
	if err != nil {
		f.Err = &Error{Call: "key set", Host: hostOf(s.URI), Status: a.status, Err: err}
		return f
	}
	f.Set = set
	if skipped := set.Skipped(); len(skipped) > 0 {
		p.warnOnce(ctx, "some keys of a provider cannot verify signatures and are left out: tokens that they sign are refused", "issuer", p.issuer, "host", hostOf(s.URI), "keys", errors.Join(skipped...).Error())
	}
	return f
}

// earlier returns the set that a ring holds for a source, nil if none.
func earlier(r *jwks.Ring, s jwks.Source) *jwks.Set {
	if r.Primary.Issuer == s.Issuer && s.Issuer != "" && r.Primary.Set != nil {
		// The provider may have moved its keys; until they are read there, the old ones serve.
		return r.Primary.Set
	}
	for _, sets := range [][]jwks.Fetched{r.Bound, r.Loose} {
		for i := range sets {
			if sets[i].Source == s {
				return sets[i].Set
			}
		}
	}
	return nil
}
