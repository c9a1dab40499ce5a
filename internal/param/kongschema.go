package param

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Protocols of Kong that a plugin may run for.
var (
	protocolsDefault = []string{"grpc", "grpcs", "http", "https"}
	protocolsAll     = []string{"grpc", "grpcs", "http", "https", "ws", "wss"}
)

// removal is the version in which Kong announces to drop old spellings.
const removal = "4.0"

// attributes are those of a field in Kong's schema language, in the order in
// which they are written.
type attributes struct {
	Type          Type            `json:"type"`
	Description   string          `json:"description,omitempty"`
	Required      *bool           `json:"required,omitempty"`
	Auto          bool            `json:"auto,omitempty"`
	Eq            json.RawMessage `json:"eq,omitempty"`
	Err           string          `json:"err,omitempty"`
	Default       any             `json:"default,omitempty"`
	OneOf         []any           `json:"one_of,omitempty"`
	Between       []float64       `json:"between,omitempty"`
	LenMin        int             `json:"len_min,omitempty"`
	Match         string          `json:"match,omitempty"`
	UUID          bool            `json:"uuid,omitempty"`
	Referenceable bool            `json:"referenceable,omitempty"`
	Encrypted     bool            `json:"encrypted,omitempty"`
	Reference     string          `json:"reference,omitempty"`
	Keys          *attributes     `json:"keys,omitempty"`
	Values        *attributes     `json:"values,omitempty"`
	Elements      *attributes     `json:"elements,omitempty"`
	Fields        []member        `json:"fields,omitempty"`
	EntityChecks  []Check         `json:"entity_checks,omitempty"`
	Deprecation   *deprecation    `json:"deprecation,omitempty"`
}

type deprecation struct {
	Message string `json:"message"`
	Removal string `json:"removal_in_version"`
}

// member is a field with its name: {"name": {...}}.
type member struct {
	name string
	*attributes
}

// MarshalJSON implements json.Marshaler.
func (m member) MarshalJSON() ([]byte, error) {
	name, err := json.Marshal(m.name)
	if err != nil {
		return nil, err
	}
	body, err := marshal(m.attributes)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte{'{'}, name, []byte{':'}, body, []byte{'}'}), nil
}

// marshal is json.Marshal without the escapes of HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// KongSchema returns the plugin's schema as Kong loads it, with checks over
// the whole entity (their fields begin with "config."). Consumers cannot be
// given. A record without the attribute "required" is required: Kong makes it
// so, and fills its members' defaults in.
func (r *Record) KongSchema(name string, checks []Check) (json.RawMessage, error) {
	config := r.root.attributes()
	config.Required = new(true)
	words := func(list []string) []any {
		out := make([]any, len(list))
		for i, w := range list {
			out[i] = w
		}
		return out
	}
	return marshal(struct {
		Name         string   `json:"name"`
		Fields       []member `json:"fields"`
		EntityChecks []Check  `json:"entity_checks,omitempty"`
	}{name, []member{
		{"protocols", &attributes{
			Type: "set", Required: new(true), Default: protocolsDefault,
			Elements: &attributes{Type: String, OneOf: words(protocolsAll)},
		}},
		{"consumer", &attributes{Type: "foreign", Reference: "consumers", Eq: json.RawMessage("null")}},
		{"config", config},
	}, checks})
}

func (f *Field) attributes() *attributes {
	a := &attributes{
		Type: f.Type, Description: f.Doc, Auto: f.Auto, Default: f.Default,
		OneOf: f.OneOf, Between: f.Between, LenMin: f.LenMin, Match: f.Match, UUID: f.UUID,
		Referenceable: f.Referenceable, Encrypted: f.Encrypted, EntityChecks: f.Checks,
	}
	switch {
	case f.Required:
		a.Required = new(true)
	case f.Optional:
		a.Required = new(false)
	}
	if f.Refused != "" {
		a.Eq, a.Err = json.RawMessage("null"), f.Refused
	}
	if f.Deprecated != "" {
		a.Deprecation = &deprecation{f.Name + ": " + f.Deprecated, removal}
	}
	if f.Type == Map {
		a.Keys, a.Values = &attributes{Type: String}, &attributes{Type: String}
	}
	if f.Elem != nil {
		a.Elements = f.Elem.attributes()
	}
	for _, m := range f.Fields {
		a.Fields = append(a.Fields, member{m.Name, m.attributes()})
	}
	return a
}
