package env

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	got := Parse("# *****\n# * DO NOT EDIT *\n\n" +
		"database = postgres\n" +
		"pg_password = a\\#b = c\\d \n" +
		"pg_host=10.0.0.1   # the primary\n" +
		"admin_listen = 127.0.0.1:8001 reuseport,127.0.0.1:8444 ssl\n" +
		"pg_ssl = true\r\n" +
		"no separator\n = no name\n" +
		"empty =\n; ini comment = 1\n")
	want := Settings{
		"database": "postgres", "pg_password": `a#b = c\d`, "pg_host": "10.0.0.1", "pg_ssl": "true", "empty": "",
		"admin_listen": "127.0.0.1:8001 reuseport,127.0.0.1:8444 ssl",
	}
	if !reflect.DeepEqual(map[string]string(got), map[string]string(want)) {
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("%s = %q, want %q", k, got[k], want[k])
			}
		}
		t.Errorf("%d settings, want %d", len(got), len(want))
	}
}

func TestOverlay(t *testing.T) {
	s := Settings{"pg_host": "a", "pg_user": "kong"}
	s.Overlay([]string{"KONG_PG_HOST=b", "KONG_PG_PASSWORD=x=y", "PATH=/bin", "KONG_", "KONG_PG_USER="})
	if s["pg_host"] != "b" || s["pg_password"] != "x=y" || s["pg_user"] != "" || len(s) != 3 {
		t.Errorf("%#v", map[string]string(s))
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join(dir, File)
	if err := os.WriteFile(path, []byte("pg_password = hush\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	s, err := Load(dir)
	if err != nil || s["pg_password"] != "hush" {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %s %#v", s, s, s, s); strings.Contains(text, "hush") {
		t.Errorf("settings print %q", text)
	}
	if err := os.WriteFile(path, make([]byte, MaxFile+1), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a = b\\#c # d\n")
	f.Fuzz(func(t *testing.T, text string) {
		for k, v := range Parse(text) {
			if k == "" || strings.ContainsAny(k+v, "\n") {
				t.Errorf("%q = %q", k, v)
			}
			// What Kong would write of it reads the same.
			if v != "" && !strings.ContainsRune(k, '#') && k[0] != ';' {
				line := k + " = " + strings.ReplaceAll(v, "#", `\#`) + "\n"
				if !strings.Contains(v, `\`) && Parse(line)[k] != v {
					t.Errorf("%q does not come back", v)
				}
			}
		}
	})
}
