package own

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	now := time.Unix(1_800_000_000, 0)
	var private []string
	for _, alg := range []string{"RS256", "ES256", Ed448} {
		k, err := Generate(alg, now)
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, k.Private.Reveal())
	}
	write := func(keys ...string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(`{"keys":[`+strings.Join(keys, ",")+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(private...)
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clock := now
	s := New(Options{Store: f, Now: func() time.Time { return clock }})
	if got := public(t, s); len(got) != 3 {
		t.Fatalf("%d keys", len(got))
	}
	for _, alg := range []string{"RS256", "ES256", Ed448} {
		signer, err := s.Signer(t.Context(), alg)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, s, signer)
	}
	if _, err := s.Signer(t.Context(), "ES384"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("an algorithm that the file lacks: %v", err)
	}
	if err := s.Rotate(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("rotate: %v", err)
	}
	if err := s.DeleteKey(t.Context(), public(t, s)[0].Kid); !errors.Is(err, ErrReadOnly) {
		t.Errorf("delete: %v", err)
	}
	write(private[1])
	clock = clock.Add(maxAge)
	if got := public(t, s); len(got) != 1 {
		t.Errorf("after a change of the file: %d keys", len(got))
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(maxAge)
	if got := public(t, s); len(got) != 1 {
		t.Errorf("after the file broke: %d keys", len(got))
	}
}

func TestParseFileRefuses(t *testing.T) {
	k, err := Generate("ES256", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	good := k.Private.Reveal()
	pub, err := k.public()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no JSON":          `{`,
		"no keys":          `{"keys":[]}`,
		"a bare key":       good,
		"a public key":     `{"keys":[` + string(pub) + `]}`,
		"a symmetric key":  `{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}`,
		"no kid":           `{"keys":[` + strings.Replace(good, `"kid"`, `"kib"`, 1) + `]}`,
		"the same twice":   `{"keys":[` + good + `,` + good + `]}`,
		"an encryption":    `{"keys":[` + strings.Replace(good, `"sig"`, `"enc"`, 1) + `]}`,
		"a foreign alg":    `{"keys":[` + strings.Replace(good, `"ES256"`, `"RS256"`, 1) + `]}`,
		"an unknown alg":   `{"keys":[` + strings.Replace(good, `"ES256"`, `"XX"`, 1) + `]}`,
		"too many":         `{"keys":[` + strings.Repeat(good+",", MaxFileKeys) + good + `]}`,
		"larger than fits": strings.Repeat(" ", MaxFile+1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseFile([]byte(text), time.Time{})
			if err == nil {
				t.Fatal("taken")
			}
			var m struct{ D string }
			if json.Unmarshal([]byte(good), &m) != nil || strings.Contains(err.Error(), m.D) {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func FuzzParseFile(f *testing.F) {
	k, err := Generate("EdDSA", time.Time{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"keys":[` + k.Private.Reveal() + `]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseFile(b, time.Time{})
		if err != nil {
			return
		}
		for i := range keys {
			p, err := keys[i].public()
			if err != nil {
				t.Fatal(err)
			}
			var all map[string]any
			if json.Unmarshal(p, &all) != nil || all["d"] != nil || all["k"] != nil {
				t.Errorf("%s", p)
			}
		}
	})
}
