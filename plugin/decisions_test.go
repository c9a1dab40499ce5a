package plugin_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/kong/entities"
)

// decisionCase is one file of testdata/decisions: a configuration, what the
// provider and Kong know, and requests. The golden file beside it holds what
// they come to.
type decisionCase struct {
	Doc      string         `yaml:"doc"`
	Row      int            `yaml:"row"`     // of behaviour.md A.1
	Example  string         `yaml:"example"` // in testdata/examples
	Config   map[string]any `yaml:"config"`
	Provider struct {
		Metadata map[string]any `yaml:"metadata"`
		User     map[string]any `yaml:"user"` // claims laid over alex
	} `yaml:"provider"`
	Consumers  []entities.Consumer `yaml:"-"`
	Named      []string            `yaml:"consumers"` // id/username/custom_id
	Groups     []string            `yaml:"groups"`
	KongTokens map[string]string   `yaml:"kong_tokens"`
	Steps      []decisionStep      `yaml:"steps"`
}

type decisionStep struct {
	Doc       string           `yaml:"doc"`
	Request   *decisionRequest `yaml:"request"`
	Login     string           `yaml:"login"`         // a person signs in where the last answer leads, and comes back
	Consumers []string         `yaml:"consumers"`     // from now on
	ClearJar  bool             `yaml:"clear_cookies"` // before the request
}

type decisionRequest struct {
	Method        string            `yaml:"method"`
	Target        string            `yaml:"target"`
	Headers       map[string]string `yaml:"headers"`
	Body          string            `yaml:"body"`
	Cookies       bool              `yaml:"cookies"`       // those of the answers so far
	Authenticated bool              `yaml:"authenticated"` // by a plugin before this one
	TLS           string            `yaml:"tls"`           // the client's certificate, by name
	Trusted       bool              `yaml:"trusted"`       // the peer is a trusted proxy
	Save          map[string]string `yaml:"save"`          // name -> header toward the service, for {{saved name}}
}

// conflicts are the places where the documents of Kong's plugin disagree, by
// section of behaviour.md, and the cases that hold what is done.
var conflicts = map[string][]string{
	"3.4, discovery documents are stale but usable":         {"internal/jwks/kept_test.go TestCase40StaleButUsable", "internal/jwks/kept_test.go TestRenewalInTheBackground"},
	"4.2, client_secret_basic is not form-encoded":          {"conflict-basic-is-not-form-encoded"},
	"6.9, a PAR endpoint alone does not switch PAR on":      {"conflict-par-endpoint-alone"},
	"8.3, issuers_allowed replaces the default and applies": {"conflict-issuers-allowed", "conflict-issuer-unchecked"},
	"8.4, audience is only sent":                            {"conflict-audience-is-only-sent", "conflict-audience-required"},
	"8.6, an expired token is 401 whatever verify_claims":   {"conflict-expired-is-always-401", "conflict-domains-by-method"},
	"10.1, the access token is the first source":            {"conflict-order-of-sources"},
	"10.7, anonymous is as with other plugins":              {"conflict-anonymous-like-other-plugins"},
	"10.7, a missing anonymous consumer is 500":             {"conflict-anonymous-missing"},
	"11.2, downstream headers are unset":                    {"conflict-downstream-default"},
	"15.1, no credential is 401":                            {"conflict-no-credential-is-401"},
}

func TestConflictsHaveCases(t *testing.T) {
	for name, cases := range conflicts {
		for _, c := range cases {
			file, test, elsewhere := strings.Cut(c, " ")
			if !elsewhere {
				file = "testdata/decisions/" + c + ".golden"
			} else {
				file = "../" + file
			}
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), test) {
				t.Errorf("%s: %s is not there: %v", name, c, err)
			}
		}
	}
}

func TestDecisions(t *testing.T) {
	files, err := filepath.Glob("testdata/decisions/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	rows := map[int]bool{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := &decisionCase{}
		dec := yaml.NewDecoder(bytes.NewReader(b))
		dec.KnownFields(true)
		if err := dec.Decode(c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		rows[c.Row] = true
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
			t.Parallel()
			got := decide(t, c)
			golden := strings.TrimSuffix(file, ".yml") + ".golden"
			if flag.Lookup("update").Value.String() == "true" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != got {
				t.Errorf("%s differs; look at what changed, then run: go test ./plugin -run TestDecisions -update\n%s", golden, got)
			}
		})
	}
	for row := 1; row <= 31; row++ {
		if !rows[row] {
			t.Errorf("row %d of A.1 has no case", row)
		}
	}
}

func consumersOf(list []string) []entities.Consumer {
	var out []entities.Consumer
	for _, s := range list {
		f := append(strings.Split(s, "/"), "", "")
		out = append(out, entities.Consumer{ID: f[0], Username: f[1], CustomID: f[2]})
	}
	return out
}

func decide(t *testing.T, c *decisionCase) string {
	c.Consumers = consumersOf(c.Named)
	w := newWorld(t, c)
	w.start(c)
	var b strings.Builder
	for _, s := range c.Steps {
		if s.Consumers != nil {
			w.kong.consumers = consumersOf(s.Consumers)
		}
		if s.ClearJar {
			clear(w.jar)
		}
		q := s.Request
		if s.Login != "" {
			back := w.logIn(s.Login)
			q = &back
		}
		if q == nil {
			t.Fatal(errNoStep)
		}
		w.main.ResetRecords()
		w.send(*q)
		fmt.Fprintf(&b, "# %s\n%s\n", s.Doc, w.describe())
	}
	return b.String()
}

// describe writes a decision and the calls that it took, without what differs
// from run to run.
func (w *world) describe() string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(w.stable(fmt.Sprintf(format, args...)) + "\n") }
	d := w.answer
	line("reason: %s", d.Reason)
	if d.Respond != nil {
		line("answered: %d %s", d.Respond.Status, d.Respond.Body)
	} else {
		line("let through")
	}
	if r := d.Request; r.Method != "" || r.RawQuery != nil || r.Body != nil {
		if r.Method != "" {
			line("method: %s", r.Method)
		}
		if r.RawQuery != nil {
			line("query: %q", *r.RawQuery)
		}
		if r.Body != nil {
			line("body: %q", *r.Body)
		}
	}
	slices.Sort(d.Upstream.Clear)
	for _, n := range d.Upstream.Clear {
		line("up clear: %s", n)
	}
	for _, f := range d.Upstream.Set {
		line("up: %s: %s", f.Name, f.Value)
	}
	for _, f := range append(slices.Clone(d.Downstream.Set), d.Downstream.Add...) {
		line("down: %s: %s", f.Name, f.Value)
	}
	if a := d.Authenticate; a != nil {
		if a.Consumer != nil {
			line("consumer: %s %s %s", a.Consumer.ID, a.Consumer.Username, a.Consumer.CustomID)
		}
		if a.CredentialID != "" {
			line("credential: %s", a.CredentialID)
		}
		if a.Groups != nil {
			line("groups: %q", a.Groups)
		}
		if a.ConsumerGroups != nil {
			line("consumer groups: %q", a.ConsumerGroups)
		}
	}
	for _, call := range w.front.calls {
		line("call: %s", call)
	}
	for _, r := range w.main.Records("") {
		switch r.Endpoint {
		case "token":
			line("call: token %s by %s of %s, scope %q, audience %q: %d", r.GrantType, r.AuthMethod, r.Client, r.Form.Get("scope"), r.Form.Get("audience"), r.Status)
		case "revocation":
			line("call: revocation of the %s: %d", r.Form.Get("token_type_hint"), r.Status)
		case "introspection", "userinfo":
			line("call: %s: %d", r.Endpoint, r.Status)
		}
	}
	return b.String()
}

var (
	jwtText    = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)
	cookieText = regexp.MustCompile(`^(down: Set-Cookie: [a-zA-Z_]*?)(_[A-Za-z0-9_-]{4,})?=([^;]*)`)
	longText   = regexp.MustCompile(`[A-Za-z0-9_-]{32,}(%3D)*`)
	nonceText  = regexp.MustCompile(`([?&]nonce=)[^&]*`)
	numberAge  = regexp.MustCompile(`(Max-Age|Expires)=[^;]*`)
)

// stable replaces what differs from run to run.
func (w *world) stable(s string) string {
	s = jwtText.ReplaceAllStringFunc(s, readJWT)
	s = strings.ReplaceAll(s, w.main.URL, "ISSUER")
	s = strings.ReplaceAll(s, url.QueryEscape(w.main.URL), "ISSUER")
	s = strings.ReplaceAll(s, w.other.URL, "OTHER")
	if m := cookieText.FindStringSubmatch(s); m != nil {
		value := "VALUE"
		if m[3] == "" {
			value = ""
		}
		name := m[1]
		if m[2] != "" {
			name += "_ID"
		}
		s = name + "=" + value + numberAge.ReplaceAllString(s[len(m[0]):], "$1=..")
	}
	s = nonceText.ReplaceAllString(s, "${1}NONCE")
	return longText.ReplaceAllStringFunc(s, func(m string) string {
		if m == "insufficient_user_authentication" {
			return m
		}
		return "RANDOM"
	})
}

// readJWT says what a JWT is of, in place of it.
func readJWT(s string) string {
	parts := strings.Split(s, ".")
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "JWT(unreadable)"
	}
	var c map[string]any
	if json.Unmarshal(b, &c) != nil {
		return "JWT(unreadable)"
	}
	kind := "access"
	if _, ok := c["nonce"]; ok || c["scope"] == nil {
		kind = "id"
	}
	return fmt.Sprintf("JWT(%s sub=%v scope=%v)", kind, c["sub"], c["scope"])
}
