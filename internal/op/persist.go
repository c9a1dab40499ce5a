package op

import (
	"context"

	"kong-openid-connect/internal/jwks"
)

// restore begins with what the store knows of the provider. It is renewed by
// the usual rules afterwards.
func (p *Provider) restore(ctx context.Context) {
	o, err := p.env.Store.Load(ctx, p.issuer, p.scope)
	if err != nil {
		p.env.Log.WarnContext(ctx, "openid-connect: a discovery object cannot be read from the store; the provider is asked", "issuer", p.issuer, "error", err)
		return
	}
	if o == nil {
		return
	}
	if s := p.revive(ctx, o); s != nil {
		s.generation = p.counter.Add(1)
		p.state.Put(s, o.Updated)
	}
}

// revive turns a stored object into a state; nil when it is not enough for
// this configuration, which then asks the provider.
func (p *Provider) revive(ctx context.Context, o *Object) *state {
	s := &state{document: o.Configuration, created: o.Created, ring: &jwks.Ring{}}
	if p.config.PseudoIssuer {
		s.metadata = Metadata{}.override(&p.config)
	} else {
		if o.Configuration == nil {
			return nil
		}
		m, err := p.accept(ctx, o.Configuration)
		if err != nil {
			return nil
		}
		s.metadata = m.override(&p.config)
	}
	ring := s.ring
	ring.Names = namesOf(s.metadata)
	ring.Primary = jwks.Fetched{Source: jwks.Source{Issuer: p.issuer, URI: s.metadata.JWKSURI}}
	if s.metadata.JWKSURI == "" {
		ring.Primary.Err = jwks.ErrNoKeys
	}
	ring.Bound, ring.Loose = p.otherSources()
	complete := o.fill(&ring.Primary)
	for _, sets := range [][]jwks.Fetched{ring.Bound, ring.Loose} {
		for i := range sets {
			complete = o.fill(&sets[i]) && complete
		}
	}
	if !complete {
		return nil
	}
	return s
}

// fill finds the stored set of a source.
func (o *Object) fill(f *jwks.Fetched) bool {
	for i := range o.Sets {
		if o.Sets[i].Source == f.Source {
			f.Set = o.Sets[i].Set
			return true
		}
	}
	return f.URI == ""
}

// save hands what is known to the store.
func (p *Provider) save(ctx context.Context, s *state) {
	if err := p.env.Store.Save(ctx, p.object(s)); err != nil {
		p.env.Log.WarnContext(ctx, "openid-connect: a discovery object cannot be kept in the store; other nodes and the next start ask the provider", "issuer", p.issuer, "error", err)
	}
}

func (p *Provider) object(s *state) *Object {
	o := &Object{Issuer: p.issuer, Scope: p.scope, Configured: p.config.Issuer, Created: s.created, Updated: p.env.Now(), Configuration: s.document}
	add := func(f jwks.Fetched) {
		if f.Set != nil {
			o.Sets = append(o.Sets, StoredSet{f.Source, f.Set})
		}
	}
	add(s.ring.Primary)
	for _, f := range s.ring.Bound {
		add(f)
	}
	for _, f := range s.ring.Loose {
		add(f)
	}
	return o
}

// Object returns what is known at present, for the admin endpoints; nil when
// nothing was asked yet. It never asks the provider.
func (p *Provider) Object() *Object {
	if s := p.state.Peek(); s != nil {
		return p.object(s)
	}
	return nil
}

// Scope tells apart what is stored of one issuer by how it was fetched. With
// Issuer it is the key of the provider's discovery object.
func (p *Provider) Scope() string { return p.scope }
