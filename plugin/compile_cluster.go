package plugin

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/clustercache"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// clusterCache shares one kind of answers between nodes
// (cluster_cache_strategy). It may fail at any time: then the provider is asked.
// nil shares nothing.
type clusterCache struct {
	cache keyed[clustercache.Cache]
	log   *slog.Logger
}

func newClusterCache(c *Config, env *Environment, item ClusterCacheItem) (*clusterCache, error) {
	if c.ClusterCacheStrategy != ClusterCacheStrategyRedis || !slices.Contains(c.ClusterCacheItems, item) {
		return nil, nil
	}
	conn, err := env.Connections.Redis(&c.ClusterCacheRedis, "")
	if err != nil {
		return nil, err
	}
	k := &clusterCache{log: env.logOf(c)}
	k.cache.secret = sessionSecret(c, env)
	k.cache.make = func(secret []byte) (*clustercache.Cache, error) {
		return clustercache.New(conn, clustercache.Options{Secret: secret, Purpose: string(item), Now: env.Now})
	}
	return k, nil
}

// get reads an answer of another node into v, and reports whether there is one.
// Nobody keeps it beyond its end: read again and again, it would outlive what
// the provider has withdrawn.
func (k *clusterCache) get(ctx context.Context, key cache.Key, v any) (end time.Time, ok bool) {
	if k == nil {
		return end, false
	}
	c, err := k.cache.get(ctx)
	if err != nil {
		k.log.WarnContext(ctx, "openid-connect: the cluster cache cannot be used; the provider is asked", "error", err)
		return end, false
	}
	b, end, err := c.Get(ctx, hex.EncodeToString(key[:]))
	if err != nil && !errors.Is(err, clustercache.ErrPaused) { // what it pauses for was said
		k.log.WarnContext(ctx, "openid-connect: the cluster cache cannot be read; the provider is asked: check cluster_cache_redis", "error", err)
	}
	return end, err == nil && !end.IsZero() && shared(b, v) == nil
}

// shared reads an answer. Numbers are kept as they are: claims hold identifiers
// beyond what a float64 tells apart.
func shared(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

// set shares an answer for ttl.
func (k *clusterCache) set(ctx context.Context, key cache.Key, v any, ttl time.Duration) {
	if k == nil || ttl <= 0 {
		return
	}
	c, err := k.cache.get(ctx)
	if err != nil {
		return // get has said so
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = c.Set(ctx, hex.EncodeToString(key[:]), b, ttl)
	}
	if err != nil && !errors.Is(err, clustercache.ErrPaused) {
		k.log.WarnContext(ctx, "openid-connect: an answer cannot be shared in the cluster cache; other nodes ask the provider: check cluster_cache_redis", "error", err)
	}
}

// sharedIntrospection is an active result as nodes share it.
type sharedIntrospection struct {
	Claims claims.Object `json:"c"`
	JWT    string        `json:"j,omitempty"`
	Expiry int64         `json:"x,omitempty"`
}

func shareIntrospection(in *rp.Introspection) sharedIntrospection {
	s := sharedIntrospection{Claims: in.Claims, JWT: in.JWT.Reveal()}
	if !in.Expiry.IsZero() {
		s.Expiry = in.Expiry.Unix()
	}
	return s
}

func (s sharedIntrospection) open() rp.Introspection {
	in := rp.Introspection{Claims: s.Claims, JWT: token.Opaque(s.JWT)}
	if s.Expiry != 0 {
		in.Expiry = time.Unix(s.Expiry, 0)
	}
	return in
}

// sharedTokens is an answer of the token endpoint as nodes share it.
type sharedTokens struct {
	Access  string        `json:"at"`
	ID      string        `json:"it,omitempty"`
	Refresh string        `json:"rt,omitempty"`
	Type    string        `json:"tt,omitempty"`
	Scope   string        `json:"s,omitempty"`
	Expiry  int64         `json:"x,omitempty"`
	Raw     claims.Object `json:"r,omitempty"`
	Replay  []rp.Field    `json:"h,omitempty"`
}

func shareTokens(t *rp.TokenResponse) sharedTokens {
	s := sharedTokens{
		Access: t.AccessToken.Reveal(), ID: t.IDToken.Reveal(), Refresh: t.RefreshToken.Reveal(), Type: t.TokenType, Scope: t.Scope, Raw: t.Raw, Replay: t.Replay,
	}
	if !t.Expiry.IsZero() {
		s.Expiry = t.Expiry.Unix()
	}
	return s
}

func (s sharedTokens) open() *rp.TokenResponse {
	t := &rp.TokenResponse{
		AccessToken: token.Opaque(s.Access), IDToken: token.Opaque(s.ID), RefreshToken: token.Opaque(s.Refresh), TokenType: s.Type, Scope: s.Scope, Raw: s.Raw, Replay: s.Replay,
		Verified: new(rp.Verified),
	}
	if s.Expiry != 0 {
		t.Expiry = time.Unix(s.Expiry, 0)
	}
	return t
}
