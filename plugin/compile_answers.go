package plugin

import (
	"context"
	"errors"
	"slices"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// Introspect implements rp.Provider.
func (p *relyingProvider) Introspect(ctx context.Context, client int, raw token.Opaque, f rp.Forward) (*rp.Introspection, error) {
	k := &p.calls
	var stack [8]string
	parts := append(stack[:0], "introspection", k.salt, p.scopeText, p.client(client).ID(), raw.Reveal())
	key := cache.NewKey(appendFields(parts, f.Args, f.Headers)...)
	if k.keepIntrospection {
		if in, ok := k.caches.Introspection.Fresh(key); ok {
			return p.active(in)
		}
	}
	return p.introspectOnce(ctx, client, raw, f, key)
}

// introspectOnce asks the cluster cache or the provider, once for all who wait.
func (p *relyingProvider) introspectOnce(ctx context.Context, client int, raw token.Opaque, f rp.Forward, key cache.Key) (*rp.Introspection, error) {
	k := &p.calls
	load := func(ctx context.Context) (cache.Loaded[*introspected], error) {
		var shared sharedIntrospection
		if k.keepIntrospection {
			if end, ok := k.clusterIntro.get(ctx, key, &shared); ok {
				in := &introspected{answer: shared.open()}
				return cache.Loaded[*introspected]{Value: in, Bytes: weight(raw), TTL: min(p.ttlOf(in.answer.Expiry), end.Sub(p.now()))}, nil
			}
		}
		in, err := p.introspect(ctx, client, raw, f)
		if err != nil {
			return cache.Loaded[*introspected]{}, err
		}
		l := cache.Loaded[*introspected]{Value: in, Bytes: weight(raw)}
		switch {
		case in.refuse == nil:
			l.TTL = p.ttlOf(in.answer.Expiry)
			if k.keepIntrospection {
				k.clusterIntro.set(ctx, key, shareIntrospection(&in.answer), l.TTL)
			}
		case k.negative != nil:
			l.TTL = *k.negative
		}
		return l, nil
	}
	in, err := once(ctx, k.keepIntrospection, k.caches.Introspection, key, k.resurrect, load)
	if err != nil {
		return nil, err
	}
	return p.active(in)
}

// active judges a kept or fresh answer at this moment.
func (p *relyingProvider) active(in *introspected) (*rp.Introspection, error) {
	if in.refuse != nil {
		return nil, in.refuse
	}
	if exp := in.answer.Expiry; !exp.IsZero() && claims.Expired(exp, p.now(), p.leeway) {
		return nil, &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "the token has expired", Reason: "expired"}
	}
	return &in.answer, nil
}

// callError leaves errors of ours as they are and classifies the rest, such as a caller's deadline.
func callError(err error) error {
	var e *rp.Error
	if errors.As(err, &e) || errors.Is(err, rp.ErrNoEndpoint) {
		return err
	}
	return &rp.Error{Description: "the provider did not answer in time", Reason: "provider_unavailable", Err: err}
}

func (p *relyingProvider) introspect(ctx context.Context, client int, raw token.Opaque, f rp.Forward) (*introspected, error) {
	k := &p.calls.introspection
	r := op.IntrospectionRequest{
		Client: p.client(client), Auth: k.auth, Token: raw, Param: k.param, Hint: k.hint, Accept: k.accept, Args: k.args,
		Headers: append(slices.Clone(k.headers), opFields(f.Headers)...), ClientArgs: opFields(f.Args),
	}
	if k.jwt {
		r.Verifier = p.verifier(client, rp.MethodIntrospection)
	}
	a, err := p.provider.Introspect(ctx, r)
	if err != nil {
		return nil, p.answerError(ctx, err, func(m *op.Metadata) string { return m.Endpoints.Introspection }, false)
	}
	refuse := func(reason rp.Reason, d string) (*introspected, error) {
		return &introspected{refuse: &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: d, Reason: reason}}, nil
	}
	if k.checkActive && !a.Active() {
		return refuse("inactive", "the token is not active")
	}
	issuers, err := p.expected(ctx)
	if err != nil {
		return nil, err
	}
	rules := token.AccessRules{Issuers: issuers, Leeway: p.leeway, VerifyClaims: p.verifyClaims}
	if err := rules.Check(token.UseIntrospection, a.Claims, p.now()); err != nil {
		return refuse("claims", err.Error())
	}
	in := &introspected{answer: rp.Introspection{Claims: a.Claims, JWT: a.JWT}}
	if exp, err := claims.Time(a.Claims["exp"]); err == nil {
		in.answer.Expiry = exp
	}
	return in, nil
}

// answerError classifies the failure of introspection or userinfo. A refusal is
// the caller's where callers is set, else the configured client's.
func (p *relyingProvider) answerError(ctx context.Context, err error, endpoint func(*op.Metadata) string, callers bool) error {
	var e *op.Error
	if errors.As(err, &e) {
		switch {
		case e.Kind == op.Misconfigured:
			if m, merr := p.provider.Metadata(ctx); merr == nil && endpoint(m) == "" {
				return rp.ErrNoEndpoint
			}
		case op.IsRefused(err) && !callers:
			return &rp.Error{Description: "the provider refused this relying party at the " + e.Call + ": check client_id, client_secret and client_auth", Reason: "client_refused", Err: err}
		}
		return providerError(err)
	}
	if errors.Is(err, op.ErrSubject) {
		return &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "userinfo is about another subject", Reason: "userinfo_subject", Err: err}
	}
	return tokenError(err)
}

// UserInfo implements rp.Provider.
func (p *relyingProvider) UserInfo(ctx context.Context, raw token.Opaque, subject string, expiry time.Time, f rp.Forward) (*rp.UserInfo, error) {
	k := &p.calls
	if expiry.IsZero() && token.LooksJWS(raw.Reveal()) {
		// Not trusted, and good enough to keep an answer for a shorter time.
		if u, err := token.Parse(raw.Reveal(), 0); err == nil {
			expiry, _ = claims.Time(u.Claims["exp"])
		}
	}
	load := func(ctx context.Context) (cache.Loaded[*rp.UserInfo], error) {
		r := op.UserinfoRequest{
			AccessToken: raw, Accept: k.userinfo.accept, Subject: subject,
			Args: append(slices.Clone(k.userinfo.args), opFields(f.Args)...), Headers: append(slices.Clone(k.userinfo.headers), opFields(f.Headers)...),
		}
		if f.Bound {
			s, err := p.prover(ctx)
			if err != nil {
				return cache.Loaded[*rp.UserInfo]{}, err
			}
			r.DPoP = s
		}
		if k.userinfo.jwt {
			r.Verifier = p.verifier(0, rp.MethodUserInfo)
		}
		a, err := p.provider.Userinfo(ctx, r)
		if err != nil {
			return cache.Loaded[*rp.UserInfo]{}, p.answerError(ctx, err, func(m *op.Metadata) string { return m.Endpoints.Userinfo }, true)
		}
		return cache.Loaded[*rp.UserInfo]{
			Value: &rp.UserInfo{Claims: a.Claims, JWT: a.JWT}, Bytes: weight(raw),
			TTL: p.ttlOf(expiry),
		}, nil
	}
	parts := []string{"userinfo", k.salt, p.scopeText, raw.Reveal(), subject}
	return once(ctx, k.keepUserInfo, k.caches.UserInfo, cache.NewKey(appendFields(parts, f.Args, f.Headers)...), k.resurrect, load)
}
