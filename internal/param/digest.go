package param

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"reflect"
	"slices"
)

// Digest returns a hash of a configuration, a struct that r declares or a
// pointer to one. Equal configurations have equal digests, whatever Kong
// added beside them. Secrets are part of it, so it stays inside the process.
func (r *Record) Digest(config any) [sha256.Size]byte {
	v := reflect.Indirect(reflect.ValueOf(config))
	if v.Type() != r.root.typ {
		panic(fmt.Sprintf("param: Digest of %T, a %s is expected", config, r.root.typ))
	}
	h := sha256.New()
	r.root.digest(h, v)
	return [sha256.Size]byte(h.Sum(nil))
}

func (f *Field) digest(h hash.Hash, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			writeUint(h, 0)
			return
		}
		writeUint(h, 1)
		v = v.Elem()
	}
	switch f.Type {
	case Object:
		for _, m := range f.Fields {
			m.digest(h, v.FieldByIndex(m.index))
		}
	case Array:
		// The empty list is a value, an absent one is none.
		if v.IsNil() {
			writeUint(h, 0)
			return
		}
		writeUint(h, uint64(v.Len())+1)
		for i := range v.Len() {
			f.Elem.digest(h, v.Index(i))
		}
	case Map:
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int {
			if a.String() < b.String() {
				return -1
			}
			return 1
		})
		writeUint(h, uint64(len(keys)))
		for _, k := range keys {
			writeText(h, k.String())
			writeText(h, v.MapIndex(k).String())
		}
	case Boolean:
		if v.Bool() {
			writeUint(h, 1)
		} else {
			writeUint(h, 0)
		}
	case Integer:
		writeUint(h, uint64(v.Int()))
	case Number:
		writeUint(h, math.Float64bits(v.Float()))
	case String:
		if f.Secret {
			writeText(h, v.Interface().(Secret).Reveal())
			return
		}
		writeText(h, v.String())
	}
}

func writeUint(h hash.Hash, n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	h.Write(b[:])
}

func writeText(h hash.Hash, s string) {
	writeUint(h, uint64(len(s)))
	h.Write([]byte(s))
}
