package param

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const hidden = "s3cr3t-value"

func TestSecretNeverPrintsItself(t *testing.T) {
	s := NewSecret(hidden)
	type holder struct {
		Open   Secret
		closed Secret
		List   []Secret
		Map    map[string]Secret
		Any    any
		Ptr    *Secret
	}
	v := holder{s, s, []Secret{s}, map[string]Secret{"a": s}, s, &s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "holder", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "holder", v)
	asJSON, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"a": s, "b": []Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	panicked := func() (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		panic(v)
	}()
	out := []string{log.String(), string(asJSON), string(asYAML), panicked, s.String(), s.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%10s"} {
		out = append(out, fmt.Sprintf(verb, s), fmt.Sprintf(verb, v), fmt.Sprintf(verb, &v))
	}
	for _, text := range out {
		if strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", hidden)) {
			t.Errorf("the secret is in %q", text)
		}
	}
	if got := fmt.Sprintf("%v %s", s, Secret{}); got != Redacted+" " {
		t.Errorf("printed %q, want %q", got, Redacted+" ")
	}
}

func TestSecretValue(t *testing.T) {
	s := NewSecret(hidden)
	if s.Reveal() != hidden || s.IsZero() {
		t.Error("a secret does not hold its text")
	}
	if !NewSecret("").IsZero() || (Secret{}).Reveal() != "" {
		t.Error("the empty secret is not the absent one")
	}
	var read Secret
	if err := json.Unmarshal([]byte(`"[redacted]"`), &read); err == nil {
		t.Error("a secret was read from JSON outside the decoder")
	}
}
