package rp

import (
	"strings"

	"kong-openid-connect/internal/claims"
)

// DefaultMaxHeader bounds the value of a header that is made of claims: what
// one header line of nginx may hold by default.
const DefaultMaxHeader = 8 << 10

// maxTokenHeader bounds a header that carries a token, which the service has
// to take whatever its size.
const maxTokenHeader = 64 << 10

// claimText renders a claim as a header value. ok is false where the value
// would be read as something that it is not:
//   - a text that begins or ends with blanks or controls, which are trimmed on
//     the way, so that " admin" would become admin;
//   - an element of a list with a comma, which would become two.
//
// Controls elsewhere become spaces in pdkio.
func claimText(v any) (text string, ok bool) {
	if list, isList := v.([]any); isList {
		if words, isText := claims.Strings(list); isText {
			return joinList(words), true
		}
	}
	text, ok = claims.Text(v)
	return text, ok && !blankEnds(text)
}

// joinList joins the members that stay themselves in a list of a header.
func joinList(words []string) string {
	var b strings.Builder
	for _, w := range words {
		if w == "" || blankEnds(w) || strings.ContainsFunc(w, func(r rune) bool { return r == ',' || r < ' ' || r == 0x7f }) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(w)
	}
	return b.String()
}

// blankEnds reports whether a header value would be trimmed on the way.
func blankEnds(s string) bool {
	blank := func(c byte) bool { return c <= ' ' || c == 0x7f }
	return s != "" && (blank(s[0]) || blank(s[len(s)-1]))
}

// limit is how long the value of a header may be.
func (r *HeaderRule) limit(p *Policy) int {
	switch r.Source {
	case FromClaim, FromIntrospection, FromUserInfo, FromSession:
		if p.MaxHeader > 0 {
			return p.MaxHeader
		}
		return DefaultMaxHeader
	}
	return maxTokenHeader
}

// put sets a field, in the place of one of the same name.
func put(list []Field, f Field) []Field {
	for i := range list {
		if strings.EqualFold(list[i].Name, f.Name) {
			list[i] = f
			return list
		}
	}
	return append(list, f)
}
