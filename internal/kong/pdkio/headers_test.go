package pdkio

import (
	"fmt"
	"slices"
	"testing"

	"github.com/Kong/go-pdk/bridge"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"kong-openid-connect/internal/kong/hosttest"
)

func TestHeadersOfOtherTypes(t *testing.T) {
	s, _ := structpb.NewStruct(map[string]any{"n": 1.5, "b": true, "null": nil, "mixed": []any{"a", 2.0}, "none": []any{}})
	frame, _ := proto.Marshal(s)
	h, err := headers(frame)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"n": {"1.5"}, "b": {"true"}, "null": {""}, "mixed": {"a", "2"}, "none": {}} {
		if !slices.Equal(h[name], want) {
			t.Errorf("%s is %q, want %q", name, h[name], want)
		}
	}
	for name, v := range map[string]any{"map": map[string]any{"a": "b"}, "list in a list": []any{[]any{"a"}}} {
		s, _ := structpb.NewStruct(map[string]any{"x": v})
		frame, _ := proto.Marshal(s)
		if h, err := headers(frame); err == nil {
			t.Errorf("%s: %q", name, h)
		}
	}
}

func TestRepeatedEntriesOfAName(t *testing.T) {
	one := hosttest.Headers(map[string][]string{"a": {"1"}})
	two := hosttest.Headers(map[string][]string{"a": {"2", "3"}})
	h, err := headers(append(one, two...))
	if err != nil || !slices.Equal(h["a"], []string{"1", "2", "3"}) {
		t.Errorf("%q, %v", h, err)
	}
}

// Kong cuts the list at mostHeaders without a word.
func TestListsThatMayBeCutAreRefused(t *testing.T) {
	for n, want := range map[int]error{mostHeaders - 1: nil, mostHeaders: errManyHeaders} {
		if _, err := headers(hosttest.Headers(map[string][]string{"a": make([]string, n)})); err != want {
			t.Errorf("%d lines: %v", n, err)
		}
	}
}

// FuzzHeaders holds the decoder against the stock one wherever that works.
func FuzzHeaders(f *testing.F) {
	f.Add(hosttest.Headers(map[string][]string{"a": {"1"}, "b": {"2", "3"}, "c": {"\xff"}}))
	f.Add([]byte{0x0a, 0x00})
	f.Add([]byte{0x0a, 0x07, 0x0a, 0x01, 'a', 0x12, 0x02, 0x1a, 0x00})
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := headers(frame[:len(frame):len(frame)])
		if err != nil {
			return
		}
		size := 0
		for name, values := range h {
			size += len(name)
			for _, v := range values {
				size += len(v)
			}
		}
		if size > 32*len(frame)+32 {
			t.Fatalf("%d bytes of headers from %d", size, len(frame))
		}
		s := &structpb.Struct{}
		if proto.Unmarshal(frame, s) != nil {
			return
		}
		for name, values := range bridge.UnwrapHeaders(s) {
			if ours, ok := h[name]; !ok || len(values) == 1 && values[0] != "" && !slices.Contains(ours, values[0]) {
				t.Fatalf("%q is %q, the stock decoder says %q", name, ours, values)
			}
		}
	})
}

// FuzzTarget splits what a client may send as its target.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a?b#c", "//evil", "?x", "*", "", "/a#?b", "/%", "/%2", "/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query := splitTarget(target)
		if path == "" || path[0] != '/' {
			t.Fatalf("path %q", path)
		}
		for _, s := range []string{escapePath(path), escapeQuery(query)} {
			for i := range len(s) {
				if c := s[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '"' || c == '<' || c == '>' {
					t.Fatalf("%q holds %q", s, c)
				}
			}
		}
		if e := escapePath(path); escapePath(e) != e {
			t.Fatalf("%q is escaped twice", e)
		}
	})
}

// FuzzExternal holds that nothing but a host, a port and a scheme comes out.
func FuzzExternal(f *testing.F) {
	f.Add("https", "a.example", 443)
	f.Add("http", "a@b", 80)
	f.Add("HTTPS,http", "[::1]", 1)
	f.Fuzz(func(t *testing.T, scheme, host string, port int) {
		e, err := external(scheme, host, port, "/")
		if err != nil {
			return
		}
		if (e.Scheme != "http" && e.Scheme != "https") || e.Port < 1 || e.Port > 65535 {
			t.Fatalf("%+v", e)
		}
		for _, c := range e.Host {
			if c <= ' ' || c >= 0x7f || c == '/' || c == '@' || c == '?' || c == '#' || c == '\\' || c == '%' {
				t.Fatalf("host %q", e.Host)
			}
		}
	})
}

func BenchmarkHeaders(b *testing.B) {
	h := map[string][]string{}
	for i := range 15 {
		h[fmt.Sprint("x-header-", i)] = []string{"some value of a usual length"}
	}
	frame := hosttest.Headers(h)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := headers(frame[:len(frame):len(frame)]); err != nil {
			b.Fatal(err)
		}
	}
}
