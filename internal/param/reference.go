package param

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Group is a heading of the reference page.
type Group struct {
	Name  string // as in the tags
	Title string
	Intro string // one sentence, may be empty
}

// Reference returns the reference page's tables as Markdown: every parameter
// by group, in the order of groups and, within one, by name. status says what
// a parameter does in this version. A group that groups does not list is an
// error.
func (r *Record) Reference(groups []Group, status func(*Field) string) ([]byte, error) {
	rows := map[string][]*Field{}
	for _, f := range r.All() {
		rows[f.Group] = append(rows[f.Group], f)
	}
	var b bytes.Buffer
	for _, g := range groups {
		list := rows[g.Name]
		if len(list) == 0 {
			return nil, fmt.Errorf("param: no parameter is in the group %q", g.Name)
		}
		delete(rows, g.Name)
		slices.SortStableFunc(list, func(x, y *Field) int { return strings.Compare(x.Path, y.Path) })
		fmt.Fprintf(&b, "\n## %s\n\n", g.Title)
		if g.Intro != "" {
			fmt.Fprintf(&b, "%s\n\n", g.Intro)
		}
		b.WriteString("| Name | Type | Default | Values | Since | Meaning | Status |\n|---|---|---|---|---|---|---|\n")
		for _, f := range list {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", f.Path, f.typeText(),
				code(f.Default), f.values(), f.since(), cell(f.meaning()), cell(status(f)))
		}
	}
	for name, list := range rows {
		return nil, fmt.Errorf("param: %s is in the group %q, which has no heading", list[0].Path, name)
	}
	return b.Bytes(), nil
}

func (f *Field) typeText() string {
	if f.Elem != nil {
		return "list of " + f.Elem.typeText()
	}
	return string(f.Type)
}

func (f *Field) meaning() string {
	s := f.Doc
	if f.Deprecated != "" {
		s += " Deprecated: " + f.Deprecated
	}
	return s
}

// since is the version of Kong, or that the parameter is not Kong's.
func (f *Field) since() string {
	if f.Extension {
		return "extension"
	}
	return cell(f.Since)
}

// values lists what a parameter may be.
func (f *Field) values() string {
	text := f
	for text.Elem != nil {
		text = text.Elem
	}
	var parts []string
	if f.Required {
		parts = append(parts, "required")
	}
	for _, v := range text.OneOf {
		parts = append(parts, code(v))
	}
	if f.Between != nil {
		parts = append(parts, fmt.Sprintf("%d to %d", int64(f.Between[0]), int64(f.Between[1])))
	}
	if f.Elem != nil && f.LenMin > 0 {
		parts = append(parts, fmt.Sprintf("at least %d", f.LenMin))
	}
	if text.typ == reflect.TypeFor[URL]() {
		parts = append(parts, "URL")
	}
	if text.UUID {
		parts = append(parts, "UUID")
	}
	if text.Referenceable {
		parts = append(parts, "vault")
	}
	if text.Encrypted {
		parts = append(parts, "encrypted")
	}
	return strings.Join(parts, ", ")
}

func code(v any) string {
	if v == nil {
		return ""
	}
	if s, ok := v.(string); ok {
		return "`" + s + "`"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return "`" + string(text) + "`"
}

// cell keeps a text inside its cell.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(s)
}
