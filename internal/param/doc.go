// Package param turns a tagged Go struct into everything that a plugin's
// configuration needs: the schema that Kong loads, the decoder of the JSON
// with which Kong starts an instance, the check of a kong.yml without Kong,
// the reference page and a JSON Schema for editors. The struct field is a
// parameter's only declaration.
//
// It owns the tag language and the value types that carry rules (Secret, URL,
// UUID, Port and every named type with a OneOf method). It knows no parameter
// by name. Any package may import it; it imports the standard library and a
// YAML parser only.
//
// # Tags
//
//	kong:"name,flag,..."  name and flags, see below
//	default:"text"        default; lists are separated by blanks, "[]" is the empty list
//	since:"3.14"          version of Kong that introduced it
//	doc:"text"            one line of 10 to 500 characters
//	min:"1"               smallest length of a list
//	elemmin:"1"           smallest length of a list's texts
//	between:"0,65535"     smallest and largest number
//	deprecated:"text"     says what to write instead; such a field has no default
//	refused:"text"        any value is an error with this text
//	group:"name"          on an embedded struct: the group of its fields
//
// Flags: required, referenceable, encrypted (and -referenceable, -encrypted
// against what the type brings), auto (Kong fills in a random text), nullable
// (null differs from the default: it means "none"), extension (not a
// parameter of Kong's own plugin).
//
// A field without default may be absent: texts and lists are then empty,
// numbers and booleans are pointers. A nested struct is a record that Kong
// fills with defaults, a pointer to a struct a record that may be absent.
package param
