package gateway

import (
	"errors"
	"strings"
)

var errBadURI = errors.New("the request line holds no valid URI")

const upperHex = "0123456789ABCDEF"

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// percent decodes the escape at s[i], which is a "%".
func percent(s string, i int) (byte, bool) {
	if i+2 >= len(s) {
		return 0, false
	}
	h, l := unhex(s[i+1]), unhex(s[i+2])
	return byte(h<<4 | l), h >= 0 && l >= 0
}

// reserved are the characters of RFC 3986 section 2.2, and "%".
func reserved(c byte) bool { return strings.IndexByte("!#$%&'()*+,/:;=?@[]", c) >= 0 }

// normalizePath is the path as Kong routes by it: escapes decoded where that
// changes no meaning, dot segments removed, slashes merged.
func normalizePath(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			b.WriteByte(p[i])
			continue
		}
		c, ok := percent(p, i)
		if !ok {
			b.WriteByte('%')
			continue
		}
		if reserved(c) {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		} else {
			b.WriteByte(c)
		}
		i += 2
	}
	return removeDots(b.String())
}

// removeDots merges slashes and resolves "." and ".." segments.
func removeDots(p string) string {
	if p == "" || p[0] != '/' {
		return p
	}
	segs := strings.Split(p, "/")[1:]
	var out []string
	for i, s := range segs {
		last := i == len(segs)-1
		switch {
		case s == "" && !last:
		case s == ".", s == "":
			if last {
				out = append(out, "")
			}
		case s == "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

// nginxURI is nginx's $uri: everything decoded. It fails where nginx answers 400.
func nginxURI(p string) (string, error) {
	var b strings.Builder
	depth := 0
	for _, seg := range strings.Split(p, "/") {
		switch seg {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return "", errBadURI
			}
		default:
			depth++
		}
	}
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			b.WriteByte(p[i])
			continue
		}
		c, ok := percent(p, i)
		if !ok || c == 0 {
			return "", errBadURI
		}
		b.WriteByte(c)
		i += 2
	}
	return removeDots(b.String()), nil
}

// escapePath makes a path fit for a request line. It leaves "%", "?" and "#" alone, as Kong does.
func escapePath(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 || reserved(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

// escapeArg escapes one name or value of a query as ngx.escape_uri does.
func escapeArg(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[c>>4])
		b.WriteByte(upperHex[c&15])
	}
	return b.String()
}

// escapeRawQuery escapes only what would break the request line.
func escapeRawQuery(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// queryArgs parses a query as ngx.req.get_uri_args(max) does: an argument
// without "=" is true, repeated ones are a list, names keep their case.
func queryArgs(q string, max int) map[string]any {
	out := map[string]any{}
	for n := 0; q != "" && n < max; {
		var part string
		part, q, _ = strings.Cut(q, "&")
		if part == "" {
			continue
		}
		name, val, has := strings.Cut(part, "=")
		name = decodeArg(name)
		if name == "" {
			continue
		}
		n++
		var v any = true
		if has {
			v = decodeArg(val)
		}
		switch old := out[name].(type) {
		case nil:
			out[name] = v
		case []any:
			out[name] = append(old, v)
		default:
			out[name] = []any{old, v}
		}
	}
	return out
}

func decodeArg(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			b.WriteByte(' ')
		case '%':
			if c, ok := percent(s, i); ok {
				b.WriteByte(c)
				i += 2
				continue
			}
			b.WriteByte('%')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// escapeHeaderValue and escapeHeaderName keep control characters off the
// wire, as OpenResty does; an empty value becomes one blank.
func escapeHeaderValue(s string) string {
	if s == "" {
		return " "
	}
	return escapeBytes(s, func(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f })
}

func escapeHeaderName(s string) string {
	return escapeBytes(s, func(c byte) bool {
		return c <= 0x20 || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0
	})
}

func escapeBytes(s string, bad func(byte) bool) string {
	for i := 0; i < len(s); i++ {
		if bad(s[i]) {
			var b strings.Builder
			for j := 0; j < len(s); j++ {
				if bad(s[j]) {
					b.WriteByte('%')
					b.WriteByte(upperHex[s[j]>>4])
					b.WriteByte(upperHex[s[j]&15])
				} else {
					b.WriteByte(s[j])
				}
			}
			return b.String()
		}
	}
	return s
}
