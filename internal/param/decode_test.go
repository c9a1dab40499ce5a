package param

import (
	"reflect"
	"strings"
	"testing"
)

func decodeSample(t *testing.T, text string, mode Mode) (sample, Decoded, error) {
	t.Helper()
	var s sample
	d, err := decodeJSON(sampleRecord(t), []byte(text), &s, mode)
	return s, d, err
}

func decodeJSON(r *Record, data []byte, dst any, mode Mode) (Decoded, error) {
	n, err := ParseJSON(data)
	if err != nil {
		d := Decoded{Findings: Findings{{Severity: Error, Message: err.Error()}}}
		return d, d.Findings.Err()
	}
	return r.Decode(n, dst, mode)
}

func TestDecodeFillsDefaults(t *testing.T) {
	for name, text := range map[string]string{
		"absent": `{"issuer":"i"}`,
		"null":   `{"issuer":"i","colors":null,"port":null,"verify":null,"inner":null,"leeway":null}`,
		"empty":  `{"issuer":"i","inner":{}}`,
		"lua":    `{"issuer":"i","inner":[]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := decodeSample(t, text, FromUser)
			if err != nil {
				t.Fatal(err)
			}
			if s.Port != 80 || !s.Verify || s.Inner.Name != "inner" || s.Maybe != nil || s.Strict != nil ||
				!reflect.DeepEqual(s.Colors, []color{"red", "green"}) || s.Header != "authorization:bearer" ||
				!reflect.DeepEqual(s.Scopes, []string{"openid"}) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// Kong fills defaults in and leaves null out, so that an absent parameter was
// null; where null means none, it must not come back as the default.
func TestAbsentFromKongWasNull(t *testing.T) {
	s, _, err := decodeSample(t, `{"issuer":"i"}`, FromKong)
	if err != nil {
		t.Fatal(err)
	}
	if s.Header != "" || s.Scopes != nil {
		t.Errorf("header %q, scopes %v; want none", s.Header, s.Scopes)
	}
	if !s.Verify || s.Port != 80 || len(s.Colors) != 2 {
		t.Errorf("a parameter whose null means nothing lost its default: %+v", s)
	}
	s, _, err = decodeSample(t, `{"issuer":"i","header":null,"scopes":null}`, FromUser)
	if err != nil || s.Header != "" || s.Scopes != nil {
		t.Errorf("null written by a person: header %q, scopes %v, error %v; want none", s.Header, s.Scopes, err)
	}
	s, _, err = decodeSample(t, `{"issuer":"i","scopes":[]}`, FromKong)
	if err != nil || s.Scopes == nil || len(s.Scopes) != 0 {
		t.Errorf("the empty list became %#v (%v)", s.Scopes, err)
	}
}

func TestDecodeNumbers(t *testing.T) {
	for text, want := range map[string]float64{"3": 3, "3.0": 3, "1e2": 100, "1e+20": 1e20, "0.25": 0.25, "-5": -5} {
		s, _, err := decodeSample(t, `{"issuer":"i","leeway":`+text+`}`, FromKong)
		if err != nil || s.Leeway != want {
			t.Errorf("leeway %s = %v, %v", text, s.Leeway, err)
		}
	}
	for text, want := range map[string]Port{"3": 3, "3.0": 3, "1e2": 100, "6.5535e4": 65535} {
		s, _, err := decodeSample(t, `{"issuer":"i","port":`+text+`}`, FromKong)
		if err != nil || s.Port != want {
			t.Errorf("port %s = %v, %v", text, s.Port, err)
		}
	}
}

func TestDecodeRecordsAndLists(t *testing.T) {
	s, _, err := decodeSample(t, `{"issuer":"i","nodes":[{},{"port":1,"key":"k"}],"paths":[["a","b"],["c"]],
		"maybe":{"need":"x"},"strict":false,"count":10,"labels":{"a":"b"},"secrets":["p","q"]}`, FromKong)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Nodes) != 2 || s.Nodes[0] != (node{Host: "127.0.0.1", Port: 6379}) || s.Nodes[1].Key.Reveal() != "k" {
		t.Errorf("nodes %+v", s.Nodes)
	}
	if !reflect.DeepEqual(s.Paths, [][]string{{"a", "b"}, {"c"}}) || s.Maybe == nil || !s.Maybe.Extra ||
		s.Strict == nil || *s.Strict || *s.Count != 10 || s.Labels["a"] != "b" || s.Secrets[1].Reveal() != "q" {
		t.Errorf("got %+v", s)
	}
	s, _, err = decodeSample(t, `{"issuer":"i","paths":{},"secrets":{},"labels":[]}`, FromKong)
	if err != nil || len(s.Paths)+len(s.Secrets)+len(s.Labels) != 0 {
		t.Errorf("an empty list written as {}: %+v, %v", s, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"missing":            {`{}`, `issuer: is required and missing`},
		"null required":      {`{"issuer":null}`, `issuer: is required and missing`},
		"wrong type":         {`{"issuer":5}`, `issuer: is a number, expected is a text`},
		"empty text":         {`{"issuer":""}`, `issuer: is the empty text`},
		"text for number":    {`{"issuer":"i","leeway":"hunter2"}`, `leeway: is a text of 7 characters, expected is a number`},
		"fraction":           {`{"issuer":"i","port":1.5}`, `port: is a number with a fraction, expected is an integer between 0 and 65535`},
		"out of range":       {`{"issuer":"i","port":65536}`, `port: is out of range`},
		"too large":          {`{"issuer":"i","count":1e+20}`, `count: is too large for an integer`},
		"infinite":           {`{"issuer":"i","leeway":1e999}`, `leeway: is a number out of range`},
		"text for boolean":   {`{"issuer":"i","verify":"true"}`, `verify: is a text of 4 characters, expected is true or false`},
		"not in list":        {`{"issuer":"i","colors":["rad"]}`, `colors[1]: is another text, expected is one of red, green; did you mean red?`},
		"null in list":       {`{"issuer":"i","scopes":["a",null]}`, `scopes[2]: is null, expected is a text`},
		"text for list":      {`{"issuer":"i","scopes":"openid"}`, `scopes: is a text of 6 characters, expected is a list`},
		"record for list":    {`{"issuer":"i","scopes":{"a":"b"}}`, `scopes: is a record, expected is a list`},
		"list for record":    {`{"issuer":"i","inner":[1]}`, `inner: is a list, expected is a record`},
		"too short":          {`{"issuer":"i","nodes":[]}`, `nodes: has 0 elements, at least 1 are expected`},
		"in a list's record": {`{"issuer":"i","nodes":[{"port":-1}]}`, `nodes[1].port: is out of range`},
		"needed member":      {`{"issuer":"i","maybe":{}}`, `maybe.need: is required and missing`},
		"no URL":             {`{"issuer":"i","target":"ftp://x"}`, `target: does not begin with http:// or https://`},
		"URL without host":   {`{"issuer":"i","target":"https://"}`, `target: has no host`},
		"no UUID":            {`{"issuer":"i","id":"12"}`, `id: is not a UUID`},
		"unknown":            {`{"issuer":"i","isuer":"x"}`, `unknown field "isuer"; did you mean issuer?`},
		"unknown in record":  {`{"issuer":"i","inner":{"x":1}}`, `inner: unknown field "x"`},
		"refused":            {`{"issuer":"i","old_key":"x"}`, `old_key: is not accepted any more; old_key was removed: use password`},
		"reference":          {`{"issuer":"i","header":"{vault://env/x}"}`, `header: is a reference to a vault, which this parameter does not take`},
		"no JSON":            {`{"issuer":`, `this is not JSON`},
		"two values":         {`{"issuer":"i"} 1`, `one JSON value is expected`},
		"twice":              {`{"issuer":"i","issuer":"j"}`, `the key "issuer" is there twice`},
		"no record":          {`[1]`, `is a list, expected is a record`},
		"deep":               {strings.Repeat("[", 40) + strings.Repeat("]", 40), `too large or too deep`},
	} {
		t.Run(name, func(t *testing.T) {
			_, d, err := decodeSample(t, c.text, FromUser)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want it to say %q", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error repeats the value")
			}
			if len(d.Findings) == 0 || d.Findings[0].Line != 1 {
				if name != "no JSON" && name != "two values" && name != "twice" && name != "deep" {
					t.Errorf("the finding has no line: %+v", d.Findings)
				}
			}
		})
	}
}

func TestDecodeFindsManyFaults(t *testing.T) {
	_, d, err := decodeSample(t, `{"colors":["x","y"],"verify":1,"nope":1}`, FromUser)
	if err == nil || len(d.Findings) != 5 {
		t.Errorf("%d findings, want 5: %v", len(d.Findings), err)
	}
	many := `{"issuer":"i","scopes":[` + strings.Repeat("1,", 500) + `1]}`
	if _, d, _ = decodeSample(t, many, FromUser); len(d.Findings) != maxFindings {
		t.Errorf("%d findings, want %d", len(d.Findings), maxFindings)
	}
}

func TestReferences(t *testing.T) {
	const text = `{"issuer":"","password":"resolved","secrets":["plain","","last"],"inner":{"secret":"","$refs":{"secret":"{vault://env/c}"}},
		"nodes":[{"key":"k","$refs":{"key":"{vault://env/d}"}}],
		"$refs":{"issuer":"{vault://env/a}","password":"{vault://env/b}","secrets":[null,"{vault://env/e}"]}}`
	s, d, err := decodeSample(t, text, FromKong)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, r := range d.References {
		got[r.Path] = r.Resolved
	}
	want := map[string]bool{"issuer": false, "password": true, "secrets[2]": false, "inner.secret": false, "nodes[1].key": true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("references %v, want %v", got, want)
	}
	if s.Password.Reveal() != "resolved" || !s.Inner.Secret.IsZero() {
		t.Error("values beside references are wrong")
	}
	// A list with many holes comes as a map by number.
	_, d, err = decodeSample(t, `{"issuer":"i","secrets":["a","b"],"$refs":{"secrets":{"2":"{vault://env/e}"}}}`, FromKong)
	if err != nil || len(d.References) != 1 || d.References[0].Path != "secrets[2]" {
		t.Errorf("references %v, %v", d.References, err)
	}
	// One that Kong left as it is did not resolve, and is never a value.
	s, d, err = decodeSample(t, `{"issuer":"{vault://env/a}"}`, FromKong)
	if err != nil || s.Issuer != "" || len(d.References) != 1 || d.References[0].Resolved {
		t.Errorf("issuer %q, references %v, %v", s.Issuer, d.References, err)
	}
	// A value that is missing altogether beside its reference did not resolve either.
	for text, path := range map[string]string{
		`{"issuer":"i","$refs":{"password":"{vault://env/a}"}}`:                        "password",
		`{"issuer":"i","password":null,"$refs":{"password":"{vault://env/a}"}}`:        "password",
		`{"issuer":"i","$refs":{"secrets":[null,"{vault://env/a}"]}}`:                  "secrets[2]",
		`{"issuer":"i","secrets":["a"],"$refs":{"secrets":[null,"{vault://env/a}"]}}`:  "secrets[2]",
		`{"issuer":"i","secrets":["a"],"$refs":{"secrets":{"3":"{vault://env/a}"}}}`:   `secrets["3"]`,
		`{"issuer":"i","labels":{"a":"x"},"$refs":{"labels":{"b":"{vault://env/a}"}}}`: `labels["b"]`,
		`{"issuer":"i","inner":{"$refs":{"secret":"{vault://env/a}"}}}`:                "inner.secret",
		`{"$refs":{"issuer":"{vault://env/a}"}}`:                                       "issuer",
	} {
		_, d, _ := decodeSample(t, text, FromKong)
		if len(d.References) != 1 || d.References[0].Path != path || d.References[0].Resolved {
			t.Errorf("%s: references %v, want %s unresolved", text, d.References, path)
		}
	}
	// In a file it stands for itself; $refs is Kong's alone.
	s, _, err = decodeSample(t, `{"issuer":"{vault://env/a}"}`, FromUser)
	if err != nil || s.Issuer != "{vault://env/a}" {
		t.Errorf("issuer %q, %v", s.Issuer, err)
	}
	if _, _, err = decodeSample(t, `{"issuer":"i","$refs":{}}`, FromUser); err == nil {
		t.Error("$refs was taken from a person")
	}
}

func TestMeta(t *testing.T) {
	const text = `{"issuer":"i","__seq__":7,"__key__":"k","__ws_id":"w","__plugin_id":"p","route_id":"r","service_id":"s","__other":{"x":1}}`
	_, d, err := decodeSample(t, text, FromKong)
	want := Meta{Seq: "7", Key: "k", WorkspaceID: "w", PluginID: "p", RouteID: "r", ServiceID: "s"}
	if err != nil || d.Meta != want {
		t.Errorf("meta %+v, %v", d.Meta, err)
	}
	if _, _, err := decodeSample(t, text, FromUser); err == nil {
		t.Error("Kong's keys were taken from a person")
	}
}

func TestFold(t *testing.T) {
	r := sampleRecord(t)
	for name, c := range map[string]struct {
		s      sample
		want   Folded
		header string
	}{
		"absent":            {sample{basics: basics{Header: "x"}}, FoldAbsent, "x"},
		"new is default":    {sample{basics{Header: "authorization:bearer"}, rest{OldName: "o"}}, FoldMoved, "o"},
		"new differs":       {sample{basics{Header: "x"}, rest{OldName: "o"}}, FoldKept, "x"},
		"both say the same": {sample{basics{Header: "o"}, rest{OldName: "o"}}, FoldSame, "o"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.Fold(&c.s, "old_name", "header", nil); got != c.want || c.s.Header != c.header || c.s.OldName != "" {
				t.Errorf("%v, want %v; header %q, old %q", got, c.want, c.s.Header, c.s.OldName)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	r := sampleRecord(t)
	base, _, _ := decodeSample(t, `{"issuer":"i","secrets":["a","b"],"__seq__":1}`, FromKong)
	same, _, _ := decodeSample(t, `{"__seq__":2,"secrets":["a","b"],"issuer":"i","port":80.0}`, FromKong)
	if r.Digest(base) != r.Digest(&same) {
		t.Error("equal configurations have different digests")
	}
	for _, text := range []string{
		`{"issuer":"j","secrets":["a","b"]}`, `{"issuer":"i","secrets":["ab"]}`, `{"issuer":"i","secrets":["a","c"]}`,
		`{"issuer":"i","secrets":["a","b"],"strict":false}`, `{"issuer":"i","secrets":["a","b"],"maybe":{"need":"x"}}`,
		`{"issuer":"i","secrets":["a","b"],"scopes":[]}`, `{"issuer":"i","secrets":["a","b"],"labels":{"a":"b"}}`,
		`{"issuer":"i","secrets":["a","b"],"leeway":0.5}`, `{"issuer":"i","secrets":["a","b"],"nodes":[{}]}`,
	} {
		s, _, err := decodeSample(t, text, FromKong)
		if err != nil {
			t.Fatal(err)
		}
		if r.Digest(s) == r.Digest(base) {
			t.Errorf("%s has the digest of another configuration", text)
		}
	}
}

func TestDigestKeepsTextsApart(t *testing.T) {
	r := sampleRecord(t)
	a, _, _ := decodeSample(t, `{"issuer":"i","secrets":["ab","c"]}`, FromKong)
	b, _, _ := decodeSample(t, `{"issuer":"i","secrets":["a","bc"]}`, FromKong)
	if r.Digest(a) == r.Digest(b) {
		t.Error("two lists of secrets have one digest")
	}
}

func TestIsDefault(t *testing.T) {
	r := sampleRecord(t)
	s, _, _ := decodeSample(t, `{"issuer":"i","inner":{"name":"x"},"verify":false,"maybe":{"need":"n"}}`, FromUser)
	for path, want := range map[string]bool{
		"colors": true, "port": true, "scopes": true, "strict": true, "password": true, "maybe.extra": true,
		"verify": false, "inner": false, "inner.name": false, "inner.secret": true, "maybe": false, "issuer": false,
	} {
		if got := r.IsDefault(s, path); got != want {
			t.Errorf("IsDefault(%s) = %v", path, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := sampleRecord(f)
	for _, seed := range []string{
		`{"issuer":"i","nodes":[{"port":1e3}],"$refs":{"issuer":"{vault://env/a}","secrets":[null,1]}}`,
		`{"labels":{"a":1},"paths":[[[]]],"inner":{"$refs":[]},"__seq__":{}}`,
		`{"secrets":{},"maybe":[],"count":-1e400}`, `null`, `[]`, `"x"`, `{"":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, mode := range []Mode{FromKong, FromUser} {
			var s sample
			d, err := decodeJSON(r, data, &s, mode)
			if (err != nil) != (len(d.Findings.Errors()) > 0) {
				t.Fatalf("error %v, findings %v", err, d.Findings)
			}
			if err == nil && s.Issuer == "" && len(d.References) == 0 {
				t.Fatal("a required parameter is missing without an error")
			}
			r.Digest(s)
		}
	})
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"a: &x [1, 2]\nb: *x\n", "a: &x {b: 1}\nc: {<<: *x, d: off}\n", "- 1\n---\n- 2\n", "? [a]\n: b\n", "a: !!binary x\n", "&a [*a]\n",
	} {
		f.Add([]byte(seed))
	}
	r := sampleRecord(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := ParseYAML(data)
		if err != nil {
			return
		}
		for _, doc := range docs {
			var s sample
			_, _ = r.Decode(doc, &s, FromUser)
		}
	})
}
