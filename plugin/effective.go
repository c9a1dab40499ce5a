package plugin

import (
	"fmt"
	"slices"
	"strings"

	"kong-openid-connect/internal/param"
)

// pending is a parameter whose feature this version does not have yet.
type pending struct {
	// path of the parameter. A record stands for all of its members.
	path string
	// refuse says that leaving the parameter without effect would let
	// through what it should stop, or store what it should not: then a
	// value other than the default is an error, else a warning.
	refuse bool
	// inert are values, beside the default, at which nothing is missing;
	// written as fmt.Sprint prints them.
	inert string
	// values are those that are missing; empty: every value but inert.
	// Only for texts and lists of texts. The default counts too.
	values string
}

// notYet lists what has no effect in this version. Features take their lines
// out when they land; in the end it is empty.
var notYet = []pending{
	// Consumers and groups.
	{path: "principals.enabled", refuse: true},
	{path: "principals.directory"},
	{path: "principals.error_on_miss", inert: "false"},
	{path: "principals.match_consumer", inert: "false"},
	{path: "principals.match_consumer_groups", inert: "false"},
	{path: "principals.principal_by"},
	{path: "principals.principal_claim"},
}

// NotEffective says which settings of c have no effect in this version:
// warnings, and errors where that would be unsafe. A configuration with
// errors must not serve requests.
func NotEffective(c *Config) (warnings, errors param.Findings) {
	return notEffective(c, notYet)
}

func notEffective(c *Config, list []pending) (warnings, errors param.Findings) {
	for _, p := range list {
		what, missing := p.missing(c)
		if !missing {
			continue
		}
		f := param.Finding{Severity: param.Warning, Path: p.path, Message: what + " is not effective in this version"}
		if p.refuse {
			f.Severity, f.Do = param.Error, "take it out: to go on without it would be unsafe"
			errors = append(errors, f)
		} else {
			warnings = append(warnings, f)
		}
	}
	return warnings, errors
}

// missing reports whether c asks for what is not there, and says what.
func (p pending) missing(c *Config) (what string, missing bool) {
	v, ok := Declaration().Value(c, p.path)
	if !ok {
		return "", false
	}
	if p.values != "" {
		var asked []string
		for w := range strings.FieldsSeq(strings.Trim(fmt.Sprint(v), "[]")) {
			if slices.Contains(strings.Fields(p.values), w) {
				asked = append(asked, w)
			}
		}
		return strings.Join(asked, ", "), len(asked) > 0
	}
	if Declaration().IsDefault(c, p.path) || (p.inert != "" && plain(v) == p.inert) {
		return "", false
	}
	return "it", true
}

// plain prints a value, or what a pointer points to.
func plain(v any) string {
	if b, ok := v.(*bool); ok && b != nil {
		v = *b
	}
	return fmt.Sprint(v)
}

// Status says what a parameter does in this version, for the reference page.
func Status(f *param.Field) string {
	switch {
	case f.Refused != "":
		return "refused"
	case slices.Contains(ignored, f.Path):
		return "ignored"
	case f.Deprecated != "" && f.Group == deprecatedGroup:
		return "accepted"
	}
	for _, p := range notYet {
		if f.Path != p.path && !strings.HasPrefix(f.Path, p.path+".") && !strings.HasPrefix(f.Path, p.path+"[") {
			continue
		}
		switch {
		case p.values != "" && p.refuse:
			return "refused yet: " + strings.Join(strings.Fields(p.values), ", ")
		case p.values != "":
			return "not yet: " + strings.Join(strings.Fields(p.values), ", ")
		case p.refuse:
			return "not yet (refused)"
		}
		return "not yet"
	}
	return "effective"
}
