package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kong-openid-connect/internal/sandbox/gateway/schema"
)

// violation is a 400 of the Admin API: errors by field.
type violation struct{ fields map[string]any }

func (v *violation) Error() string {
	lines := schema.Flatten(v.fields)
	if len(lines) == 1 {
		return "schema violation (" + lines[0] + ")"
	}
	return fmt.Sprintf("%d schema violations (%s)", len(lines), strings.Join(lines, "; "))
}

var errNotFound = errors.New("not found")

// foreignError says that a reference leads nowhere.
type foreignError struct {
	field, kind string
	ref         map[string]any
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("the foreign key '%s' does not reference an existing '%s' entity.", luaTable(e.ref), e.kind)
}

// uniqueError says that another entity has the same fields.
type uniqueError struct{ fields map[string]any }

func (e *uniqueError) Error() string {
	return "unique constraint failed: another entity has " + luaTable(e.fields)
}

// referencedError says that an entity cannot be deleted.
type referencedError struct{ kind, by string }

func (e *referencedError) Error() string {
	return fmt.Sprintf("an existing '%s' entity references this '%s' entity", e.by, e.kind)
}

// luaTable writes a JSON value as Kong's messages do: {a="x",b={id="y"},c=null}.
func luaTable(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return `"` + v + `"`
	case map[string]any:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+"="+luaTable(v[k]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return fmt.Sprint(v)
}

// checkMatchers refuses a route that has nothing to match a request by.
func checkMatchers(e entity) error {
	by := map[string][]string{
		"https": {"methods", "hosts", "headers", "paths", "snis"}, "http": {"methods", "hosts", "headers", "paths"},
		"grpcs": {"hosts", "headers", "paths", "snis"}, "grpc": {"hosts", "headers", "paths"},
	}
	protocols := strs(e["protocols"])
	for _, pair := range [][2]string{{"https", "http"}, {"grpcs", "grpc"}} {
		for _, p := range pair {
			if !slices.Contains(protocols, p) {
				continue
			}
			if !slices.ContainsFunc(by[p], func(f string) bool { return !isEmpty(e[f]) }) {
				return &violation{map[string]any{"@entity": []any{fmt.Sprintf("must set one of '%s' when 'protocols' is '%s'", strings.Join(by[p], "', '"), p)}}}
			}
			break
		}
	}
	return nil
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}
