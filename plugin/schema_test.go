package plugin

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/param"
)

var update = flag.Bool("update", false, "write the golden files and docs/reference.md")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s is not current; look at what changed, then run: go test ./plugin -run %s -update", path, t.Name())
	}
}

func TestSchemaGolden(t *testing.T) {
	var v any
	if err := json.Unmarshal(Schema(), &v); err != nil {
		t.Fatal(err)
	}
	pretty, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", append(pretty, '\n'))
	golden(t, "testdata/kong.schema.json", append(JSONSchema(), '\n'))
}

// attributes is a field of the dump.
type attributes struct {
	Type          string
	Description   string
	Required      bool
	Auto          bool
	Default       any
	OneOf         []any     `json:"one_of"`
	Between       []float64 `json:"between"`
	LenMin        int       `json:"len_min"`
	Match         string
	UUID          bool
	Referenceable bool
	Encrypted     bool
	Err           string
	Elements      *attributes
	Fields        []map[string]*attributes
	Deprecation   *struct {
		Message string
		Removal string `json:"removal_in_version"`
	}
}

// dumped returns every field of the dump by its path in parameters.tsv.
func dumped(t *testing.T) map[string]*attributes {
	t.Helper()
	var schema struct {
		Name   string
		Fields []map[string]*attributes
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Name != Name {
		t.Errorf("the schema's name is %q", schema.Name)
	}
	out := map[string]*attributes{}
	var walk func(prefix string, fields []map[string]*attributes)
	walk = func(prefix string, fields []map[string]*attributes) {
		for _, m := range fields {
			for name, a := range m {
				path := prefix + name
				if out[path] != nil {
					t.Errorf("%s is there twice", path)
				}
				out[path] = a
				walk(path+".", a.Fields)
				if a.Elements != nil {
					walk(path+"[].", a.Elements.Fields)
				}
			}
		}
	}
	walk("", schema.Fields)
	return out
}

// typeText is a type as parameters.tsv writes it.
func (a *attributes) typeText() string {
	if a.Elements != nil {
		return "array<" + a.Elements.typeText() + ">"
	}
	return a.Type
}

// innermost is what a list is of.
func (a *attributes) innermost() *attributes {
	for a.Elements != nil {
		a = a.Elements
	}
	return a
}

// fact is a line of parameters.tsv.
type fact struct {
	path, typ, def, constraint         string
	referenceable, encrypted, required bool
}

func facts(t *testing.T) []fact {
	t.Helper()
	file, err := os.Open("testdata/parameters.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out []fact
	s := bufio.NewScanner(file)
	for s.Scan() {
		c := strings.Split(s.Text(), "\t")
		if c[0] == "path" {
			continue
		}
		if len(c) != 10 {
			t.Fatalf("%d columns in %q", len(c), s.Text())
		}
		out = append(out, fact{c[0], c[1], c[2], c[3], c[4] == "y", c[5] == "y", c[6] == "y"})
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// deviations from parameters.tsv, by path and attribute, with the reason.
var deviations = map[string]string{
	// An old spelling with a default could not be told from what a person
	// wrote, for Kong fills defaults in first.
	"config.session_redis_host default":       "old spelling",
	"config.session_redis_port default":       "old spelling",
	"config.session_redis_ssl default":        "old spelling",
	"config.session_redis_ssl_verify default": "old spelling",
	// A random salt in each plugin entity would keep equal configurations
	// from sharing caches and connections; TokensSalt derives one.
	"config.cache_tokens_salt auto": "derived in Go",
	// Kong's set of protocols is a set; a list in the table.
	"protocols type": "a set is a list without repetition",
}

// stricter are parameters that the table gives no rule for, but that can only
// be URLs: Kong then refuses another text at its Admin API, not at the first
// request.
var stricter = []string{
	"config.authorization_endpoint", "config.end_session_endpoint", "config.http_proxy", "config.https_proxy",
	"config.introspection_endpoint", "config.jwks_endpoint", "config.mtls_introspection_endpoint",
	"config.mtls_revocation_endpoint", "config.mtls_token_endpoint", "config.pushed_authorization_request_endpoint",
	"config.revocation_endpoint", "config.token_endpoint", "config.token_exchange_endpoint", "config.userinfo_endpoint",
	"config.token_exchange.subject_token_issuers[].jwks_uri",
}

// notOurs are lines about fields that every plugin entity has.
var notOurs = []string{"service", "route", "consumer / consumer_group", "enabled"}

func TestSchemaMatchesParameters(t *testing.T) {
	dump := dumped(t)
	used := map[string]bool{}
	differ := func(f fact, attribute string, got, want any) {
		if reflect.DeepEqual(got, want) {
			return
		}
		key := f.path + " " + attribute
		if deviations[key] == "" {
			t.Errorf("%s: %s is %v, the table says %v", f.path, attribute, got, want)
		}
		used[key] = true
	}
	known := map[string]bool{"config": true, "consumer": true}
	for _, f := range facts(t) {
		known[f.path] = true
		if slices.Contains(notOurs, f.path) {
			continue
		}
		a := dump[f.path]
		if a == nil {
			t.Errorf("%s is not in the dump", f.path)
			continue
		}
		want := f.typ
		if a.Type == "set" {
			want = strings.TrimSuffix(strings.TrimPrefix(want, "array<"), ">")
			differ(f, "type", "set of "+a.Elements.Type, f.typ)
		} else {
			differ(f, "type", a.typeText(), want)
		}
		if f.path != "protocols" {
			differ(f, "required", a.Required, f.required)
		}
		differ(f, "referenceable", a.innermost().Referenceable, f.referenceable)
		differ(f, "encrypted", a.innermost().Encrypted, f.encrypted)
		var def any
		if f.def != "" {
			if err := json.Unmarshal([]byte(f.def), &def); err != nil {
				t.Fatalf("%s: default %q: %v", f.path, f.def, err)
			}
		}
		differ(f, "default", a.Default, def)
		differ(f, "auto", a.Auto, strings.HasPrefix(f.constraint, "auto-generated"))
		checkConstraint(t, f, a)
	}
	declared := parameters()
	for path, a := range dump {
		if f := declared[strings.TrimPrefix(path, "config.")]; !known[path] && (f == nil || !f.Extension) {
			t.Errorf("%s is in the dump, not in the table", path)
		}
		if len(a.Description) > 500 || (path != "protocols" && path != "consumer" && path != "config" && len(a.Description) < 10) {
			t.Errorf("%s: a description of %d characters", path, len(a.Description))
		}
	}
	for key := range deviations {
		if !used[key] {
			t.Errorf("the deviation %q is none any more: take it out", key)
		}
	}
}

// checkConstraint holds a field's rules to the table's column of constraints.
func checkConstraint(t *testing.T, f fact, a *attributes) {
	t.Helper()
	inner := a.innermost()
	c := f.constraint
	var oneOf []string
	for _, prefix := range []string{"each of: ", "one of: "} {
		if list, ok := strings.CutPrefix(c, prefix); ok {
			list, _, _ = strings.Cut(list, ";")
			oneOf = strings.Split(list, "|")
		}
	}
	var got []string
	for _, v := range inner.OneOf {
		got = append(got, fmt.Sprint(v))
	}
	slices.Sort(got)
	slices.Sort(oneOf)
	switch {
	case c == "1.0 or 1.1":
		oneOf = []string{"1", "1.1"}
	case strings.Contains(c, "old values"):
		oneOf = []string{"Lax", "None", "Strict", "off"}
	}
	if !slices.Equal(got, oneOf) {
		t.Errorf("%s: values %v, the table says %v", f.path, got, oneOf)
	}
	var between []float64
	if lo, hi, ok := strings.Cut(c, ".."); ok {
		var l, h float64
		if _, err := fmt.Sscan(lo, &l); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(hi, &h); err != nil {
			t.Fatal(err)
		}
		between = []float64{l, h}
	}
	// An old spelling has the bounds of what it stands for, though the
	// table does not repeat them.
	if !reflect.DeepEqual(inner.Between, between) && !strings.HasPrefix(c, "shorthand") {
		t.Errorf("%s: between %v, the table says %v", f.path, inner.Between, between)
	}
	lenMin := 0
	if strings.HasPrefix(c, "min length 1") || strings.Contains(c, "at least one") {
		lenMin = 1
	}
	if a.LenMin != lenMin {
		t.Errorf("%s: len_min %d, the table says %d", f.path, a.LenMin, lenMin)
	}
	if strings.Contains(c, "element min length 1") && inner.LenMin != 1 {
		t.Errorf("%s: the elements' len_min is %d, the table says 1", f.path, inner.LenMin)
	}
	if wantUUID := strings.HasPrefix(c, "UUID"); inner.UUID != wantUUID {
		t.Errorf("%s: uuid %v, the table says %v", f.path, inner.UUID, wantUUID)
	}
	wantURL := strings.HasSuffix(c, "URL") || strings.Contains(c, "host:port") || slices.Contains(stricter, f.path)
	if (inner.Match != "") != wantURL {
		t.Errorf("%s: match %q, a URL: %v", f.path, inner.Match, wantURL)
	}
	if old := strings.HasPrefix(c, "shorthand") || strings.HasPrefix(c, "accepted and ignored") || strings.HasPrefix(c, "rejected"); old &&
		!strings.Contains(f.path, "[]") && a.Deprecation == nil {
		t.Errorf("%s: an old spelling without deprecation", f.path)
	}
}

func TestDeclarationCounts(t *testing.T) {
	current, old, extensions := 0, 0, 0
	for _, f := range Declaration().All() {
		switch {
		case f.Extension:
			extensions++
		case f.Group == deprecatedGroup:
			old++
		default:
			current++
		}
	}
	if current != 378 || old != 40 {
		t.Errorf("%d parameters and %d old spellings, want 378 and 40 (%d extensions)", current, old, extensions)
	}
}

// groups are the headings of docs/reference.md.
var groups = []param.Group{
	{Name: "issuer/discovery", Title: "Issuer and discovery"},
	{Name: "flows", Title: "Methods"},
	{Name: "credentials-location", Title: "Where credentials stand"},
	{Name: "client", Title: "Clients"},
	{Name: "authorization-request", Title: "Authorization request"},
	{Name: "token-request", Title: "Token request"},
	{Name: "introspection", Title: "Introspection"},
	{Name: "userinfo", Title: "Userinfo"},
	{Name: "verification", Title: "Verification"},
	{Name: "pop", Title: "Proof of possession"},
	{Name: "claims-authz", Title: "Authorization by claims"},
	{Name: "consumer-mapping", Title: "Consumers, groups, credentials"},
	{Name: "kong-identity", Title: "Principals"},
	{Name: "token-exchange", Title: "Token exchange"},
	{Name: "headers-upstream", Title: "Headers toward the service"},
	{Name: "headers-downstream", Title: "Headers toward the client"},
	{Name: "session", Title: "Sessions"},
	{Name: "session-storage", Title: "Session storage"},
	{Name: "login", Title: "Login"},
	{Name: "logout", Title: "Logout"},
	{Name: "errors-redirects", Title: "Errors"},
	{Name: "misc", Title: "Requests"},
	{Name: "cache", Title: "Caches"},
	{Name: "http", Title: "Connections"},
	{Name: "extensions", Title: "Extensions", Intro: "Kong's own plugin does not have these. They are off unless they are set."},
	{Name: deprecatedGroup, Title: "Old spellings", Intro: "They are accepted and folded into the parameters that took their place. Where both are given the new one counts, if it differs from its default."},
}

const referenceIntro = `# Parameters

This page is made from the declarations in plugin/; run ` + "`go generate ./plugin`" + ` after changing one.

Every parameter stands in the plugin's ` + "`config`" + `. *Since* is the version of Kong in which its Enterprise plugin got the parameter. *vault* means that a reference such as ` + "`{vault://env/name}`" + ` is accepted, *encrypted* that Kong's keyring encrypts it at rest. *Status*: *effective* does what it says, *accepted* is an old spelling that is folded into another parameter, *ignored* has no effect in Kong's own plugin either, *refused* is an error.
`

func TestReferenceIsCurrent(t *testing.T) {
	page, err := Declaration().Reference(groups, Status)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/reference.md", append([]byte(referenceIntro), page...))
}
