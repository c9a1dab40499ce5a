package rp

import (
	"bytes"
	"encoding/json"
	"html"
	"strings"
)

// The types of error bodies, as Kong writes them.
const (
	contentJSON  = "application/json; charset=utf-8"
	contentHTML  = "text/html; charset=utf-8"
	contentXML   = "application/xml; charset=utf-8"
	contentPlain = "text/plain; charset=utf-8"
)

// Bounds of what is read of an Accept header.
const (
	maxAccept      = 2 << 10
	maxAcceptTypes = 32
)

// isGRPC reports whether a request is a gRPC call. Its answers have no
// Content-Type, so that Kong turns status and body into grpc-status and
// grpc-message.
func isGRPC(h Header) bool {
	v := h.Get("content-type")
	const t = "application/grpc"
	return len(v) >= len(t) && strings.EqualFold(v[:len(t)], t)
}

// errorType chooses the type of an error body by the Accept header, as Kong
// does: the first of the highest quality decides, and what cannot be written
// is answered with JSON. Members that are malformed do not count.
func errorType(h Header) string {
	best, quality := contentJSON, 0
	size, n := 0, 0
	for _, line := range h["accept"] {
		if size += len(line); size > maxAccept {
			break
		}
		for member := range strings.SplitSeq(line, ",") {
			if n++; n > maxAcceptTypes {
				return best
			}
			if t, q, ok := acceptMember(member); ok && q > quality {
				best, quality = writable(t), q
			}
		}
	}
	return best
}

// acceptMember reads one media range and its quality in thousandths (RFC 9110 12.5.1).
func acceptMember(s string) (media string, quality int, ok bool) {
	media, params, _ := strings.Cut(s, ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	major, minor, ok := strings.Cut(media, "/")
	if !ok || !IsToken(major) || !IsToken(minor) {
		return "", 0, false
	}
	quality = 1000
	for p := range strings.SplitSeq(params, ";") {
		name, v, found := strings.Cut(strings.Trim(p, " \t"), "=")
		if !found || !strings.EqualFold(name, "q") {
			continue
		}
		if quality, ok = qvalue(v); !ok {
			return "", 0, false
		}
		break
	}
	return media, quality, true
}

// qvalue reads a weight of RFC 9110 12.4.2 in thousandths.
func qvalue(s string) (int, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole != "0" && whole != "1" || len(fraction) > 3 {
		return 0, false
	}
	n := 0
	for i := range 3 {
		n *= 10
		if i >= len(fraction) {
			continue
		}
		if fraction[i] < '0' || fraction[i] > '9' {
			return 0, false
		}
		n += int(fraction[i] - '0')
	}
	if whole == "1" {
		return 1000, n == 0
	}
	return n, true
}

func writable(media string) string {
	switch media {
	case "text/html":
		return contentHTML
	case "application/xml":
		return contentXML
	case "text/plain", "text/*":
		return contentPlain
	}
	return contentJSON
}

// errorBody writes an error body of a type of errorType; detail is "" unless
// it may be shown.
func errorBody(contentType, message, detail string) []byte {
	var b bytes.Buffer
	switch contentType {
	case contentHTML:
		b.WriteString("<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n    <p>")
		b.WriteString(html.EscapeString(message) + ".</p>\n")
		if detail != "" {
			b.WriteString("    <p>" + html.EscapeString(detail) + "</p>\n")
		}
		b.WriteString("  </body>\n</html>\n")
	case contentXML:
		b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>" + xmlText(message) + "</message>\n")
		if detail != "" {
			b.WriteString("  <detail>" + xmlText(detail) + "</detail>\n")
		}
		b.WriteString("</error>\n")
	case contentPlain:
		b.WriteString(oneLine(message) + "\n")
		if detail != "" {
			b.WriteString(oneLine(detail) + "\n")
		}
	default:
		body := struct {
			Message string `json:"message"`
			Error   string `json:"error,omitempty"`
		}{message, detail}
		// The HTML escapes of Go's encoder are harmless and stay.
		text, _ := json.Marshal(body)
		return text
	}
	return b.Bytes()
}

// grpcMessage writes a grpc-message: percent-encoded, as the gRPC protocol
// over HTTP/2 wants it.
func grpcMessage(message, detail string) []byte {
	if detail != "" {
		message += ": " + detail
	}
	var b []byte
	for _, c := range []byte(message) {
		if c < ' ' || c > '~' || c == '%' {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

// xmlText escapes text for XML 1.0, which has no way to write most controls.
func xmlText(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd")))
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// Bounds of what is shown of a description.
const (
	maxDetail = 400
	longWord  = 40 // as long as a token or code may be
)

// detail makes a description fit for a client: bounded, on one line, and
// without anything as long as a token, whoever wrote it there.
func detail(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail]
	}
	s = oneLine(s)
	var b strings.Builder
	for s != "" {
		n := strings.IndexFunc(s, func(r rune) bool { return !wordRune(r) })
		switch {
		case n < 0:
			n = len(s)
		case n == 0:
			n = strings.IndexFunc(s, wordRune)
			if n < 0 {
				n = len(s)
			}
			b.WriteString(s[:n])
			s = s[n:]
			continue
		}
		if word := s[:n]; len(word) >= longWord || strings.HasPrefix(word, "eyJ") {
			b.WriteString("[redacted]")
		} else {
			b.WriteString(word)
		}
		s = s[n:]
	}
	return b.String()
}

// wordRune reports whether r may stand in base64url, base64 or hexadecimal.
func wordRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '+' || r == '~'
}
