package e2e

import (
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/provider"
)

// as returns the header of a caller whose token has the claims.
func as(t *testing.T, claims map[string]any) []string {
	t.Helper()
	return []string{"Authorization", "Bearer " + mint(t, provider.TokenRequest{Claims: claims})}
}

// The ACL plugin acts on the groups of the caller, or on those of the consumer
// whom the caller is mapped to.
func TestACL(t *testing.T) {
	b := newBrowser(t)
	marketing, sales := []string{"employees", "marketing"}, []string{"sales"}
	for _, c := range []struct {
		name, path string
		claims     map[string]any
		status     int
		header     string // X-Authenticated-Groups or X-Consumer-Groups at the service
		want       string
	}{
		{"a group that is allowed", "/acl-groups", map[string]any{"groups": marketing}, 200, "X-Authenticated-Groups", "employees, marketing"},
		{"groups as one text", "/acl-groups", map[string]any{"groups": "employees marketing"}, 200, "X-Authenticated-Groups", "employees, marketing"},
		{"another group", "/acl-groups", map[string]any{"groups": sales}, 403, "", ""},
		{"an empty list of groups", "/acl-groups", map[string]any{"groups": []string{}}, 403, "", ""},
		{"a group that is denied", "/acl-denied", map[string]any{"groups": marketing}, 403, "", ""},
		{"none that is denied", "/acl-denied", map[string]any{"groups": sales}, 200, "X-Authenticated-Groups", "sales"},
		{"a consumer of the group", "/acl-consumer", map[string]any{"consumer": "e2e-staff", "groups": sales}, 200, "X-Consumer-Groups", "staff"},
		{"the same by custom_id", "/acl-consumer", map[string]any{"consumer": "e2e-staff-custom"}, 200, "X-Consumer-Groups", "staff"},
		{"a consumer without the group, whose token has it", "/acl-consumer", map[string]any{"consumer": "e2e-guest", "groups": []string{"staff"}}, 403, "", ""},
		{"nobody's consumer, by the token's groups", "/acl-consumer", map[string]any{"consumer": "e2e-unknown", "groups": []string{"staff"}}, 200, "X-Authenticated-Groups", "staff"},
		{"a consumer, by the token's groups always", "/acl-always", map[string]any{"consumer": "e2e-guest", "groups": marketing}, 200, "X-Authenticated-Groups", "employees, marketing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := b.get(c.path, append(as(t, c.claims), "X-Authenticated-Groups", "marketing", "X_Consumer_Groups", "staff")...).want(t, c.status)
			if c.status != 200 {
				if !strings.Contains(a.body, "You cannot consume this service") {
					t.Errorf("another denied it: %s", a.body)
				}
				return
			}
			if got := a.echo(t).one(t, c.header); got != c.want {
				t.Errorf("%s is %q, want %q", c.header, got, c.want)
			}
		})
	}
	t.Run("who is not authenticated does not get as far", func(t *testing.T) {
		if a := b.get("/acl-groups").want(t, 401); a.body != `{"message":"Unauthorized"}` {
			t.Errorf("body %s", a.body)
		}
	})
}

// The context of the request, which other plugins read, has the same groups as
// the headers.
func TestGroupsInTheContext(t *testing.T) {
	b := newBrowser(t)
	e := b.get("/acl-groups", as(t, map[string]any{"groups": []string{"marketing", "b"}})...).echo(t)
	if got := e.one(t, "X-Context-Group"); got != "marketing" {
		t.Errorf("authenticated_groups begins with %q", got)
	}
	e = b.get("/consumer-groups", append(as(t, map[string]any{"tier": "gold silver"}), "X-Consumer-Groups", "admin")...).echo(t)
	if got := e.one(t, "X-Context-Consumer-Group"); got != "gold" {
		t.Errorf("authenticated_consumer_groups begins with %q", got)
	}
	if got := e.one(t, "X-Consumer-Groups"); got != "gold, silver" {
		t.Errorf("X-Consumer-Groups %q", got)
	}
}

// A limit counts the consumer, or the credential, whatever the address.
func TestRateLimiting(t *testing.T) {
	// Kong counts after the answer, so a few more may pass than the limit says.
	exhaust := func(t *testing.T, path string, claims map[string]any) {
		t.Helper()
		caller := as(t, claims)
		a := newBrowser(t).get(path, caller...).want(t, 200)
		if got := a.Header.Get("X-RateLimit-Remaining-Year"); got != "2" {
			t.Fatalf("%v of the first request remain, want 2: the count is another caller's", got)
		}
		for range 100 {
			if newBrowser(t).get(path, caller...).StatusCode == 429 {
				return
			}
		}
		t.Fatal("the limit is never reached")
	}
	consumers := map[string]map[string]any{
		"e2e-staff": {"consumer": "e2e-staff", "sub": "limit-1"}, "e2e-guest": {"consumer": "e2e-guest", "sub": "limit-1"},
		"no consumer, by the credential": {"sub": "limit-2"}, "no consumer, another credential": {"sub": "limit-3"},
	}
	for name, claims := range consumers {
		t.Run("consumer "+name, func(t *testing.T) { exhaust(t, "/limit-consumer", claims) })
	}
	t.Run("the same consumer with another token", func(t *testing.T) {
		newBrowser(t).get("/limit-consumer", as(t, map[string]any{"consumer": "e2e-staff-custom", "sub": "limit-9"})...).want(t, 429)
	})
	for _, id := range []string{"limit-a", "limit-b"} {
		t.Run("credential "+id, func(t *testing.T) {
			exhaust(t, "/limit-credential", map[string]any{"client_id": id, "consumer": "e2e-guest"})
		})
	}
	t.Run("the same credential of another consumer", func(t *testing.T) {
		newBrowser(t).get("/limit-credential", as(t, map[string]any{"client_id": "limit-a", "consumer": "e2e-staff"})...).want(t, 429)
	})
}

// A plugin that is configured for a consumer applies to whom this one maps to
// that consumer, and to nobody else.
func TestPluginOfAConsumer(t *testing.T) {
	b := newBrowser(t)
	if a := b.get("/mapped", as(t, map[string]any{"consumer": "e2e-blocked"})...).want(t, 451); !strings.Contains(a.body, "Not for you") {
		t.Errorf("body %s", a.body)
	}
	e := b.get("/mapped", as(t, map[string]any{"consumer": "e2e-staff", "sub": "who"})...).echo(t)
	if e.one(t, "X-Consumer-Username") != "e2e-staff" || e.one(t, "X-Consumer-Custom-Id") != "e2e-staff-custom" || len(e.one(t, "X-Consumer-Id")) != 36 || e.one(t, "X-Credential-Identifier") != "who" {
		t.Errorf("the service saw %q", e.Headers)
	}
	e = b.get("/mapped", as(t, map[string]any{"consumer": "e2e-nobody-has-this"})...).echo(t)
	if e.get("X-Consumer-Username") != nil || e.get("X-Consumer-Id") != nil {
		t.Errorf("the service saw %q", e.Headers)
	}
}

// Two authentication plugins with one anonymous consumer: either will do, the
// first that knows the caller decides, and without any the caller is nobody.
func TestMultipleAuthentication(t *testing.T) {
	good := mint(t, provider.TokenRequest{})
	bad := mint(t, provider.TokenRequest{Faults: []string{"bad-signature"}})
	spoof := []string{
		"X-Consumer-Username", "root", "x_consumer_username", "root", "X-Consumer-ID", "1", "X-Anonymous-Consumer", "false", "X_Anonymous-Consumer", "false",
		"X-Credential-Identifier", "root", "X-Authenticated-User", "root", "X-AUTHENTICATED_USER", "root", "X-Authenticated-Groups", "root",
	}
	for _, c := range []struct {
		name, key, token string
		username         string
		user             string // X-Authenticated-User, of this plugin's mapping
		anonymous        bool
	}{
		{"neither", "", "", "e2e-nobody", "", true},
		{"a key", "e2e-staff-key", "", "e2e-staff", "", false},
		{"a token", "", good, "", "alex", false},
		{"a token without a subject, who is nobody's consumer or credential", "", mint(t, provider.TokenRequest{Claims: map[string]any{"sub": nil}}), "", "alex", false},
		{"a key and a token: the key's plugin is the first", "e2e-staff-key", good, "e2e-staff", "", false},
		{"a key and a bad token", "e2e-staff-key", bad, "e2e-staff", "", false},
		{"a bad key and a token", "wrong", good, "", "alex", false},
		{"a bad key and a bad token", "wrong", bad, "e2e-nobody", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h []string
			if c.key != "" {
				h = append(h, "apikey", c.key)
			}
			if c.token != "" {
				h = append(h, "Authorization", "Bearer "+c.token)
			}
			e := newBrowser(t).get("/multi", append(h, spoof...)...).echo(t)
			for name, want := range map[string]string{
				"X-Consumer-Username": c.username, "X-Authenticated-User": c.user, "X-Anonymous-Consumer": map[bool]string{true: "true"}[c.anonymous], "X-Authenticated-Groups": "",
			} {
				got := strings.Join(e.get(name), "|")
				if c.key == "e2e-staff-key" && name == "X-Authenticated-Groups" {
					continue // of key-auth's request, nothing is stripped but what this plugin maps
				}
				if c.key == "e2e-staff-key" {
					got = strings.Join(exactly(e, name), "|") // other spellings are key-auth's to strip
				}
				if got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if c.key != "e2e-staff-key" && slices.Contains(e.get("X-Credential-Identifier"), "root") {
				t.Error("the spoofed credential reaches the service")
			}
			a := newBrowser(t).get("/multi-closed", h...)
			if want := map[bool]int{true: 401, false: 200}[c.anonymous]; a.StatusCode != want || c.anonymous && !strings.Contains(a.body, "Neither will do") {
				t.Errorf("where nobody may in: %d %s", a.StatusCode, a.body)
			}
		})
	}
	t.Run("a preflight request is nobody's", func(t *testing.T) {
		e := newBrowser(t).do("OPTIONS", "/multi", nil, append([]string{"Authorization", "Bearer " + good}, spoof...)...).echo(t)
		for i := 0; i < len(spoof); i += 2 {
			for _, v := range e.get(spoof[i]) {
				if v == "root" || v == "1" || v == "false" {
					t.Errorf("%s: %s reaches the service", spoof[i], v)
				}
			}
		}
	})
}

// exactly returns the values of the header of that name, in any case.
func exactly(e echo, name string) (out []string) {
	for _, line := range e.Headers {
		if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, name) {
			out = append(out, strings.TrimSpace(v))
		}
	}
	return out
}
