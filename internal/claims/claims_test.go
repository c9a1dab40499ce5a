package claims

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func decode(t *testing.T, s string) Object {
	t.Helper()
	o, err := Decode([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDecode(t *testing.T) {
	for name, in := range map[string]string{
		"array": `[]`, "null": `null`, "text": `"x"`, "two objects": `{}{}`, "trailing text": `{} x`,
		"cut off": `{"a":`, "empty": ``, "too deep": strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
	} {
		if _, err := Decode([]byte(in)); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
	if o := decode(t, `{"n":12345678901234567890}`); o["n"] != json.Number("12345678901234567890") {
		t.Errorf("large number became %v", o["n"])
	}
}

func TestLookup(t *testing.T) {
	o := decode(t, `{"scope":"a b","https://x.y/roles":["r"],"realm":{"roles":["first","second",{"deep":7}]},"null":null,"a":{"b":null},"":"empty","1":"one","zero":0,"no":false}`)
	for _, c := range []struct {
		name string
		path Path
		want string // JSON; "" for absent
	}{
		{"top level", Path{"scope"}, `"a b"`},
		{"nested", Path{"realm", "roles"}, `["first","second",{"deep":7}]`},
		{"arrays start at 1", Path{"realm", "roles", "1"}, `"first"`},
		{"last element", Path{"realm", "roles", "3", "deep"}, `7`},
		{"index 0", Path{"realm", "roles", "0"}, ``},
		{"index beyond", Path{"realm", "roles", "4"}, ``},
		{"negative index", Path{"realm", "roles", "-1"}, ``},
		{"index with sign", Path{"realm", "roles", "+1"}, ``},
		{"huge index", Path{"realm", "roles", "99999999999999999999"}, ``},
		{"name in an array", Path{"realm", "roles", "first"}, ``},
		{"dots are not split", Path{"https://x.y/roles"}, `["r"]`},
		{"dotted path is one name", Path{"realm.roles"}, ``},
		{"null is absent", Path{"null"}, ``},
		{"nested null is absent", Path{"a", "b"}, ``},
		{"through a string", Path{"scope", "1"}, ``},
		{"empty name", Path{""}, `"empty"`},
		{"number names a member of an object", Path{"1"}, `"one"`},
		{"zero is present", Path{"zero"}, `0`},
		{"false is present", Path{"no"}, `false`},
		{"missing", Path{"none"}, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, ok := Lookup(o, c.path)
			if ok != (c.want != "") {
				t.Fatalf("present: %v", ok)
			}
			if got, _ := json.Marshal(v); ok && string(got) != c.want {
				t.Errorf("got %s", got)
			}
		})
	}
	if _, ok := Lookup(nil, Path{"a"}); ok {
		t.Error("found something in nothing")
	}
}

func TestWords(t *testing.T) {
	o := decode(t, `{"s":" a  b ","a":["a b","c",1,true,null,{"x":1}],"n":1e3,"i":12345678901234567890,"b":true,"o":{},"e":"","z":null}`)
	for name, want := range map[string][]string{
		"s": {"a", "b"}, "a": {"a b", "c", "1", "true"}, "n": {"1e3"}, "i": {"12345678901234567890"}, "b": {"true"}, "o": nil, "e": {}, "z": nil,
	} {
		if got := Words(o[name]); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestRequired(t *testing.T) {
	words := func(s string) []string { return strings.Fields(s) }
	for _, c := range []struct {
		name     string
		required []string
		have     []string
		want     bool
	}{
		{"nothing required", nil, nil, true},
		{"empty element is ignored", []string{"", "  "}, nil, true},
		{"empty element beside another", []string{"", "a"}, words("b"), false},
		{"one of two", []string{"openid", "email"}, words("email"), true},
		{"none of two", []string{"openid", "email"}, words("profile"), false},
		{"all words: both", []string{"employee marketing", "super-admins"}, words("marketing employee"), true},
		{"all words: one", []string{"employee marketing", "super-admins"}, words("employee"), false},
		{"all words: the alternative", []string{"employee marketing", "super-admins"}, words("super-admins"), true},
		{"case matters", []string{"A"}, words("a"), false},
		{"prefix is no match", []string{"adm"}, words("admin"), false},
		{"array element with a space is whole", []string{"a b"}, []string{"a b"}, false},
		{"nothing there", []string{"a"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := CompileRequired(c.required).Match(c.have); got != c.want {
				t.Errorf("match: %v", got)
			}
		})
	}
}

func TestText(t *testing.T) {
	o := decode(t, `{"s":"a, b","n":1.50,"t":true,"a":["x","y z"],"e":[],"m":["x",1],"o":{"a":"<&>"},"d":[["x"]],"z":null}`)
	for name, want := range map[string]string{
		"s": "a, b", "n": "1.50", "t": "true", "a": "x, y z", "e": "", "m": "WyJ4IiwxXQ==", "o": "eyJhIjoiPCY+In0=", "d": "W1sieCJdXQ==",
	} {
		if got, ok := Text(o[name]); !ok || got != want {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	if _, ok := Text(o["z"]); ok {
		t.Error("null has a text")
	}
}

// Case 6: dates of every shape.
func TestTime(t *testing.T) {
	for _, c := range []struct {
		name string
		in   any
		want int64 // -1 for an error
	}{
		{"number", json.Number("1700000000"), 1700000000},
		{"string", "1700000000", 1700000000},
		{"fraction is cut off", json.Number("1700000000.999"), 1700000000},
		{"exponent", json.Number("1.7e9"), 1700000000},
		{"float", 1700000000.5, 1700000000},
		{"zero", json.Number("0"), 0},
		{"end of 9999", json.Number("253402300799"), 253402300799},
		{"after 9999", json.Number("253402300800"), -1},
		{"1e300", json.Number("1e300"), -1},
		{"1e999", json.Number("1e999"), -1},
		{"int64 overflow", json.Number("9223372036854775808"), -1},
		{"negative", json.Number("-1"), -1},
		{"negative fraction", json.Number("-0.5"), -1},
		{"NaN", math.NaN(), -1},
		{"infinite", math.Inf(1), -1},
		{"text NaN", "NaN", -1},
		{"text Inf", "inf", -1},
		{"hexadecimal", "0x10", -1},
		{"underscores", "1_000", -1},
		{"empty", "", -1},
		{"spaces", " 1700000000 ", -1},
		{"word", "never", -1},
		{"object", map[string]any{}, -1},
		{"array", []any{json.Number("1")}, -1},
		{"bool", true, -1},
		{"null", nil, -1},
		{"long", strings.Repeat("0", 1000), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Time(c.in)
			if c.want < 0 {
				if !errors.Is(err, ErrNotDate) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil || got.Unix() != c.want {
				t.Errorf("got %v, %v", got.Unix(), err)
			}
		})
	}
}

// Case 5: the boundary itself is valid.
func TestTimeBoundaries(t *testing.T) {
	at := time.Unix(1700000000, 0)
	for _, leeway := range []time.Duration{0, 30 * time.Second} {
		if Expired(at, at.Add(leeway), leeway) {
			t.Error("expired at exactly exp plus leeway")
		}
		if !Expired(at, at.Add(leeway+1), leeway) {
			t.Error("alive after exp plus leeway")
		}
		if Future(at, at.Add(-leeway), leeway) {
			t.Error("not yet valid at exactly nbf minus leeway")
		}
		if !Future(at, at.Add(-leeway-1), leeway) {
			t.Error("valid before nbf minus leeway")
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"a":{"b":[1,"x",null]},"exp":1e300}`, "a", "1")
	f.Add(`{"exp":"-5"}`, "exp", "")
	f.Fuzz(func(t *testing.T, doc, a, b string) {
		o, err := Decode([]byte(doc))
		if err != nil {
			return
		}
		for _, p := range []Path{{a}, {a, b}, {a, b, a}, {}} {
			v, ok := Lookup(o, p)
			if ok != (v != nil) {
				t.Fatal("presence and value disagree")
			}
			Text(v)
			CompileRequired(Words(v)).Match(Words(v))
			if at, err := Time(v); err == nil && (at.Unix() < 0 || at.Unix() > maxDate) {
				t.Fatalf("date out of range: %v", at)
			}
		}
	})
}
