package hazards

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"kong-openid-connect/internal/bench/fromkong"
	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

// Public test values, which no log may hold all the same.
const (
	clientSecret  = "kong-secret-0123456789abcdef0123456789abcdef"
	sessionSecret = "a-secret-of-the-hazards-0123456789"
)

// bearer is a route for programs, with changes.
func bearer(t testing.TB, change fromkong.Config) []byte {
	c := fromkong.Config{
		"issuer": idp.URL, "auth_methods": []string{"bearer"}, "bearer_token_param_type": []string{"header", "query", "body"},
		"client_id": []string{"kong"}, "client_secret": []string{clientSecret}, "timeout": 2000,
		"upstream_headers": []any{map[string]any{"header": "X-User", "path": []any{"preferred_username"}}},
	}
	maps.Copy(c, change)
	return encode(t, c)
}

// login is a route for browsers, with changes.
func login(t testing.TB, change fromkong.Config) []byte {
	c := fromkong.Config{
		"issuer": idp.URL, "auth_methods": []string{"session", "authorization_code"}, "scopes": []string{"openid", "profile"}, "preserve_query_args": true,
		"client_id": []string{"kong"}, "client_secret": []string{clientSecret}, "session_secret": sessionSecret, "timeout": 2000,
		"upstream_headers": []any{map[string]any{"header": "X-User", "path": []any{"preferred_username"}}},
	}
	maps.Copy(c, change)
	return encode(t, c)
}

func encode(t testing.TB, c fromkong.Config) []byte {
	t.Helper()
	raw, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// mint makes an access token, and remembers that no log may hold it.
func mint(t testing.TB, q provider.TokenRequest) string {
	t.Helper()
	if q.Scopes == nil {
		q.Scopes = []string{"openid", "profile"}
	}
	raw, err := idp.Mint(q)
	if err != nil {
		t.Fatal(err)
	}
	spoken.add(raw)
	return raw
}

// with is a request with a bearer token.
func with(token string) hosttest.Request {
	return hosttest.Request{Headers: map[string][]string{"host": {"localhost"}, "authorization": {"Bearer " + token}}}
}

// stranger is a request without a credential.
var stranger = hosttest.Request{Headers: map[string][]string{"host": {"localhost"}}}

// user returns whom the service is told that the caller is.
func user(t testing.TB, out *hosttest.Outcome) string {
	t.Helper()
	h, err := out.UpstreamHeaders()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(h["X-User"], "|")
}

// browse logs alex in over w and returns the session's cookies.
func browse(t testing.TB, w *hosttest.Worker) string {
	t.Helper()
	pending, callback := begin(t, w)
	out := do(t, w, hosttest.Request{Target: callback, Headers: map[string][]string{"host": {"localhost"}, "cookie": {pending}}}.Answers())
	var set []string
	if out.Exit != nil {
		set = out.Exit.Headers["Set-Cookie"]
	}
	for _, p := range out.Pairs("kong.response.add_header") {
		set = append(set, p[1])
	}
	c := cookies(set)
	if c == "" {
		t.Fatalf("no session: %+v", out.Exit)
	}
	return c
}

// cookies returns the Cookie header that follows from Set-Cookie values.
func cookies(set []string) string {
	var out []string
	for _, c := range set {
		pair, _, _ := strings.Cut(c, ";")
		if _, v, _ := strings.Cut(pair, "="); v != "" {
			spoken.add(v)
			out = append(out, pair)
		}
	}
	return strings.Join(out, "; ")
}

// secrets are texts that may not stand in any log.
type secrets struct {
	mu   sync.Mutex
	list []string
}

// add takes texts in. Of a JWT the payload and the signature count by themselves.
func (s *secrets) add(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range texts {
		parts := []string{t}
		if strings.HasPrefix(t, "ey") {
			parts = append(parts, strings.Split(t, ".")[1:]...)
		}
		for _, p := range parts {
			if len(p) >= 12 && !slices.Contains(s.list, p) {
				s.list = append(s.list, p)
			}
		}
	}
}

// in returns the beginning of a secret that log holds, or "".
func (s *secrets) in(log string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.list {
		if strings.Contains(log, t) {
			return t[:8] + "..."
		}
	}
	return ""
}

// setMember sets a member of a JSON object; nil removes it.
func setMember(t testing.TB, text, name string, value any) string {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	m[name] = value
	if value == nil {
		delete(m, name)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
