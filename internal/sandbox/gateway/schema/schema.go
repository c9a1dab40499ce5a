// Package schema checks entities and plugin configurations the way Kong's
// schema library does: the schema itself, defaults, types, validators and
// entity checks, with Kong's texts. Values are what encoding/json makes of
// JSON (numbers are float64); an unset field is nil.
// Imported by the sandbox's gateway only.
package schema

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// Field is one field of a schema.
type Field struct {
	Name     string
	Type     string
	Required bool
	Default  any
	Elements *Field // of arrays and sets
	Keys     *Field // of maps
	Values   *Field // of maps
	Record   *Schema
	attrs    map[string]any
}

// Attr is a raw attribute of the field, such as "referenceable".
func (f *Field) Attr(name string) any { return f.attrs[name] }

// Referenceable says that the field may hold a vault reference.
func (f *Field) Referenceable() bool { return f.attrs["referenceable"] == true }

// Schema is a list of fields with checks across them.
type Schema struct {
	Fields []*Field
	checks []check
}

// Field returns the field of that name, or nil.
func (s *Schema) Field(name string) *Field {
	for _, f := range s.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Replace puts f in the place of the field of its name, or at the end.
func (s *Schema) Replace(f *Field) {
	for i := range s.Fields {
		if s.Fields[i].Name == f.Name {
			s.Fields[i] = f
			return
		}
	}
	s.Fields = append(s.Fields, f)
}

// Parse reads a schema of the form {"fields":[{"a":{"type":"string"}}],
// "entity_checks":[...]} and checks it by Kong's rules for schemas.
// The error names the field and what is wrong with it.
func Parse(raw []byte) (*Schema, error) {
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("schema is not JSON: %w", err)
	}
	for k := range m {
		if !strings.Contains(" name fields entity_checks ", " "+k+" ") && !schemaAttrs[k] {
			return nil, fmt.Errorf("schema violation (%s: unknown field)", k)
		}
	}
	return parseSchema(m, "")
}

// Attributes of a schema beside fields and checks that Kong knows.
var schemaAttrs = set(`primary_key workspaceable endpoint_key cache_key ttl admin_api_name generate_admin_api`)

// Attributes of a field that Kong knows and that need no Lua function.
var fieldAttrs = set(`type required default description elements keys values fields entity_checks one_of not_one_of
	between gt eq ne len_eq len_min len_max match not_match match_all match_none match_any starts_with contains
	is_regex uuid unique unique_across_ws auto immutable timestamp nilable legacy err encrypted referenceable abstract
	reference on_delete deprecation examples indexed json_schema mutually_exclusive_subsets hostname inert subschema_key
	subschema_error prefix_ws overwrite`)

var fieldTypes = set(`string integer number boolean array set map record json foreign`)

func set(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

func parseSchema(m map[string]any, path string) (*Schema, error) {
	list, ok := m["fields"].([]any)
	if !ok {
		return nil, fmt.Errorf("schema violation (%s: required field missing)", join(path, "fields"))
	}
	s := &Schema{}
	for i, e := range list {
		one, ok := e.(map[string]any)
		if !ok || len(one) != 1 {
			return nil, fmt.Errorf("schema violation (%s.%d: expected a table with one key, the name of the field)", join(path, "fields"), i+1)
		}
		for name, attrs := range one {
			a, ok := attrs.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("schema violation (%s: expected a record)", join(path, name))
			}
			f, err := parseField(name, a, join(path, name))
			if err != nil {
				return nil, err
			}
			if s.Field(name) != nil {
				return nil, fmt.Errorf("schema violation (%s: declared twice)", join(path, name))
			}
			s.Fields = append(s.Fields, f)
		}
	}
	var err error
	s.checks, err = parseChecks(m["entity_checks"], s, path)
	return s, err
}

func parseField(name string, a map[string]any, path string) (*Field, error) {
	bad := func(attr, format string, args ...any) (*Field, error) {
		return nil, fmt.Errorf("schema violation (%s: %s)", join(path, attr), fmt.Sprintf(format, args...))
	}
	for k := range a {
		if !fieldAttrs[k] {
			return bad(k, "unknown field")
		}
	}
	f := &Field{Name: name, attrs: a}
	f.Type, _ = a["type"].(string)
	if f.Type == "" {
		return bad("type", "required field missing")
	}
	if !fieldTypes[f.Type] {
		return bad("type", "expected one of: array, boolean, foreign, integer, json, map, number, record, set, string")
	}
	if v, ok := a["required"]; ok {
		if f.Required, ok = v.(bool); !ok {
			return bad("required", "expected a boolean")
		}
	}
	if v, ok := a["description"]; ok {
		d, ok := v.(string)
		switch {
		case !ok:
			return bad("description", "expected a string")
		case len(d) < 10:
			return bad("description", "length must be at least 10")
		case len(d) > 500:
			return bad("description", "length must be at most 500")
		}
	}
	for _, sub := range []struct {
		attr string
		to   **Field
		of   string
	}{{"elements", &f.Elements, "array set"}, {"keys", &f.Keys, "map"}, {"values", &f.Values, "map"}} {
		v, present := a[sub.attr]
		wanted := strings.Contains(" "+sub.of+" ", " "+f.Type+" ")
		if present != wanted {
			if wanted {
				return bad(sub.attr, "field of type '%s' must declare '%s'", f.Type, sub.attr)
			}
			return bad(sub.attr, "field of type '%s' cannot have attribute '%s'", f.Type, sub.attr)
		}
		if !present {
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			return bad(sub.attr, "expected a record")
		}
		var err error
		if *sub.to, err = parseField(name, m, join(path, sub.attr)); err != nil {
			return nil, err
		}
	}
	if f.Type == "record" {
		var err error
		if f.Record, err = parseSchema(a, path); err != nil {
			return nil, err
		}
	} else if a["fields"] != nil {
		return bad("fields", "field of type '%s' cannot have attribute 'fields'", f.Type)
	}
	if f.Type == "foreign" {
		if _, ok := a["reference"].(string); !ok {
			return bad("reference", "field of type 'foreign' must declare 'reference'")
		}
	}
	if err := checkAttrs(a); err != "" {
		return nil, fmt.Errorf("schema violation (%s.%s)", path, err)
	}
	if d, ok := a["default"]; ok {
		f.Default = d
		if _, errs := f.check(d); errs != nil && f.Type != "record" {
			return bad("default", "%v", flat(errs))
		}
	}
	return f, nil
}

// checkAttrs checks the types of the validators' arguments.
func checkAttrs(a map[string]any) string {
	for k, v := range a {
		var ok bool
		want := ""
		switch k {
		case "one_of", "not_one_of", "match_all", "match_none", "match_any", "examples", "between":
			_, ok = v.([]any)
			if k == "match_any" {
				m, isRec := v.(map[string]any)
				_, hasPatterns := m["patterns"].([]any)
				ok = isRec && hasPatterns
			}
			want = "array"
		case "len_min", "len_max", "len_eq", "gt":
			_, ok = v.(float64)
			want = "number"
		case "match", "not_match", "starts_with", "err", "reference", "on_delete":
			_, ok = v.(string)
			want = "string"
		case "referenceable", "encrypted", "unique", "uuid", "is_regex", "auto", "timestamp", "immutable", "abstract":
			_, ok = v.(bool)
			want = "boolean"
		case "deprecation":
			m, isRec := v.(map[string]any)
			for dk := range m {
				if !set(`message removal_in_version old_default`)[dk] {
					return "deprecation." + dk + ": unknown field"
				}
			}
			_, hasMessage := m["message"].(string)
			_, hasVersion := m["removal_in_version"].(string)
			ok = isRec && hasMessage && hasVersion
			want = "record with message and removal_in_version"
		default:
			ok = true
		}
		if !ok {
			return fmt.Sprintf("%s: expected a %s", k, want)
		}
	}
	return ""
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Flatten turns nested errors into sorted lines of the form "a.b: text".
func Flatten(errs map[string]any) []string {
	var out []string
	var walk func(string, any)
	walk = func(path string, e any) {
		switch e := e.(type) {
		case string:
			out = append(out, path+": "+e)
		case map[string]any:
			for k, v := range e {
				if k == "@entity" {
					for _, m := range v.([]any) {
						out = append(out, join(path, fmt.Sprint(m)))
					}
					continue
				}
				walk(join(path, k), v)
			}
		case []any:
			for i, v := range e {
				if v != nil {
					walk(fmt.Sprintf("%s.%d", path, i+1), v)
				}
			}
		}
	}
	walk("", errs)
	sort.Strings(out)
	return out
}

func flat(e any) string {
	if s, ok := e.(string); ok {
		return s
	}
	return strings.Join(Flatten(map[string]any{"value": e}), "; ")
}
