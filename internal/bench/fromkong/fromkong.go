// Package fromkong makes configurations as Kong hands them to a plugin server:
// JSON with every default of the dumped schema filled in and Kong's own members
// beside them. Imported by benchmarks and tests only.
package fromkong

import (
	"encoding/json"
	"fmt"

	"kong-openid-connect/internal/sandbox/gateway/schema"
	"kong-openid-connect/plugin"
)

// Config is what an operator writes below `config`, and members such as
// `__seq__` or `$refs`, which are not checked.
type Config map[string]any

// JSON returns what StartInstance carries for c. Unset fields are left out, as
// Kong does. The error says what Kong would refuse.
func (c Config) JSON() ([]byte, error) {
	s, err := schema.Parse(plugin.Schema())
	if err != nil {
		return nil, fmt.Errorf("reading the plugin's schema: %w", err)
	}
	record := s.Field("config").Record
	own, given := map[string]any{"__seq__": 1, "__key__": "plugins:openid-connect::::", "__ws_id": workspace, "__plugin_id": pluginID, "route_id": routeID}, map[string]any{}
	for k, v := range c {
		if record.Field(k) == nil {
			own[k] = v
			continue
		}
		given[k] = plain(v)
	}
	full := record.Fill(given)
	if errs := record.Validate(full); len(errs) > 0 {
		return nil, fmt.Errorf("kong would refuse the configuration: %v", schema.Flatten(errs))
	}
	for k, v := range own {
		full[k] = v
	}
	return json.Marshal(drop(full))
}

// The ids that configurations carry unless they name others.
const (
	workspace = "3ffb1b40-5ddc-4d09-9ad5-1d63a3e7a5a1"
	pluginID  = "b2a7c0a1-5a2f-4c4e-8a55-0d2a9d1f4c11"
	routeID   = "5e5a0d3e-02b5-4bd7-9c3f-5b8f1e2d7c22"
)

// plain turns Go's lists into those that a decoder of JSON makes.
func plain(v any) any {
	switch v := v.(type) {
	case []string:
		l := make([]any, len(v))
		for i := range v {
			l[i] = v[i]
		}
		return l
	case int:
		return float64(v)
	}
	return v
}

// drop leaves out members without a value, at every level.
func drop(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
				continue
			}
			v[k] = drop(x)
		}
	case []any:
		for i := range v {
			v[i] = drop(v[i])
		}
	}
	return v
}
