package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/internal/param"
)

var kongSource = flag.String("kong", "", "record what Kong's schema code says; the directory of Kong's sources is expected, and luajit with cjson and penlight")

// verdict is what the schema code of Kong 3.9.3 said of a configuration when
// our dump was loaded into it (the tables of the tests here, the documented
// examples, and what Kong does with null). runtime is what a plugin server
// gets from it; an empty list is sometimes {} there.
type verdict struct {
	Name     string          `json:"name"`
	Config   json.RawMessage `json:"config"`
	Accepted bool            `json:"accepted"`
	Errors   json.RawMessage `json:"errors,omitempty"`
	Runtime  json.RawMessage `json:"runtime,omitempty"`
}

// record is the file of verdicts. Checks tells when it is out of date: what
// Kong makes of a check over several fields is easily guessed wrong.
type record struct {
	Checks   string    `json:"checks"` // SHA-256 of the schema's entity checks
	Verdicts []verdict `json:"verdicts"`
}

const recordFile = "testdata/kong_verdicts.json"

func verdicts(t *testing.T) []verdict {
	t.Helper()
	raw, err := os.ReadFile(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if r.Checks != checksOfSchema(t) {
		t.Errorf("the entity checks changed since Kong was asked; record again: go test ./plugin -run TestRecordVerdicts -kong DIRECTORY")
	}
	return r.Verdicts
}

func checksOfSchema(t *testing.T) string {
	t.Helper()
	var found []any
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if checks, ok := v["entity_checks"]; ok {
				found = append(found, checks)
			}
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(v[key])
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	var schema any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	walk(schema)
	raw, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(raw))
}

// kongCase is a configuration that Kong is asked about.
type kongCase struct {
	Name    string          `json:"name"`
	Config  json.RawMessage `json:"config"`
	Runtime bool            `json:"runtime"` // also what a plugin server gets
}

func kongCases(t *testing.T) []kongCase {
	t.Helper()
	var out []kongCase
	for name, c := range badConfigurations {
		out = append(out, kongCase{"bad: " + name, with(t, c.config), false})
	}
	for name, c := range doubtfulConfigurations {
		out = append(out, kongCase{"doubtful: " + name, with(t, c.config), false})
	}
	for name, c := range oldConfigurations {
		out = append(out, kongCase{"old: " + name, with(t, c.config), true})
	}
	for name, config := range map[string]string{
		"header":      `"upstream_access_token_header":null`,
		"lists":       `"scopes":null,"login_tokens":null`,
		"switches":    `"verify_signature":null,"auth_methods":null,"timeout":null,"session_cookie_same_site":null`,
		"empty lists": `"scopes":[],"cluster_cache_items":[],"consumer_claims":[]`,
	} {
		out = append(out, kongCase{"null: " + name, with(t, config), true})
	}
	files, err := filepath.Glob("testdata/examples/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range files {
		out = append(out, kongCase{"example: " + filepath.Base(path), exampleConfig(t, path), i%4 == 3})
	}
	slices.SortFunc(out, func(a, b kongCase) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// exampleConfig returns an example's configuration as JSON, references to
// vaults resolved.
func exampleConfig(t *testing.T, path string) json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	type plugins []struct{ Config map[string]any }
	var doc struct {
		Plugins  plugins
		Services []struct{ Routes []struct{ Plugins plugins } }
	}
	text := strings.NewReplacer("{vault://env/", "resolved-", "validation: on", "validation: true").Replace(string(raw))
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Plugins) == 0 {
		doc.Plugins = doc.Services[0].Routes[0].Plugins
	}
	config, err := json.Marshal(doc.Plugins[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// TestRecordVerdicts asks Kong's schema code about every case, when told where
// it is.
func TestRecordVerdicts(t *testing.T) {
	if *kongSource == "" {
		return
	}
	cases, err := json.Marshal(kongCases(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"schema.json": Schema(), "cases.json": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("luajit", "testdata/kong_verdicts.lua", *kongSource, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("luajit: %v\n%s", err, out)
	}
	r := record{Checks: checksOfSchema(t)}
	if err := json.Unmarshal(out, &r.Verdicts); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var file bytes.Buffer
	fmt.Fprintf(&file, "{\"checks\":%q,\"verdicts\":[\n", r.Checks)
	for i, v := range r.Verdicts {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(line)
		if i < len(r.Verdicts)-1 {
			file.WriteByte(',')
		}
		file.WriteByte('\n')
	}
	file.WriteString("]}\n")
	if err := os.WriteFile(recordFile, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What Kong refuses we refuse, and what Kong accepts means the same to us
// whether it comes from a file or, filled in, from Kong.
func TestAgreesWithKong(t *testing.T) {
	refused, compared := 0, 0
	for _, v := range verdicts(t) {
		t.Run(v.Name, func(t *testing.T) {
			n, err := param.ParseJSON(v.Config)
			if err != nil {
				t.Fatal(err)
			}
			fromFile, _, err := validated(read(n, param.FromUser))
			if !v.Accepted {
				refused++
				if err == nil {
					t.Errorf("Kong refuses it, we do not: %s", v.Errors)
				}
				return
			}
			if v.Runtime == nil || err != nil {
				return
			}
			compared++
			fromKong, _, err := decode(v.Runtime)
			if err != nil {
				t.Fatal(err)
			}
			if fromFile.Digest() != fromKong.Digest() {
				t.Errorf("from a file: %+v\nfrom Kong: %+v", fromFile, fromKong)
			}
		})
	}
	if refused < 30 || compared < 15 {
		t.Errorf("%d refusals and %d configurations compared; the record is incomplete", refused, compared)
	}
}

// Thirty bad configurations are refused by Kong itself, with the field named.
func TestKongNamesTheField(t *testing.T) {
	for _, v := range verdicts(t) {
		if v.Accepted {
			continue
		}
		var errors struct {
			Config map[string]any
		}
		if err := json.Unmarshal(v.Errors, &errors); err != nil {
			t.Fatal(err)
		}
		named := false
		for field := range errors.Config {
			named = named || field != "@entity" && strings.TrimSpace(field) != ""
		}
		if !named {
			t.Errorf("%s: Kong names no field: %s", v.Name, v.Errors)
		}
	}
}
