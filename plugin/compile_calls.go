package plugin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

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
