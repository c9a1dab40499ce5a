package backing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/jwks/own"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/memory"
	"kong-openid-connect/internal/store/postgres"
	"kong-openid-connect/internal/store/postgres/pgdb"
	"kong-openid-connect/internal/store/postgres/pgtest"
	"kong-openid-connect/internal/token"
)

var server *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &server)) }

// idp is a provider that counts how often it is asked.
type idp struct {
	*httptest.Server
	metadata, keys atomic.Int32
}

func newIDP(t *testing.T) *idp {
	t.Helper()
	k, err := own.Generate("ES256", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			p.metadata.Add(1)
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": p.URL, "jwks_uri": p.URL + "/jwks", "token_endpoint": p.URL + "/token",
				"authorization_endpoint": p.URL + "/auth", "response_types_supported": []string{"code"},
			})
		case "/jwks":
			p.keys.Add(1)
			// A provider that publishes what it should not.
			fmt.Fprintf(w, `{"keys":[%s]}`, k.Private.Reveal())
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// node is a plugin server as far as this package goes.
type node struct {
	store    store.Store
	registry *op.Registry
	keys     *own.Set
	admin    http.Handler
}

func newNode(t *testing.T, s store.Store) *node {
	t.Helper()
	n := &node{store: s}
	n.registry = op.NewRegistry(op.Environment{Store: Objects{s}})
	n.keys = own.New(own.Options{Store: OwnKeys{s}, Algorithms: []string{"ES256", "EdDSA"}})
	t.Cleanup(Connect(s, n.registry, n.keys))
	n.admin = admin.New(admin.Options{Discovery: Discovery{s, n.registry}, Keys: Keys{Set: n.keys}})
	return n
}

func (n *node) do(method, path string) (int, string) {
	w := httptest.NewRecorder()
	n.admin.ServeHTTP(w, httptest.NewRequest(method, "/openid-connect/"+path, nil))
	return w.Code, w.Body.String()
}

// use does what a bearer request does: it needs metadata and keys.
func (n *node) use(t *testing.T, issuer string) {
	t.Helper()
	p := n.provider(t, issuer)
	if _, err := p.Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := p.Keys(nil).Candidates(t.Context(), issuer, token.Header{Algorithm: "ES256"}, false)
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
}

func (n *node) provider(t *testing.T, issuer string) *op.Provider {
	t.Helper()
	p, err := n.registry.Provider(op.Config{Issuer: issuer, RediscoveryLifetime: 30 * time.Second, CacheTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func postgresStore(t *testing.T, database string) *postgres.Store {
	t.Helper()
	settings, err := pgdb.FromKong(server.Kong(database))
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgdb.Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := postgres.Open(db, postgres.Options{})
	t.Cleanup(func() {
		_ = s.Close()
		db.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

func within(t *testing.T, d time.Duration, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("within %v: %s", d, what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestTwoNodesOnOneDatabase(t *testing.T) {
	pgtest.Need(t, server)
	name := server.Database(t)
	a, b := newNode(t, postgresStore(t, name)), newNode(t, postgresStore(t, name))
	p := newIDP(t)

	a.use(t, p.URL)
	b.use(t, p.URL)
	if p.metadata.Load() != 1 || p.keys.Load() != 1 {
		t.Errorf("the provider was asked %d times for metadata and %d for keys", p.metadata.Load(), p.keys.Load())
	}
	secret := func(n *node) store.Secret {
		t.Helper()
		pr := n.provider(t, p.URL)
		v, err := n.store.SessionSecret(t.Context(), store.Key{Issuer: pr.Issuer(), Scope: pr.Scope()}, p.URL)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := secret(a)
	if !secret(b).Equal(before) {
		t.Error("the nodes have different session secrets")
	}
	if code, body := b.do("GET", "issuers"); code != 200 || strings.Count(body, `"id"`) != 1 {
		t.Errorf("secret and metadata are not one object: %s", body)
	}

	// A deletion on one is forgotten by both within a second.
	if code, body := a.do("DELETE", "discovery-cache/"+url.PathEscape(p.URL)); code != 204 {
		t.Fatalf("%d %s", code, body)
	}
	if a.provider(t, p.URL).Object() != nil {
		t.Error("the node that deleted holds it still")
	}
	within(t, time.Second, "the other node forgets", func() bool { return b.provider(t, p.URL).Object() == nil })
	within(t, time.Second, "the other node has another session secret", func() bool { return !secret(b).Equal(before) })
	if !secret(a).Equal(secret(b)) {
		t.Error("after the deletion the nodes have different session secrets")
	}
	b.use(t, p.URL)
	if p.metadata.Load() != 2 {
		t.Errorf("the provider was asked %d times", p.metadata.Load())
	}
	if code, _ := b.do("DELETE", "issuers"); code != 204 {
		t.Fatal(code)
	}
	within(t, time.Second, "the first node forgets", func() bool {
		_, body := a.do("GET", "issuers")
		return a.provider(t, p.URL).Object() == nil && body == `{"data":[],"next":null}`
	})

	// Rotation likewise.
	_, first := a.do("GET", "jwks")
	if _, other := b.do("GET", "jwks"); other != first {
		t.Fatalf("the nodes publish different keys: %s %s", first, other)
	}
	if code, _ := a.do("DELETE", "jwks"); code != 204 {
		t.Fatal(code)
	}
	_, second := a.do("GET", "jwks")
	if kids(t, second)[0] == kids(t, first)[0] || !slices.Equal(kids(t, second)[2:], kids(t, first)) {
		t.Errorf("rotation: %v, before %v", kids(t, second), kids(t, first))
	}
	within(t, time.Second, "the other node publishes and signs with the new keys", func() bool {
		_, body := b.do("GET", "jwks")
		s, err := b.keys.Signer(t.Context(), "ES256")
		return body == second && err == nil && kidOf(t, s) == kids(t, second)[0]
	})
	gone := kids(t, second)[0]
	if code, _ := b.do("DELETE", "jwks/"+gone); code != 204 {
		t.Fatal(code)
	}
	within(t, time.Second, "the first node does not publish the deleted key", func() bool {
		code, _ := a.do("GET", "jwks/"+gone)
		return code == 404
	})
}

func kids(t *testing.T, body string) []string {
	t.Helper()
	var doc struct{ Keys []struct{ Kid string } }
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, k := range doc.Keys {
		all = append(all, k.Kid)
	}
	return all
}

// kidOf is the kid that a signer writes.
func kidOf(t *testing.T, s *token.Signer) string {
	t.Helper()
	raw, err := s.Sign(map[string]any{"iss": "c"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := token.Parse(raw.Reveal(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return u.Header.KeyID
}

func TestDatabaseStopped(t *testing.T) {
	pgtest.Need(t, server)
	n := newNode(t, postgresStore(t, server.Database(t)))
	p, late := newIDP(t), newIDP(t)
	n.use(t, p.URL)
	_, published := n.do("GET", "jwks")
	server.Stop()
	within(t, 5*time.Second, "the outage is noticed", func() bool { return n.store.Check(t.Context()) != nil })
	n.use(t, p.URL)
	n.use(t, late.URL) // discovery needs no database
	if code, body := n.do("GET", "jwks"); code != 200 || body != published {
		t.Errorf("keys: %d %s", code, body)
	}
	if code, _ := n.do("GET", "issuers"); code != 200 {
		t.Errorf("objects: %d", code)
	}
	for _, path := range []string{"issuers", "jwks"} {
		if code, body := n.do("DELETE", path); code != 503 || body != `{"message":"Service unavailable"}` {
			t.Errorf("DELETE %s: %d %s", path, code, body)
		}
	}
	if _, err := n.store.SessionSecret(t.Context(), store.Key{Issuer: late.URL}, late.URL); err == nil {
		t.Error("a session secret was made up")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "what was discovered meanwhile is stored", func() bool {
		code, _ := n.do("GET", "issuers/"+url.PathEscape(late.URL))
		return code == 200
	})
	if p.metadata.Load() != 1 || late.metadata.Load() != 1 {
		t.Errorf("the providers were asked %d and %d times", p.metadata.Load(), late.metadata.Load())
	}
}

// TestNothingPrivateIsShown walks every endpoint, before and after every
// change, for private members and for the session secret.
func TestNothingPrivateIsShown(t *testing.T) {
	stores := map[string]func(t *testing.T) store.Store{
		"memory": func(t *testing.T) store.Store {
			s, err := memory.Open(memory.Options{Dir: filepath.Join(t.TempDir(), "state")})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		"postgres": func(t *testing.T) store.Store {
			pgtest.Need(t, server)
			return postgresStore(t, server.Database(t))
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, open(t))
			n.keys = own.New(own.Options{Store: OwnKeys{n.store}}) // all algorithms
			n.admin = admin.New(admin.Options{Discovery: Discovery{n.store, n.registry}, Keys: Keys{Set: n.keys}})
			p := newIDP(t)
			n.use(t, p.URL)
			pr := n.provider(t, p.URL)
			secret, err := n.store.SessionSecret(t.Context(), store.Key{Issuer: pr.Issuer(), Scope: pr.Scope()}, p.URL)
			if err != nil {
				t.Fatal(err)
			}
			hidden := secrets(secret.Reveal())
			shown := 0
			walk := func() {
				_, body := n.do("GET", "jwks")
				paths := []string{"jwks", "jwks/", "issuers", "discovery-cache", "health", "none",
					"issuers?size=1", "issuers/" + url.PathEscape(p.URL), "discovery-cache/" + url.PathEscape(p.URL+"/")}
				for _, kid := range kids(t, body) {
					paths = append(paths, "jwks/"+kid)
				}
				all, err := n.store.OwnKeys(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, k := range all {
					var m map[string]any
					if err := json.Unmarshal(k.Private.Reveal(), &m); err != nil {
						t.Fatal(err)
					}
					for _, name := range private {
						if v, ok := m[name].(string); ok {
							hidden = append(hidden, v)
						}
					}
				}
				for _, path := range paths {
					for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST"} {
						_, body := n.do(method, path)
						for _, h := range hidden {
							if strings.Contains(body, h) {
								t.Fatalf("%s %s shows a secret value", method, path)
							}
						}
						var v any
						if body != "" && json.Unmarshal([]byte(body), &v) == nil {
							shown += look(t, method+" "+path, v)
						}
					}
				}
			}
			walk()
			for _, change := range []string{"jwks", "jwks", "discovery-cache"} {
				if code, _ := n.do("DELETE", change); code != 204 {
					t.Fatal(change, code)
				}
				walk()
			}
			if shown < 50 {
				t.Errorf("only %d keys were looked at", shown)
			}
		})
	}
}

var private = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "r", "t", "k"}

// look reports private members of every object that is a key, and counts keys.
func look(t *testing.T, where string, v any) (keys int) {
	t.Helper()
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			keys += look(t, where, e)
		}
	case map[string]any:
		if _, ok := x["kty"]; ok {
			keys++
			for _, name := range private {
				if _, ok := x[name]; ok {
					t.Errorf("%s shows member %s of a key", where, name)
				}
			}
		}
		for _, e := range x {
			keys += look(t, where, e)
		}
	}
	return keys
}

// secrets are the spellings in which a secret could come out.
func secrets(b []byte) []string {
	j, _ := json.Marshal(b)         // base64
	s, _ := json.Marshal(string(b)) // text
	return []string{string(b), strings.Trim(string(j), `"=`), strings.Trim(string(s), `"`), fmt.Sprintf("%x", b), fmt.Sprint(b)}
}

// logBuffer is a log that several goroutines write and a test reads.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
