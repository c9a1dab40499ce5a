package schema

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What the schema code of Kong 3.9.3 said of configurations of the plugin:
// accepted or not, the errors by field, and what a plugin server gets.
func TestVerdictsOfKong(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "plugin", "testdata")
	raw, err := os.ReadFile(filepath.Join(dir, "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = os.ReadFile(filepath.Join(dir, "kong_verdicts.json")); err != nil {
		t.Fatal(err)
	}
	var record struct {
		Verdicts []struct {
			Name     string         `json:"name"`
			Config   map[string]any `json:"config"`
			Accepted bool           `json:"accepted"`
			Errors   map[string]any `json:"errors"`
			Runtime  map[string]any `json:"runtime"`
		} `json:"verdicts"`
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		t.Fatal(err)
	}
	refused, compared := 0, 0
	for _, v := range record.Verdicts {
		t.Run(v.Name, func(t *testing.T) {
			e := s.Fill(map[string]any{"config": v.Config})
			errs := s.Validate(e)
			if (errs == nil) != v.Accepted {
				t.Fatalf("accepted %v, by Kong %v: %v\nKong: %v", errs == nil, v.Accepted, Flatten(errs), Flatten(v.Errors))
			}
			if !v.Accepted {
				refused++
				if v.Errors != nil && !reflect.DeepEqual(errs, v.Errors) {
					t.Errorf("errors %v\n  Kong %v", Flatten(errs), Flatten(v.Errors))
				}
				return
			}
			if v.Runtime != nil {
				compared++
				got, want := trim(e["config"]), trim(v.Runtime)
				for later, value := range map[string]any{ // extensions that the record is older than
					"preserve_fragment": false, "unauthorized_for_scripts": false, "session_no_store": false, "client_dpop": "off",
					"logout_all_sessions": false, "session_revocation_storage": "auto",
				} {
					if g := got.(map[string]any); want.(map[string]any)[later] == nil && g[later] == value {
						delete(g, later)
					}
				}
				if !reflect.DeepEqual(got, want) {
					for k, w := range want.(map[string]any) {
						if g := got.(map[string]any)[k]; !reflect.DeepEqual(g, w) {
							t.Errorf("%s: got %v, by Kong %v", k, g, w)
						}
					}
					for k, g := range got.(map[string]any) {
						if want.(map[string]any)[k] == nil {
							t.Errorf("%s: got %v, by Kong nothing", k, g)
						}
					}
				}
			}
		})
	}
	if refused < 30 || compared < 15 {
		t.Errorf("%d refusals and %d configurations compared", refused, compared)
	}
}

// trim leaves out what is not set; an empty list is the same as an empty table.
func trim(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if x != nil {
				out[k] = trim(x)
			}
		}
		return out
	case []any:
		if len(v) == 0 {
			return map[string]any{}
		}
		out := make([]any, len(v))
		for i := range v {
			out[i] = trim(v[i])
		}
		return out
	}
	return v
}
