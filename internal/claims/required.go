package claims

import (
	"slices"
	"strings"
)

// Required is what a claim must hold: one of several alternatives, each of
// which is a list of words that must all be present. The zero value is met by
// anything.
type Required struct {
	alternatives [][]string
}

// CompileRequired reads a `*_required` parameter: elements are alternatives,
// the space-separated words of an element must all be present, and empty
// elements are ignored.
func CompileRequired(elements []string) Required {
	var r Required
	for _, e := range elements {
		if words := strings.Fields(e); len(words) > 0 {
			r.alternatives = append(r.alternatives, words)
		}
	}
	return r
}

// Empty reports whether nothing is required.
func (r Required) Empty() bool { return len(r.alternatives) == 0 }

// Texts returns the alternatives for messages, the words of each joined by blanks.
func (r Required) Texts() []string {
	out := make([]string, len(r.alternatives))
	for i, words := range r.alternatives {
		out[i] = strings.Join(words, " ")
	}
	return out
}

// Match reports whether have meets the requirement. Words are compared exactly.
func (r Required) Match(have []string) bool {
	if r.Empty() {
		return true
	}
	for _, words := range r.alternatives {
		if containsAll(have, words) {
			return true
		}
	}
	return false
}

func containsAll(have, words []string) bool {
	for _, w := range words {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}
