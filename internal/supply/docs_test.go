package supply

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"kong-openid-connect/plugin"
)

// pages returns the documents by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"README.md": read(t, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") && d.Name() != "reference.md" {
			name, _ := filepath.Rel(root, path)
			all[name] = read(t, name)
		}
		return err
	})
	if err != nil || len(all) < 14 {
		t.Fatalf("%d documents, %v", len(all), err)
	}
	return all
}

func TestLinks(t *testing.T) {
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

// command matches a line of an indented block that a reader is to type.
var command = regexp.MustCompile(`^    ((?:[A-Z]+=\$\()?(?:make|curl|openid-connect|docker|helm|kubectl|deck|kong) .*)$`)

// Where each command of the documents is run. Those that need an engine, a
// cluster or a registry are run nowhere; what they read is checked.
var commands = map[string]string{
	"make build":      "CI, by make test",
	"make run":        "cmd/sandbox TestRun",
	"make test":       "CI",
	"make lint":       "CI",
	"make sbom":       "CI",
	"make packages":   "TestPackages",
	"make vulncheck":  "CI",
	"make test-kong":  "by hand: it needs a Kong",
	"make bench":      "by hand",
	"make fuzz":       "by hand",
	"make reference":  "plugin TestReference",
	"curl":            "internal/e2e TestReadmeCommands, TestDocumentedCurl",
	"docker compose":  "nowhere: no engine; TestCompose loads the file",
	"docker build":    "nowhere: no engine; TestDockerfile runs the build stage",
	"helm upgrade":    "nowhere: no cluster; TestKubernetes reads the values",
	"kubectl apply":   "nowhere: no cluster; TestKubernetes checks the plugin",
	"kubectl create":  "nowhere: no cluster; TestKubernetes looks for the secret among the values",
	"deck gateway":    "nowhere; TestConfigurations checks the file",
	"openid-connect ": "here, or by the tests of cmd/openid-connect",
}

// here are the commands that TestCommands runs itself.
var here = []string{"openid-connect check kong.yml", "openid-connect check docs/deck.yml", "openid-connect -version"}

// elsewhere are commands of the plugin server that its own tests run.
var elsewhere = map[string]string{
	"openid-connect health -kong-prefix /run/openid-connect":                                    "cmd/openid-connect TestHealth",
	"openid-connect -kong-prefix /run/openid-connect -socket-mode 0660 -admin-socket-mode 0660": "internal/e2e TestProcessOfItsOwn on a real Kong",
	"openid-connect doctor -issuer https://idp.example.com/realms/main":                         "cmd/openid-connect, the tests of doctor",
	"openid-connect health -kong-prefix /usr/local/kong":                                        "cmd/openid-connect TestHealth",
	"openid-connect doctor -kong-prefix /usr/local/kong -config kong.yml":                       "cmd/openid-connect, the tests of doctor",
	"openid-connect doctor -config kong.yml":                                                    "cmd/openid-connect, the tests of doctor",
}

func TestCommands(t *testing.T) {
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	known := flagsOf(t)
	for name, text := range pages(t) {
		for line := range strings.Lines(text) {
			m := command.FindStringSubmatch(strings.TrimRight(line, "\n"))
			if m == nil {
				continue
			}
			c, _, _ := strings.Cut(m[1], "  #")
			c = strings.TrimSpace(c)
			if i := strings.Index(c, "$(curl"); i >= 0 {
				c = c[i+2:]
			}
			if !listed(c) {
				t.Errorf("%s: nobody runs %q", name, c)
			}
			if strings.HasPrefix(c, "make ") {
				// Those that run elsewhere, or by hand, are targets at least.
				cmd := exec.Command("make", "-n", strings.Fields(c)[1])
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", name, c, err, out)
				}
			}
			if !strings.HasPrefix(c, "openid-connect ") {
				continue
			}
			for _, f := range flagWord.FindAllStringSubmatch(c, -1) {
				if !slices.Contains(known, f[1]) && f[1] != "-config" && f[1] != "-issuer" {
					t.Errorf("%s: the program has no flag %s", name, f[1])
				}
			}
			if slices.Contains(here, c) {
				cmd := exec.Command(path, strings.Fields(c)[1:]...)
				cmd.Dir = root
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", name, c, err, out)
				}
			} else if elsewhere[c] == "" {
				t.Errorf("%s: %q is run neither here nor elsewhere", name, c)
			}
		}
	}
}

func listed(c string) bool {
	for prefix := range commands {
		if strings.HasPrefix(c, prefix) {
			return true
		}
	}
	return false
}

// others are words in code type that look like parameters and are none.
var others = strings.Fields(`authorization_code client_credentials refresh_token form_post kong_oauth2
	preferred_username realm_access resource_access email_verified access_type offline_access id_token_hint logout_uri not_before
	nginx_main_env nginx_user nginx_admin_include nginx_worker_processes start_cmd db_update_frequency trusted_ips port_maps large_client_header_buffers pg_host token_use
	lua_ssl_trusted_certificate pg_ssl pg_ssl_required pg_ssl_verify consumer_id custom_id client_secret_post client_secret_basic
	private_key_jwt invalid_grant invalid_token invalid_request temporarily_unavailable
	strip_path url_encoded base64_encoded go_gc_heap_live_bytes backchannel_logout_uri backchannel_logout_session_required`)

// Each word in code type that looks like a parameter is one.
func TestParametersAndFlagsExist(t *testing.T) {
	known := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(read(t, "docs/reference.md"), -1) {
		for _, part := range strings.Split(strings.ReplaceAll(m[1], "[]", ""), ".") {
			known[part] = true
		}
	}
	if len(known) < 200 {
		t.Fatalf("only %d parameters are known", len(known))
	}
	for word := range reasons(t) {
		known[word] = true
	}
	for _, word := range composed {
		known[word] = true
	}
	flags := flagsOf(t)
	code := regexp.MustCompile("`([^`\n]+)`")
	parameter := regexp.MustCompile(`^([a-z0-9]+(?:_[a-z0-9]+)+)(?::\s.*)?$`)
	for name, text := range pages(t) {
		for line := range strings.Lines(text) {
			// The left column of the migration from the Lua plugins is theirs.
			if strings.HasSuffix(name, "migration.md") && strings.HasPrefix(line, "| ") {
				if cells := strings.SplitN(line, "|", 3); len(cells) == 3 {
					line = cells[2]
				}
			}
			for _, m := range code.FindAllStringSubmatch(line, -1) {
				// The deviations name members of protocols and of Kong more often.
				if p := parameter.FindStringSubmatch(m[1]); p != nil && !known[p[1]] && !slices.Contains(others, p[1]) &&
					!strings.HasPrefix(p[1], "pluginserver_") && !strings.HasPrefix(p[1], "openid_connect_") && !strings.HasSuffix(name, "deviations.md") {
					t.Errorf("%s: there is no parameter %s; what is none belongs in the list others", name, p[1])
				}
				if word := strings.Fields(m[1])[0]; regexp.MustCompile(`^-[a-z][a-z-]+$`).MatchString(word) && !slices.Contains(flags, word) {
					t.Errorf("%s: there is no flag %s", name, word)
				}
			}
		}
	}
}

// checked fails where plugin.Check finds an error, or a warning.
func checked(t *testing.T, name string, text []byte) {
	t.Helper()
	for _, f := range plugin.Check(strings.NewReader(string(text)), name) {
		t.Errorf("%v", f)
	}
}

// The configurations of the documents are good ones.
func TestConfigurations(t *testing.T) {
	for _, name := range []string{"kong.yml", "docs/deck.yml", "docs/compose/kong.yml"} {
		checked(t, name, []byte(read(t, name)))
	}
	found := 0
	for name, text := range pages(t) {
		for _, block := range regexp.MustCompile(`(?m)(?:^    .*\n|^\n)+`).FindAllString(text, -1) {
			block = strings.ReplaceAll("\n"+block, "\n    ", "\n")
			whole := strings.HasPrefix(strings.TrimSpace(block), "services:")
			if !whole && !strings.HasPrefix(strings.TrimSpace(block), "config:") {
				continue
			}
			found++
			if !whole {
				block = "plugins:\n- name: openid-connect" + strings.ReplaceAll(block, "\n", "\n  ")
			}
			checked(t, name, []byte("_format_version: \"3.0\"\n"+block))
		}
	}
	if found < 8 {
		t.Errorf("only %d configurations are found", found)
	}
}

func documents(t *testing.T, name string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := yaml.NewDecoder(strings.NewReader(read(t, name))); ; {
		var one map[string]any
		if err := d.Decode(&one); err != nil {
			if err.Error() != "EOF" {
				t.Fatalf("%s: %v", name, err)
			}
			return all
		}
		all = append(all, one)
	}
}

// at walks down a document by names and list indices.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func TestKubernetes(t *testing.T) {
	all := documents(t, "docs/kubernetes/plugin.yaml")
	if len(all) != 2 || at(all[0], "kind") != "KongPlugin" || at(all[0], "plugin") != plugin.Name || at(all[1], "kind") != "Secret" {
		t.Fatalf("plugin.yaml has %d documents", len(all))
	}
	config, _ := at(all[0], "config").(map[string]any)
	patches, _ := at(all[0], "configPatches").([]any)
	for _, p := range patches {
		ref := at(p, "valueFrom", "secretKeyRef")
		if at(ref, "name") != at(all[1], "metadata", "name") {
			t.Errorf("a patch names the secret %v", at(ref, "name"))
		}
		key, _ := at(ref, "key").(string)
		text, _ := at(all[1], "stringData", key).(string)
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Errorf("secret %s is not JSON: %v", key, err)
		}
		path, _ := at(p, "path").(string)
		config[strings.TrimPrefix(path, "/")] = value
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range plugin.Check(strings.NewReader(string(raw)), "plugin.yaml") {
		// The placeholders are short.
		if f.Severity == "error" || !strings.Contains(f.Path, "session_secret") {
			t.Errorf("%v", f)
		}
	}
	values := documents(t, "docs/kubernetes/values.yaml")[0]
	// The chart takes the tag for Kong's version unless it is told.
	if base := regexp.MustCompile(`(?m)^FROM kong:(\S+) AS kong$`).FindStringSubmatch(read(t, "Dockerfile")); base == nil || at(values, "image", "effectiveSemver") != base[1] {
		t.Errorf("image.effectiveSemver is %v, the Dockerfile's Kong %q", at(values, "image", "effectiveSemver"), base)
	}
	sidecar := at(values, "deployment", "sidecarContainers", 0)
	if !pinned.MatchString(at(sidecar, "image").(string)) {
		t.Errorf("image %v is not pinned", at(sidecar, "image"))
	}
	known := flagsOf(t)
	lists := [][]any{at(sidecar, "args").([]any), at(sidecar, "readinessProbe", "exec", "command").([]any), at(sidecar, "livenessProbe", "exec", "command").([]any)}
	query, _ := at(values, "env", "pluginserver_openid_connect_query_cmd").(string)
	for _, word := range strings.Fields(query) {
		lists = append(lists, []any{word})
	}
	for _, list := range lists {
		for _, word := range list {
			if s, _ := word.(string); strings.HasPrefix(s, "-") && !slices.Contains(known, s) {
				t.Errorf("values.yaml: the program has no flag %s", s)
			}
		}
	}
	// Both ends of the socket are on one volume, with one group.
	mount := at(sidecar, "volumeMounts", 0, "mountPath")
	if mount == nil || mount != at(values, "deployment", "userDefinedVolumeMounts", 0, "mountPath") ||
		at(values, "securityContext", "fsGroup") != at(sidecar, "securityContext", "runAsGroup") {
		t.Errorf("the socket's volume: %v", mount)
	}
	// The admin token is the one that the page makes, and where the flags say.
	secret, _ := at(values, "deployment", "userDefinedVolumes", 1, "secret", "secretName").(string)
	made := regexp.MustCompile(`kubectl create secret generic (\S+) --from-literal=(\S+?)=`).FindStringSubmatch(read(t, "docs/install.md"))
	if made == nil || made[1] != secret || !slices.Contains(lists[0], any(at(sidecar, "volumeMounts", 1, "mountPath").(string)+"/"+made[2])) ||
		at(values, "deployment", "userDefinedVolumes", 1, "name") != at(sidecar, "volumeMounts", 1, "name") {
		t.Errorf("the admin token: secret %s, made by %q, arguments %v", secret, made, lists[0])
	}
}

// TestUnit: the systemd unit and kong.conf of the page about it are of one mind.
func TestUnit(t *testing.T) {
	unit := read(t, "docs/openid-connect.service")
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.+)$`).FindStringSubmatch(unit)
		if m == nil {
			t.Fatalf("the unit has no %s", name)
		}
		return m[1]
	}
	start, known := setting("ExecStart"), flagsOf(t)
	for _, m := range flagWord.FindAllStringSubmatch(start, -1) {
		if !slices.Contains(known, m[1]) {
			t.Errorf("the program has no flag %s", m[1])
		}
	}
	binary, prefix := strings.Fields(start)[0], "/run/"+setting("RuntimeDirectory")
	for _, want := range []string{"-kong-prefix " + prefix, "-state-dir /var/lib/" + setting("StateDirectory"), "-audit-log /var/log/" + setting("LogsDirectory") + "/"} {
		if !strings.Contains(start, want) {
			t.Errorf("%s is not in %s", want, start)
		}
	}
	for _, line := range []string{
		"pluginserver_openid_connect_query_cmd = " + binary + " -dump -kong-prefix " + prefix,
		"pluginserver_openid_connect_socket = " + prefix + "/openid-connect.socket",
	} {
		if !strings.Contains(read(t, "docs/install.md"), "    "+line+"\n") {
			t.Errorf("install.md lacks %q", line)
		}
	}
	if strings.HasPrefix(binary, "/usr/local/bin/") {
		t.Error("Kong launches what lies in /usr/local/bin")
	}
}
