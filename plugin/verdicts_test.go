package plugin

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kong-openid-connect/internal/param"
)

// verdict is what the schema code of Kong 3.9.3 said of a configuration when
// our dump was loaded into it (the tables of the tests here, the documented
// examples, and what Kong does with null). runtime is what a plugin server
// gets from it; an empty list is sometimes {} there.
type verdict struct {
	Name     string
	Config   json.RawMessage
	Accepted bool
	Errors   json.RawMessage
	Runtime  json.RawMessage
}

func verdicts(t *testing.T) []verdict {
	t.Helper()
	raw, err := os.ReadFile("testdata/kong_verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []verdict
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
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
			fromKong, _, err := Decode(v.Runtime)
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
