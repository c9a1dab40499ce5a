// Package bench measures what the plugin costs: decisions by themselves, and
// the server over its Unix socket under a minimal host. Imported by its command
// ratio only.
package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"syscall"
	"time"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/metrics"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
	"kong-openid-connect/internal/token"
	"kong-openid-connect/plugin"
)

// Bed is a provider and the plugin beside it, in this process.
type Bed struct {
	Provider *provider.Server
	Tokens   *token.Cache // of verified tokens
	env      *plugin.Environment
}

// secret is a session secret and a client's: a test value.
const secret = "kong-secret-0123456789abcdef0123456789abcdef"

// bigUser's tokens are as large as those of people in many groups: 4 KB
// together, with the provider's own claims and the signatures.
const (
	bigUser      = "bench"
	paddingBytes = 615
)

// NewBed starts a provider on loopback.
func NewBed() (*Bed, error) {
	// What does not compress, in each of two tokens.
	padding := make([]byte, paddingBytes)
	rand.Read(padding)
	users := append(provider.DefaultUsers(), provider.User{
		Username: bigUser, Password: "doe", Name: "Bench", Email: "bench@example.test", Groups: []string{base64.RawStdEncoding.EncodeToString(padding)},
	})
	p, err := provider.Start("127.0.0.1:0", provider.Options{Users: users})
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	b := &Bed{Provider: p, Tokens: token.NewCache(token.CacheOptions{Bytes: 64 << 20, MaxAge: time.Hour, Now: time.Now})}
	b.env = &plugin.Environment{
		Providers: op.NewRegistry(op.Environment{Now: time.Now, Log: log}), Tokens: b.Tokens, Caches: plugin.NewCaches(time.Now), Secrets: noSecrets{},
		UsedLogins: session.NewUsed(time.Now), Revocations: memory.New(1000, time.Now), Replays: token.NewMemoryReplays(0, time.Now), Connections: plugin.NewConnections(nil, time.Now, log),
		Openings: session.NewOpenings(session.OpeningsOptions{Bytes: 64 << 20, MaxAge: 10 * time.Minute}), Now: time.Now, Log: log, Observer: metrics.New("bench"),
	}
	return b, nil
}

// Close stops the provider.
func (b *Bed) Close() { b.Provider.Close() }

type noSecrets struct{}

func (noSecrets) SessionSecret(context.Context, string, string) ([]byte, error) {
	return nil, errors.New("benchmarks configure session_secret")
}

// Plugin returns a plugin that has not compiled anything.
func (b *Bed) Plugin() *plugin.Plugin { return plugin.New(b.env) }

// Bearer is the configuration of a route for programs: a JWT in the
// Authorization header, and three header fields for the service.
func (b *Bed) Bearer() fromkong.Config {
	return fromkong.Config{
		"issuer": b.Provider.URL, "auth_methods": []string{"bearer"}, "bearer_token_param_type": []string{"header"},
		"upstream_headers": []any{map[string]any{"header": "X-User", "path": []any{"preferred_username"}}},
	}
}

// Login is the configuration of a route for browsers.
func (b *Bed) Login() fromkong.Config {
	c := b.Bearer()
	c["auth_methods"] = []string{"session", "authorization_code"}
	c["client_id"], c["client_secret"], c["session_secret"] = []string{"kong"}, []string{secret}, secret
	c["scopes"] = []string{"openid", "profile", "email"}
	return c
}

// InRedis is c with its sessions in a Redis.
func InRedis(c fromkong.Config, host string, port int) fromkong.Config {
	out := maps.Clone(c)
	out["session_storage"], out["redis"] = "redis", map[string]any{"host": host, "port": float64(port)}
	return out
}

// Introspection is the configuration of a route that introspects.
func (b *Bed) Introspection() fromkong.Config {
	c := b.Bearer()
	c["auth_methods"], c["client_id"], c["client_secret"] = []string{"introspection"}, []string{"kong"}, []string{secret}
	return c
}

// Password is the configuration of a route for users' names and passwords.
func (b *Bed) Password() fromkong.Config {
	c := b.Introspection()
	c["auth_methods"], c["password_param_type"] = []string{"password"}, []string{"header"}
	return c
}

// BasicHeaders are those of a request with a user's name and password.
func BasicHeaders() map[string][]string {
	h := Headers("")
	h["authorization"] = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alex:doe"))}
	return h
}

// Start starts an instance of c.
func Start(p server.Plugin, c fromkong.Config) (server.Instance, error) {
	raw, err := c.JSON()
	if err != nil {
		return nil, err
	}
	return p.Start(context.Background(), raw), nil
}

// Call is a request as it comes in, and the gateway that it came to. It
// implements rp.Gateway.
type Call struct {
	Method, Target string
	Header         rp.Header
}

// Headers are those of a program's request, bearer token included if not "".
func Headers(bearer string) map[string][]string {
	h := map[string][]string{
		"host": {"api.example.test"}, "user-agent": {"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, "accept": {"application/json"},
		"accept-encoding": {"gzip, br"}, "accept-language": {"en-GB,en;q=0.8"}, "cookie": {"theme=dark; a=1"}, "x-request-id": {"8f14e45fceea167a"},
	}
	if bearer != "" {
		h["authorization"] = []string{"Bearer " + bearer}
	}
	return h
}

// Fetch implements rp.Gateway.
func (c *Call) Fetch(_ context.Context, r *rp.Request, _ rp.Needs) error {
	r.Method = c.Method
	r.Path, r.RawQuery, _ = strings.Cut(c.Target, "?")
	r.External = rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: r.Path}
	r.ClientIP = "127.0.0.1"
	return nil
}

// Body implements rp.Gateway.
func (c *Call) Body(context.Context, int64) ([]byte, error) { return nil, nil }

// Variable implements rp.Gateway.
func (c *Call) Variable(context.Context, string) (string, error) { return "", nil }

// Decide has an instance decide c, everything that it needs having been read.
func (c *Call) Decide(ctx context.Context, i server.Instance) (*rp.Decision, error) {
	r := rp.NewRequest(c, c.Header, 0)
	if err := r.Need(ctx, i.Needs()); err != nil {
		return nil, err
	}
	d := i.Access(ctx, r)
	return d, d.Err
}

// LogIn logs a person with large tokens in at an instance of Login, and
// returns a request with the session's cookie.
func (b *Bed) LogIn(ctx context.Context, i server.Instance) (*Call, error) {
	page := &Call{Method: "GET", Target: "/app?x=1", Header: Headers("")}
	delete(page.Header, "cookie")
	d, err := page.Decide(ctx, i)
	if d == nil || d.Respond == nil || d.Respond.Status != http.StatusFound {
		return nil, fmt.Errorf("no redirect to the provider: %w", err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	cb, err := provider.SignIn(ctx, &http.Client{Jar: jar, Timeout: 10 * time.Second}, field(d.Downstream.Set, "Location")[0], bigUser, "doe")
	if err != nil {
		return nil, err
	}
	back := &Call{Method: "GET", Target: cb.URL.RequestURI(), Header: Headers("")}
	back.Header["cookie"] = []string{cookies(d)}
	d, err = back.Decide(ctx, i)
	if d == nil || cookies(d) == "" {
		return nil, fmt.Errorf("no session: %w", err)
	}
	in := &Call{Method: "GET", Target: page.Target, Header: Headers("")}
	in.Header["cookie"] = []string{"theme=dark; " + cookies(d)}
	return in, nil
}

// SessionTokens returns the bytes of the tokens in the session of in, which a
// route of the same identity shows its service.
func (b *Bed) SessionTokens(ctx context.Context, in *Call) (int, error) {
	c := b.Login()
	c["upstream_id_token_header"], c["upstream_refresh_token_header"] = "x-id-token", "x-refresh-token"
	i, err := Start(b.Plugin(), c)
	if err != nil {
		return 0, err
	}
	d, err := in.Decide(ctx, i)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, name := range []string{"Authorization", "X-Id-Token", "X-Refresh-Token"} {
		for _, v := range field(d.Upstream.Set, name) {
			n += len(strings.TrimPrefix(v, "Bearer "))
		}
	}
	return n, nil
}

// ProcessorTime returns what this process has used: under load a better measure
// than the time that passed.
func ProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// field returns the values of a header field.
func field(list []rp.Field, name string) []string {
	var out []string
	for _, f := range list {
		if strings.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// cookies returns the Cookie header of a browser after d.
func cookies(d *rp.Decision) string {
	var out []string
	for _, c := range field(d.Downstream.Add, "Set-Cookie") {
		pair, _, _ := strings.Cut(c, ";")
		if n, v, ok := strings.Cut(pair, "="); ok && n != "" && v != "" {
			out = append(out, pair)
		}
	}
	return strings.Join(out, "; ")
}
