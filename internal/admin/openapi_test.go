package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type node = map[string]any

// document is docs/openapi.yaml.
type document struct{ root node }

func openapi(t *testing.T) document {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(b, &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// resolve follows $ref.
func (d document) resolve(t *testing.T, v any) node {
	t.Helper()
	n, _ := v.(node)
	ref, ok := n["$ref"].(string)
	if !ok {
		return n
	}
	var at any = d.root
	for _, p := range strings.Split(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.(node)[p]
	}
	if at == nil {
		t.Fatalf("%s leads nowhere", ref)
	}
	return d.resolve(t, at)
}

// fits reports how a value differs from a schema, in the words that the document uses.
func (d document) fits(t *testing.T, where string, schema node, v any) {
	t.Helper()
	schema = d.resolve(t, schema)
	var types []string
	switch s := schema["type"].(type) {
	case string:
		types = []string{s}
	case []any:
		for _, e := range s {
			types = append(types, fmt.Sprint(e))
		}
	}
	got := map[bool]string{true: "null"}[v == nil]
	switch x := v.(type) {
	case string:
		got = "string"
	case float64:
		got = "integer"
		if x != float64(int64(x)) {
			got = "number"
		}
	case []any:
		got = "array"
		for i, e := range x {
			d.fits(t, fmt.Sprintf("%s[%d]", where, i), schema["items"].(node), e)
		}
	case node:
		got = "object"
		properties, _ := schema["properties"].(node)
		for name, e := range x {
			if s, ok := properties[name]; ok {
				d.fits(t, where+"."+name, s.(node), e)
			} else if s, ok := schema["additionalProperties"].(node); ok {
				d.fits(t, where+"."+name, s, e)
			} else if schema["additionalProperties"] == false {
				t.Errorf("%s.%s is not in the document", where, name)
			}
		}
		required, _ := schema["required"].([]any)
		for _, r := range required {
			if _, ok := x[r.(string)]; !ok {
				t.Errorf("%s.%s is missing", where, r)
			}
		}
	}
	if !slices.Contains(types, got) {
		t.Errorf("%s is %s, the document says %v", where, got, types)
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		t.Errorf("%s is %v, the document says %v", where, v, enum)
	}
}

// TestOpenAPI walks every path and method of the document, and beside it every
// endpoint of the handler: neither knows one that the other does not.
func TestOpenAPI(t *testing.T) {
	d := openapi(t)
	paths := d.root["paths"].(node)
	documented := map[string][]string{}
	for path, item := range paths {
		for method := range item.(node) {
			if method == "parameters" {
				continue
			}
			documented[path] = append(documented[path], strings.ToUpper(method))
			for _, state := range []struct {
				name string
				err  error
				ref  string // what stands for {issuer}, {kid} and {id}; "" for one that is there
			}{
				{"there", nil, ""},
				{"not there", nil, "none"},
				{"unavailable", ErrUnavailable, ""},
				{"broken", errors.New("x"), ""},
				{"bad size", nil, ""},
				{"read only", ErrReadOnly, ""},
			} {
				isKeys := strings.Contains(path, "jwks")
				if (path == "/openid-connect/health" || path == "/openid-connect/metrics") && state.name != "there" ||
					state.name == "not there" && !strings.Contains(path, "{") ||
					state.name == "bad size" && (method != "get" || isKeys || strings.Contains(path, "{")) ||
					state.name == "read only" && (method != "delete" || !isKeys) {
					continue
				}
				issuer, kid, id := url.PathEscape(issX), url.PathEscape(kidA), sessionA
				if state.ref != "" {
					issuer, kid, id = state.ref, state.ref, state.ref
				}
				target := strings.NewReplacer("{issuer}", issuer, "{kid}", kid, "{id}", id).Replace(path) + "?"
				if strings.HasSuffix(path, "/sessions") {
					target += "issuer=" + url.QueryEscape(issX) + "&subject=alex&"
				}
				if state.name == "bad size" {
					target += "size=x"
				}
				where := strings.ToUpper(method) + " " + path + ", " + state.name
				f := newFake()
				f.err = state.err
				w := do(f.handler(), strings.ToUpper(method), target)
				responses := item.(node)[method].(node)["responses"].(node)
				r, ok := responses[fmt.Sprint(w.Code)]
				if !ok {
					t.Errorf("%s: %d is not in the document", where, w.Code)
					continue
				}
				content, _ := d.resolve(t, r)["content"].(node)
				if content == nil {
					if w.Body.Len() != 0 {
						t.Errorf("%s: %d has a body", where, w.Code)
					}
					continue
				}
				contentType, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
				c, ok := content[contentType].(node)
				if !ok {
					t.Errorf("%s: %s is not in the document", where, contentType)
					continue
				}
				if contentType != "application/json" && contentType != "application/jwk-set+json" {
					continue
				}
				var body any
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
					t.Fatal(err)
				}
				d.fits(t, where, c["schema"].(node), body)
			}
		}
	}
	h := newFake().handler()
	for _, name := range []string{"discovery-cache", "issuers", "jwks", "sessions", "health", "metrics"} {
		for ref, path := range map[string]string{"": "", "x": "/{issuer}"} {
			if name == "jwks" && ref != "" {
				path = "/{kid}"
			}
			if name == "sessions" && ref != "" {
				path = "/{id}"
			}
			path = "/openid-connect/" + name + path
			var methods []string
			for m := range h.endpoint(name, target{ref: ref}) {
				methods = append(methods, m)
			}
			slices.Sort(methods)
			slices.Sort(documented[path])
			if !slices.Equal(methods, documented[path]) {
				t.Errorf("%s has %v, the document %v", path, methods, documented[path])
			}
			delete(documented, path)
		}
	}
	if len(documented) > 0 {
		t.Errorf("the document has %v, which do not exist", documented)
	}
}
