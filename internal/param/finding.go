package param

import (
	"fmt"
	"strings"
)

// Severity says whether a configuration can be used in spite of a finding.
type Severity string

// Severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing to say about a configuration. It never repeats a
// value, for the value may be a secret in the wrong place.
type Finding struct {
	Severity Severity
	Path     string // the parameter, such as redis.cluster_nodes[1].port; lists count from 1
	Message  string // what is wrong
	Do       string // what to do about it; may be empty
	File     string // where it was read from; may be empty
	Line     int    // from 1; 0 if unknown
}

// String returns the finding on one line, the place first.
func (f Finding) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteByte(':')
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:", f.Line)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	fmt.Fprintf(&b, "%s: %s", f.Severity, f.text())
	return b.String()
}

// text is the finding without its place and severity.
func (f Finding) text() string {
	s := f.Message
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Do != "" {
		s += "; " + f.Do
	}
	return s
}

// Findings is a list of findings; it is an error when one of them is.
type Findings []Finding

// Err returns the errors among the findings as one error, nil if there is
// none.
func (fs Findings) Err() error {
	if e := fs.Errors(); len(e) > 0 {
		return &InvalidError{e}
	}
	return nil
}

// Errors returns those of severity Error.
func (fs Findings) Errors() Findings {
	var out Findings
	for _, f := range fs {
		if f.Severity == Error {
			out = append(out, f)
		}
	}
	return out
}

// InvalidError says that a configuration cannot be used, and why.
type InvalidError struct{ Findings Findings }

// Error implements error.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		lines[i] = f.text()
	}
	return "invalid configuration: " + strings.Join(lines, " | ")
}
