package plugin

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// grantKey names the kept answer to a grant (behaviour.md 7.3).
func (p *relyingProvider) grantKey(g rp.Grant) cache.Key {
	k := &p.calls
	var stack [16]string
	parts := append(stack[:0], "grant", k.salt, p.provider.Issuer(), p.tokenEndpoint, string(g.Method), p.client(g.Client).ID(), g.User, g.Secret.Reveal(), g.Assertion.Reveal(), g.RefreshToken.Reveal())
	for _, list := range [...][]op.Field{p.args, p.headers} {
		for _, f := range list {
			parts = append(parts, f.Name, f.Value.Reveal())
		}
	}
	parts = appendFields(parts, g.Forward.Args, g.Forward.Headers)
	if p.dpop != nil {
		parts = append(parts, "dpop", p.dpop.tag)
	}
	if k.keyScopes {
		parts = append(append(parts, "scopes"), k.scopes...)
	}
	return cache.NewKey(parts...)
}

// ForgetGrant implements rp.Provider.
func (p *relyingProvider) ForgetGrant(_ context.Context, g rp.Grant) {
	p.calls.caches.Tokens.Forget(p.grantKey(g))
}

// Grant implements rp.Provider.
func (p *relyingProvider) Grant(ctx context.Context, g rp.Grant) (*rp.TokenResponse, bool, error) {
	k := &p.calls
	if p.lapsed(g.Assertion) {
		return nil, false, &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "the client's assertion has expired", Reason: "expired"}
	}
	if !k.keepTokens || g.Uncached {
		tr, err := p.grant(ctx, g)
		return tr, false, err
	}
	key := p.grantKey(g)
	if tr, ok := k.caches.Tokens.Fresh(key); ok && !p.due(tr) {
		return tr, true, nil
	}
	return p.grantOnce(ctx, g, key)
}

// lapsed reports whether an assertion is over: what it once got must not be had
// for it afterwards (RFC 7523 section 3). Everything else about it the provider
// judges.
func (p *relyingProvider) lapsed(assertion token.Opaque) bool {
	if assertion == "" {
		return false
	}
	u, err := token.Parse(assertion.Reveal(), 0)
	if err != nil {
		return false
	}
	exp, err := claims.Time(u.Claims["exp"])
	return err == nil && claims.Expired(exp, p.now(), p.leeway)
}

// grantOnce asks the cluster cache or the provider, once for all who wait.
func (p *relyingProvider) grantOnce(ctx context.Context, g rp.Grant, key cache.Key) (*rp.TokenResponse, bool, error) {
	k := &p.calls
	kept, known := k.caches.Tokens.Peek(key)
	if known && !p.usable(kept) {
		known = false
	}
	// A kept answer whose token is due is not fresh, whatever cache_ttl_min says.
	if last, ok := k.caches.Tokens.Peek(key); ok && p.due(last) {
		k.caches.Tokens.Expire(key)
	}
	return k.caches.Tokens.Load(ctx, key, max(k.resurrect, keepForUse), func(err error) bool { return known && k.resurrect > 0 && outage(err) },
		func(ctx context.Context) (l cache.Loaded[*rp.TokenResponse], err error) {
			var shared sharedTokens
			var tr *rp.TokenResponse
			end, ok := k.clusterTokens.get(ctx, key, &shared)
			if ok = ok && !p.due(shared.open()); ok {
				tr = shared.open()
			} else if tr, err = p.renewOrGrant(ctx, g, key); err != nil {
				return cache.Loaded[*rp.TokenResponse]{}, err
			}
			ttl := p.ttlOf(tr.Expiry)
			if ok {
				ttl = min(ttl, end.Sub(p.now()))
			} else {
				k.clusterTokens.set(ctx, key, shareTokens(tr), ttl)
			}
			return cache.Loaded[*rp.TokenResponse]{Value: tr, TTL: ttl, Bytes: weight(tr.AccessToken, tr.IDToken, tr.RefreshToken)}, nil
		})
}

// usable reports whether a kept token has not expired.
func (p *relyingProvider) usable(tr *rp.TokenResponse) bool {
	return tr.Expiry.IsZero() || !claims.Expired(tr.Expiry, p.now(), 0)
}

// due reports whether a kept token is to be replaced before it is used.
func (p *relyingProvider) due(tr *rp.TokenResponse) bool {
	if tr.Expiry.IsZero() {
		return false
	}
	margin := time.Duration(0)
	if p.calls.refresh && tr.RefreshToken != "" {
		margin = p.leeway
	}
	return !p.now().Before(tr.Expiry.Add(-margin))
}

// renewOrGrant uses the refresh token of an answer that has expired, and asks
// by the grant itself where there is none or it is refused.
func (p *relyingProvider) renewOrGrant(ctx context.Context, g rp.Grant, key cache.Key) (*rp.TokenResponse, error) {
	last, ok := p.calls.caches.Tokens.Peek(key)
	if ok && p.calls.refresh && last.RefreshToken != "" && g.Method != rp.MethodClientCredentials && p.due(last) {
		tr, err := p.Refresh(ctx, g.Client, last.RefreshToken)
		if err == nil {
			if tr.RefreshToken == "" {
				tr.RefreshToken = last.RefreshToken
			}
			if tr.IDToken == "" {
				tr.IDToken = last.IDToken
			}
			return tr, nil
		}
	}
	return p.grant(ctx, g)
}

// grant asks the token endpoint.
func (p *relyingProvider) grant(ctx context.Context, g rp.Grant) (*rp.TokenResponse, error) {
	k := &p.calls
	form, cl := url.Values{}, p.client(g.Client)
	switch g.Method {
	case rp.MethodPassword:
		form.Set("grant_type", "password")
		form.Set("username", g.User)
		form.Set("password", g.Secret.Reveal())
	case rp.MethodClientCredentials:
		var err error
		if cl, err = p.callerClient(ctx, g, form); err != nil {
			return nil, err
		}
	case rp.MethodRefreshToken:
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", g.RefreshToken.Reveal())
	}
	if g.Method != rp.MethodRefreshToken {
		if len(k.scopes) > 0 {
			form.Set("scope", strings.Join(k.scopes, " "))
		}
		for _, a := range k.audience {
			form.Add("audience", a)
		}
	}
	if cl == nil && g.Method != rp.MethodClientCredentials {
		return nil, &rp.Error{Description: "method " + string(g.Method) + " needs client_id", Reason: "no_client"}
	}
	tr, err := p.tokens(ctx, cl, g, form)
	if err != nil {
		return nil, err
	}
	if !tr.Expiry.IsZero() && !p.now().Before(tr.Expiry) {
		return nil, &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: "the provider's token has expired already", Reason: "expired"}
	}
	return tr, nil
}

// callerClient is the client that the caller claims to be (behaviour.md 6.8, U32).
func (p *relyingProvider) callerClient(ctx context.Context, g rp.Grant, form url.Values) (*clientauth.Client, error) {
	form.Set("grant_type", "client_credentials")
	if g.Assertion != "" {
		if g.AssertsGrant {
			form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
			form.Set("assertion", g.Assertion.Reveal())
		} else {
			form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			form.Set("client_assertion", g.Assertion.Reveal())
		}
		if g.User != "" {
			form.Set("client_id", g.User)
		}
		return nil, nil
	}
	method := p.auth
	if method == "" {
		method = p.firstAuth
	}
	if method != clientauth.SecretBasic && method != clientauth.SecretPost {
		method = clientauth.SecretBasic
		if m, err := p.provider.Metadata(ctx); err == nil && slices.Contains(m.TokenAuthMethods, "client_secret_post") && !slices.Contains(m.TokenAuthMethods, "client_secret_basic") {
			method = clientauth.SecretPost
		}
	}
	cl, err := clientauth.New(clientauth.Options{ID: g.User, Secret: g.Secret, Method: method})
	if err != nil {
		return nil, &rp.Error{Kind: rp.Unauthorized, Description: "the client's id and secret cannot be used", Reason: "client_credentials", Err: err}
	}
	return cl, nil
}

func (p *relyingProvider) tokens(ctx context.Context, cl *clientauth.Client, g rp.Grant, form url.Values) (*rp.TokenResponse, error) {
	auth := p.auth
	if g.Method == rp.MethodClientCredentials {
		auth = "" // the caller's client brings its own
	}
	r, err := p.ask(ctx, op.TokenRequest{
		Client: cl, Auth: auth, Form: form, Args: p.args, Headers: append(slices.Clone(p.headers), opFields(g.Forward.Headers)...), ClientArgs: opFields(g.Forward.Args),
		Unauthenticated: cl == nil,
	})
	if err != nil {
		return nil, err
	}
	return p.response(r, g.Method), nil
}

// response translates an answer of the token endpoint.
func (p *relyingProvider) response(r *op.TokenResponse, m rp.Method) *rp.TokenResponse {
	out := &rp.TokenResponse{
		AccessToken: r.AccessToken, IDToken: r.IDToken, RefreshToken: r.RefreshToken, TokenType: r.TokenType, Scope: r.Scope, Expiry: r.Expiry, Raw: r.Raw, Verified: new(rp.Verified),
	}
	k := &p.calls
	if k.replayGrants == nil || slices.Contains(k.replayGrants, m) {
		for _, n := range k.replay {
			if v := r.Header.Get(n); v != "" {
				out.Replay = append(out.Replay, rp.Field{Name: k.replayPrefix + n, Value: v})
			}
		}
	}
	return out
}
