package plugin

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"kong-openid-connect/internal/cache"
	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/clustercache"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// sharedMemory is a Redis that nodes share.
type sharedMemory map[string][]byte

func (m sharedMemory) Get(_ context.Context, key string, _ int) ([]byte, error) { return m[key], nil }
func (m sharedMemory) Set(_ context.Context, key string, value []byte, _ time.Duration) error {
	m[key] = value
	return nil
}

// node is a process that keeps answers for an hour and shares them.
func node(t *testing.T, conn clustercache.Conn, now func() time.Time) *relyingProvider {
	t.Helper()
	provider, err := op.NewRegistry(op.Environment{}).Provider(op.Config{Issuer: "https://idp.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	shared := func() *clusterCache {
		k := &clusterCache{log: slog.New(slog.DiscardHandler)}
		k.cache.secret = func(context.Context) ([]byte, error) { return []byte("0123456789abcdef"), nil }
		k.cache.make = func(secret []byte) (*clustercache.Cache, error) {
			return clustercache.New(conn, clustercache.Options{Secret: secret, Now: now})
		}
		return k
	}
	p := &relyingProvider{provider: provider, clients: make([]*clientauth.Client, 1), now: now}
	p.calls = calls{caches: NewCaches(now), keepTokens: true, keepIntrospection: true, ttl: time.Hour, clusterTokens: shared(), clusterIntro: shared()}
	return p
}

// Case 39 holds for nodes that share answers: the one that reads an answer late
// does not keep it for another whole time.
func TestCase39AcrossNodesThatShareAnswers(t *testing.T) {
	at := time.Unix(1e9, 0)
	now := func() time.Time { return at }
	b := node(t, sharedMemory{}, now)
	in, key := &rp.Introspection{Claims: claims.Object{"active": true}}, cache.NewKey("token")
	g := rp.Grant{Method: rp.MethodPassword, User: "alex", Secret: "doe"}
	// What another node has learned, of tokens whose end is not known.
	b.calls.clusterIntro.set(t.Context(), key, shareIntrospection(in), time.Hour)
	b.calls.clusterTokens.set(t.Context(), b.grantKey(g), shareTokens(&rp.TokenResponse{AccessToken: "opaque"}), time.Hour)
	at = at.Add(time.Hour - time.Second)
	if _, err := b.introspectOnce(t.Context(), 0, "token", rp.Forward{}, key); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Grant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if _, ok := b.calls.caches.Introspection.Fresh(key); !ok {
		t.Fatal("the answer is not kept at all")
	}
	at = at.Add(time.Second)
	if _, ok := b.calls.caches.Introspection.Fresh(key); ok {
		t.Error("an introspection result is good beyond the time for which it was shared")
	}
	if _, ok := b.calls.caches.Tokens.Fresh(b.grantKey(g)); ok {
		t.Error("tokens are kept beyond the time for which they were shared")
	}
}

// A client's assertion is good for a minute or so; whoever comes by one later
// must not get what is kept for it.
func TestExpiredAssertionIsNotAnsweredFromTheCache(t *testing.T) {
	at := time.Unix(1e9, 0)
	p := node(t, sharedMemory{}, func() time.Time { return at })
	part := base64.RawURLEncoding.EncodeToString
	assertion := part([]byte(`{"alg":"RS256"}`)) + "." + part(fmt.Appendf(nil, `{"iss":"app","exp":%d}`, at.Unix()+60)) + "." + part(make([]byte, 256))
	for _, grant := range []bool{false, true} {
		at = time.Unix(1e9, 0)
		g := rp.Grant{Method: rp.MethodClientCredentials, Assertion: token.Opaque(assertion), AssertsGrant: grant, Forward: rp.Forward{Args: []rp.Field{{Name: "grant", Value: fmt.Sprint(grant)}}}}
		load := func(context.Context) (cache.Loaded[*rp.TokenResponse], error) {
			return cache.Loaded[*rp.TokenResponse]{Value: &rp.TokenResponse{AccessToken: "opaque"}, TTL: time.Hour}, nil
		}
		if _, _, err := p.calls.caches.Tokens.Load(t.Context(), p.grantKey(g), 0, nil, load); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Minute)
		if _, hit, err := p.Grant(t.Context(), g); !hit || err != nil {
			t.Fatal(hit, err)
		}
		at = at.Add(time.Second)
		if _, _, err := p.Grant(t.Context(), g); err == nil {
			t.Error("an expired assertion is answered by what is kept for it")
		}
	}
}
