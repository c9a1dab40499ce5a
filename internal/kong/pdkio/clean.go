package pdkio

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"kong-openid-connect/internal/rp"
)

// maxName bounds the name of a header field in bytes.
const maxName = 256

// validName reports whether s is a header field name (RFC 9110, 5.1): a token.
func validName(s string) bool { return len(s) <= maxName && rp.IsToken(s) }

func checkName(s string) error {
	if !validName(s) {
		return fmt.Errorf("%.64q is not a header name: correct the configuration that names it", s)
	}
	return nil
}

// cleanValue makes s safe as a field value (RFC 9110, 5.5): control characters,
// which could end the line, become spaces. Other bytes stay.
func cleanValue(s string) string {
	control := func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }
	for i := range len(s) {
		if !control(s[i]) {
			continue
		}
		b := []byte(s)
		for ; i < len(b); i++ {
			if control(b[i]) {
				b[i] = ' '
			}
		}
		return string(b)
	}
	return s
}

// cleanText is cleanValue for go-pdk's messages, which refuse what is not UTF-8.
func cleanText(s string) string {
	s = cleanValue(s)
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "�")
}
