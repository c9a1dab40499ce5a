package schema

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// check is one entity check: a rule over several fields.
type check struct {
	kind   string
	fields []string
	cond   *condition
}

type condition struct {
	ifField, thenField   string
	ifMatch, thenMatch   map[string]any
	thenOneOf, elseOneOf []string
	elseMatch            map[string]any
	thenErr, elseErr     string
}

func parseChecks(v any, s *Schema, path string) ([]check, error) {
	if v == nil {
		return nil, nil
	}
	l, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("schema violation (%s: expected an array)", join(path, "entity_checks"))
	}
	var out []check
	for i, e := range l {
		at := fmt.Sprintf("%s.%d", join(path, "entity_checks"), i+1)
		m, ok := e.(map[string]any)
		if !ok || len(m) != 1 {
			return nil, fmt.Errorf("schema violation (%s: expected a table with one key, the name of the check)", at)
		}
		for kind, arg := range m {
			c := check{kind: kind}
			switch kind {
			case "at_least_one_of", "only_one_of", "mutually_required", "mutually_exclusive", "distinct":
				c.fields = stringList(arg)
				if len(c.fields) == 0 {
					return nil, fmt.Errorf("schema violation (%s.%s: expected an array of field names)", at, kind)
				}
			case "conditional", "conditional_at_least_one_of":
				a, ok := arg.(map[string]any)
				if !ok {
					return nil, fmt.Errorf("schema violation (%s.%s: expected a record)", at, kind)
				}
				c.cond = parseCondition(a)
				c.fields = append(c.fields, c.cond.ifField)
				if kind == "conditional" {
					c.fields = append(c.fields, c.cond.thenField)
				}
				c.fields = append(append(c.fields, c.cond.thenOneOf...), c.cond.elseOneOf...)
			default:
				return nil, fmt.Errorf("schema violation (%s: unknown entity check %q)", at, kind)
			}
			for _, f := range c.fields {
				if s.lookup(f) == nil {
					return nil, fmt.Errorf("schema violation (%s.%s: field %q is not declared)", at, kind, f)
				}
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func parseCondition(a map[string]any) *condition {
	c := &condition{}
	c.ifField, _ = a["if_field"].(string)
	c.thenField, _ = a["then_field"].(string)
	c.ifMatch, _ = a["if_match"].(map[string]any)
	c.thenMatch, _ = a["then_match"].(map[string]any)
	c.thenOneOf = stringList(a["then_at_least_one_of"])
	c.elseOneOf = stringList(a["else_then_at_least_one_of"])
	c.elseMatch, _ = a["else_match"].(map[string]any)
	c.thenErr, _ = a["then_err"].(string)
	c.elseErr, _ = a["else_then_err"].(string)
	return c
}

func stringList(v any) []string {
	l, _ := v.([]any)
	var out []string
	for _, e := range l {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// lookup finds a field by its dotted path.
func (s *Schema) lookup(path string) *Field {
	name, rest, nested := strings.Cut(path, ".")
	f := s.Field(name)
	if f == nil || !nested {
		return f
	}
	if f.Record == nil {
		return nil
	}
	return f.Record.lookup(rest)
}

func valueAt(v map[string]any, path string) any {
	name, rest, nested := strings.Cut(path, ".")
	x := v[name]
	if !nested {
		return x
	}
	m, _ := x.(map[string]any)
	return valueAt(m, rest)
}

// blocked says that Kong leaves the check out because a field of it has an
// error already. It looks at the check's own level only, and for these kinds.
func (c check) blocked(errs map[string]any) bool {
	if c.kind != "mutually_required" && c.kind != "mutually_exclusive" {
		return false
	}
	return slices.ContainsFunc(c.fields, func(f string) bool { return errs[f] != nil })
}

func nonEmpty(x any) bool {
	switch x := x.(type) {
	case nil:
		return false
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case map[string]any:
		return len(x) > 0
	}
	return true
}

func (c check) run(s *Schema, v, errs map[string]any) string {
	set := 0
	for _, f := range c.fields {
		if nonEmpty(valueAt(v, f)) {
			set++
		}
	}
	names := "'" + strings.Join(c.fields, "', '") + "'"
	switch c.kind {
	case "at_least_one_of":
		if set == 0 {
			return "at least one of these fields must be non-empty: " + names
		}
	case "only_one_of":
		if set != 1 {
			return "exactly one of these fields must be non-empty: " + names
		}
	case "mutually_required":
		if set != 0 && set != len(c.fields) {
			return "all or none of these fields must be set: " + names
		}
	case "mutually_exclusive":
		if set > 1 {
			return "only one or none of these fields must be set: " + names
		}
	case "distinct":
		var seen []any
		for _, f := range c.fields {
			x := valueAt(v, f)
			if x == nil {
				continue
			}
			if slices.ContainsFunc(seen, func(y any) bool { return reflect.DeepEqual(x, y) }) {
				return "values of these fields must be distinct: " + names
			}
			seen = append(seen, x)
		}
	case "conditional":
		return c.cond.run(s, v, errs)
	case "conditional_at_least_one_of":
		return c.cond.runOneOf(s, v)
	}
	return ""
}

// matches validates the value of a field by the attributes in match added to its own.
func matches(s *Schema, v map[string]any, path string, match map[string]any) (bool, any) {
	f := s.lookup(path)
	g := *f
	g.attrs = maps.Clone(f.attrs)
	for k, x := range match {
		g.attrs[k] = x
	}
	g.Required, _ = g.attrs["required"].(bool)
	x := valueAt(v, path)
	if x == nil {
		// Nothing at all meets every condition but these.
		if ne, ok := match["ne"]; ok && ne == nil {
			return false, g.text("ne", "value must not be null")
		}
		if eq, ok := match["eq"]; ok && eq != nil {
			return false, g.text("eq", "value must be "+show(eq))
		}
		if g.Required {
			return false, "required field missing"
		}
		return true, nil
	}
	if eq, ok := match["eq"]; ok && eq == nil {
		return false, g.text("eq", "value must be null")
	}
	if e := g.validate(x); e != nil {
		return false, e
	}
	return true, nil
}

func (c *condition) run(s *Schema, v, errs map[string]any) string {
	if ok, _ := matches(s, v, c.ifField, c.ifMatch); !ok {
		return ""
	}
	ok, err := matches(s, v, c.thenField, c.thenMatch)
	if ok {
		return ""
	}
	setAt(errs, c.thenField, err)
	if c.thenErr != "" {
		return c.thenErr
	}
	return fmt.Sprintf("failed conditional validation given value of field '%s'", c.ifField)
}

func (c *condition) runOneOf(s *Schema, v map[string]any) string {
	oneOf := func(fields []string, msg string) string {
		for _, f := range fields {
			if nonEmpty(valueAt(v, f)) {
				return ""
			}
		}
		names := "'" + strings.Join(fields, "', '") + "'"
		if msg != "" {
			return strings.ReplaceAll(msg, "%s", names)
		}
		return "at least one of these fields must be non-empty: " + names
	}
	if ok, _ := matches(s, v, c.ifField, c.ifMatch); ok {
		return oneOf(c.thenOneOf, c.thenErr)
	}
	if c.elseMatch == nil {
		return ""
	}
	if ok, _ := matches(s, v, c.ifField, c.elseMatch); ok {
		return oneOf(c.elseOneOf, c.elseErr)
	}
	return ""
}

func setAt(m map[string]any, path string, v any) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		m[name] = v
		return
	}
	sub, ok := m[name].(map[string]any)
	if !ok {
		sub = map[string]any{}
		m[name] = sub
	}
	setAt(sub, rest, v)
}
