package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMessage says that bytes are not the protobuf message they should be.
var ErrMessage = errors.New("malformed message")

// Field is one field of a protobuf message. Bytes is set for a
// length-delimited one and shares memory with the message; Number holds the
// bits of a varint or a fixed64.
type Field struct {
	Num    protowire.Number
	Type   protowire.Type
	Bytes  []byte
	Number uint64
}

// IsBytes reports whether f is the length-delimited field num.
func (f *Field) IsBytes(num protowire.Number) bool {
	return f.Num == num && f.Type == protowire.BytesType
}

// IsVarint reports whether f is the varint field num.
func (f *Field) IsVarint(num protowire.Number) bool {
	return f.Num == num && f.Type == protowire.VarintType
}

// CutField splits the first field off a message that is not empty.
func CutField(b []byte) (f Field, rest []byte, err error) {
	num, typ, size := protowire.ConsumeTag(b)
	if size < 0 {
		return Field{}, nil, ErrMessage
	}
	b = b[size:]
	f.Num, f.Type = num, typ
	switch typ {
	case protowire.BytesType:
		f.Bytes, size = protowire.ConsumeBytes(b)
	case protowire.VarintType:
		f.Number, size = protowire.ConsumeVarint(b)
	case protowire.Fixed64Type:
		f.Number, size = protowire.ConsumeFixed64(b)
	default:
		size = protowire.ConsumeFieldValue(num, typ, b)
	}
	if size < 0 {
		return Field{}, nil, ErrMessage
	}
	return f, b[size:], nil
}

// Text returns a length-delimited field of a message, whatever bytes it holds,
// or "". Kong's String is {1: v}.
func Text(message []byte, num protowire.Number) (string, error) {
	var v []byte
	for len(message) > 0 {
		f, rest, err := CutField(message)
		if err != nil {
			return "", err
		}
		if f.IsBytes(num) {
			v = f.Bytes
		}
		message = rest
	}
	return string(v), nil
}

// Int returns a varint field of a message, or 0. Kong's Int and Bool are {1: v}.
func Int(message []byte, num protowire.Number) (int64, error) {
	var v uint64
	for len(message) > 0 {
		f, rest, err := CutField(message)
		if err != nil {
			return 0, err
		}
		if f.IsVarint(num) {
			v = f.Number
		}
		message = rest
	}
	return int64(v), nil
}

// AppendText appends a length-delimited field with text, or with whatever bytes
// stand for it.
func AppendText(b []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, num, protowire.BytesType), s)
}

// AppendInt appends a varint field.
func AppendInt(b []byte, num protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), uint64(v))
}

// AppendMessage appends a field with an encoded message.
func AppendMessage(b []byte, num protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), message)
}
