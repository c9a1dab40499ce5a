package param

import "encoding/json"

// jsonMap is a JSON object; its keys are written in order of the alphabet.
type jsonMap = map[string]any

// JSONSchema returns a JSON Schema (2020-12) of the declarative files in
// which the plugin may stand, for editors: kong.yml with its plugins at the
// top, in services and in routes. Definitions are "config" and "plugin".
func (r *Record) JSONSchema(name string) (json.RawMessage, error) {
	ref := func(def string) jsonMap { return jsonMap{"$ref": "#/$defs/" + def} }
	list := func(def string) jsonMap { return jsonMap{"type": "array", "items": ref(def)} }
	plugin := jsonMap{
		"type":     "object",
		"required": []string{"name"},
		"if":       jsonMap{"properties": jsonMap{"name": jsonMap{"const": name}}},
		"then": jsonMap{
			"required": []string{"config"},
			"properties": jsonMap{
				"config":    ref("config"),
				"enabled":   jsonMap{"type": "boolean", "default": true},
				"protocols": jsonMap{"type": "array", "items": jsonMap{"enum": protocolsAll}, "default": protocolsDefault},
				"consumer":  jsonMap{"type": "null"},
			},
		},
	}
	return marshalIndent(jsonMap{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"title":   "kong.yml with the plugin " + name,
		"type":    "object",
		"properties": jsonMap{
			"plugins":  list("plugin"),
			"services": list("service"),
			"routes":   list("route"),
		},
		"$defs": jsonMap{
			"config":  r.root.jsonSchema(),
			"plugin":  plugin,
			"route":   jsonMap{"type": "object", "properties": jsonMap{"plugins": list("plugin")}},
			"service": jsonMap{"type": "object", "properties": jsonMap{"plugins": list("plugin"), "routes": list("route")}},
		},
	})
}

func marshalIndent(v any) (json.RawMessage, error) {
	return json.MarshalIndent(v, "", "  ")
}

func (f *Field) jsonSchema() jsonMap {
	m := jsonMap{}
	if f.Doc != "" {
		m["description"] = f.Doc
	}
	if f.Default != nil {
		m["default"] = f.Default
	}
	if f.Deprecated != "" {
		m["deprecated"] = true
	}
	if f.Refused != "" {
		m["type"] = "null"
		return m
	}
	switch f.Type {
	case Array:
		m["items"] = f.Elem.jsonSchema()
		if f.LenMin > 0 {
			m["minItems"] = f.LenMin
		}
	case Map:
		m["additionalProperties"] = jsonMap{"type": "string"}
	case Object:
		properties, required := jsonMap{}, []string{}
		for _, member := range f.Fields {
			properties[member.Name] = member.jsonSchema()
			if member.Required && member.Default == nil {
				required = append(required, member.Name)
			}
		}
		m["properties"] = properties
		m["additionalProperties"] = false
		if len(required) > 0 {
			m["required"] = required
		}
	case Number, Integer:
		if f.Between != nil {
			m["minimum"], m["maximum"] = f.Between[0], f.Between[1]
		}
		if len(f.OneOf) > 0 {
			m["enum"] = f.OneOf
		}
	case String:
		m["minLength"] = 1
		f.textRule(m)
	}
	types := map[Type]string{Object: "object", Map: "object", Array: "array"}
	name := types[f.Type]
	if name == "" {
		name = string(f.Type)
	}
	if f.Name == "" || f.Required { // the whole, and elements of lists
		m["type"] = name
	} else {
		m["type"] = []string{name, "null"}
		if values, ok := m["enum"].([]any); ok {
			m["enum"] = append(append([]any(nil), values...), nil)
		}
	}
	return m
}

// textRule adds what a text must match; a reference to a vault always may.
func (f *Field) textRule(m jsonMap) {
	rule := jsonMap{}
	if len(f.OneOf) > 0 {
		rule["enum"] = f.OneOf
	}
	if f.Match != "" {
		rule["pattern"] = f.Match
	}
	if f.UUID {
		rule["format"] = "uuid"
	}
	if len(rule) == 0 {
		return
	}
	if f.Referenceable {
		m["anyOf"] = []jsonMap{rule, {"pattern": `^\{vault://.+\}$`}, {"type": "null"}}
		return
	}
	for k, v := range rule {
		m[k] = v
	}
}
