package gateway

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"kong-openid-connect/internal/sandbox/gateway/schema"
)

func TestFormatG(t *testing.T) {
	for _, c := range []struct {
		v      float64
		digits int
		want   string
	}{
		{3, 14, "3"}, {0.1, 16, "0.1"}, {1e20, 16, "1e+20"}, {1234567890123500, 16, "1234567890123500"}, {1e15, 14, "1e+15"}, {-5, 14, "-5"},
		{0, 14, "0"}, {1.5, 14, "1.5"}, {0.00001, 14, "1e-05"}, {0.0001, 14, "0.0001"}, {2147483648, 14, "2147483648"}, {1.0 / 3, 14, "0.33333333333333"}, {1e100, 14, "1e+100"},
	} {
		if got := formatG(c.v, c.digits); got != c.want {
			t.Errorf("%v in %d digits: %s, want %s", c.v, c.digits, got, c.want)
		}
	}
}

func TestCJSONIsJSON(t *testing.T) {
	in := map[string]any{"a/b": "c\"\\\n\x01\x7f/é", "l": []any{nil, 1.0, true}, "e": []any{}, "m": map[string]any{}, "unset": nil}
	text := cjson(in)
	if want := `{"a\/b":"c\"\\\n\u0001\u007f\/é","e":[],"l":[null,1,true],"m":{}}`; text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Error(err)
	}
}

func TestPaths(t *testing.T) {
	for in, want := range map[string]string{
		"/a/./b//c/../d": "/a/b/d", "/%7Euser": "/~user", "/%2f%2F": "/%2F%2F", "/a/..": "/", "/a/.": "/a/", "/a/": "/a/", "//": "/", "/../../x": "/x",
		"/%2e%2e/x": "/x", "/a/%2e%2e/x": "/x", "/%": "/%", "/%zz": "/%zz", "/%e2%9c%93": "/✓", "/a%20b": "/a b", "/": "/",
	} {
		if got := normalizePath(in); got != want {
			t.Errorf("normalizePath(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"/a b/é%2F?#\x00": "/a%20b/%C3%A9%2F?#%00", "/~x'()": "/~x'()"} {
		if got := escapePath(in); got != want {
			t.Errorf("escapePath(%q) = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"/..", "/a/../../b", "/%", "/%g0", "/%00"} {
		if got, err := nginxURI(in); err == nil {
			t.Errorf("nginxURI(%q) = %q, want an error", in, got)
		}
	}
}

func TestQueryArgs(t *testing.T) {
	got := queryArgs("a=1&&=x&b&a=2&c=%zz+%41&d=", 100)
	want := map[string]any{"a": []any{"1", "2"}, "b": true, "c": "%zz A", "d": ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestVaultReferences(t *testing.T) {
	s, err := schema.Parse([]byte(`{"fields":[{"a":{"type":"string","referenceable":true}},{"b":{"type":"string"}},
		{"m":{"type":"map","keys":{"type":"string"},"values":{"type":"string","referenceable":true}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"MY_JSON": `{"k":"v","n":1}`, "MY_NAME": "x", "APP_MY_NAME": "y"}
	getenv := func(n string) string { return env[n] }
	for ref, want := range map[string]string{
		"{vault://env/my-name}": "x", "{vault://env/my-json/k}": "v", "{vault://env/my-json/n}": "1", "{vault://env/my-json/none}": "", "{vault://env/my-name/k}": "",
		"{vault://env/my-name?prefix=app_}": "y", "{vault://aws/my-name}": "",
	} {
		warned := false
		out := resolveVault(s, map[string]any{"a": ref, "b": ref, "m": map[string]any{"k": ref}}, getenv, func(string) { warned = true })
		if out["a"] != want || out["b"] != ref || warned != (want == "") {
			t.Errorf("%s: a %q, b %q, warned %v", ref, out["a"], out["b"], warned)
		}
		if refs := out["$refs"].(map[string]any); refs["a"] != ref || refs["b"] != nil || out["m"].(map[string]any)["k"] != want {
			t.Errorf("%s: $refs %v, m %v", ref, refs, out["m"])
		}
	}
}

func TestPrecedenceOfPlugins(t *testing.T) {
	conf := func(name, route, service, consumer string) *pluginConf {
		return &pluginConf{id: name, route: route, service: service, consumer: consumer, enabled: true}
	}
	all := []*pluginConf{conf("global", "", "", ""), conf("service", "", "s", ""), conf("route", "r", "", ""), conf("consumer", "", "", "c"), conf("both", "r", "s", ""), conf("route+consumer", "r", "", "c")}
	for _, c := range []struct{ route, service, consumer, want string }{
		{"r", "s", "c", "route+consumer"}, {"r", "s", "", "both"}, {"r", "x", "", "route"}, {"x", "s", "", "service"}, {"x", "s", "c", "consumer"}, {"x", "x", "", "global"}, {"x", "", "", "global"},
	} {
		if got := (&pluginSet{confs: all}).pick(c.route, c.service, c.consumer); got.id != c.want {
			t.Errorf("route %s, service %s, consumer %s: %s, want %s", c.route, c.service, c.consumer, got.id, c.want)
		}
	}
}

func TestTrustedAddress(t *testing.T) {
	g := &Gateway{opts: Options{RealIPHeader: "X-Real-IP"}}
	if g.isTrusted("127.0.0.1") || g.isTrusted("") {
		t.Error("someone is trusted without trusted addresses")
	}
}

func FuzzPaths(f *testing.F) {
	f.Add("/a/%2e%2e//b")
	f.Fuzz(func(t *testing.T, p string) {
		p = "/" + p
		n := normalizePath(p)
		if !strings.HasPrefix(n, "/") || strings.Contains(n, "/../") || strings.HasSuffix(n, "/..") {
			t.Errorf("%q became %q", p, n)
		}
		if e := escapePath(n); strings.ContainsAny(e, " \r\n\x00") {
			t.Errorf("%q is written as %q", p, e)
		}
		queryArgs(p, 10)
		_, _ = nginxURI(p)
	})
}
