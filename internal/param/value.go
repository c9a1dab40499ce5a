package param

import (
	"fmt"
	"reflect"
)

// IsDefault reports whether the parameter with this path has its default in
// config, or is absent where it has none. The path may not lead through a
// list. A record has its default when all of its members have theirs.
func (r *Record) IsDefault(config any, path string) bool {
	f := r.byPath[path]
	return f.isDefault(r.find(config, path))
}

// find returns the zero Value where a record on the way is absent: then
// everything in it has its default.
func (r *Record) find(config any, path string) reflect.Value {
	f := r.byPath[path]
	if f == nil {
		panic(fmt.Sprintf("param: there is no parameter %q", path))
	}
	v := reflect.Indirect(reflect.ValueOf(config))
	at := r.root
	for name := range splitPath(path) {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}
			}
			v = v.Elem()
		}
		m := at.byName[name]
		if m == nil {
			panic(fmt.Sprintf("param: %q leads through a list", path))
		}
		v, at = v.FieldByIndex(m.index), m
	}
	return v
}

func splitPath(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(path); i++ {
			if i == len(path) || path[i] == '.' {
				if !yield(path[start:i]) {
					return
				}
				start = i + 1
			}
		}
	}
}

func (f *Field) isDefault(v reflect.Value) bool {
	if !v.IsValid() {
		return true
	}
	if f.Type == Object && !f.Optional {
		for _, m := range f.Fields {
			if !m.isDefault(v.FieldByIndex(m.index)) {
				return false
			}
		}
		return true
	}
	want := reflect.New(v.Type()).Elem()
	if f.Default != nil {
		f.setDefault(want)
	}
	if v.Kind() == reflect.Slice && v.Len() == 0 && want.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(v.Interface(), want.Interface())
}

// Value returns the value of the parameter with this path, nil where it is
// absent; a pointer is followed.
func (r *Record) Value(config any, path string) any {
	v := r.find(config, path)
	if !v.IsValid() || v.IsZero() {
		return nil
	}
	return reflect.Indirect(v).Interface()
}

// Folded says what became of an old spelling.
type Folded uint8

const (
	FoldAbsent Folded = iota // the old spelling is absent
	FoldMoved                // its value is the new one's
	FoldSame                 // the new one had that value already
	FoldKept                 // the new one's value stays, because it is no default
)

// Fold moves the value of an old spelling to the parameter that took its
// place, and empties the old one. The new one's value stays when it differs
// from its default. convert, where it is not nil, turns the old value (no
// pointer) into the new one.
func (r *Record) Fold(config any, from, to string, convert func(any) any) Folded {
	source, target := r.find(config, from), r.find(config, to)
	if source.IsZero() || source.Kind() == reflect.Slice && source.Len() == 0 {
		return FoldAbsent
	}
	old := reflect.Indirect(source).Interface()
	if convert != nil {
		old = convert(old)
	}
	source.SetZero()
	want := reflect.ValueOf(old)
	have := reflect.Indirect(target)
	if have.IsValid() && reflect.DeepEqual(have.Interface(), want.Convert(have.Type()).Interface()) {
		return FoldSame
	}
	if !r.byPath[to].isDefault(target) {
		return FoldKept
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		target = target.Elem()
	}
	target.Set(want.Convert(target.Type()))
	return FoldMoved
}
