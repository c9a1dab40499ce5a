package session

import (
	"encoding/base64"
	"encoding/binary"
)

// packRun is the length from which a run of base64url characters is worth decoding.
const packRun = 32

// pack rewrites base64url text within b, such as the parts of a JWT, as the
// bytes that it stands for: a quarter less, and deflate then sees the JSON
// inside. Any bytes are allowed, and unpack gives them back exactly.
//
//	packed = *( length literal length raw )  ; the last raw may be left out
func pack(b []byte) []byte {
	out := make([]byte, 0, len(b)+16)
	start := 0 // of the literal
	for i := 0; i < len(b); {
		if !isBase64URL(b[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(b) && isBase64URL(b[end]) {
			end++
		}
		run := (end - i) &^ 3 // whole groups of four have one spelling only
		if run >= packRun {
			out = binary.AppendUvarint(out, uint64(i-start))
			out = append(out, b[start:i]...)
			out = binary.AppendUvarint(out, uint64(run/4*3))
			out, _ = base64.RawURLEncoding.AppendDecode(out, b[i:i+run]) // cannot fail: only alphabet
			start = i + run
		}
		i = end
	}
	out = binary.AppendUvarint(out, uint64(len(b)-start))
	return append(out, b[start:]...)
}

// unpack is the inverse of pack; ok is false for what is not of its making or longer than limit.
func unpack(b []byte, limit int) (out []byte, ok bool) {
	out = make([]byte, 0, len(b)*4/3+16)
	for raw := false; len(b) > 0; raw = !raw {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, false
		}
		piece := b[k : k+int(n)]
		b = b[k+int(n):]
		if raw {
			out = base64.RawURLEncoding.AppendEncode(out, piece)
		} else {
			out = append(out, piece...)
		}
		if len(out) > limit {
			return nil, false
		}
	}
	return out, true
}

func isBase64URL(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
