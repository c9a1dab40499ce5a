package postgres

import (
	"context"
	"sync"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/revoked"
)

// maxPending bounds what waits for the database, of each kind.
const maxPending = 65536

// pending is what could not be written while the database was away.
type pending struct {
	mu      sync.Mutex
	objects map[store.Key]store.Discovery
	revoked map[string]revoked.Span
	reseals []func(context.Context, pgdb.Querier) error
}

func (p *pending) putObject(d store.Discovery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.objects == nil {
		p.objects = map[store.Key]store.Discovery{}
	}
	if _, known := p.objects[d.Key]; known || len(p.objects) < store.MaxObjects {
		p.objects[d.Key] = d
	}
}

func (p *pending) dropObject(k store.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.objects, k)
}

func (p *pending) dropObjects() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.objects)
}

func (p *pending) revoke(key string, s revoked.Span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.revoked == nil {
		p.revoked = map[string]revoked.Span{}
	}
	if old, known := p.revoked[key]; known {
		p.revoked[key] = old.Merge(s)
	} else if len(p.revoked) < maxPending {
		p.revoked[key] = s
	}
}

func (p *pending) reseal(f func(context.Context, pgdb.Querier) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.reseals) < store.MaxObjects {
		p.reseals = append(p.reseals, f)
	}
}

func (p *pending) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.objects) == 0 && len(p.revoked) == 0 && len(p.reseals) == 0
}

func (p *pending) take() (objects map[store.Key]store.Discovery, spans map[string]revoked.Span, reseals []func(context.Context, pgdb.Querier) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	objects, spans, reseals = p.objects, p.revoked, p.reseals
	p.objects, p.revoked, p.reseals = nil, nil, nil
	return objects, spans, reseals
}

// flush writes what waits. What fails goes on waiting.
func (s *Store) flush(ctx context.Context) {
	if s.pending.empty() {
		return
	}
	objects, spans, reseals := s.pending.take()
	for _, d := range objects {
		if e := s.mirror.object(d.Key); e != nil && e.d.UpdatedAt.After(d.UpdatedAt) {
			continue // another node knows better meanwhile
		}
		if err := s.put(ctx, &d); err != nil {
			s.pending.putObject(d)
		}
	}
	for key, span := range spans {
		if !span.Until.After(s.now()) {
			continue
		}
		if err := s.writeRevocation(ctx, key, span); err != nil {
			s.pending.revoke(key, span)
		}
	}
	for i, f := range reseals {
		if err := s.do(ctx, "seal anew", f); err != nil {
			s.log.Warn("openid-connect: values in the database cannot be sealed anew yet", "left", len(reseals)-i, "error", err)
			for _, f := range reseals[i:] {
				s.pending.reseal(f)
			}
			return
		}
	}
}
