package op

import (
	"context"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/token"
)

// Keys returns the view of the provider's keys under issuers_allowed.
func (p *Provider) Keys(allowed []string) token.Keys { return &keys{p, allowed} }

type keys struct {
	provider *Provider
	allowed  []string
}

// Candidates implements token.Keys.
func (k *keys) Candidates(ctx context.Context, issuer string, _ token.Header, refresh bool) ([]jose.JSONWebKey, error) {
	p := k.provider
	s, err := p.known(ctx)
	if err != nil {
		return nil, err
	}
	if refresh {
		// What is kept serves on if the provider cannot be asked now.
		if again, err := p.state.Refresh(ctx); err == nil {
			s = again
		}
	}
	found, loose, err := s.ring.Keys(issuer, k.allowed)
	if err != nil && !refresh {
		// The keys of this issuer were never read; that is worth an attempt too.
		if again, e := p.state.Refresh(ctx); e == nil {
			found, loose, err = again.ring.Keys(issuer, k.allowed)
		}
	}
	if err != nil {
		return nil, p.unavailable(err)
	}
	if loose {
		p.warnOnce(ctx, "extra_jwks_uris are used for an issuer that they are not bound to: whoever signs with them can speak for that issuer; where that must not be, bind its keys by issuer_keys", "configured", p.issuer, "issuer", printable(issuer, 200))
	}
	return found, nil
}

// Generation implements token.Keys.
func (k *keys) Generation() uint64 { return k.provider.Generation() }
