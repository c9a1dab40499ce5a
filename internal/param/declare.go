package param

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Type is a type of Kong's schema language.
type Type string

// Types.
const (
	String  Type = "string"
	Number  Type = "number"
	Integer Type = "integer"
	Boolean Type = "boolean"
	Array   Type = "array"
	Map     Type = "map" // texts by text
	Object  Type = "record"
)

// Check is an entity check in Kong's schema language, such as
// {"mutually_required": ["a", "b"]}.
type Check map[string]any

// CheckedRecord is a struct with entity checks of its own, over its fields.
type CheckedRecord interface{ EntityChecks() []Check }

// AdvisedRecord is a struct that knows what people mean by names that are no
// parameters: what to do, by name.
type AdvisedRecord interface{ Advice() map[string]string }

// Field is a parameter, a member of a record, or the element of a list.
type Field struct {
	Name          string
	Path          string // such as redis.cluster_nodes[].port
	Group         string
	Type          Type
	Doc           string
	Since         string
	Default       any // nil, string, float64, bool, or []any of these
	OneOf         []any
	Between       []float64 // nil, or two
	LenMin        int
	Match         string
	UUID          bool
	Required      bool
	Optional      bool // a record that may be absent
	Referenceable bool
	Encrypted     bool
	Auto          bool
	Nullable      bool
	Extension     bool
	Deprecated    string
	Refused       string
	Secret        bool     // never printed, whether or not Kong encrypts it
	Elem          *Field   // of an Array
	Fields        []*Field // of an Object
	Checks        []Check  // of an Object
	advice        map[string]string

	byName map[string]*Field
	index  []int
	typ    reflect.Type // without pointers
	check  func(string) error
}

// Record is the declaration of a configuration: its top-level parameters.
type Record struct {
	root   *Field
	byPath map[string]*Field
}

// Declare reads the declaration from the type of v, a struct or a pointer to
// one. It returns an error where a tag is wrong; the text says which.
func Declare(v any) (*Record, error) {
	t := reflect.TypeOf(v)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("param: %T is not a struct", v)
	}
	root := &Field{Type: Object, typ: t}
	if err := root.addFields(t, nil, ""); err != nil {
		return nil, err
	}
	r := &Record{root: root, byPath: map[string]*Field{}}
	for _, f := range r.All() {
		r.byPath[f.Path] = f
	}
	return r, nil
}

// All returns every parameter and every member of nested records, outer ones
// first.
func (r *Record) All() []*Field {
	var out []*Field
	var walk func(*Field)
	walk = func(f *Field) {
		for _, m := range f.members() {
			out = append(out, m)
			walk(m)
		}
	}
	walk(r.root)
	return out
}

// members returns the fields of a record, or of the records in a list.
func (f *Field) members() []*Field {
	for f.Elem != nil {
		f = f.Elem
	}
	return f.Fields
}

func (f *Field) addFields(t reflect.Type, index []int, group string) error {
	for i := range t.NumField() {
		sf := t.Field(i)
		at := append(append([]int(nil), index...), i)
		if sf.Anonymous {
			g := sf.Tag.Get("group")
			if g == "" {
				g = group
			}
			if err := f.addFields(sf.Type, at, g); err != nil {
				return err
			}
			continue
		}
		m, err := newField(sf, f.Path, group)
		if err != nil {
			return fmt.Errorf("param: %s.%s: %w", t, sf.Name, err)
		}
		m.index = at
		if f.byName[m.Name] != nil {
			return fmt.Errorf("param: %s.%s: the name %s is taken", t, sf.Name, m.Name)
		}
		if f.byName == nil {
			f.byName = map[string]*Field{}
		}
		f.byName[m.Name] = m
		f.Fields = append(f.Fields, m)
	}
	if c, ok := reflect.Zero(reflect.PointerTo(t)).Interface().(CheckedRecord); ok && f.Checks == nil {
		f.Checks = c.EntityChecks()
	}
	if a, ok := reflect.Zero(reflect.PointerTo(t)).Interface().(AdvisedRecord); ok && f.advice == nil {
		f.advice = a.Advice()
	}
	return nil
}

func newField(sf reflect.StructField, parent, group string) (*Field, error) {
	name, flags, _ := strings.Cut(sf.Tag.Get("kong"), ",")
	if name == "" || !sf.IsExported() {
		return nil, fmt.Errorf("an exported field with a kong tag is expected")
	}
	f := &Field{
		Name: name, Path: name, Group: group,
		Doc: sf.Tag.Get("doc"), Since: sf.Tag.Get("since"),
		Deprecated: sf.Tag.Get("deprecated"), Refused: sf.Tag.Get("refused"),
	}
	if parent != "" {
		f.Path = parent + "." + name
	}
	if n := len([]rune(f.Doc)); n < 10 || n > 500 {
		return nil, fmt.Errorf("doc of 10 to 500 characters is expected, there are %d", n)
	}
	if f.Since == "" {
		return nil, fmt.Errorf("since is expected")
	}
	if err := f.setType(sf.Type); err != nil {
		return nil, err
	}
	if err := f.setFlags(flags); err != nil {
		return nil, err
	}
	if err := f.setBounds(sf.Tag); err != nil {
		return nil, err
	}
	text, has := sf.Tag.Lookup("default")
	if !has {
		pointer := sf.Type.Kind() == reflect.Pointer
		if needs := f.Type == Number || f.Type == Integer || f.Type == Boolean; needs && !pointer && !f.Required {
			return nil, fmt.Errorf("a %s without default must be a pointer", f.Type)
		}
		return f, nil
	}
	if f.Deprecated != "" {
		return nil, fmt.Errorf("a deprecated parameter has no default: Kong would fill it in")
	}
	var err error
	f.Default, err = f.parseDefault(text)
	return f, err
}

// setType derives from a Go type what it carries.
func (f *Field) setType(t reflect.Type) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		f.Optional = t.Kind() == reflect.Struct && t != reflect.TypeFor[Secret]()
	}
	f.typ = t
	zero := reflect.Zero(t).Interface()
	switch t.Kind() {
	case reflect.String:
		f.Type = String
	case reflect.Bool:
		f.Type = Boolean
	case reflect.Int:
		f.Type = Integer
	case reflect.Float64:
		f.Type = Number
	case reflect.Slice:
		f.Type = Array
		f.Elem = &Field{Path: f.Path + "[]", Group: f.Group}
		return f.Elem.setType(t.Elem())
	case reflect.Map:
		if t.Key().Kind() != reflect.String || t.Elem().Kind() != reflect.String {
			return fmt.Errorf("only maps of texts by text are known, this is a %s", t)
		}
		f.Type = Map
	case reflect.Struct:
		if t == reflect.TypeFor[Secret]() {
			f.Type, f.Secret, f.Encrypted, f.Referenceable = String, true, true, true
			break
		}
		f.Type = Object
		return f.addFields(t, nil, f.Group)
	default:
		return fmt.Errorf("type %s has no counterpart in Kong's schema", t)
	}
	switch e := zero.(type) {
	case Enum:
		for _, s := range e.OneOf() {
			f.OneOf = append(f.OneOf, s)
		}
	case NumberEnum:
		for _, n := range e.OneOf() {
			f.OneOf = append(f.OneOf, n)
		}
	}
	if r, ok := zero.(Ranged); ok {
		lo, hi := r.Between()
		f.Between = []float64{lo, hi}
	}
	if c, ok := zero.(Checked); ok {
		f.check = c.Check
		switch name, value := c.Attribute(); name {
		case "match":
			f.Match = value.(string)
		case "uuid":
			f.UUID = true
		}
	}
	return nil
}

func (f *Field) setFlags(flags string) error {
	text := f // the field that references and encryption belong to
	if f.Elem != nil {
		text = f.Elem
	}
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "":
		case "required":
			f.Required = true
		case "referenceable":
			text.Referenceable = true
		case "-referenceable":
			text.Referenceable = false
		case "encrypted":
			text.Encrypted = true
		case "-encrypted":
			text.Encrypted = false
		case "auto":
			f.Auto = true
		case "nullable":
			f.Nullable = true
		case "extension":
			f.Extension = true
		default:
			return fmt.Errorf("unknown flag %q", flag)
		}
	}
	return nil
}

func (f *Field) setBounds(tag reflect.StructTag) error {
	var err error
	if s, ok := tag.Lookup("min"); ok {
		if f.LenMin, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("min: %w", err)
		}
	}
	if s, ok := tag.Lookup("elemmin"); ok {
		if f.Elem == nil {
			return fmt.Errorf("elemmin belongs to lists")
		}
		if f.Elem.LenMin, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("elemmin: %w", err)
		}
	}
	if s, ok := tag.Lookup("between"); ok {
		lo, hi, _ := strings.Cut(s, ",")
		l, err1 := strconv.ParseFloat(lo, 64)
		h, err2 := strconv.ParseFloat(hi, 64)
		if err1 != nil || err2 != nil || l > h {
			return fmt.Errorf("between: two numbers are expected")
		}
		f.Between = []float64{l, h}
	}
	return nil
}

func (f *Field) parseDefault(text string) (any, error) {
	switch f.Type {
	case String:
		if len(f.OneOf) > 0 && !contains(f.OneOf, text) {
			return nil, fmt.Errorf("default is not one of the values")
		}
		return text, nil
	case Boolean:
		return strconv.ParseBool(text)
	case Number, Integer:
		return strconv.ParseFloat(text, 64)
	case Array:
		out := []any{}
		if text == "[]" {
			return out, nil
		}
		for w := range strings.FieldsSeq(text) {
			v, err := f.Elem.parseDefault(w)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case Map:
		if text == "{}" {
			return map[string]any{}, nil
		}
	}
	return nil, fmt.Errorf("a %s takes no default", f.Type)
}

func contains(list []any, v any) bool {
	for _, e := range list {
		if e == v {
			return true
		}
	}
	return false
}
