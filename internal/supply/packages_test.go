package supply

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestPackages makes the deb and the rpm, installs the deb below a directory,
// and holds that both have the same files.
func TestPackages(t *testing.T) {
	for _, tool := range []string{"dpkg", "rpm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("REQUIRE_PACKAGERS") != "" {
				t.Fatal(err)
			}
			t.Skip(err, " (REQUIRE_PACKAGERS=1 makes this a failure)")
		}
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = root
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	packages := func(version string) (deb, rpm string) {
		t.Helper()
		out := t.TempDir()
		run("make", "packages", "VERSION="+version, "OUT="+out)
		files := func(pattern string) string {
			list, err := filepath.Glob(filepath.Join(out, pattern))
			if err != nil || len(list) != 1 {
				t.Fatalf("%s: %v, %v", pattern, list, err)
			}
			return list[0]
		}
		return files("kong-openid-connect_*_" + runtime.GOARCH + ".deb"), files("kong-openid-connect-*.rpm")
	}
	deb, rpm := packages("v9.8.7")

	system := t.TempDir()
	for _, d := range []string{"var/lib/dpkg/updates", "var/lib/dpkg/info"} {
		if err := os.MkdirAll(filepath.Join(system, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(system, "var/lib/dpkg/status"), "")
	install := func(deb string) {
		t.Helper()
		run("dpkg", "--root="+system, "--force-not-root", "--force-depends", "--log=/dev/null", "-i", deb)
	}
	install(deb)
	at := func(path string) string { return filepath.Join(system, path) }
	unit, page := read(t, "docs/openid-connect.service"), read(t, "docs/install.md")
	binary := regexp.MustCompile(`(?m)^ExecStart=(\S+)`).FindStringSubmatch(unit)[1]
	if out := run(at(binary), "-version"); !strings.Contains(out, "v9.8.7") {
		t.Errorf("the version is %s", out)
	}
	if !bytes.Equal(content(t, at("usr/lib/systemd/system/openid-connect.service")), []byte(unit)) {
		t.Error("the unit is another")
	}
	settings := regexp.MustCompile(`(?m)^EnvironmentFile=(\S+)`).FindStringSubmatch(unit)[1]
	if info, err := os.Stat(at(settings)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%s, which is for passwords: %v, %v", settings, info, err)
	}
	const include = "/opt/openid-connect/nginx-admin.conf"
	if text := content(t, at(include)); bytes.Count(text, []byte("unix:/run/openid-connect/openid-connect-admin.socket:")) != 2 || !strings.Contains(page, include) {
		t.Errorf("%s, or the page does not name it:\n%s", include, text)
	}
	const docs = "/usr/share/doc/kong-openid-connect"
	for _, want := range []string{"copyright", "sbom.cdx.json", "licences/MODULES", "licences/std/LICENSE", "licences/github.com/go-jose/go-jose/v4/LICENSE"} {
		if len(content(t, at(docs+"/"+want))) < 500 {
			t.Errorf("%s is short", want)
		}
	}
	err := filepath.WalkDir(system, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.IsDir() && path != system && info.Mode().Perm() != 0o755 && !strings.Contains(path, "/var/lib/dpkg") {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	files := func(list string) string {
		var kept []string
		for line := range strings.Lines(list) {
			// A deb lists the directories above its files too.
			if info, err := os.Stat(at(strings.TrimSpace(line))); err == nil && !info.IsDir() {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
		return strings.Join(kept, "\n")
	}
	ours, theirs := files(run("dpkg", "--root="+system, "-L", "kong-openid-connect")), strings.TrimSpace(run("rpm", "-qp", "--qf", "[%{FILENAMES}\n]", rpm))
	if same := files(theirs); ours == "" || ours != same {
		t.Errorf("the deb has\n%s\nand the rpm\n%s", ours, same)
	}
	if got := strings.TrimSpace(run("rpm", "-qp", "--qf", "%{NAME} %{VERSION} %{LICENSE}", rpm)); got != "kong-openid-connect 9.8.7 Apache-2.0" {
		t.Errorf("the rpm is %s", got)
	}
	if got := strings.TrimSpace(run("rpm", "-qpc", rpm)); got != settings {
		t.Errorf("the rpm's configuration files: %s", got)
	}

	// An upgrade leaves the operator's settings alone.
	write(t, at(settings), "KONG_DATABASE=postgres\n")
	newer, _ := packages("v9.8.8-3-g0c0ffee")
	install(newer)
	if out := run(at(binary), "-version"); !strings.Contains(out, "v9.8.8-3-g0c0ffee") {
		t.Errorf("after the upgrade the version is %s", out)
	}
	if got := content(t, at(settings)); string(got) != "KONG_DATABASE=postgres\n" {
		t.Errorf("the upgrade wrote %s", got)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return b
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
