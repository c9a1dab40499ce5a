package op

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// Case 65: the other key sets are read beside the primary one, in goroutines
// where no request could recover from a panic.
func TestCase65PanicWhileAnotherKeySetIsRead(t *testing.T) {
	own, foreign := newKey(t, "own"), newKey(t, "foreign")
	i, other := newIDP(t, own), newIDP(t, foreign)
	extra := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer extra.Close()
	var panics atomic.Int32
	k := newClock()
	r := NewRegistry(Environment{Now: k.Now, Log: slog.New(slog.DiscardHandler), Observe: func(_ string, status int, _ time.Duration) {
		if status == http.StatusTeapot {
			panics.Add(1)
			panic("secret")
		}
	}})
	c := config(i.URL)
	c.ExtraJWKSURIs = []string{extra.URL}
	p, err := r.Provider(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t.Context(), p, own.sign(t, map[string]any{"iss": i.URL})); err != nil {
		t.Errorf("the provider's own keys do not serve: %v", err)
	}
	token := foreign.sign(t, map[string]any{"iss": other.URL})
	if err := verify(t.Context(), p, token, i.URL, other.URL); err == nil {
		t.Error("a token passed whose keys could not be read")
	}
	if panics.Load() == 0 {
		t.Fatal("nothing panicked")
	}
}
