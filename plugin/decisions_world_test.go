package plugin_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/entities"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
	"kong-openid-connect/internal/token"
	"kong-openid-connect/plugin"
)

// world is what a golden decision happens in: two providers, Kong's data, a
// browser's cookies, and the plugin with its real compile.
type world struct {
	t        *testing.T
	main     *provider.Server
	other    *provider.Server
	kong     *kongData
	plugin   *plugin.Plugin
	instance server.Instance
	jar      map[string]string
	answer   *rp.Decision // the last one
	saved    map[string]string
	seen     map[string]int
	holder   *holder
	front    *front
}

const clientSecret = "kong-secret-0123456789abcdef0123456789abcdef"

func newWorld(t *testing.T, c *decisionCase) *world {
	t.Helper()
	keys, err := provider.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kong: &kongData{consumers: c.Consumers, groups: c.Groups, tokens: c.KongTokens}, jar: map[string]string{}, saved: map[string]string{}, seen: map[string]int{}}
	for _, s := range []**provider.Server{&w.main, &w.other} {
		o := provider.Options{Metadata: c.Provider.Metadata, Users: provider.DefaultUsers(), Clients: provider.DefaultClients()}
		for i := range o.Users {
			if o.Users[i].Username == "alex" {
				for n, v := range c.Provider.User {
					o.Users[i].Claims[n] = v
				}
			}
		}
		if s == &w.main {
			o.Keys = keys
		}
		p, err := provider.Start("127.0.0.1:0", o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		*s = p
	}
	w.holder, w.front = newHolder(t, w.main), newFront(w)
	w.kong.holder = w.holder
	w.plugin = plugin.New(w.environment())
	return w
}

// environment is that of a process which shares nothing with others.
func (w *world) environment() *plugin.Environment {
	log, now := slog.New(slog.DiscardHandler), time.Now
	roots := x509.NewCertPool()
	roots.AddCert(w.front.Certificate())
	return &plugin.Environment{
		Connections: plugin.NewConnections(nil, now, nil), Replays: token.NewMemoryReplays(1000, now), Providers: op.NewRegistry(op.Environment{Roots: roots, Now: now, Log: log}), Tokens: token.NewCache(token.CacheOptions{Bytes: 1 << 20, MaxAge: time.Hour, Now: now}),
		Caches: plugin.NewCaches(now), Entities: w.kong, Secrets: noSecrets{}, UsedLogins: session.NewUsed(now), Openings: session.NewOpenings(session.OpeningsOptions{Bytes: 1 << 20, MaxAge: time.Minute}), Revocations: memory.New(1000, now), Now: now, Log: log,
	}
}

type noSecrets struct{}

func (noSecrets) SessionSecret(context.Context, string, string) ([]byte, error) {
	return []byte("0123456789abcdef0123456789abcdef"), nil
}

// kongData is Kong's own data.
type kongData struct {
	consumers []entities.Consumer
	groups    []string
	tokens    map[string]string // access token -> consumer id
	holder    *holder
}

func (k *kongData) For(entities.Loader) entities.Lookups { return k }

func (k *kongData) find(f func(entities.Consumer) bool) (*entities.Consumer, error) {
	if i := slices.IndexFunc(k.consumers, f); i >= 0 {
		return &k.consumers[i], nil
	}
	return nil, entities.ErrNotFound
}
func (k *kongData) ConsumerByID(_ context.Context, _, id string) (*entities.Consumer, error) {
	return k.find(func(c entities.Consumer) bool { return c.ID == id })
}
func (k *kongData) ConsumerByUsername(_ context.Context, _, name string, fold bool) (*entities.Consumer, error) {
	return k.find(func(c entities.Consumer) bool {
		return c.Username == name || fold && strings.EqualFold(c.Username, name)
	})
}
func (k *kongData) ConsumerByCustomID(_ context.Context, _, id string, _ bool) (*entities.Consumer, error) {
	return k.find(func(c entities.Consumer) bool { return c.CustomID == id })
}
func (k *kongData) OAuth2Token(_ context.Context, _, t string) (*entities.OAuth2Token, error) {
	if c, ok := k.tokens[t]; ok {
		return &entities.OAuth2Token{ID: "token-id", CreatedAt: time.Now(), ExpiresIn: 60, Scope: "email", AuthenticatedUserID: "user-1",
			Credential: entities.OAuth2Credential{ID: "credential-id", ClientID: "app", ConsumerID: c}}, nil
	}
	return nil, entities.ErrNotFound
}
func (k *kongData) KnowsGroups(context.Context) (bool, error) { return k.groups != nil, nil }
func (k *kongData) GroupByName(_ context.Context, _, name string) (*entities.Group, error) {
	if slices.Contains(k.groups, name) {
		return &entities.Group{Name: name}, nil
	}
	return nil, entities.ErrNotFound
}

// start starts an instance of a documented example, or of a configuration.
func (w *world) start(c *decisionCase) {
	w.t.Helper()
	conf := fromkong.Config{}
	if c.Example != "" {
		b, err := os.ReadFile("testdata/examples/" + c.Example)
		if err != nil {
			w.t.Fatal(err)
		}
		text := string(b)
		for _, r := range [][2]string{
			{"https://idp.example.com/realms/main", w.main.URL}, {"https://idp.example.com/realms/one/certs", w.main.URL + "/jwks"}, {"https://idp.example.com/realms/two/certs", w.other.URL + "/jwks"},
			{"https://idp.example.com/realms/one", w.main.URL}, {"https://idp.example.com/realms/two", w.other.URL}, {"https://idp.example.com/realms/other", w.other.URL},
			{"https://keys.example.com/certs", w.main.URL + "/jwks"}, {"https://partner.example.org/realms/main", w.other.URL},
		} {
			text = strings.ReplaceAll(text, r[0], r[1])
		}
		text = regexp.MustCompile(`\{vault://[^}]*\}`).ReplaceAllString(text, clientSecret)
		var doc any
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			w.t.Fatal(err)
		}
		found := configOf(doc)
		if found == nil {
			w.t.Fatalf("%s has no plugin", c.Example)
		}
		for k, v := range found {
			conf[k] = v
		}
	}
	for k, v := range w.expand(c.Config).(map[string]any) {
		conf[k] = v
	}
	raw, err := conf.JSON()
	if err != nil {
		w.t.Fatal(err)
	}
	w.instance = w.plugin.Start(w.t.Context(), raw)
}

// configOf finds the first plugin's configuration in a declarative file.
func configOf(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		if v["name"] == "openid-connect" {
			c, _ := v["config"].(map[string]any)
			return c
		}
		for _, k := range slices.Sorted(keysOf(v)) {
			if c := configOf(v[k]); c != nil {
				return c
			}
		}
	case []any:
		for _, e := range v {
			if c := configOf(e); c != nil {
				return c
			}
		}
	}
	return nil
}

func keysOf(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

var placeholder = regexp.MustCompile(`\{\{([a-z0-9]+)((?: [^{} ]+)*)\}\}`)

// expand replaces {{issuer}}, {{other}}, {{secret}}, {{basic user pass}},
// {{token user scope...}}, {{opaque user scope...}}, {{foreign user scope...}},
// {{expired user scope...}}, {{scoped scope...}} with those alone, and {{saved name}}; {{front}}, the token endpoint's
// server over TLS; {{certbound name}}, a token bound to a certificate, and
// {{cert name}}, that in base64; {{keybound}}, a token bound to a DPoP key, and
// {{proof method url}} for it.
func (w *world) expand(v any) any {
	switch v := v.(type) {
	case string:
		return placeholder.ReplaceAllStringFunc(v, w.place)
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = w.expand(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = w.expand(v[i])
		}
		return out
	case int:
		return float64(v)
	}
	return v
}

func (w *world) place(s string) string {
	m := placeholder.FindStringSubmatch(s)
	args := strings.Fields(m[2])
	mint := func(p *provider.Server, q provider.TokenRequest) string {
		if len(args) > 0 {
			q.User, q.Scopes = args[0], append([]string{}, args[1:]...)
		}
		t, err := p.Mint(q)
		if err != nil {
			w.t.Fatal(err)
		}
		return t
	}
	switch m[1] {
	case "issuer":
		return w.main.URL
	case "other":
		return w.other.URL
	case "secret":
		return clientSecret
	case "basic":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(args[0]+":"+strings.ReplaceAll(args[1], "SECRET", clientSecret)))
	case "token":
		return mint(w.main, provider.TokenRequest{})
	case "scoped":
		scopes := strings.Join(args, " ")
		args = nil
		return mint(w.main, provider.TokenRequest{Claims: map[string]any{"scope": scopes}})
	case "foreign":
		return mint(w.other, provider.TokenRequest{})
	case "expired":
		return mint(w.main, provider.TokenRequest{Claims: map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}})
	case "stranger":
		return mint(w.main, provider.TokenRequest{Claims: map[string]any{"iss": "https://stranger.example"}})
	case "opaque":
		return w.opaque(args)
	case "front":
		return w.front.URL
	case "certbound":
		return w.holder.certBound(args[0])
	case "cert":
		return base64.StdEncoding.EncodeToString(w.holder.certs[args[0]].Raw)
	case "keybound":
		return w.holder.keyBound()
	case "proof":
		return w.holder.proof(args[0], args[1])
	case "saved":
		if w.saved[args[0]] == "" {
			w.t.Fatalf("nothing was saved as %s", args[0])
		}
		return w.saved[args[0]]
	}
	w.t.Fatalf("%s is no placeholder", s)
	return ""
}

// opaque asks the provider's client for opaque tokens by password.
func (w *world) opaque(args []string) string {
	form := url.Values{"grant_type": {"password"}, "username": {args[0]}, "password": {"doe"}, "scope": {strings.Join(args[1:], " ")},
		"client_id": {"opaque"}, "client_secret": {"opaque-secret-0123456789abcdef0123456789abcde"}}
	res, err := http.PostForm(w.main.URL+"/token", form)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var a struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || a.AccessToken == "" {
		w.t.Fatalf("no opaque token: %v", err)
	}
	w.main.ResetRecords()
	return a.AccessToken
}

// call is a request with its body.
type call struct {
	method, target string
	body           []byte
	cert           *x509.Certificate // of the TLS connection
	trusted        bool              // Kong trusts the peer's headers
}

func (c *call) Fetch(_ context.Context, r *rp.Request, _ rp.Needs) error {
	r.Method = c.method
	r.Path, r.RawQuery, _ = strings.Cut(c.target, "?")
	r.External = rp.External{Scheme: "http", Host: "localhost", Port: 8000, Path: r.Path}
	r.ClientIP = "127.0.0.1"
	return nil
}
func (c *call) Body(_ context.Context, limit int64) ([]byte, error) {
	if int64(len(c.body)) > limit {
		return nil, rp.ErrBodyTooLarge
	}
	return c.body, nil
}
func (c *call) Variable(_ context.Context, name string) (string, error) {
	if name != "ssl_client_raw_cert" || c.cert == nil {
		return "", nil
	}
	return pemOf(c.cert), nil
}
func (c *call) TrustedPeer(context.Context) (bool, error) { return c.trusted, nil }

// send has the instance decide a request, and keeps its cookies.
func (w *world) send(q decisionRequest) {
	w.t.Helper()
	h := rp.Header{}
	for n, v := range q.Headers {
		h[strings.ToLower(n)] = []string{w.expand(v).(string)}
	}
	if q.Cookies {
		var list []string
		for n, v := range w.jar {
			list = append(list, n+"="+v)
		}
		sort.Strings(list)
		if len(list) > 0 {
			h["cookie"] = []string{strings.Join(list, "; ")}
		}
	}
	c := &call{method: q.Method, target: w.expand(q.Target).(string), body: []byte(w.expand(q.Body).(string)), cert: w.holder.certs[q.TLS], trusted: q.Trusted}
	w.front.calls = nil
	if c.method == "" {
		c.method = "GET"
	}
	r := rp.NewRequest(c, h, 0)
	if err := r.Need(w.t.Context(), w.instance.Needs()); err != nil {
		w.t.Fatal(err)
	}
	if q.Authenticated {
		r.Authenticated = true
	}
	w.answer = w.instance.Access(w.t.Context(), r)
	for _, f := range w.answer.Downstream.Add {
		if strings.EqualFold(f.Name, "Set-Cookie") {
			pair, rest, _ := strings.Cut(f.Value, ";")
			n, v, _ := strings.Cut(pair, "=")
			if v == "" || strings.Contains(rest, "Max-Age=0") {
				delete(w.jar, n)
			} else {
				w.jar[n] = v
			}
		}
	}
	for name, header := range q.Save {
		for _, f := range w.answer.Upstream.Set {
			if strings.EqualFold(f.Name, header) {
				w.saved[name] = strings.TrimPrefix(f.Value, "Bearer ")
			}
		}
	}
}

// logIn logs a person in at the provider that the last answer leads to, and
// returns the callback's request.
func (w *world) logIn(user string) decisionRequest {
	w.t.Helper()
	to := ""
	for _, f := range w.answer.Downstream.Set {
		if f.Name == "Location" {
			to = f.Value
		}
	}
	jar, _ := cookiejar.New(nil)
	cb, err := provider.SignIn(w.t.Context(), &http.Client{Jar: jar, Timeout: 10 * time.Second}, to, user, "doe")
	if err != nil {
		w.t.Fatal(err)
	}
	q := decisionRequest{Cookies: true, Target: cb.URL.RequestURI()}
	if cb.Post {
		q.Method, q.Body, q.Headers = "POST", cb.Params.Encode(), map[string]string{"content-type": "application/x-www-form-urlencoded"}
	}
	return q
}

var errNoStep = errors.New("a step is a request, or login")

func (w *world) String() string { return fmt.Sprint(w.main.URL) }
