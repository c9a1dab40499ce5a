package claims

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// Text renders a claim as a header value: a string as it is, a number or a
// boolean as text, an array of strings joined by ", ", an object or any other
// array as JSON in standard base64 with padding. Null has no rendering. The
// result is not yet safe for a header; whoever writes it cleans it.
func Text(v any) (string, bool) {
	if s, ok := simple(v); ok {
		return s, true
	}
	switch v := v.(type) {
	case []any:
		if words, ok := stringsOf(v); ok {
			return strings.Join(words, ", "), true
		}
		return encode(v)
	case []string:
		return strings.Join(v, ", "), true
	case map[string]any:
		return encode(v)
	case Object:
		return encode(map[string]any(v))
	}
	return "", false
}

// Strings returns the elements of an array of strings, or a string alone; ok is
// false for anything else. It is the form of `aud` (RFC 7519 section 4.1.3).
func Strings(v any) (values []string, ok bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		return stringsOf(v)
	}
	return nil, false
}

func stringsOf(v []any) ([]string, bool) {
	out := make([]string, len(v))
	for i, e := range v {
		s, ok := e.(string)
		if !ok {
			return nil, false
		}
		out[i] = s
	}
	return out, true
}

func encode(v any) (string, bool) {
	j, err := JSON(v)
	if err != nil {
		return "", false
	}
	return base64.StdEncoding.EncodeToString(j), true
}

// JSON renders v without the HTML escapes of encoding/json and without a
// trailing newline.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
