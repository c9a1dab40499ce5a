package plugin

import (
	"encoding/json"
	"sync"

	"kong-openid-connect/internal/param"
)

// What Kong is told about the plugin.
const (
	Name     = "openid-connect"
	Version  = "0.1.0"
	Priority = 1050
)

// Declaration returns the declaration of Config. It is made once and shared;
// nobody changes it.
var Declaration = sync.OnceValue(func() *param.Record {
	r, err := param.Declare(Config{})
	if err != nil {
		panic(err) // a tag is wrong; the first test finds it
	}
	return r
})

// Schema returns the plugin's schema in Kong's schema language, for -dump.
func Schema() json.RawMessage {
	var checks []param.Check
	for _, r := range rules {
		checks = append(checks, r.checks...)
	}
	raw, err := Declaration().KongSchema(Name, checks)
	if err != nil {
		panic(err) // the schema is constant; the first test finds it
	}
	return raw
}

// Status says what a parameter does, for the reference page.
func Status(f *param.Field) string {
	switch {
	case f.Refused != "":
		return "refused"
	case isIgnored(f.Path):
		return "ignored"
	case f.Deprecated != "" && f.Group == deprecatedGroup:
		return "accepted"
	}
	return "effective"
}

// JSONSchema returns a JSON Schema of kong.yml with this plugin, for editors.
func JSONSchema() json.RawMessage {
	raw, err := Declaration().JSONSchema(Name)
	if err != nil {
		panic(err)
	}
	return raw
}
