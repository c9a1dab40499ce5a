package gateway

import (
	"net/url"
	"strconv"
	"strings"

	"kong-openid-connect/internal/sandbox/gateway/schema"
)

// formEntity reads "config.a=1&config.list[]=x&config.list[2]=y": dots nest,
// brackets and repetition make lists. All values are texts; "" is null.
func formEntity(data string) (entity, error) {
	values, err := url.ParseQuery(data)
	if err != nil {
		return nil, errBadJSON
	}
	e := entity{}
	for _, k := range sortedKeys(values) {
		name, bracket := k, false
		if i := strings.LastIndexByte(k, '['); i > 0 && strings.HasSuffix(k, "]") {
			if _, err := strconv.Atoi(k[i+1 : len(k)-1]); err == nil || i == len(k)-2 {
				name, bracket = k[:i], true
			}
		}
		path := strings.Split(name, ".")
		m := e
		for _, p := range path[:len(path)-1] {
			sub, ok := m[p].(map[string]any)
			if !ok {
				sub = map[string]any{}
				m[p] = sub
			}
			m = sub
		}
		last := path[len(path)-1]
		list, _ := m[last].([]any)
		for _, v := range values[k] {
			if v == "" {
				list = append(list, nil)
			} else {
				list = append(list, v)
			}
		}
		if len(list) == 1 && !bracket {
			m[last] = list[0]
		} else {
			m[last] = list
		}
	}
	return e, nil
}

// infer gives the texts of a form the types of the schema, where they read as
// such; a single value of a list becomes one. Kong does so before it validates.
func (s *store) infer(kind string, e, old entity) {
	who := e
	if e["name"] == nil && old != nil {
		who = old
	}
	if sc, err := s.schemaFor(kind, who); err == nil {
		inferRecord(sc, e)
	}
}

func inferRecord(sc *schema.Schema, m map[string]any) {
	for name, v := range m {
		if f := sc.Field(name); f != nil && v != nil {
			m[name] = inferValue(f, v)
		}
	}
}

func inferValue(f *schema.Field, v any) any {
	text, isText := v.(string)
	switch f.Type {
	case "array", "set":
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for i, x := range list {
			if x != nil && f.Elements != nil {
				list[i] = inferValue(f.Elements, x)
			}
		}
		return list
	case "record":
		if m, ok := v.(map[string]any); ok && f.Record != nil {
			inferRecord(f.Record, m)
		}
	case "number", "integer":
		if n, err := strconv.ParseFloat(text, 64); isText && err == nil {
			return n
		}
	case "boolean":
		if text == "true" || text == "false" {
			return text == "true"
		}
	}
	return v
}
