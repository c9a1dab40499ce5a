package testproviders

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Versions that are installed. The npm package's stands in
// testdata/oidc-provider/package.json.
const (
	KeycloakVersion = "26.5.6"
	keycloakSHA256  = "490189d9dff05272432d51f71a069462eeca97f2920a694d539a1e6c26a5a347"
	mavenPlugin     = "org.apache.maven.plugins:maven-dependency-plugin:3.6.0"
)

// keycloakBuild is what Keycloak is built with; it is part of the cache's key.
var keycloakBuild = [...]string{"build", "--db=dev-mem", "--https-client-auth=request", "--health-enabled=false", "--metrics-enabled=false"}

// Missing says that a provider cannot be had on this machine, and why.
type Missing struct {
	Provider string
	Reason   string
}

func (m *Missing) Error() string {
	return m.Provider + " is left out: " + m.Reason + " (REQUIRE_PROVIDERS=1 makes this a failure)"
}

// Installed names what Install found or made.
type Installed struct {
	// NodeModules is the directory node_modules of oidc-provider.
	NodeModules string
	// KeycloakHome is the unpacked and built Keycloak.
	KeycloakHome string
}

// InstallOIDCProvider installs the npm package into the cache, unless it is
// there. The error is a *Missing where Node.js or its registry is absent.
func InstallOIDCProvider(progress io.Writer) (Installed, error) {
	missing := func(reason string) (Installed, error) { return Installed{}, &Missing{"oidc-provider", reason} }
	node, err := exec.LookPath("node")
	if err != nil {
		return missing("node is not on PATH: install Node.js 20.19 or newer")
	}
	if err := exec.Command(node, "-e", "process.exit(typeof URL.parse === 'function' && Number(process.versions.node.split('.')[0]) >= 20 ? 0 : 1)").Run(); err != nil {
		return missing("this Node.js is too old: install 20.19 or newer")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return missing("npm is not on PATH: install it beside Node.js")
	}
	root, err := checkout()
	if err != nil {
		return Installed{}, err
	}
	source := filepath.Join(root, "testdata", "oidc-provider")
	names := []string{"package.json", "package-lock.json", ".npmrc"}
	key := sha256.New()
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return Installed{}, err
		}
		key.Write(raw)
	}
	dir, err := install(progress, "oidc-provider-"+hex.EncodeToString(key.Sum(nil)[:6]), func(into string) error {
		for _, name := range names {
			raw, err := os.ReadFile(filepath.Join(source, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(into, name), raw, 0o600); err != nil {
				return err
			}
		}
		cmd := nicely(npm, "ci")
		cmd.Dir = into
		if err := run(cmd, 5*time.Minute); err != nil {
			return &Missing{"oidc-provider", "npm ci failed: " + err.Error()}
		}
		return nil
	})
	return Installed{NodeModules: filepath.Join(dir, "node_modules")}, err
}

// InstallKeycloak fetches Keycloak by Maven, unpacks it into the cache and
// builds it once. The error is a *Missing where Java, Maven or its repository is
// absent.
func InstallKeycloak(progress io.Writer) (Installed, error) {
	missing := func(reason string) (Installed, error) { return Installed{}, &Missing{"keycloak", reason} }
	java, err := javaProgram()
	if err != nil {
		return missing("java is not on PATH: install a Java runtime 17 or newer")
	}
	key := sha256.Sum256([]byte(keycloakSHA256 + strings.Join(keycloakBuild[:], " ")))
	dir, err := install(progress, "keycloak-"+KeycloakVersion+"-"+hex.EncodeToString(key[:4]), func(into string) error {
		mvn, err := exec.LookPath("mvn")
		if err != nil {
			return &Missing{"keycloak", "mvn is not on PATH: install Maven"}
		}
		cmd := nicely(mvn, "-q", "-B", mavenPlugin+":copy", "-DoutputDirectory="+into,
			"-Dartifact=org.keycloak:keycloak-quarkus-dist:"+KeycloakVersion+":zip")
		cmd.Dir = into
		if err := run(cmd, 10*time.Minute); err != nil {
			return &Missing{"keycloak", "Maven could not fetch the distribution: " + err.Error()}
		}
		archive := filepath.Join(into, "keycloak-quarkus-dist-"+KeycloakVersion+".zip")
		if err := unzip(archive, keycloakSHA256, into); err != nil {
			return err
		}
		return os.Remove(archive)
	})
	if err != nil {
		return Installed{}, err
	}
	home := filepath.Join(dir, "keycloak-"+KeycloakVersion)
	// The build writes absolute paths, so it runs where the files stay.
	built := filepath.Join(dir, "built")
	err = locked(dir+".lock", func() error {
		if _, err := os.Stat(built); err == nil {
			return nil
		}
		say(progress, "building Keycloak")
		if err := run(keycloakCommand(java, home, home, keycloakBuild[:]...), 5*time.Minute); err != nil {
			return fmt.Errorf("building Keycloak %s: %w", KeycloakVersion, err)
		}
		return os.WriteFile(built, nil, 0o600)
	})
	return Installed{KeycloakHome: home}, err
}

// install returns the directory name of the cache, made whole by fill or not
// at all. One process at a time fills it.
func install(progress io.Writer, name string, fill func(into string) error) (string, error) {
	base, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	err = locked(dir+".lock", func() error {
		if _, err := os.Stat(dir); err == nil {
			say(progress, name+" is installed")
			return nil
		}
		say(progress, "installing "+name)
		into, err := os.MkdirTemp(base, ".new-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(into) }()
		if err := fill(into); err != nil {
			return err
		}
		return os.Rename(into, dir)
	})
	return dir, err
}

func say(progress io.Writer, line string) {
	if progress != nil {
		_, _ = fmt.Fprintln(progress, line)
	}
}

func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w: set XDG_CACHE_HOME or HOME", err)
	}
	dir := filepath.Join(base, "kong-openid-connect")
	return dir, os.MkdirAll(dir, 0o700)
}

// locked runs f while this process holds the file's lock.
func locked(path string, f func() error) error {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", filepath.Base(path), err)
	}
	return f()
}

// Bounds of the archive: twice what it holds.
const (
	maxFiles    = 4000
	maxUnzipped = 1 << 30
)

func unzip(archive, want, into string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%s has SHA-256 %s, not %s: it is not what was tested", filepath.Base(archive), got, want)
	}
	z, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	if len(z.File) > maxFiles {
		return fmt.Errorf("%s holds %d files", filepath.Base(archive), len(z.File))
	}
	left := int64(maxUnzipped)
	for _, entry := range z.File {
		if !filepath.IsLocal(entry.Name) {
			return fmt.Errorf("%s holds the path %q", filepath.Base(archive), entry.Name)
		}
		n, err := unpack(entry, filepath.Join(into, entry.Name), left)
		if err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func unpack(entry *zip.File, to string, limit int64) (int64, error) {
	if entry.FileInfo().IsDir() {
		return 0, os.MkdirAll(to, 0o700)
	}
	if !entry.Mode().IsRegular() {
		return 0, fmt.Errorf("%q is no regular file", entry.Name)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	in, err := entry.Open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|entry.Mode().Perm()&0o100)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	if n > limit {
		err = errors.New("the archive unpacks to more than it may")
	}
	return n, errors.Join(err, out.Close())
}
