package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestLuaPatterns(t *testing.T) {
	for _, c := range []struct {
		s, p string
		want bool
	}{
		{"abc", "b", true}, {"abc", "^b", false}, {"abc", "c$", true}, {"a$b", "$b", true}, {"", "^$", true}, {"x", "^$", false},
		{"https://x", "^https?://", true}, {"httpss://x", "^https?://", false}, {"a1_", "^[%w_]+$", true}, {"a1-", "^[%w_]+$", false}, {"a-b", "^[%w%-]+$", true},
		{"[x]", "%[.-%]", true}, {"f(a(b))c", "^f%b()c$", true}, {"THE (quick) fox", "%f[%a]%a+%f[%A]", true}, {"aa", "^(a)%1$", true}, {"ab", "^(a)%1$", false},
		{"]", "^[]]$", true}, {"a", "^[^]]$", true}, {"", "a*", true}, {"", "a+", false}, {"aaa", "^a-$", true}, {"é", "^[%w]+$", false}, {"a.b", "^%w+%.%w+$", true},
		{"ABC", "^%u+$", true}, {"ABc", "^%u+$", false}, {" \t", "^%s+$", true}, {"x", "[", false}, {"x", "%", false},
		{strings.Repeat("a", 5000), strings.Repeat("a-", 30) + "b", false},
	} {
		if got := luaMatch(c.s, c.p); got != c.want {
			t.Errorf("%.20q matches %.40q: %v, want %v", c.s, c.p, got, c.want)
		}
	}
}

func TestValidators(t *testing.T) {
	s, err := Parse([]byte(`{"fields":[
		{"text":{"type":"string"}}, {"free":{"type":"string","len_min":0}}, {"short":{"type":"string","len_max":3}}, {"four":{"type":"string","len_eq":4}},
		{"port":{"type":"integer","between":[0,65535]}}, {"pos":{"type":"number","gt":0}}, {"kind":{"type":"string","one_of":["a","b"]}}, {"not":{"type":"string","not_one_of":["x"]}},
		{"url":{"type":"string","match":"^https?://","referenceable":true}}, {"own":{"type":"string","starts_with":"/","err":"must be a path"}}, {"id":{"type":"string","uuid":true}},
		{"on":{"type":"boolean"}}, {"list":{"type":"array","elements":{"type":"integer"},"len_min":1}}, {"set":{"type":"set","elements":{"type":"string"},"contains":"must"}},
		{"map":{"type":"map","keys":{"type":"string","match":"^%l+$"},"values":{"type":"number"}}}, {"rec":{"type":"record","fields":[{"a":{"type":"string","required":true}},{"b":{"type":"integer","default":7}}],"required":false}},
		{"never":{"type":"string","eq":null}}, {"any":{"type":"json","json_schema":{}}}, {"all":{"type":"string","match_all":[{"pattern":"%d","err":"needs a digit"}]}}, {"some":{"type":"string","match_any":{"patterns":["^a","^b"],"err":"a or b"}}},
		{"ref":{"type":"foreign","reference":"consumers"}}
	],"entity_checks":[{"mutually_exclusive":["short","four"]},{"distinct":["kind","not"]},{"at_least_one_of":["text","free","short","four","port","pos","kind","not","url","own","id","on","list","set","map","rec","never","all","some","ref","any"]},
		{"conditional_at_least_one_of":{"if_field":"kind","if_match":{"eq":"a","required":true},"then_at_least_one_of":["text","free"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"text":"x"}`: "", `{"text":""}`: "text: length must be at least 1", `{"free":"","text":"x"}`: "", `{"short":"abcd"}`: "short: length must be at most 3", `{"four":"x"}`: "four: length must be 4",
		`{"port":-1}`: "port: value should be between 0 and 65535", `{"port":1.5}`: "port: expected an integer", `{"pos":0}`: "pos: value must be greater than 0", `{"kind":"c"}`: "kind: expected one of: a, b",
		`{"not":"x"}`: "not: must not be one of: x", `{"url":"ftp://x"}`: "url: invalid value: ftp://x", `{"url":"{vault://env/x}"}`: "", `{"own":"x"}`: "own: must be a path", `{"id":"x"}`: "id: expected a valid UUID",
		`{"on":"true"}`: "on: expected a boolean", `{"list":[]}`: "list: length must be at least 1", `{"list":[1,"x",2]}`: "list.2: expected an integer", `{"list":{}}`: "list: length must be at least 1", `{"list":"x"}`: "list: expected an array",
		`{"set":["x"]}`: "set: expected to contain: must", `{"map":{"A":1}}`: "map: invalid value: A", `{"map":{"a":"x"}}`: "map.a: expected a number", `{"rec":{}}`: "rec.a: required field missing", `{"rec":{"a":"x"}}`: "",
		`{"never":"x"}`: "never: value must be null", `{"all":"x"}`: "all: needs a digit", `{"some":"c"}`: "some: a or b", `{"ref":"x"}`: "ref: value for foreign field must be a table with the key of the other entity",
		`{"nope":1,"text":"x"}`: "nope: unknown field", `{}`: "at least one of these fields must be non-empty", `{"short":"a","four":"abcd"}`: "only one or none of these fields must be set: 'short', 'four'",
		`{"kind":"b","not":"b"}`: "values of these fields must be distinct: 'kind', 'not'", `{"kind":"a"}`: "at least one of these fields must be non-empty: 'text', 'free'", `{"kind":"a","text":"x"}`: "", `{"any":[1]}`: "",
	} {
		var v map[string]any
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(Flatten(s.Validate(s.Fill(v))), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	// A field that is wrong leaves these checks out, and not the others: an empty text counts as none.
	for in, want := range map[string]int{`{"short":"abcd","four":"abcd"}`: 1, `{"text":""}`: 2} {
		var v map[string]any
		if err := json.Unmarshal([]byte(in), &v); err != nil {
			t.Fatal(err)
		}
		if got := Flatten(s.Validate(s.Fill(v))); len(got) != want {
			t.Errorf("%s: %q, want %d errors", in, got, want)
		}
	}
	if v := s.Fill(map[string]any{"rec": map[string]any{"a": "x"}}); v["rec"].(map[string]any)["b"] != 7.0 {
		t.Error("no default within a record")
	}
}

func TestSchemasThatKongRefuses(t *testing.T) {
	for field, want := range map[string]string{
		`{"a":{}}`: "a.type: required field missing", `{"a":{"type":"any"}}`: "a.type: expected one of", `{"a":{"type":"string","description":"short"}}`: "length must be at least 10",
		`{"a":{"type":"string","description":"` + strings.Repeat("x", 501) + `"}}`: "length must be at most 500", `{"a":{"type":"string","func":"x"}}`: "a.func: unknown field",
		`{"a":{"type":"string","default":1}}`: "a.default: expected a string", `{"a":{"type":"array"}}`: "must declare 'elements'", `{"a":{"type":"map","keys":{"type":"string"}}}`: "must declare 'values'",
		`{"a":{"type":"record"}}`: "a.fields: required field missing", `{"a":{"type":"string","elements":{"type":"string"}}}`: "cannot have attribute 'elements'", `{"a":{"type":"foreign"}}`: "must declare 'reference'",
		`{"a":{"type":"string","required":"yes"}}`: "a.required: expected a boolean", `{"a":{"type":"string","one_of":"x"}}`: "one_of: expected a array", `{"a":{"type":"string","deprecation":{"message":"x"}}}`: "deprecation",
		`{"a":{"type":"array","elements":{"type":"record","fields":[{"b":{"type":"any"}}]}}}`: "a.elements.b.type", `{"a":1}`: "a: expected a record", `{"a":{"type":"string"}},{"a":{"type":"string"}}`: "declared twice",
		`{"a":{"type":"string","default":"c","one_of":["a"]}}`: "a.default: expected one of: a",
	} {
		if _, err := Parse([]byte(`{"fields":[` + field + `]}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", field, err, want)
		}
	}
	for rest, want := range map[string]string{
		`"entity_checks":[{"nope":[]}]`: "unknown entity check", `"entity_checks":[{"distinct":["b"]}]`: `field "b" is not declared`, `"shorthand_fields":[]`: "shorthand_fields: unknown field",
		`"entity_checks":{}`: "expected an array", `"entity_checks":[{"custom_entity_check":{}}]`: "unknown entity check",
	} {
		if _, err := Parse([]byte(`{"fields":[{"a":{"type":"string"}}],` + rest + `}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rest, err, want)
		}
	}
}

func FuzzValidate(f *testing.F) {
	f.Add([]byte(`{"fields":[{"a":{"type":"array","elements":{"type":"string","match":"^%w-$"}}}]}`), []byte(`{"a":["x",null]}`))
	f.Fuzz(func(t *testing.T, raw, value []byte) {
		s, err := Parse(raw)
		var v map[string]any
		if err != nil || json.Unmarshal(value, &v) != nil {
			return
		}
		Flatten(s.Validate(s.Fill(v)))
	})
}
