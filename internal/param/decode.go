package param

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// maxFindings bounds what is said about one configuration.
const maxFindings = 100

// Meta is what Kong adds to an instance's configuration.
type Meta struct {
	Seq         string // the entity's sequence number, unique to nothing
	Key         string // cache key of the plugin entity
	WorkspaceID string
	PluginID    string
	RouteID     string
	ServiceID   string
}

// Reference is a parameter whose value came from a vault.
type Reference struct {
	Path     string // as in Finding
	Text     string // such as {vault://env/name}; not a secret itself
	Resolved bool   // false: Kong could not resolve it, the value is empty
}

// Decoded is what was learned beside the values.
type Decoded struct {
	Meta       Meta
	References []Reference
	Findings   Findings
}

// Mode says who wrote the text.
type Mode uint8

const (
	// FromKong is the JSON of StartInstance. Kong has filled the defaults
	// in and left out what is null, so an absent parameter was null; an
	// empty list may be {}; the keys of Meta and $refs ride along; and no
	// reference to a vault is left.
	FromKong Mode = iota
	// FromUser is a kong.yml or an Admin API body: absent parameters get
	// their defaults, references to a vault stand for themselves.
	FromUser
)

// Decode reads a configuration into dst, a pointer to the struct that r
// declares. A nil or null node is the empty configuration. Whatever is wrong is
// among the findings, up to a hundred of them; the error is the same as
// Findings.Err. What could not be decoded keeps its default.
func (r *Record) Decode(n *Node, dst any, mode Mode) (Decoded, error) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Type() != r.root.typ {
		panic(fmt.Sprintf("param: Decode into %T, a non-nil *%s is expected", dst, r.root.typ))
	}
	if n == nil {
		n = &Node{}
	}
	d := decoder{mode: mode, out: &Decoded{}}
	d.object(r.root, n, v.Elem(), "", true)
	return *d.out, d.out.Findings.Err()
}

type decoder struct {
	mode Mode
	out  *Decoded
}

func (d *decoder) fail(path string, n *Node, do, format string, args ...any) {
	if len(d.out.Findings) >= maxFindings {
		return
	}
	f := Finding{Severity: Error, Path: path, Message: fmt.Sprintf(format, args...), Do: do}
	if n != nil {
		f.Line = n.Line
	}
	d.out.Findings = append(d.out.Findings, f)
}

// wrong reports a value of the wrong type.
func (d *decoder) wrong(f *Field, n *Node, path string) {
	do := ""
	switch {
	case n.Kind == BoolKind && f.Type == String && n.Text != "" && n.Text != "true" && n.Text != "false":
		do = "write it in quotes: a bare " + n.Text + " is a boolean for Kong"
	case f.Type == Array && n.Kind == f.Elem.kind():
		do = "put it in brackets: Kong makes lists of single values in forms of its Admin API only"
	case n.Kind == ListKind && len(n.Items) == 1 && n.Items[0].Kind == f.kind():
		do = "take the brackets off: one value is expected"
	case n.Kind == TextKind && IsReference(n.Text):
		do = "Kong resolves references to a vault in texts only"
	case n.Kind == TextKind && readsAs(n.Text, f.Type):
		do = "take the quotes off"
	}
	d.fail(path, n, do, "is %s, expected is %s", n.shape(), f.expected())
}

// kind is what a value of the field is written as.
func (f *Field) kind() Kind {
	switch f.Type {
	case String:
		return TextKind
	case Boolean:
		return BoolKind
	case Number, Integer:
		return NumberKind
	case Array:
		return ListKind
	}
	return MapKind
}

// readsAs reports whether text would be a value of the type without its quotes.
func readsAs(text string, typ Type) bool {
	switch typ {
	case Boolean:
		return text == "true" || text == "false"
	case Number, Integer:
		_, err := strconv.ParseFloat(text, 64)
		return err == nil
	}
	return false
}

// expected describes what a parameter takes.
func (f *Field) expected() string {
	switch f.Type {
	case Number, Integer:
		kind := "a number"
		if f.Type == Integer {
			kind = "an integer"
		}
		if f.Between != nil {
			return fmt.Sprintf("%s between %v and %v", kind, int64(f.Between[0]), int64(f.Between[1]))
		}
		if len(f.OneOf) > 0 {
			return "one of " + join(f.OneOf)
		}
		return kind
	case Boolean:
		return "true or false"
	case Array:
		return "a list"
	case Map:
		return "a map of texts"
	case Object:
		return "a record"
	}
	if len(f.OneOf) > 0 {
		return "one of " + join(f.OneOf)
	}
	return "a text"
}

func join(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

// object decodes the members of a record. Kong's own keys are taken out at
// the top.
func (d *decoder) object(f *Field, n *Node, v reflect.Value, path string, top bool) {
	empty := n.Kind == ListKind && len(n.Items) == 0 // Lua has one empty table
	if n.Kind != MapKind && n.Kind != NullKind && !empty {
		d.wrong(f, n, path)
		n = &Node{Line: n.Line}
	}
	refs := n.Get("$refs")
	for _, m := range f.Fields {
		d.field(m, n, n.Get(m.Name), refs.Get(m.Name), v.FieldByIndex(m.index), inside(path, m.Name))
	}
	for _, e := range n.Entries {
		if top && d.mode == FromKong && d.meta(e) {
			continue
		}
		if d.mode == FromKong && e.Key == "$refs" {
			continue
		}
		if f.byName[e.Key] == nil {
			do := f.advice[e.Key]
			if near := f.nearest(e.Key); do == "" && near != "" {
				do = "did you mean " + near + "?"
			} else if do == "" {
				do = "take it out"
			}
			d.fail(path, &Node{Line: e.Line}, do, "unknown field %s", quote(e.Key))
		}
	}
}

func inside(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// meta takes in a key of Kong's own and reports whether it was one.
func (d *decoder) meta(e Entry) bool {
	m := &d.out.Meta
	switch e.Key {
	case "__seq__":
		m.Seq = e.Value.Text
	case "__key__":
		m.Key = e.Value.Text
	case "__ws_id":
		m.WorkspaceID = e.Value.Text
	case "__plugin_id":
		m.PluginID = e.Value.Text
	case "route_id":
		m.RouteID = e.Value.Text
	case "service_id":
		m.ServiceID = e.Value.Text
	case "consumer_id":
	default:
		return strings.HasPrefix(e.Key, "__")
	}
	return true
}

// field decodes one member, present or not.
func (d *decoder) field(f *Field, parent, n, refs *Node, v reflect.Value, path string) {
	if n == nil || n.Kind == NullKind {
		d.unresolved(refs, path)
		none := f.Nullable && (n != nil || d.mode == FromKong)
		switch {
		case f.Required && f.Default == nil:
			d.fail(path, parent, "set it", "is required and missing")
		case none:
			v.SetZero()
		case f.Default != nil:
			f.setDefault(v)
		case f.Type == Object && !f.Optional:
			d.object(f, &Node{Line: parent.Line}, v, path, false)
		default:
			v.SetZero()
		}
		return
	}
	if f.Refused != "" {
		d.fail(path, n, f.Refused, "is not accepted any more")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	d.value(f, n, refs, v, path)
}

// setDefault sets the default of a field that has one.
func (f *Field) setDefault(v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	set(v, f.Default)
}

func set(v reflect.Value, value any) {
	switch x := value.(type) {
	case string:
		if v.Type() == reflect.TypeFor[Secret]() {
			v.Set(reflect.ValueOf(NewSecret(x)))
			return
		}
		v.SetString(x)
	case bool:
		v.SetBool(x)
	case float64:
		if v.CanInt() {
			v.SetInt(int64(x))
			return
		}
		v.SetFloat(x)
	case []any:
		s := reflect.MakeSlice(v.Type(), len(x), len(x))
		for i, e := range x {
			set(s.Index(i), e)
		}
		v.Set(s)
	case map[string]any:
		v.Set(reflect.MakeMap(v.Type()))
	}
}

// value decodes a value that is there.
func (d *decoder) value(f *Field, n, refs *Node, v reflect.Value, path string) {
	switch f.Type {
	case Object:
		d.object(f, n, v, path, false)
	case Array:
		d.list(f, n, refs, v, path)
	case Map:
		d.textMap(f, n, refs, v, path)
	case Boolean:
		if n.Kind != BoolKind {
			d.wrong(f, n, path)
			return
		}
		v.SetBool(n.Bool)
	case Number, Integer:
		d.number(f, n, v, path)
	case String:
		d.text(f, n, refs, v, path)
	}
}

func (d *decoder) list(f *Field, n, refs *Node, v reflect.Value, path string) {
	if n.Kind == MapKind && len(n.Entries) == 0 {
		n = &Node{Kind: ListKind, Line: n.Line} // an encoder that lost the list's mark
	}
	if n.Kind != ListKind {
		d.wrong(f, n, path)
		return
	}
	if len(n.Items) < f.LenMin {
		d.fail(path, n, "", "has %d elements, at least %d are expected", len(n.Items), f.LenMin)
	}
	s := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		at := fmt.Sprintf("%s[%d]", path, i+1)
		if item.Kind == NullKind {
			d.fail(at, item, "", "is null, expected is %s", f.Elem.expected())
			continue
		}
		d.value(f.Elem, item, refs.item(i), s.Index(i), at)
	}
	v.Set(s)
	for i := len(n.Items); refs != nil && i < len(refs.Items); i++ {
		d.unresolved(refs.Items[i], fmt.Sprintf("%s[%d]", path, i+1))
	}
	for _, e := range refs.entries() {
		if i, err := strconv.Atoi(e.Key); err != nil || i < 1 || i > len(n.Items) {
			d.unresolved(e.Value, path+"["+quote(e.Key)+"]")
		}
	}
}

// item returns the reference of a list's element: of a list with holes, or of
// a map by number, which is how Lua writes a list with many holes.
func (n *Node) item(i int) *Node {
	if n == nil {
		return nil
	}
	if n.Kind == ListKind && i < len(n.Items) {
		return n.Items[i]
	}
	return n.Get(strconv.Itoa(i + 1))
}

func (n *Node) entries() []Entry {
	if n == nil {
		return nil
	}
	return n.Entries
}

// unresolved notes references whose values are not there at all. Kong was seen
// to write the empty text in their place; what stands under $refs was
// configured, so without a value it is never the same as unset.
func (d *decoder) unresolved(refs *Node, path string) {
	switch {
	case refs == nil || d.mode != FromKong:
	case refs.Kind == TextKind:
		d.out.References = append(d.out.References, Reference{path, refs.Text, false})
	default:
		for i, item := range refs.Items {
			d.unresolved(item, fmt.Sprintf("%s[%d]", path, i+1))
		}
		for _, e := range refs.Entries {
			d.unresolved(e.Value, path+"["+quote(e.Key)+"]")
		}
	}
}

func (d *decoder) textMap(f *Field, n, refs *Node, v reflect.Value, path string) {
	if n.Kind == ListKind && len(n.Items) == 0 {
		n = &Node{Kind: MapKind, Line: n.Line}
	}
	if n.Kind != MapKind {
		d.wrong(f, n, path)
		return
	}
	m := reflect.MakeMap(v.Type())
	elem := &Field{Type: String, Path: f.Path + "[]", typ: v.Type().Elem()}
	for _, e := range n.Entries {
		x := reflect.New(v.Type().Elem()).Elem()
		d.value(elem, e.Value, refs.Get(e.Key), x, path+"["+quote(e.Key)+"]")
		m.SetMapIndex(reflect.ValueOf(e.Key).Convert(v.Type().Key()), x)
	}
	v.Set(m)
	for _, e := range refs.entries() {
		if n.Get(e.Key) == nil {
			d.unresolved(e.Value, path+"["+quote(e.Key)+"]")
		}
	}
}

func (d *decoder) number(f *Field, n *Node, v reflect.Value, path string) {
	if n.Kind != NumberKind {
		d.wrong(f, n, path)
		return
	}
	x, err := strconv.ParseFloat(n.Text, 64)
	switch {
	case err != nil || math.IsNaN(x) || math.IsInf(x, 0):
		d.fail(path, n, "", "is a number out of range, expected is %s", f.expected())
	case f.Type == Integer && x != math.Trunc(x):
		d.fail(path, n, "", "is a number with a fraction, expected is %s", f.expected())
	case f.Type == Integer && math.Abs(x) > 1<<53:
		d.fail(path, n, "", "is too large for an integer")
	case f.Between != nil && (x < f.Between[0] || x > f.Between[1]):
		d.fail(path, n, "", "is out of range, expected is %s", f.expected())
	case len(f.OneOf) > 0 && !contains(f.OneOf, x):
		d.fail(path, n, "", "is another number, expected is %s", f.expected())
	default:
		set(v, x)
	}
}

func (d *decoder) text(f *Field, n, ref *Node, v reflect.Value, path string) {
	if n.Kind != TextKind {
		d.wrong(f, n, path)
		return
	}
	if ref != nil && ref.Kind == TextKind && d.mode == FromKong {
		d.out.References = append(d.out.References, Reference{path, ref.Text, n.Text != ""})
		if n.Text == "" {
			return // reported by the caller, who knows what depends on it
		}
	}
	if IsReference(n.Text) {
		if !f.Referenceable {
			d.fail(path, n, "write the value itself", "is a reference to a vault, which this parameter does not take")
			return
		}
		d.out.References = append(d.out.References, Reference{path, n.Text, false})
		if d.mode == FromUser {
			set(v, n.Text)
		}
		return
	}
	if n.Text == "" {
		d.fail(path, n, "leave it out, or write null", "is the empty text, which is not a value")
		return
	}
	if len(f.OneOf) > 0 && !contains(f.OneOf, n.Text) {
		do := ""
		if near := nearestWord(n.Text, f.OneOf); near != "" {
			do = "did you mean " + near + "?"
		} else if strings.HasSuffix(path, "]") && strings.ContainsAny(n.Text, ", ") {
			do = "write each value for itself"
		}
		d.fail(path, n, do, "is another text, expected is %s", f.expected())
		return
	}
	if f.check != nil {
		if err := f.check(n.Text); err != nil {
			d.fail(path, n, "", "%v", err)
			return
		}
	}
	set(v, n.Text)
}
