package gateway

import (
	"maps"
	"net/url"
	"strconv"
)

// clean copies JSON or YAML data; numbers become float64 of the 14 digits that Kong keeps.
func clean(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = clean(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = clean(x)
		}
		return l
	case int:
		return clean(float64(v))
	case int64:
		return clean(float64(v))
	case uint64:
		return clean(float64(v))
	case float64:
		f, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 14, 64), 64)
		if err != nil {
			return v
		}
		return f
	}
	return v
}

// mergePatch lays a patch over an entity: records merge, everything else is replaced, null unsets.
func mergePatch(old, patch map[string]any) map[string]any {
	out := maps.Clone(old)
	for k, v := range patch {
		om, ook := old[k].(map[string]any)
		pm, pok := v.(map[string]any)
		if ook && pok && k != "route" && k != "service" && k != "consumer" {
			out[k] = mergePatch(om, pm)
			continue
		}
		out[k] = v
	}
	return out
}

// expandURL turns the shorthand url of a service into its parts.
func expandURL(e entity) error {
	raw, ok := e["url"].(string)
	if !ok {
		return nil
	}
	delete(e, "url")
	u, err := url.Parse(raw)
	if err != nil {
		return &violation{map[string]any{"host": "required field missing"}}
	}
	if u.Host == "" { // the schema then says what is missing
		e["host"], e["path"] = nil, raw
		return nil
	}
	e["protocol"], e["host"] = u.Scheme, u.Hostname()
	e["port"] = map[string]float64{"https": 443, "wss": 443, "grpcs": 443}[u.Scheme]
	if e["port"] == 0.0 {
		e["port"] = 80.0
	}
	if p, err := strconv.Atoi(u.Port()); err == nil {
		e["port"] = float64(p)
	}
	e["path"] = nil
	if p := u.EscapedPath(); p != "" {
		e["path"] = p
	}
	return nil
}
