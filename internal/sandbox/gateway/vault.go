package gateway

import (
	"encoding/json"
	"fmt"
	"strings"

	"kong-openid-connect/internal/sandbox/gateway/schema"
)

// resolveVault replaces the references {vault://env/NAME} and
// {vault://env/NAME/key} in the referenceable fields of a configuration by
// what the environment holds, and lays the references themselves beside them
// under "$refs" at each level, as Kong does. What does not resolve is "".
func resolveVault(s *schema.Schema, config map[string]any, getenv func(string) string, warn func(string)) map[string]any {
	out := make(map[string]any, len(config))
	refs := map[string]any{}
	lookup := func(ref string) string {
		v, ok := readVault(ref, getenv)
		if !ok {
			warn(fmt.Sprintf("[kong] vault.lua unable to resolve reference %s", ref))
		}
		return v
	}
	for k, v := range config {
		f := s.Field(k)
		out[k] = v
		if f == nil || v == nil {
			continue
		}
		switch v := v.(type) {
		case string:
			if f.Referenceable() && schema.IsReference(v) {
				out[k], refs[k] = lookup(v), v
			}
		case []any:
			list := make([]any, len(v))
			var listRefs []any
			for i, e := range v {
				list[i] = e
				switch e := e.(type) {
				case string:
					if f.Elements != nil && f.Elements.Referenceable() && schema.IsReference(e) {
						list[i] = lookup(e)
						for len(listRefs) <= i {
							listRefs = append(listRefs, nil)
						}
						listRefs[i] = e
					}
				case map[string]any:
					if f.Elements != nil && f.Elements.Record != nil {
						list[i] = resolveVault(f.Elements.Record, e, getenv, warn)
					}
				}
			}
			out[k] = list
			if listRefs != nil {
				refs[k] = listRefs
			}
		case map[string]any:
			switch {
			case f.Record != nil:
				out[k] = resolveVault(f.Record, v, getenv, warn)
			case f.Values != nil && f.Values.Referenceable():
				m, mapRefs := map[string]any{}, map[string]any{}
				for mk, mv := range v {
					m[mk] = mv
					if s, ok := mv.(string); ok && schema.IsReference(s) {
						m[mk], mapRefs[mk] = lookup(s), s
					}
				}
				out[k] = m
				if len(mapRefs) > 0 {
					refs[k] = mapRefs
				}
			}
		}
	}
	if len(refs) > 0 {
		out["$refs"] = refs
	}
	return out
}

// readVault reads a reference of the env vault: names are upper-cased, "-" is "_".
func readVault(ref string, getenv func(string) string) (string, bool) {
	path, ok := strings.CutPrefix(strings.TrimSuffix(ref, "}"), "{vault://env/")
	if !ok {
		return "", false
	}
	path, query, _ := strings.Cut(path, "?")
	name, key, hasKey := strings.Cut(path, "/")
	name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, p := range strings.Split(query, "&") {
		if prefix, ok := strings.CutPrefix(p, "prefix="); ok {
			name = strings.ToUpper(strings.ReplaceAll(prefix, "-", "_")) + name
		}
	}
	v := getenv(name)
	if v == "" || !hasKey {
		return v, v != ""
	}
	var m map[string]any
	if json.Unmarshal([]byte(v), &m) != nil {
		return "", false
	}
	switch x := m[key].(type) {
	case nil:
		return "", false
	case string:
		return x, true
	default:
		return cjson(x), true
	}
}
