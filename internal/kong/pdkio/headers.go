package pdkio

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// headers reads a google.protobuf.Struct of header fields: a value is a string
// or a list of strings. The stock decoder loses the whole map to one byte that
// is not UTF-8, so this one keeps bytes as they are.
func headers(frame []byte) (rp.Header, error) {
	count := 0
	for b := frame; len(b) > 0; count++ {
		_, rest, err := wire.CutField(b)
		if err != nil {
			return nil, err
		}
		b = rest
	}
	// Names and values are slices of one string, the lists of one array.
	d := decoder{all: string(frame), end: cap(frame), values: make([]string, 0, count)}
	h := make(rp.Header, count)
	for len(frame) > 0 {
		f, rest, err := wire.CutField(frame)
		if err != nil {
			return nil, err
		}
		frame = rest
		if !f.IsBytes(1) {
			continue
		}
		if err := d.entry(f.Bytes, h); err != nil {
			return nil, err
		}
	}
	if len(d.values) >= mostHeaders {
		return nil, errManyHeaders
	}
	return h, nil
}

type decoder struct {
	all    string // the frame
	end    int    // the capacity of the frame's slice
	values []string
}

// str returns the bytes of a subslice of the frame as a string without copying.
func (d *decoder) str(b []byte) string {
	start := d.end - cap(b)
	return d.all[start : start+len(b)]
}

// entry reads one entry of the Struct's map.
func (d *decoder) entry(b []byte, h rp.Header) error {
	var name, value []byte
	for len(b) > 0 {
		f, rest, err := wire.CutField(b)
		if err != nil {
			return err
		}
		switch {
		case f.IsBytes(1):
			name = f.Bytes
		case f.IsBytes(2):
			value = f.Bytes
		}
		b = rest
	}
	from := len(d.values)
	if err := d.value(value, false); err != nil {
		return err
	}
	key, list := d.str(name), d.values[from:len(d.values):len(d.values)]
	if old, ok := h[key]; ok {
		list = append(old, list...)
	}
	h[key] = list
	return nil
}

// value appends the strings of a google.protobuf.Value. One that holds none
// stands for a field with an empty value.
func (d *decoder) value(b []byte, inList bool) error {
	from, list := len(d.values), false
	for len(b) > 0 {
		f, rest, err := wire.CutField(b)
		if err != nil {
			return err
		}
		switch {
		case f.IsBytes(3):
			d.values = append(d.values, d.str(f.Bytes))
		case f.Num == 2 && f.Type == protowire.Fixed64Type:
			d.values = append(d.values, strconv.FormatFloat(math.Float64frombits(f.Number), 'g', -1, 64))
		case f.IsVarint(4):
			d.values = append(d.values, strconv.FormatBool(f.Number != 0))
		case f.Num == 5, f.Num == 6 && inList:
			return wire.ErrMessage // no header field is a map or a list of lists
		case f.IsBytes(6):
			list = true
			if err := d.list(f.Bytes); err != nil {
				return err
			}
		}
		b = rest
	}
	if len(d.values) == from && !list {
		d.values = append(d.values, "")
	}
	return nil
}

// list appends the strings of a google.protobuf.ListValue.
func (d *decoder) list(b []byte) error {
	for len(b) > 0 {
		f, rest, err := wire.CutField(b)
		if err != nil {
			return err
		}
		if f.IsBytes(1) {
			if err := d.value(f.Bytes, true); err != nil {
				return err
			}
		}
		b = rest
	}
	return nil
}
