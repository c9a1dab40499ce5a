package param

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// Enum is a text type with a closed set of values.
type Enum interface{ OneOf() []string }

// NumberEnum is a number type with a closed set of values.
type NumberEnum interface{ OneOf() []float64 }

// Ranged is a number type with a smallest and a largest value.
type Ranged interface {
	Between() (smallest, largest float64)
}

// Checked is a text type with a rule of its own. References to a vault are
// not checked: their value is not known before Kong resolves them.
type Checked interface {
	// Check says what is wrong with the text, without repeating it.
	Check(text string) error
	// Attribute returns the schema attribute with which Kong checks the
	// same, as far as it can: "match" with a Lua pattern that is also a Go
	// regular expression, or "uuid" with true.
	Attribute() (name string, value any)
}

// URL is an absolute http or https URL.
type URL string

// Attribute implements Checked.
func (URL) Attribute() (string, any) { return "match", "^https?://[^/]" }

// Check implements Checked.
func (URL) Check(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("does not begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("has no host")
	case strings.ContainsAny(text, " \t\r\n\\"):
		return errors.New("contains a blank, a backslash or a line break")
	}
	return nil
}

// UUID is the id of an entity of Kong.
type UUID string

var uuidPattern = regexp.MustCompile(`^(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// Attribute implements Checked.
func (UUID) Attribute() (string, any) { return "uuid", true }

// Check implements Checked.
func (UUID) Check(text string) error {
	if !uuidPattern.MatchString(text) {
		return errors.New("is not a UUID (8-4-4-4-12 hexadecimal digits)")
	}
	return nil
}

// Port is a TCP port.
type Port int

// Between implements Ranged.
func (Port) Between() (float64, float64) { return 0, 65535 }

// IsReference reports whether text is a reference to a vault of Kong, such as
// {vault://env/name}.
func IsReference(text string) bool {
	return len(text) > len("{vault://}") && strings.HasPrefix(text, "{vault://") && strings.HasSuffix(text, "}")
}
