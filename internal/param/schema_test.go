package param

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with a file in testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs from what is made now; look at it, then run the test with -update:\n%s", path, got)
	}
}

func TestKongSchema(t *testing.T) {
	raw, err := sampleRecord(t).KongSchema("sample", []Check{{"at_least_one_of": []string{"config.color", "config.header"}}})
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	pretty, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "kong_schema.json", append(pretty, '\n'))
}

func TestJSONSchema(t *testing.T) {
	raw, err := sampleRecord(t).JSONSchema("sample")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "json_schema.json", append(raw, '\n'))
}

func TestReference(t *testing.T) {
	r := sampleRecord(t)
	groups := []Group{{"rest", "The rest", "What is left."}, {"basics", "Basics", ""}}
	page, err := r.Reference(groups, func(*Field) string { return "effective" })
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "reference.md", page)
	if _, err := r.Reference(groups[:1], func(*Field) string { return "" }); err == nil || !strings.Contains(err.Error(), "no heading") {
		t.Errorf("a group was forgotten and nobody said so: %v", err)
	}
}

func TestParseYAML(t *testing.T) {
	docs, err := ParseYAML([]byte("a: off\nb: 'off'\nc: 0x10\nd: ~\ne: &e {x: 1}\nf: {<<: *e, y: [1.5]}\n---\ng: 1\n"))
	if err != nil || len(docs) != 2 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	n := docs[0]
	if a := n.Get("a"); a.Kind != BoolKind || a.Bool || a.Text != "off" || a.Line != 1 {
		t.Errorf("a bare off is %+v, want false as Kong reads it", a)
	}
	if n.Get("b").Kind != TextKind || n.Get("c").Text != "16" || n.Get("d").Kind != NullKind {
		t.Error("scalars are read wrongly")
	}
	if f := n.Get("f"); f.Get("x").Text != "1" || f.Get("y").Items[0].Text != "1.5" {
		t.Error("merge keys are not followed")
	}
	for name, text := range map[string]string{
		"twice":     "a: 1\na: 2\n",
		"loop":      "&a [*a]\n",
		"bomb":      "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + bomb(),
		"no scalar": "? [a]\n: 1\n",
	} {
		if _, err := ParseYAML([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// bomb is a text of few lines and many nodes.
func bomb() string {
	var b strings.Builder
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+p+",", 9) + "*" + p + "]\n")
	}
	return b.String()
}
