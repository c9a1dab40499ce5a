package op

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/jwks"
	"kong-openid-connect/internal/token"
)

// clock is a clock that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Unix(1_700_000_000, 0).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) Advance(d time.Duration) { c.at.Add(int64(d)) }

// key is a signing key of a fake provider.
type key struct {
	kid  string
	priv *ecdsa.PrivateKey
}

func newKey(t testing.TB, kid string) key {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{kid, k}
}

// sign makes an ES256 token.
func (k key) sign(t testing.TB, c map[string]any) string {
	t.Helper()
	o := &jose.SignerOptions{}
	if k.kid != "" {
		o = o.WithHeader("kid", k.kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.priv}, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// idp is a provider that counts its calls and can be told what to answer.
type idp struct {
	*httptest.Server
	mu       sync.Mutex
	document map[string]any
	keys     []key
	down     bool
	handlers map[string]http.HandlerFunc
	calls    map[string]int
	last     map[string]*http.Request // its form parsed
}

const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/keys"
	tokenPath     = "/token"
)

func newIDP(t testing.TB, keys ...key) *idp {
	t.Helper()
	i := &idp{keys: keys, handlers: map[string]http.HandlerFunc{}, calls: map[string]int{}, last: map[string]*http.Request{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	i.document = map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + keysPath, "token_endpoint": i.URL + tokenPath,
		"authorization_endpoint": i.URL + "/authorize",
	}
	return i
}

func (i *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	i.calls[r.URL.Path]++
	i.last[r.URL.Path] = r
	down, handler, doc := i.down, i.handlers[r.URL.Path], maps.Clone(i.document)
	var set []jose.JSONWebKey
	for _, k := range i.keys {
		set = append(set, jose.JSONWebKey{Key: k.priv.Public(), KeyID: k.kid})
	}
	i.mu.Unlock()
	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case handler != nil:
		handler(w, r)
	case r.URL.Path == discoveryPath:
		_ = json.NewEncoder(w).Encode(doc)
	case r.URL.Path == keysPath:
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: set})
	default:
		http.NotFound(w, r)
	}
}

// set changes the provider.
func (i *idp) set(f func(*idp)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(i)
}

func (i *idp) handle(path string, h http.HandlerFunc) { i.set(func(i *idp) { i.handlers[path] = h }) }

// answer makes a path answer with a status and a body.
func (i *idp) answer(path string, status int, body string) {
	i.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func (i *idp) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[path]
}

func (i *idp) request(path string) *http.Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last[path]
}

// logs collects what is logged.
type logs struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// world is a registry with a clock and a log of its own.
type world struct {
	*Registry
	*clock
	log *logs
}

func newWorld() *world {
	c, l := newClock(), &logs{}
	return &world{NewRegistry(Environment{Now: c.Now, Log: slog.New(slog.NewTextHandler(l, nil))}), c, l}
}

// config is the usual configuration for an issuer.
func config(issuer string) Config {
	return Config{Issuer: issuer, RediscoveryLifetime: 30 * time.Second, CacheTTL: time.Hour, HTTP: HTTP{Timeout: 5 * time.Second}}
}

func (w *world) provider(t testing.TB, c Config) *Provider {
	t.Helper()
	p, err := w.Provider(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// verify checks a token's signature with the keys of p.
func verify(ctx context.Context, p *Provider, raw string, allowed ...string) error {
	v := token.Verifier{Keys: p.Keys(allowed)}
	_, err := v.Verify(ctx, raw, token.UseAccess)
	return err
}

var _ token.Keys = (*keys)(nil)
var _ jwks.Load[state] = (*Provider)(nil).load

func publicOf(k key) jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.priv.Public(), KeyID: k.kid}
}
