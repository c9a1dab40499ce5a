package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Object is a decoded JSON object. Numbers are json.Number, so that large
// identifiers survive.
type Object map[string]any

// MaxDepth bounds the nesting of a claim set.
const MaxDepth = 32

// ErrTooDeep says that a claim set nests deeper than MaxDepth.
var ErrTooDeep = errors.New("claims nest too deeply")

// Decode reads one JSON object and nothing behind it.
func Decode(data []byte) (Object, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var o Object
	if err := dec.Decode(&o); err != nil {
		return nil, fmt.Errorf("claims are not a JSON object: %w", err)
	}
	if o == nil {
		return nil, errors.New("claims are null")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("claims are followed by other text")
	}
	if !shallow(map[string]any(o), MaxDepth) {
		return nil, ErrTooDeep
	}
	return o, nil
}

func shallow(v any, depth int) bool {
	if depth < 0 {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if !shallow(e, depth-1) {
				return false
			}
		}
	case []any:
		for _, e := range v {
			if !shallow(e, depth-1) {
				return false
			}
		}
	}
	return true
}
