package seal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kong-openid-connect/internal/store"
)

func newSealer(t *testing.T, keys ...string) *Sealer {
	t.Helper()
	var m [][]byte
	for _, k := range keys {
		m = append(m, []byte(strings.Repeat(k, MinKey)))
	}
	s, err := New(m...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSeal(t *testing.T) {
	secret := store.NewSecret([]byte("the secret"))
	a, b, ba, none := newSealer(t, "a"), newSealer(t, "b"), newSealer(t, "b", "a"), (*Sealer)(nil)
	sealed, err := a.Seal("place", secret)
	if err != nil {
		t.Fatal(err)
	}
	clear, err := none.Seal("place", secret)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := a.Seal("place", secret)
	if bytes.Contains(sealed, secret.Reveal()) || bytes.Equal(sealed, again) {
		t.Error("the sealed form shows the secret, or is the same twice")
	}
	broken := bytes.Clone(sealed)
	broken[len(broken)-1] ^= 1
	for _, c := range []struct {
		name   string
		sealer *Sealer
		label  string
		value  []byte
		stale  bool
		err    error
	}{
		{"with its key", a, "place", sealed, false, nil},
		{"with its key as an older one", ba, "place", sealed, true, nil},
		{"with another key", b, "place", sealed, false, ErrNoKey},
		{"without a key", none, "place", sealed, false, ErrNoKey},
		{"moved to another place", a, "elsewhere", sealed, false, ErrBroken},
		{"changed", a, "place", broken, false, ErrBroken},
		{"cut", a, "place", sealed[:12], false, ErrBroken},
		{"cut within the key's id", a, "place", sealed[:3], false, ErrBroken},
		{"empty", a, "place", nil, false, ErrBroken},
		{"of an unknown form", a, "place", []byte{9, 9}, false, ErrBroken},
		{"in clear, with a key", a, "place", clear, true, nil},
		{"in clear, without a key", none, "place", clear, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, stale, err := c.sealer.Open(c.label, c.value)
			if !errors.Is(err, c.err) || stale != c.stale {
				t.Fatalf("stale %t, error %v", stale, err)
			}
			if err == nil && !v.Equal(secret) {
				t.Error("another value came out")
			}
		})
	}
}

func TestLoad(t *testing.T) {
	long := strings.Repeat("k", MinKey)
	for _, c := range []struct {
		name, text string
		keys       int
	}{
		{"one key", long + "\n", 1},
		{"comments and empty lines", "# new\n" + long + "\n\n  \n# old\r\n" + long + "x\r\n", 2},
		{"no newline at the end", long, 1},
		{"nothing", "", 0},
		{"comments only", "# x\n", 0},
		{"a short key", "short\n", 0},
		{"a short key beside a good one", long + "\nshort\n", 0},
		{"too large", strings.Repeat("x", MaxFile+1), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, loose, err := Load(path)
			if c.keys == 0 {
				if err == nil {
					t.Fatal("loaded")
				}
				if strings.Contains(err.Error(), "short\n") {
					t.Errorf("the error shows the file: %v", err)
				}
				return
			}
			if err != nil || len(s.keys) != c.keys || loose {
				t.Fatalf("%d keys, loose %t, %v", len(s.keys), loose, err)
			}
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, loose, _ := Load(path); !loose {
				t.Error("a file that all may read was not noticed")
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	s, err := New(bytes.Repeat([]byte("a"), MinKey))
	if err != nil {
		f.Fatal(err)
	}
	sealed, _ := s.Seal("l", store.NewSecret([]byte("v")))
	f.Add(sealed)
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, stale, err := s.Open("l", b); err == nil && !stale && string(v.Reveal()) != "v" {
			t.Error("a value opened that was never sealed")
		}
	})
}
