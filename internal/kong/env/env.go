// Package env reads the settings that Kong was started with: the file
// .kong_env of its prefix, and KONG_* of the environment. Imported by the
// wiring; imports nothing of this module.
package env

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// File is the name of the settings' file in Kong's prefix.
const File = ".kong_env"

// MaxFile bounds the file.
const MaxFile = 4 << 20

// ErrTooLarge says that the file exceeds MaxFile.
var ErrTooLarge = errors.New("the file is too large")

// Settings are Kong's settings by their names in kong.conf. They hold
// passwords: they must not be printed, and print no value themselves.
type Settings map[string]string

// String tells how many settings there are.
func (s Settings) String() string { return fmt.Sprintf("%d settings of Kong", len(s)) }

// GoString is String.
func (s Settings) GoString() string { return s.String() }

// Load reads <prefix>/.kong_env. The error is of package io/fs where the file
// is missing or may not be read, which is so when nginx runs as another user
// than the one who started Kong.
func Load(prefix string) (Settings, error) {
	path := filepath.Join(prefix, File)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("settings of Kong: %w: bring them by flags or by nginx_main_env", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("settings of Kong: %w", err)
	}
	if len(b) > MaxFile {
		return nil, fmt.Errorf("settings of Kong: %s: %w", path, ErrTooLarge)
	}
	return Parse(string(b)), nil
}

// Parse reads text in the form of kong.conf: a line each of `name = value`;
// comments begin with # unless a backslash stands before it. Lines that are
// neither are skipped.
func Parse(text string) Settings {
	s := Settings{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			continue
		}
		s[name] = strings.TrimSpace(uncomment(value))
	}
	return s
}

// uncomment removes a trailing comment and the backslash of an escaped #.
func uncomment(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '\\' && i+1 < len(v) && v[i+1] == '#':
			b.WriteByte('#')
			i++
		case v[i] == '#':
			return b.String()
		default:
			b.WriteByte(v[i])
		}
	}
	return b.String()
}

// Overlay sets what an environment (as of os.Environ) brings as KONG_<NAME>.
// Empty values count: they unset.
func (s Settings) Overlay(environ []string) {
	for _, e := range environ {
		name, value, ok := strings.Cut(e, "=")
		if !ok {
			continue
		}
		if name, ok = strings.CutPrefix(name, "KONG_"); ok && name != "" {
			s[strings.ToLower(name)] = value
		}
	}
}
