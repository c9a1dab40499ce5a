package protocol

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"google.golang.org/protobuf/encoding/protowire"
)

// Values as Kong's Lua has them after decoding a google.protobuf.Value:
// nil, true, float64, string, []any, map[string]any. There is no false (it
// becomes nil) and no null (it becomes the text NullText).

// NullText is what a null turns into on its way through Kong.
const NullText = "NULL_VALUE"

const maxDepth = 64

// ErrArguments says that the bytes are no message of the expected type.
var ErrArguments = errors.New("arguments cannot be decoded")

// Fields calls fn for each field of a message: u is the number of a varint or
// fixed field, raw the content of a length-delimited one.
func Fields(b []byte, fn func(n protowire.Number, t protowire.Type, u uint64, raw []byte) error) error {
	for offset := 0; len(b) > 0; {
		n, t, l := protowire.ConsumeTag(b)
		if l < 0 {
			return fmt.Errorf("%w: bad tag (at offset %d)", ErrArguments, offset+1)
		}
		b, offset = b[l:], offset+l
		var u uint64
		var raw []byte
		switch t {
		case protowire.VarintType:
			u, l = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			u, l = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v uint32
			v, l = protowire.ConsumeFixed32(b)
			u = uint64(v)
		case protowire.BytesType:
			raw, l = protowire.ConsumeBytes(b)
		default:
			l = -1
		}
		if l < 0 {
			return fmt.Errorf("%w: invalid bytes length (at offset %d)", ErrArguments, offset+1)
		}
		if err := fn(n, t, u, raw); err != nil {
			return err
		}
		b, offset = b[l:], offset+l
	}
	return nil
}

// DecodeValue decodes a google.protobuf.Value. Nothing at all is nil.
func DecodeValue(b []byte) (any, error) { return decodeValue(b, 0) }

func decodeValue(b []byte, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: nested too deep", ErrArguments)
	}
	var v any
	err := Fields(b, func(n protowire.Number, t protowire.Type, u uint64, raw []byte) error {
		var err error
		switch {
		case n == 1 && t == protowire.VarintType:
			v = NullText
		case n == 2 && t == protowire.Fixed64Type:
			v = math.Float64frombits(u)
		case n == 3 && t == protowire.BytesType:
			v = string(raw)
		case n == 4 && t == protowire.VarintType:
			v = nil
			if u != 0 {
				v = true
			}
		case n == 5 && t == protowire.BytesType:
			v, err = decodeStruct(raw, depth+1)
		case n == 6 && t == protowire.BytesType:
			v, err = decodeList(raw, depth+1)
		default:
			err = fmt.Errorf("%w: field %d of a Value", ErrArguments, n)
		}
		return err
	})
	return v, err
}

// DecodeStruct decodes a google.protobuf.Struct. A key whose value is false
// or nothing is not there.
func DecodeStruct(b []byte) (map[string]any, error) { return decodeStruct(b, 0) }

func decodeStruct(b []byte, depth int) (map[string]any, error) {
	m := map[string]any{}
	err := Fields(b, func(n protowire.Number, _ protowire.Type, _ uint64, raw []byte) error {
		if n != 1 {
			return fmt.Errorf("%w: field %d of a Struct", ErrArguments, n)
		}
		var key string
		var value any
		err := Fields(raw, func(n protowire.Number, _ protowire.Type, _ uint64, raw []byte) error {
			var err error
			switch n {
			case 1:
				key = string(raw)
			case 2:
				value, err = decodeValue(raw, depth+1)
			}
			return err
		})
		if err == nil && value != nil {
			m[key] = value
		}
		return err
	})
	return m, err
}

// DecodeList decodes a google.protobuf.ListValue. Trailing nils vanish, as
// they do in a Lua table.
func DecodeList(b []byte) ([]any, error) { return decodeList(b, 0) }

func decodeList(b []byte, depth int) ([]any, error) {
	l := []any{}
	err := Fields(b, func(_ protowire.Number, _ protowire.Type, _ uint64, raw []byte) error {
		v, err := decodeValue(raw, depth+1)
		l = append(l, v)
		return err
	})
	for len(l) > 0 && l[len(l)-1] == nil {
		l = l[:len(l)-1]
	}
	return l, err
}

// EncodeValue encodes v as Kong does: nil is the null value 1 (not 0), an
// empty list is an empty struct.
func EncodeValue(v any) []byte { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		b = protowire.AppendTag(b, 1, protowire.VarintType)
		return protowire.AppendVarint(b, 1)
	case float64:
		b = protowire.AppendTag(b, 2, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(v))
	case int:
		return appendValue(b, float64(v))
	case string:
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		return protowire.AppendString(b, v)
	case bool:
		b = protowire.AppendTag(b, 4, protowire.VarintType)
		return protowire.AppendVarint(b, protowire.EncodeBool(v))
	case map[string]any:
		b = protowire.AppendTag(b, 5, protowire.BytesType)
		return protowire.AppendBytes(b, EncodeStruct(v))
	case []string:
		l := make([]any, len(v))
		for i := range v {
			l[i] = v[i]
		}
		return appendValue(b, l)
	case []any:
		if len(v) == 0 {
			return appendValue(b, map[string]any{})
		}
		var l []byte
		for _, e := range v {
			l = protowire.AppendTag(l, 1, protowire.BytesType)
			l = protowire.AppendBytes(l, EncodeValue(e))
		}
		b = protowire.AppendTag(b, 6, protowire.BytesType)
		return protowire.AppendBytes(b, l)
	}
	return appendValue(b, fmt.Sprint(v))
}

// EncodeStruct encodes a google.protobuf.Struct.
func EncodeStruct(m map[string]any) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b []byte
	for _, k := range keys {
		var e []byte
		e = protowire.AppendTag(e, 1, protowire.BytesType)
		e = protowire.AppendString(e, k)
		e = protowire.AppendTag(e, 2, protowire.BytesType)
		e = protowire.AppendBytes(e, EncodeValue(m[k]))
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendBytes(b, e)
	}
	return b
}
