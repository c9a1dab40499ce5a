package claims

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Path names a claim, one element for each level of nesting. An element is one
// literal member name, never split at dots; a decimal number indexes an array,
// starting at 1.
type Path []string

// String renders the path for messages.
func (p Path) String() string { return strings.Join(p, " > ") }

// Lookup returns the value at path in obj. A member that is missing or null,
// an index outside of its array and a path that leads through a simple value
// are absent. An empty path finds obj itself.
func Lookup(obj any, path Path) (any, bool) {
	if o, ok := obj.(Object); ok {
		obj = map[string]any(o)
	}
	for _, name := range path {
		switch v := obj.(type) {
		case map[string]any:
			obj = v[name]
		case []any:
			i, ok := index(name)
			if !ok || i > len(v) {
				return nil, false
			}
			obj = v[i-1]
		default:
			return nil, false
		}
		if obj == nil {
			return nil, false
		}
	}
	return obj, obj != nil
}

// index reads a 1-based decimal index: digits only, no sign.
func index(s string) (int, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, n > 0
}

// Words returns the values that a claim stands for: the words of a string
// (split at spaces), the elements of an array whole, or a simple value as text.
// Elements that are not simple and any other value stand for nothing.
func Words(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		words := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := simple(e); ok {
				words = append(words, s)
			}
		}
		return words
	case []string:
		return v
	default:
		if s, ok := simple(v); ok {
			return []string{s}
		}
		return nil
	}
}

// simple renders a string, number or boolean; a number keeps its own spelling.
func simple(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}
