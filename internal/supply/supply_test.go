package supply

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	root    = "../.."
	program = "./cmd/openid-connect"
)

func TestLicences(t *testing.T) {
	modules, err := Linked(root, program)
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 10 {
		t.Fatalf("only %d modules are linked", len(modules))
	}
	for _, m := range modules {
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	}
	into := t.TempDir()
	if err := Collect(modules, into); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(into, "MODULES"))
	if err != nil {
		t.Fatal(err)
	}
	// What go-jose has taken in lies below its root.
	for _, want := range []string{"std/LICENSE", "github.com/go-jose/go-jose/v4/LICENSE", "github.com/go-jose/go-jose/v4/json/LICENSE", "github.com/jackc/pgx/v5/LICENSE"} {
		if text, err := os.ReadFile(filepath.Join(into, want)); err != nil || len(text) < 500 {
			t.Errorf("%s: %d bytes, %v", want, len(text), err)
		}
	}
	if n := strings.Count(string(list), "\n"); n != len(modules) {
		t.Errorf("MODULES lists %d of %d modules", n, len(modules))
	}
}

func TestSBOM(t *testing.T) {
	modules, err := Linked(root, program)
	if err != nil {
		t.Fatal(err)
	}
	var first, again bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &again} {
		if err := WriteSBOM(b, "openid-connect", "v1.2.3", modules); err != nil {
			t.Fatal(err)
		}
	}
	if first.String() != again.String() {
		t.Error("two bills of materials differ")
	}
	var bom struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component struct{ Name, Version string }
		}
		Components []struct {
			Name, Version, Purl string
			Licenses            []struct{ License struct{ ID string } }
		}
	}
	if err := json.Unmarshal(first.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Format != "CycloneDX" || bom.Metadata.Component.Version != "v1.2.3" || len(bom.Components) != len(modules) {
		t.Errorf("%s of %+v with %d components", bom.Format, bom.Metadata.Component, len(bom.Components))
	}
	for _, c := range bom.Components {
		if c.Version == "" || c.Purl != "pkg:golang/"+c.Name+"@"+c.Version || len(c.Licenses) == 0 || c.Licenses[0].License.ID == "" {
			t.Errorf("component %+v", c)
		}
	}
}

func TestRefusedLicences(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"copyleft":         {"COPYING", "This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. If a copy of the MPL was not distributed with this file, You can obtain one at http://mozilla.org/MPL/2.0/.", "MPL-2.0"},
		"home-made":        {"LICENSE", "Everybody may read this, and nobody may run it without asking the author first.", "none that is known"},
		"none":             {"README.md", "Hello", "no licence is recognized"},
		"patents only":     {"PATENTS", "Additional IP Rights Grant (Patents)", "no licence is recognized"},
		"with more behind": {"LICENSE", "SPDX-License-Identifier: MIT\n" + strings.Repeat("You must pay before you use this software in any way at all. ", 20), "none that is known"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			m := Module{Path: "example.test/m", Dir: dir, in: []string{"."}}
			err := m.read()
			if err == nil {
				err = Collect([]Module{m}, t.TempDir())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v lacks %q", err, c.want)
			}
		})
	}
}

// TestReproducibleBuild builds by the Makefile in two places and compares.
func TestReproducibleBuild(t *testing.T) {
	var sums [2][32]byte
	for i := range sums {
		dir := filepath.Join(t.TempDir(), strings.Repeat("deeper/", i), "src")
		copyTree(t, dir)
		cmd := exec.Command("make", "-s", "bin/openid-connect", "VERSION=v1.2.3-test")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make: %v\n%s", err, out)
		}
		binary := filepath.Join(dir, "bin/openid-connect")
		raw, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		sums[i] = sha256.Sum256(raw)
		if strings.Contains(string(raw), dir) {
			t.Error("the binary names the directory that it was built in")
		}
		out, err := exec.Command(binary, "-version").Output()
		if err != nil || !regexp.MustCompile(`^openid-connect v1\.2\.3-test go1\.\S+ \w+/\w+\n$`).Match(out) {
			t.Errorf("-version prints %q, %v", out, err)
		}
		if out, err := exec.Command("go", "version", "-m", binary).Output(); err != nil || !strings.Contains(string(out), "CGO_ENABLED=0") || !strings.Contains(string(out), "-trimpath=true") {
			t.Errorf("the build info: %v\n%s", err, out)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds differ: %x, %x", sums[0], sums[1])
	}
}

// copyTree copies what a build needs.
func copyTree(t *testing.T, to string) {
	t.Helper()
	for _, name := range []string{"go.mod", "go.sum", "Makefile", "cmd", "internal", "plugin", "docs"} {
		from := filepath.Join(root, name)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(filepath.Join(to, name), os.DirFS(from))
		} else if err = os.MkdirAll(to, 0o755); err == nil {
			var raw []byte
			if raw, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(filepath.Join(to, name), raw, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
