package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func command(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kong.yml")
	text := `_format_version: "3.0"
services:
- name: a
  url: http://127.0.0.1
  plugins:
  - name: openid-connect
    config:
      issuer: https://idp.example.com
      client_id: [a]
      client_secret: ["{vault://env/secret}"]
      auth_methods: [bearer, pasword]
      leeway: many
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := command(t, "", "check", file)
	if code != 1 {
		t.Errorf("exit code %d: %s", code, out)
	}
	for _, want := range []string{file + ":11:", "auth_methods", file + ":12:", "leeway"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if strings.Contains(out, "client_secret") {
		t.Errorf("a vault reference is refused:\n%s", out)
	}
	good := strings.NewReplacer("pasword", "password", "many", "5").Replace(text)
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := command(t, "", "check", file); code != 0 {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, out, _ := command(t, `{"issuer":"https://idp.example.com","nonsense":1}`, "check", "-"); code != 1 || !strings.Contains(out, "nonsense") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _, errs := command(t, "", "check", file+".none"); code != 2 || errs == "" {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, out, _ := command(t, "", "check", "../../kong.yml"); code != 0 || out != "" {
		t.Errorf("the kong.yml at the root: %d %s", code, out)
	}
}

func TestPrinted(t *testing.T) {
	if code, out, _ := command(t, "", "-version"); code != 0 || !strings.HasPrefix(out, "openid-connect ") {
		t.Errorf("version: %d %s", code, out)
	}
	code, out, _ := command(t, "", "-dump", "-kong-prefix", "/prefix")
	var d struct {
		Protocol, SocketPath string
		Plugins              []struct {
			Name     string
			Priority int
		}
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || d.Protocol != "ProtoBuf:1" || d.SocketPath != "/prefix/openid-connect.socket" ||
		len(d.Plugins) != 1 || d.Plugins[0].Name != "openid-connect" || d.Plugins[0].Priority != 1050 {
		t.Errorf("dump: %d %v %+v", code, err, d)
	}
	if code, out, _ := command(t, "", "schema"); code != 0 || !json.Valid([]byte(out)) {
		t.Errorf("schema: %d", code)
	}
	if code, _, errs := command(t, "", "serv"); code != 2 || !strings.Contains(errs, "serv") {
		t.Errorf("unknown command: %d %s", code, errs)
	}
	for _, bad := range [][]string{{"-socket-mode", "worldwide"}, {"-event-timeout", "2m"}, {"-cache-memory", "0"}, {"-cache-memory", "999999"}, {"-log-level", "loud"}} {
		if code, _, errs := command(t, "", append(bad, "-kong-prefix", t.TempDir())...); code != 1 || !strings.Contains(errs, bad[0]) {
			t.Errorf("%v: %d %s", bad, code, errs)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{"-h"}, 0, "-kong-prefix"},
		{[]string{"check", "-h"}, 0, "check FILE"},
		{[]string{"check"}, 2, "check FILE"},
		{[]string{"check", "-strict"}, 2, "check FILE"},
		{[]string{"doctor", "-h"}, 0, "-issuer"},
		{[]string{"health", "-h"}, 0, "-timeout"},
		{[]string{"schema", "-h"}, 0, "JSON Schema"},
		{[]string{"schema", "x"}, 2, "JSON Schema"},
	} {
		if code, out, errs := command(t, "", c.args...); code != c.code || !strings.Contains(errs, c.say) || out != "" {
			t.Errorf("%v: exit code %d, %q and %q", c.args, code, out, errs)
		}
	}
}

// TestLogFlags: level, form and place of log lines are those of the flags.
func TestLogFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for _, c := range []struct {
		name       string
		o          options
		errs, file string // what each begins with
	}{
		{"info as text", options{logLevel: "info", logFormat: "text"}, "time=", ""},
		{"warnings only", options{logLevel: "warn", logFormat: "text"}, "", ""},
		{"JSON", options{logLevel: "info", logFormat: "json"}, `{"time":`, ""},
		{"a file", options{logLevel: "info", logFormat: "text", logFile: file}, "", "time="},
	} {
		t.Run(c.name, func(t *testing.T) {
			var errs bytes.Buffer
			l, err := logger(&c.o, &errs)
			if err != nil {
				t.Fatal(err)
			}
			l.Info("hello")
			text, _ := os.ReadFile(file)
			for _, w := range [][2]string{{errs.String(), c.errs}, {string(text), c.file}} {
				if got, want := w[0], w[1]; want == "" && got != "" || !strings.HasPrefix(got, want) {
					t.Errorf("%q was written, want %q", got, want)
				}
			}
		})
	}
	var errs bytes.Buffer
	if l, err := logger(&options{logLevel: "debug", logFormat: "text"}, &errs); err != nil {
		t.Error(err)
	} else if l.Debug("hello"); !strings.Contains(errs.String(), "level=DEBUG") {
		t.Errorf("debug writes %q", errs.String())
	}
	if _, err := logger(&options{logLevel: "info", logFormat: "xml"}, &errs); err == nil || !strings.Contains(err.Error(), "-log-format") {
		t.Errorf("-log-format xml: %v", err)
	}
}
