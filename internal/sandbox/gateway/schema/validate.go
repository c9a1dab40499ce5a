package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strings"
)

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// IsUUID says whether s has the form of a UUID.
func IsUUID(s string) bool { return uuidPattern.MatchString(s) }

// IsReference says whether s is a reference into a vault.
func IsReference(s string) bool {
	return strings.HasPrefix(s, "{vault://") && strings.HasSuffix(s, "}") && len(s) > len("{vault://}")
}

// Fill returns a copy of v in which every field of the schema is present:
// defaults where they exist, records filled in turn, nil elsewhere. Fields
// that the schema does not know stay as they are.
func (s *Schema) Fill(v map[string]any) map[string]any {
	out := make(map[string]any, len(s.Fields))
	for k, x := range v {
		out[k] = x
	}
	for _, f := range s.Fields {
		x, given := v[f.Name]
		switch {
		case !given && f.Default != nil:
			x = clone(f.Default)
			if m, ok := x.(map[string]any); ok && f.Record != nil {
				x = f.Record.Fill(m)
			}
		case !given && f.Type == "record" && !f.optional():
			x = f.Record.Fill(nil)
		case given:
			x = f.fill(x)
		}
		out[f.Name] = x
	}
	return out
}

// optional says that the field may be left out for good: a record is filled
// in unless its schema says "required": false in so many words.
func (f *Field) optional() bool { return f.attrs["required"] == false }

func (f *Field) fill(x any) any {
	switch v := x.(type) {
	case map[string]any:
		if f.Record != nil {
			return f.Record.Fill(v)
		}
	case []any:
		if f.Elements != nil && f.Elements.Record != nil {
			l := make([]any, len(v))
			for i := range v {
				l[i] = f.Elements.fill(v[i])
			}
			return l
		}
	}
	return x
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = clone(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = clone(x)
		}
		return l
	}
	return v
}

// Validate checks v, which Fill has completed. It returns the errors by
// field, nested as the fields are, or nil.
func (s *Schema) Validate(v map[string]any) map[string]any {
	errs := map[string]any{}
	for k := range v {
		if s.Field(k) == nil {
			errs[k] = "unknown field"
		}
	}
	for _, f := range s.Fields {
		x := v[f.Name]
		if x == nil {
			if e := f.checkNil(); e != "" {
				errs[f.Name] = e
			}
			continue
		}
		if e := f.validate(x); e != nil {
			errs[f.Name] = e
		}
	}
	var entity []any
	for _, c := range s.checks {
		if c.blocked(errs) {
			continue
		}
		if msg := c.run(s, v, errs); msg != "" {
			entity = append(entity, msg)
		}
	}
	if len(entity) > 0 {
		errs["@entity"] = entity
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

func (f *Field) checkNil() string {
	if f.Required {
		return "required field missing"
	}
	if eq, ok := f.attrs["eq"]; ok && eq != nil {
		return f.text("eq", "value must be "+show(eq))
	}
	return ""
}

func (f *Field) validate(x any) any {
	_, e := f.check(x)
	return e
}

// check returns the error of a value: a string, a map for records, a list for arrays.
func (f *Field) check(x any) (any, any) {
	switch f.Type {
	case "string":
		s, ok := x.(string)
		if !ok {
			return nil, "expected a string"
		}
		if f.Referenceable() && IsReference(s) {
			return x, nil
		}
		if _, has := f.attrs["len_min"]; s == "" && !has {
			return nil, "length must be at least 1"
		}
	case "number", "integer":
		n, ok := x.(float64)
		if s, isRef := x.(string); isRef && f.Referenceable() && IsReference(s) {
			return x, nil
		}
		if !ok {
			if f.Type == "integer" {
				return nil, "expected an integer"
			}
			return nil, "expected a number"
		}
		if f.Type == "integer" && n != math.Trunc(n) {
			return nil, "expected an integer"
		}
	case "boolean":
		if _, ok := x.(bool); !ok {
			return nil, "expected a boolean"
		}
	case "array", "set":
		l, ok := x.([]any)
		if m, empty := x.(map[string]any); empty && len(m) == 0 {
			l, ok = []any{}, true
		}
		if !ok {
			return nil, map[string]string{"array": "expected an array", "set": "expected a set"}[f.Type]
		}
		if e := f.checkElements(l); e != nil {
			return nil, e
		}
		x = l
	case "map":
		m, ok := x.(map[string]any)
		if l, empty := x.([]any); empty && len(l) == 0 {
			m, ok = map[string]any{}, true
		}
		if !ok {
			return nil, "expected a map"
		}
		for k, v := range m {
			if e := f.Keys.validate(any(k)); e != nil {
				return nil, e
			}
			if v == nil {
				return nil, map[string]any{k: "required field missing"}
			}
			if e := f.Values.validate(v); e != nil {
				return nil, map[string]any{k: e}
			}
		}
		x = m
	case "record":
		m, ok := x.(map[string]any)
		if !ok {
			return nil, "expected a record"
		}
		if e := f.Record.Validate(m); e != nil {
			return nil, e
		}
	case "foreign":
		if m, ok := x.(map[string]any); !ok || len(m) == 0 {
			return nil, "value for foreign field must be a table with the key of the other entity"
		}
	}
	if e := f.validators(x); e != "" {
		return nil, e
	}
	return x, nil
}

func (f *Field) checkElements(l []any) any {
	errs := make([]any, len(l))
	bad := false
	for i, e := range l {
		if e == nil {
			errs[i], bad = "required field missing", true
			continue
		}
		if err := f.Elements.validate(e); err != nil {
			errs[i], bad = err, true
		}
	}
	if !bad {
		return nil
	}
	for len(errs) > 0 && errs[len(errs)-1] == nil {
		errs = errs[:len(errs)-1]
	}
	return errs
}

func (f *Field) text(_, fallback string) string {
	if s, ok := f.attrs["err"].(string); ok {
		return s
	}
	return fallback
}

// validators runs the attributes that restrict a value of the right type.
func (f *Field) validators(x any) string {
	num := func(name string) (float64, bool) { n, ok := f.attrs[name].(float64); return n, ok }
	length := -1
	switch v := x.(type) {
	case string:
		length = len(v)
	case []any:
		length = len(v)
	case map[string]any:
		if f.Type == "map" {
			length = len(v)
		}
	}
	if length >= 0 {
		if n, ok := num("len_eq"); ok && length != int(n) {
			return f.text("len_eq", fmt.Sprintf("length must be %d", int(n)))
		}
		if n, ok := num("len_min"); ok && length < int(n) {
			return f.text("len_min", fmt.Sprintf("length must be at least %d", int(n)))
		}
		if n, ok := num("len_max"); ok && length > int(n) {
			return f.text("len_max", fmt.Sprintf("length must be at most %d", int(n)))
		}
	}
	if eq, ok := f.attrs["eq"]; ok && !reflect.DeepEqual(eq, x) {
		return f.text("eq", "value must be "+show(eq))
	}
	if ne, ok := f.attrs["ne"]; ok && reflect.DeepEqual(ne, x) {
		return f.text("ne", "value must not be "+show(ne))
	}
	if l, ok := f.attrs["one_of"].([]any); ok && !contains(l, x) {
		return f.text("one_of", "expected one of: "+list(l))
	}
	if l, ok := f.attrs["not_one_of"].([]any); ok && contains(l, x) {
		return f.text("not_one_of", "must not be one of: "+list(l))
	}
	if n, ok := x.(float64); ok {
		if b, ok := f.attrs["between"].([]any); ok && len(b) == 2 {
			lo, hi := b[0].(float64), b[1].(float64)
			if n < lo || n > hi {
				return f.text("between", fmt.Sprintf("value should be between %s and %s", show(lo), show(hi)))
			}
		}
		if g, ok := num("gt"); ok && n <= g {
			return f.text("gt", "value must be greater than "+show(g))
		}
	}
	if c, ok := f.attrs["contains"]; ok {
		if l, isList := x.([]any); isList && !contains(l, c) {
			return f.text("contains", "expected to contain: "+show(c))
		}
	}
	if s, ok := x.(string); ok {
		return f.stringValidators(s)
	}
	return ""
}

func (f *Field) stringValidators(s string) string {
	invalid := "invalid value: " + s
	if p, ok := f.attrs["match"].(string); ok && !luaMatch(s, p) {
		return f.text("match", invalid)
	}
	if p, ok := f.attrs["not_match"].(string); ok && luaMatch(s, p) {
		return f.text("not_match", invalid)
	}
	if p, ok := f.attrs["starts_with"].(string); ok && !strings.HasPrefix(s, p) {
		return f.text("starts_with", "should start with: "+p)
	}
	if f.attrs["uuid"] == true && !IsUUID(s) {
		return f.text("uuid", "expected a valid UUID")
	}
	if f.attrs["is_regex"] == true {
		if _, err := regexp.Compile(s); err != nil {
			return f.text("is_regex", "not a valid regex: "+s)
		}
	}
	for _, all := range []struct {
		attr string
		want bool
	}{{"match_all", true}, {"match_none", false}} {
		l, _ := f.attrs[all.attr].([]any)
		for _, e := range l {
			m, _ := e.(map[string]any)
			p, _ := m["pattern"].(string)
			if luaMatch(s, p) != all.want {
				if msg, ok := m["err"].(string); ok {
					return msg
				}
				return f.text(all.attr, invalid)
			}
		}
	}
	if m, ok := f.attrs["match_any"].(map[string]any); ok {
		for _, p := range m["patterns"].([]any) {
			if p, ok := p.(string); ok && luaMatch(s, p) {
				return ""
			}
		}
		if msg, ok := m["err"].(string); ok {
			return msg
		}
		return f.text("match_any", invalid)
	}
	return ""
}

func contains(l []any, x any) bool {
	for _, e := range l {
		if reflect.DeepEqual(e, x) {
			return true
		}
	}
	return false
}

func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func list(l []any) string {
	s := make([]string, len(l))
	for i := range l {
		s[i] = show(l[i])
	}
	return strings.Join(s, ", ")
}
