package op

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says whose fault a failed call is.
type Kind uint8

const (
	// Unavailable is a provider that could not be asked or did not answer
	// sensibly: 500. The zero value, so that what nobody classified is nobody's credential.
	Unavailable Kind = iota
	// Refused is a provider that said no: 401.
	Refused
	// Misconfigured is a call that the configuration does not allow for, such as
	// an endpoint that is neither configured nor discovered: 500.
	Misconfigured
)

// Error is a call to the provider that failed. Its text names the call, the
// host and the status, never a URL's query, a credential or a body.
type Error struct {
	Call        string // "discovery", "token endpoint" ...
	Kind        Kind
	Host        string
	Status      int    // of the answer; 0 when there was none
	Code        string // `error` of the answer (RFC 6749 section 5.2), made printable
	Description string // `error_description`, made printable; for display_errors only
	Err         error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Call)
	if e.Host != "" {
		b.WriteString(" at " + e.Host)
	}
	switch e.Kind {
	case Refused:
		b.WriteString(" refused")
	case Misconfigured:
		b.WriteString(" is misconfigured")
	default:
		b.WriteString(" is unavailable")
	}
	if e.Code != "" {
		b.WriteString(": " + e.Code)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", e.Status)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// IsRefused reports whether err is a provider that said no.
func IsRefused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Refused
}

// IsInvalidGrant reports whether err says that a code, refresh token or
// password is not or no longer good (RFC 6749 section 5.2).
func IsInvalidGrant(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Refused && e.Code == "invalid_grant"
}

// printable keeps text of a provider from breaking a log line or an answer.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '.'
		}
		return r
	}, s)
}
