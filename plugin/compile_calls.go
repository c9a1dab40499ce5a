package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// Caches are the answers of providers that all instances of a process share.
type Caches struct {
	Tokens        *cache.Cache[*rp.TokenResponse]
	Introspection *cache.Cache[*introspected]
	UserInfo      *cache.Cache[*rp.UserInfo]
	Claims        *cache.Cache[*collected]
	Principals    *cache.Cache[*rp.DirectoryEntry]
}

const (
	answerBytes = 32 << 20         // bound on each of the caches
	callBudget  = 25 * time.Second // of one call to the provider that others wait for
	keepForUse  = time.Hour        // how long an expired answer with a refresh token is kept
)

// NewCaches returns empty caches.
func NewCaches(now func() time.Time) *Caches {
	o := cache.Options{Bytes: answerBytes, Budget: callBudget, Now: now}
	return &Caches{cache.New[*rp.TokenResponse](o), cache.New[*introspected](o), cache.New[*rp.UserInfo](o), cache.New[*collected](o), cache.New[*rp.DirectoryEntry](o)}
}

// Count is what a cache has found and kept.
type Count struct {
	Name         string
	Hits, Misses uint64
	Entries      int
	Bytes        uint64 // an estimate
}

// Counts returns what each cache has found and keeps.
func (c *Caches) Counts() []Count {
	count := func(name string, of interface {
		Counts() (hits, misses uint64)
		Len() int
		Weight() uint64
	}) Count {
		h, m := of.Counts()
		return Count{name, h, m, of.Len(), of.Weight()}
	}
	return []Count{count("tokens", c.Tokens), count("introspection", c.Introspection), count("userinfo", c.UserInfo), count("claims", c.Claims), count("principals", c.Principals)}
}

// introspected is an introspection answer, active or not.
type introspected struct {
	answer rp.Introspection
	refuse *rp.Error // why the token is refused; nil: it is good
}

// calls are what a configuration says of calls to the provider and of keeping
// their answers.
type calls struct {
	caches        *Caches
	clusterTokens *clusterCache // nil: not shared
	clusterIntro  *clusterCache

	keepTokens, keepIntrospection, keepUserInfo bool
	ttl                                         time.Duration
	low, high, negative                         *time.Duration
	resurrect                                   time.Duration
	salt                                        string
	keyScopes                                   bool
	refresh                                     bool

	scopes, audience []string

	replay       []string // header names, canonical
	replayPrefix string
	replayGrants []rp.Method // nil: all

	introspection struct {
		auth        clientauth.Method
		param, hint string
		accept      string
		jwt         bool
		checkActive bool
		args        []op.Field
		headers     []op.Field
	}
	userinfo struct {
		accept  string
		jwt     bool
		args    []op.Field
		headers []op.Field
	}
	revocation struct {
		auth  clientauth.Method
		param string
	}
}

func newCalls(c *Config, env *Environment) (k calls, err error) {
	k = calls{
		caches: env.Caches, keepTokens: c.CacheTokens, keepIntrospection: c.CacheIntrospection, keepUserInfo: c.CacheUserInfo,
		ttl: seconds(c.CacheTTL), low: optionalSeconds(c.CacheTTLMin), high: optionalSeconds(c.CacheTTLMax), negative: optionalSeconds(c.CacheTTLNeg),
		salt: c.TokensSalt(), keyScopes: c.TokenCacheKeyIncludeScope, refresh: c.RefreshTokens, scopes: nonEmpty(c.Scopes), audience: c.Audience,
		replayPrefix: c.TokenHeadersPrefix,
	}
	if c.CacheTTLResurrect != nil {
		k.resurrect = seconds(*c.CacheTTLResurrect)
	}
	for _, n := range c.TokenHeadersReplay {
		k.replay = append(k.replay, http.CanonicalHeaderKey(n))
	}
	for _, g := range c.TokenHeadersGrants {
		k.replayGrants = append(k.replayGrants, rp.Method(g))
	}
	k.introspection.auth = clientauth.Method(c.IntrospectionEndpointAuthMethod)
	k.introspection.param, k.introspection.hint = c.IntrospectionTokenParamName, c.IntrospectionHint
	k.introspection.accept = string(c.IntrospectionAccept)
	k.introspection.jwt = c.IntrospectionAccept != IntrospectionAcceptJSON
	k.introspection.checkActive = c.IntrospectionCheckActive
	k.introspection.args = fields(c.IntrospectionPostArgsNames, c.IntrospectionPostArgsValues)
	k.introspection.headers = fields(c.IntrospectionHeadersNames, c.IntrospectionHeadersValues)
	k.userinfo.accept, k.userinfo.jwt = string(c.UserinfoAccept), c.UserinfoAccept != UserinfoAcceptJSON
	k.userinfo.args = fields(c.UserinfoQueryArgsNames, c.UserinfoQueryArgsValues)
	k.userinfo.headers = fields(c.UserinfoHeadersNames, c.UserinfoHeadersValues)
	k.revocation.auth, k.revocation.param = clientauth.Method(c.RevocationEndpointAuthMethod), c.RevocationTokenParamName
	if k.clusterTokens, err = newClusterCache(c, env, ClusterCacheItemTokens); err != nil {
		return k, fmt.Errorf("cluster_cache_redis: %w", err)
	}
	if k.clusterIntro, err = newClusterCache(c, env, ClusterCacheItemIntrospection); err != nil {
		return k, fmt.Errorf("cluster_cache_redis: %w", err)
	}
	return k, nil
}

func optionalSeconds(s *float64) *time.Duration {
	if s == nil {
		return nil
	}
	d := seconds(*s)
	return &d
}

// ttlOf is how long an answer that ends at expiry is kept; zero: it names no end.
func (p *relyingProvider) ttlOf(expiry time.Time) time.Duration {
	k := &p.calls
	return cache.TTL(expiry.Sub(p.now()), !expiry.IsZero(), k.ttl, k.low, k.high)
}

// once asks load, and a cache before it where answers are kept: then whoever
// asks for the same meanwhile waits for the one answer. For resurrect a kept
// answer stands in for a provider that is away.
func once[T any](ctx context.Context, keep bool, c *cache.Cache[T], key cache.Key, resurrect time.Duration, load func(context.Context) (cache.Loaded[T], error)) (T, error) {
	if !keep {
		l, err := load(ctx)
		return l.Value, err
	}
	v, _, err := c.Load(ctx, key, resurrect, outage, load)
	if err != nil {
		return v, callError(err)
	}
	return v, nil
}

// decodedWeight is about how much an answer weighs for each byte of its tokens:
// they are kept beside the claims that they were decoded to.
const decodedWeight = 4

// weight estimates what an answer takes that holds or was got for these tokens.
func weight(tokens ...token.Opaque) int {
	n := 0
	for _, t := range tokens {
		n += len(t)
	}
	return decodedWeight * n
}

// outage reports whether err is the provider's fault, so that a kept answer may
// stand in for it.
func outage(err error) bool {
	var e *rp.Error
	return !errors.Is(err, fault.ErrPanicked) && (!errors.As(err, &e) || e.Kind == rp.Unexpected || e.Kind == rp.Unavailable)
}

func opFields(list []rp.Field) []op.Field {
	var out []op.Field
	for _, f := range list {
		out = append(out, op.Field{Name: f.Name, Value: token.Opaque(f.Value)})
	}
	return out
}

func appendFields(key []string, lists ...[]rp.Field) []string {
	for _, l := range lists {
		for _, f := range l {
			key = append(key, f.Name, f.Value)
		}
		key = append(key, "")
	}
	return key
}

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

// Revoke implements rp.Provider.
func (p *relyingProvider) Revoke(ctx context.Context, client int, raw token.Opaque, hint string) error {
	err := p.provider.Revoke(ctx, op.RevocationRequest{Client: p.client(client), Auth: p.calls.revocation.auth, Token: raw, Param: p.calls.revocation.param, Hint: hint})
	if err != nil {
		return providerError(err)
	}
	return nil
}

// EndSessionURL implements rp.Provider.
func (p *relyingProvider) EndSessionURL(ctx context.Context, client int, idToken token.Opaque, returnTo string) (string, error) {
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return "", providerError(err)
	}
	if m.Endpoints.EndSession == "" {
		return "", nil
	}
	u, err := url.Parse(m.Endpoints.EndSession)
	if err != nil {
		return "", &rp.Error{Description: "the end session endpoint is not a URL", Reason: "misconfigured", Err: err}
	}
	q := u.Query()
	if idToken != "" {
		q.Set("id_token_hint", idToken.Reveal())
	}
	if cl := p.client(client); cl != nil {
		q.Set("client_id", cl.ID())
	}
	if returnTo != "" {
		q.Set("post_logout_redirect_uri", returnTo)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
