package op

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTraceContextGoesOnToTheProvider(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct{ name, parent, state, wantParent, wantState string }{
		{"both", good, "congo=t61rcWkgMzE", good, "congo=t61rcWkgMzE"},
		{"parent alone", good, "", good, ""},
		{"none", "", "congo=1", "", ""},
		{"upper case", strings.ToUpper(good), "", "", ""},
		{"another version", "01" + good[2:], "", "", ""},
		{"trace id zero", "00-" + strings.Repeat("0", 32) + good[35:], "", "", ""},
		{"parent id zero", good[:36] + strings.Repeat("0", 16) + good[52:], "", "", ""},
		{"too long", good + "-00", "", "", ""},
		{"too short", good[:54], "", "", ""},
		{"a line break", good[:54] + "\n", "", "", ""},
		{"state with a line break", good, "a=b\r\nX-Evil: 1", good, ""},
		{"state too long", good, strings.Repeat("a", 513), good, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got http.Header
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header }))
			defer s.Close()
			cl, err := newClient(HTTP{}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.close()
			if _, err := cl.do(WithTrace(t.Context(), NewTrace(c.parent, c.state)), call{name: "test", method: "GET", url: s.URL}); err != nil {
				t.Fatal(err)
			}
			if p, st := got.Get("Traceparent"), got.Get("Tracestate"); p != c.wantParent || st != c.wantState {
				t.Errorf("traceparent %q, tracestate %q, want %q, %q", p, st, c.wantParent, c.wantState)
			}
		})
	}
}

func FuzzTrace(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	f.Fuzz(func(t *testing.T, parent, state string) {
		h := http.Header{}
		NewTrace(parent, state).set(h)
		for _, v := range []string{h.Get("Traceparent"), h.Get("Tracestate")} {
			if strings.ContainsAny(v, "\r\n\x00") {
				t.Errorf("%q", v)
			}
		}
	})
}
