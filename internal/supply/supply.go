// Package supply knows what a build is made of: the modules that a program
// links, and their licences. Its command collect writes the licence texts for
// the container image; its tests hold the allow-list, the reproducible build,
// the container files and the documents. Imported by nothing that ships.
package supply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// Allowed are the licences under which linked modules may be: permissive ones
// that go with Apache-2.0 and ask for their text and notices only.
var Allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"}

// Module is a linked module with its licence files. The standard library is
// the module "std".
type Module struct {
	Path, Version, Dir string
	// Files are the licence texts and notices, relative to Dir.
	Files []string
	// Licences are SPDX identifiers of what the files say, sorted.
	Licences []string

	in []string // directories of Dir where they may be
}

// licenceFile matches the names under which modules keep licences and notices.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([._-].*)?$`)

// notice matches those of them that grant or forbid nothing by themselves.
var notice = regexp.MustCompile(`(?i)^(notice|patents)`)

// maxText bounds one licence file.
const maxText = 1 << 20

// coverage is the least part of a text in percent that a known licence must be.
const coverage = 75

// Linked returns the modules that are linked into a program's package, without
// the main module, sorted by path. dir is a directory of the main module.
func Linked(dir, program string) ([]Module, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module", program)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing what %s links: %w", program, err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the standard library: %w", err)
	}
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the standard library: %w", err)
	}
	found := map[string]Module{"std": {Path: "std", Version: strings.TrimSpace(string(version)), Dir: strings.TrimSpace(string(root)), in: []string{"."}}}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			Dir    string
			Module *struct {
				Path, Version, Dir string
				Main               bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if m := p.Module; m != nil && !m.Main {
			one, seen := found[m.Path]
			if !seen {
				one = Module{Path: m.Path, Version: m.Version, Dir: m.Dir, in: []string{"."}}
			}
			// Code that a module has taken in brings its licence in a directory
			// on the way to the package.
			for dir := p.Dir; len(dir) > len(m.Dir); dir = filepath.Dir(dir) {
				if rel, err := filepath.Rel(m.Dir, dir); err == nil && !slices.Contains(one.in, rel) {
					one.in = append(one.in, rel)
				}
			}
			found[m.Path] = one
		}
	}
	var all []Module
	for _, m := range found {
		if err := m.read(); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// read finds the module's licence files and says what they are.
func (m *Module) read() error {
	slices.Sort(m.in)
	for _, dir := range m.in {
		entries, err := os.ReadDir(filepath.Join(m.Dir, dir))
		if err != nil {
			return fmt.Errorf("licences of %s: %w", m.Path, err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) {
				continue
			}
			name := filepath.Join(dir, e.Name())
			text, err := readText(filepath.Join(m.Dir, name))
			if err != nil {
				return fmt.Errorf("licences of %s: %w", m.Path, err)
			}
			m.Files = append(m.Files, name)
			if notice.MatchString(e.Name()) {
				continue // to be handed on, but no licence
			}
			ids := identify(text)
			if len(ids) == 0 {
				return fmt.Errorf("licences of %s: %s is none that is known", m.Path, name)
			}
			for _, id := range ids {
				if !slices.Contains(m.Licences, id) {
					m.Licences = append(m.Licences, id)
				}
			}
		}
	}
	slices.Sort(m.Licences)
	return nil
}

// identify names the licences that a text is, nil where most of it is none.
func identify(text []byte) []string {
	c := licensecheck.Scan(text)
	if c.Percent < coverage {
		return nil
	}
	var ids []string
	for _, m := range c.Match {
		if !slices.Contains(ids, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func readText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxText)
	}
	return text, err
}

// Check returns what is wrong with a module's licences: none that is known, or
// one that is not in Allowed.
func (m *Module) Check() error {
	if len(m.Licences) == 0 {
		return fmt.Errorf("%s %s: no licence is recognized in %v", m.Path, m.Version, m.Files)
	}
	for _, l := range m.Licences {
		if !slices.Contains(Allowed, l) {
			return fmt.Errorf("%s %s: its licence %s is not one of %s", m.Path, m.Version, l, strings.Join(Allowed, ", "))
		}
	}
	return nil
}

// Collect writes the licence files of modules below into, a directory for each
// module, and the list of modules as MODULES. A module that does not pass Check
// is an error.
func Collect(modules []Module, into string) error {
	var list strings.Builder
	for i := range modules {
		m := &modules[i]
		if err := m.Check(); err != nil {
			return err
		}
		fmt.Fprintf(&list, "%s %s %s\n", m.Path, m.Version, strings.Join(m.Licences, " AND "))
		to := filepath.Join(into, filepath.FromSlash(m.Path))
		for _, name := range m.Files {
			text, err := readText(filepath.Join(m.Dir, name))
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(into, "MODULES"), []byte(list.String()), 0o644)
}
