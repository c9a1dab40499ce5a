package param

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what every Secret prints.
const Redacted = "[redacted]"

// Secret is a text that never prints itself: not by any verb of fmt, nor in
// JSON, YAML, logs or panics. The zero value is the absent secret. A field of
// this type is encrypted and referenceable in Kong's schema unless its tag
// says otherwise.
//
// The text is behind a pointer, so that printing a struct whose field of this
// type is unexported (where fmt may not call methods) shows an address only.
type Secret struct{ text *string }

// NewSecret returns the secret that holds text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text. Callers pass it on to a key or to the wire, never
// to a log, an error or a header toward the client.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// Format implements fmt.Formatter: the same word for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// String returns Redacted, or the empty text where there is no secret.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return Redacted
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, and with it JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText refuses: secrets are read by this package's decoder only, so
// that a redacted text is never taken for a secret.
func (s *Secret) UnmarshalText([]byte) error {
	return errors.New("param: a Secret is not read from text; use Record.Decode")
}
