package op

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestEveryCallIsObserved(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		status int
	}{
		{"answered", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 404},
		{"too large an answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxBody+1)) }, 0},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("x"))
			panic(http.ErrAbortHandler)
		}, 0},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			defer s.Close()
			cl, err := newClient(HTTP{}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.close()
			calls := 0
			cl.observe = func(name string, status int, _ time.Duration) {
				calls++
				if name != "test" || status != c.status {
					t.Errorf("%s, status %d, want %d", name, status, c.status)
				}
			}
			_, _ = cl.do(t.Context(), call{name: "test", method: "GET", url: s.URL})
			if calls != 1 {
				t.Errorf("%d calls were told of", calls)
			}
		})
	}
}
