package plugin

import (
	"context"
	"fmt"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// exchangePolicy is `token_exchange` and `token_exchange_endpoint`.
type exchangePolicy struct {
	rules            *token.Exchange // nil: no exchange
	scopes, audience []string
	keep             bool
	ttl              *time.Duration
	legacy           string // "" = off
	keepLegacy       bool
}

func newExchangePolicy(c *Config, env *Environment) (exchangePolicy, error) {
	e := exchangePolicy{legacy: string(c.TokenExchangeEndpoint), keepLegacy: c.CacheTokenExchange}
	x := c.TokenExchange
	if x == nil {
		return e, nil
	}
	e.rules = &token.Exchange{Audience: claims.Path(c.AudienceClaim), Scopes: claims.Path(c.ScopesClaim), Leeway: seconds(c.Leeway)}
	for _, i := range x.SubjectTokenIssuers {
		one := token.ExchangeIssuer{Issuer: i.Issuer}
		if k := i.Conditions; k != nil {
			one.Conditions = token.ExchangeConditions{HasAudience: k.HasAudience, MissingAudience: k.MissingAudience, HasScopes: k.HasScopes, MissingScopes: k.MissingScopes}
		}
		if i.VerifySignature {
			keys, err := subjectKeys(c, env, i)
			if err != nil {
				return e, fmt.Errorf("token_exchange: issuer %s: %w", i.Issuer, err)
			}
			one.Verifier = &token.Verifier{Keys: keys}
		}
		e.rules.Issuers = append(e.rules.Issuers, one)
	}
	e.scopes, e.audience = nonEmpty(c.Scopes), c.Audience
	if x.Request.Scopes != nil {
		e.scopes = nonEmpty(x.Request.Scopes)
	}
	if x.Request.EmptyScopes {
		e.scopes = nil
	}
	if x.Request.Audience != nil {
		e.audience = nonEmpty(x.Request.Audience)
	}
	if x.Request.EmptyAudience {
		e.audience = nil
	}
	e.keep = x.Cache.Enabled
	if x.Cache.TTL != nil {
		d := seconds(float64(*x.Cache.TTL))
		e.ttl = &d
	}
	return e, nil
}

// subjectKeys are the keys of an issuer whose tokens are exchanged: those at
// its jwks_uri, else the ones it publishes.
func subjectKeys(c *Config, env *Environment, i SubjectIssuer) (token.Keys, error) {
	q := op.Config{Issuer: i.Issuer, RediscoveryLifetime: seconds(c.RediscoveryLifetime), CacheTTL: seconds(c.CacheTTL), HTTP: httpOf(c, env)}
	if i.JWKSURI != "" {
		q.PseudoIssuer, q.JWKSURI = true, string(i.JWKSURI)
	}
	provider, err := env.Providers.Provider(q)
	if err != nil {
		return nil, err
	}
	return provider.Keys([]string{i.Issuer}), nil
}

// Exchange implements rp.Provider.
func (p *relyingProvider) Exchange(ctx context.Context, client int, raw token.Opaque) (*rp.TokenResponse, error) {
	e := &p.exchange
	if e.rules == nil {
		return nil, nil
	}
	u, err := token.Parse(raw.Reveal(), 0)
	if err != nil {
		return nil, tokenError(err)
	}
	target := p.provider.Issuer()
	if m, err := p.provider.Metadata(ctx); err == nil && m.Issuer != "" {
		target = m.Issuer
	}
	due, err := e.rules.Decide(ctx, u, target, p.now())
	if err != nil {
		return nil, tokenError(err)
	}
	if !due {
		return nil, nil
	}
	cl := p.client(client)
	if cl == nil {
		return nil, &rp.Error{Description: "token_exchange needs client_id", Reason: "no_client"}
	}
	load := func(ctx context.Context) (cache.Loaded[*rp.TokenResponse], error) {
		s, err := p.prover(ctx)
		if err != nil {
			return cache.Loaded[*rp.TokenResponse]{}, err
		}
		r, err := p.provider.Exchange(ctx, op.ExchangeRequest{Client: cl, Auth: p.auth, SubjectToken: raw, Scopes: e.scopes, Audience: e.audience, Args: p.args, Headers: p.headers, DPoP: s})
		if err != nil {
			return cache.Loaded[*rp.TokenResponse]{}, providerError(err)
		}
		if err := p.bound(r); err != nil {
			return cache.Loaded[*rp.TokenResponse]{}, err
		}
		tr := p.response(r, rp.MethodBearer)
		if !tr.Expiry.IsZero() && !p.now().Before(tr.Expiry) {
			return cache.Loaded[*rp.TokenResponse]{}, &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "the exchanged token has expired already", Reason: "expired"}
		}
		ttl := p.calls.ttl
		if e.ttl != nil {
			ttl = *e.ttl
		}
		if !tr.Expiry.IsZero() {
			ttl = min(ttl, tr.Expiry.Sub(p.now()))
		}
		return cache.Loaded[*rp.TokenResponse]{Value: tr, TTL: ttl, Bytes: weight(raw, tr.AccessToken)}, nil
	}
	return once(ctx, e.keep, p.calls.caches.Tokens, cache.NewKey("exchange", p.scopeText, cl.ID(), raw.Reveal()), 0, load)
}

// LegacyExchange implements rp.Provider.
func (p *relyingProvider) LegacyExchange(ctx context.Context, raw token.Opaque, expiry time.Time) (token.Opaque, error) {
	e := &p.exchange
	load := func(ctx context.Context) (cache.Loaded[*rp.TokenResponse], error) {
		issued, err := p.provider.LegacyExchange(ctx, e.legacy, raw)
		if err != nil {
			// U96: whoever refuses it, the caller's token was good.
			return cache.Loaded[*rp.TokenResponse]{}, &rp.Error{Description: "the token could not be exchanged at token_exchange_endpoint", Reason: "token_exchange", Err: err}
		}
		tr := &rp.TokenResponse{AccessToken: issued}
		if u, err := token.Parse(issued.Reveal(), 0); err == nil {
			tr.Expiry, _ = claims.Time(u.Claims["exp"])
		}
		if tr.Expiry.IsZero() {
			tr.Expiry = expiry
		}
		return cache.Loaded[*rp.TokenResponse]{Value: tr, TTL: p.ttlOf(tr.Expiry), Bytes: weight(raw, issued)}, nil
	}
	tr, err := once(ctx, e.keepLegacy, p.calls.caches.Tokens, cache.NewKey("legacy exchange", p.calls.salt, e.legacy, raw.Reveal()), 0, load)
	if err != nil {
		return "", err
	}
	return tr.AccessToken, nil
}
