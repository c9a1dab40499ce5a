package store

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// SecretSize is the length of a generated session secret in bytes.
const SecretSize = 32

// Secret is a value that never prints itself: not by any verb of fmt, nor in
// JSON, nor in logs. The zero value is the absent secret.
type Secret struct{ value *[]byte }

// NewSecret returns the secret that holds a copy of b.
func NewSecret(b []byte) Secret {
	c := append([]byte(nil), b...)
	return Secret{&c}
}

// GenerateSecret returns a new random secret of SecretSize bytes.
func GenerateSecret() Secret {
	b := make([]byte, SecretSize)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return Secret{&b}
}

// Reveal returns the secret itself, which must not be changed.
func (s Secret) Reveal() []byte {
	if s.value == nil {
		return nil
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil || len(*s.value) == 0 }

// Equal compares in constant time.
func (s Secret) Equal(t Secret) bool { return subtle.ConstantTimeCompare(s.Reveal(), t.Reveal()) == 1 }

// Format implements fmt.Formatter: the same word for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String implements fmt.Stringer.
func (s Secret) String() string { return redacted }

// MarshalText implements encoding.TextMarshaler, for JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
