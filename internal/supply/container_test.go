package supply

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// binary builds the plugin server once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "supply")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "openid-connect")
	cmd := exec.Command("go", "build", "-o", path, program)
	cmd.Dir = root
	return path, cmd.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// flagsOf returns the flags of the plugin server and of its sub-commands.
func flagsOf(t *testing.T) []string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, args := range [][]string{{"-help"}, {"health", "-help"}, {"doctor", "-help"}} {
		out, _ := exec.Command(path, args...).CombinedOutput()
		for _, m := range regexp.MustCompile(`(?m)^  (-[a-z-]+)`).FindAllStringSubmatch(string(out), -1) {
			all = append(all, m[1])
		}
	}
	if len(all) < 15 {
		t.Fatalf("flags %v", all)
	}
	return all
}

var (
	pinned   = regexp.MustCompile(`^[a-z0-9./-]+:v?\d+\.\d+[A-Za-z0-9.-]*$`)
	flagWord = regexp.MustCompile(`(?:^|\s)(-[a-z][a-z-]+)`)
)

func variables(t *testing.T) map[string]string {
	t.Helper()
	vars, err := dotenv.Parse(strings.NewReader(read(t, "docs/compose/example.env")))
	if err != nil {
		t.Fatal(err)
	}
	return vars
}

// compose loads docker-compose.yml by the library of the compose
// specification, which checks it against the specification's schema.
func compose(t *testing.T, vars map[string]string) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: root, Environment: vars,
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: []byte(read(t, "docker-compose.yml"))}},
	}, func(o *loader.Options) { o.Profiles = []string{"*"} })
}

func TestCompose(t *testing.T) {
	vars := variables(t)
	text := read(t, "docker-compose.yml")
	for _, m := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
		value, listed := vars[m[1]]
		if !listed {
			t.Errorf("%s is not in docs/compose/example.env", m[1])
		}
		if value != "" {
			continue
		}
		// Each secret that is missing is a clear error.
		without := filled(vars)
		delete(without, m[1])
		if _, err := compose(t, without); err == nil || !strings.Contains(err.Error(), m[1]) || !strings.Contains(err.Error(), "example.env") {
			t.Errorf("without %s: %v", m[1], err)
		}
	}
	p, err := compose(t, filled(vars))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"postgres", "migrations", "keycloak", "redis", "openid-connect", "kong"} {
		if _, err := p.GetService(want); err != nil {
			t.Error(err)
		}
	}
	if s, err := p.GetService("kong-launched"); err != nil || !slices.Equal(s.Profiles, []string{"launched"}) {
		t.Errorf("kong-launched: %v", err)
	}
	stages := stagesOf(t)
	known := flagsOf(t)
	for _, s := range p.Services {
		checkService(t, p, &s, stages, known)
	}
	for name, s := range p.Secrets {
		if _, listed := vars[s.Environment]; !listed {
			t.Errorf("secret %s: %s is not in docs/compose/example.env", name, s.Environment)
		}
	}
}

func filled(vars map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range vars {
		if value == "" {
			value = "filled-in"
		}
		out[name] = value
	}
	return out
}

func checkService(t *testing.T, p *types.Project, s *types.ServiceConfig, stages map[string]bool, known []string) {
	t.Helper()
	if s.Build == nil && !pinned.MatchString(s.Image) {
		t.Errorf("%s: image %s is not pinned to a version", s.Name, s.Image)
	}
	if s.Build != nil && !stages[s.Build.Target] {
		t.Errorf("%s: the Dockerfile has no stage %q", s.Name, s.Build.Target)
	}
	oneShot := s.Name == "migrations" || s.Name == "configure" || s.Name == "echo"
	if s.HealthCheck == nil && !oneShot {
		t.Errorf("%s has no health check", s.Name)
	}
	// Compose copies these into the container, and refuses to where it may not.
	for _, secret := range s.Secrets {
		if s.ReadOnly && p.Secrets[secret.Source].Environment != "" {
			t.Errorf("%s is read-only, so secret %s cannot come from the environment", s.Name, secret.Source)
		}
	}
	for _, v := range s.Volumes {
		if v.Type == types.VolumeTypeBind {
			if _, err := os.Stat(filepath.Join(root, strings.TrimPrefix(v.Source, root))); err != nil {
				t.Errorf("%s mounts %s: %v", s.Name, v.Source, err)
			}
		}
	}
	for _, port := range s.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("%s is reached from everywhere on port %s", s.Name, port.Published)
		}
	}
	var commands []string
	if s.Name == "openid-connect" {
		commands = append(commands, strings.Join(s.Command, " "), strings.Join(s.HealthCheck.Test[2:], " "))
	}
	for name, value := range s.Environment {
		if strings.HasPrefix(name, "KONG_PLUGINSERVER_OPENID_CONNECT_") && strings.HasSuffix(name, "_CMD") {
			commands = append(commands, *value)
		}
		// Kong launches what lies there, asked or not.
		if value != nil && strings.Contains(*value, "/usr/local/bin/openid-connect") {
			t.Errorf("%s: %s", name, *value)
		}
	}
	for _, c := range commands {
		for _, m := range flagWord.FindAllStringSubmatch(c, -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: the program has no flag %s", s.Name, m[1])
			}
		}
	}
}

// instruction is one of a Dockerfile, with its continuation lines joined.
type instruction struct{ word, rest, stage string }

func dockerfile(t *testing.T) []instruction {
	t.Helper()
	var all []instruction
	stage := ""
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(read(t, "Dockerfile"), "")
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		word, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if word == "FROM" {
			fields := strings.Fields(rest)
			stage = fields[len(fields)-1]
		}
		all = append(all, instruction{word, rest, stage})
	}
	return all
}

func stagesOf(t *testing.T) map[string]bool {
	stages := map[string]bool{}
	for _, i := range dockerfile(t) {
		stages[i.stage] = true
	}
	return stages
}

// TestDockerfile checks what can be checked without a container engine: bases
// are pinned, what is copied exists, and the commands of the build stage work
// outside of it as they are written, but for where they write to.
func TestDockerfile(t *testing.T) {
	src, out := filepath.Join(t.TempDir(), "src"), t.TempDir()
	var made []string // what later stages copy
	seen := map[string]bool{"scratch": true}
	for _, i := range dockerfile(t) {
		fields := strings.Fields(i.rest)
		switch i.word {
		case "FROM":
			if !seen[fields[0]] && !pinned.MatchString(fields[0]) {
				t.Errorf("base %s is not pinned to a version", fields[0])
			}
			seen[i.stage] = true
		case "COPY":
			if i.stage != "build" {
				for _, f := range fields[:len(fields)-1] {
					if strings.HasPrefix(f, "/out") {
						made = append(made, f)
					}
				}
				continue
			}
			for _, name := range fields[:len(fields)-1] {
				from, to := filepath.Join(root, name), filepath.Join(src, name)
				info, err := os.Stat(from)
				if err != nil {
					t.Fatalf("COPY %s: %v", i.rest, err)
				}
				if info.IsDir() {
					err = os.CopyFS(to, os.DirFS(from))
				} else {
					if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
						err = os.WriteFile(to, []byte(read(t, name)), 0o644)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		case "RUN":
			if i.stage != "build" {
				t.Errorf("stage %s runs %q, which no test does", i.stage, i.rest)
				continue
			}
			cmd := exec.Command("sh", "-euc", strings.ReplaceAll(i.rest, "/out", out))
			cmd.Dir, cmd.Env = src, append(os.Environ(), "VERSION=v9.8.7")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", i.rest, err, text)
			}
		}
	}
	for _, name := range made {
		if _, err := os.Stat(strings.Replace(name, "/out", out, 1)); err != nil {
			t.Errorf("a stage copies %s: %v", name, err)
		}
	}
	if text, err := exec.Command(filepath.Join(out, "share/openid-connect"), "-version").Output(); err != nil || !strings.HasPrefix(string(text), "openid-connect v9.8.7 ") {
		t.Errorf("-version prints %q, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(out, "rootfs/run/openid-connect")); err != nil || info.Mode().Perm() != 0o770 {
		t.Errorf("the socket's directory: %v, %v", info, err)
	}
	if text, err := os.ReadFile(filepath.Join(out, "share/nginx-admin-container.conf")); err != nil || strings.Count(string(text), "unix:/run/openid-connect/openid-connect-admin.socket:") != 2 {
		t.Errorf("nginx-admin-container.conf: %v\n%s", err, text)
	}
	var realm struct {
		Realm      string
		Components any
		Clients    []struct{ ClientID, Secret string }
	}
	raw, err := os.ReadFile(filepath.Join(out, "realm.json"))
	if err == nil {
		err = json.Unmarshal(raw, &realm)
	}
	if err != nil || realm.Realm != "a" || realm.Components != nil || realm.Clients[0].ClientID != "kong" || realm.Clients[0].Secret != "${OIDC_CLIENT_SECRET}" {
		t.Errorf("the realm: %v, %s with client %+v", err, realm.Realm, realm.Clients[:1])
	}
}

// Each flag of the image's own commands exists.
func TestImageCommands(t *testing.T) {
	known := flagsOf(t)
	found := 0
	for _, m := range regexp.MustCompile(`"(-[a-z-]+)"`).FindAllStringSubmatch(read(t, "Dockerfile"), -1) {
		found++
		if !slices.Contains(known, m[1]) {
			t.Errorf("the program has no flag %s", m[1])
		}
	}
	if found == 0 {
		t.Error("the Dockerfile has no flags")
	}
}
