package pdkio_test

import (
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/kong/pdkio"
	"kong-openid-connect/internal/rp"
)

// TestNotice holds that a line for Kong's error log goes out before the exit,
// bounded and as text, and only where there is one.
func TestNotice(t *testing.T) {
	for _, c := range []struct {
		name, notice string
		calls        []string
	}{
		{"none", "", []string{"kong.response.exit"}},
		{"a line", "openid-connect: the provider is away", []string{"kong.log.err", "kong.response.exit"}},
		{"bytes and length", "\xff\x00" + strings.Repeat("x", 100_000), []string{"kong.log.err", "kong.response.exit"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := hosttest.Request{}.Answers()
			a.Record = true
			o := host(t, a, func(x *pdkio.Exchange) {
				if err := x.Finish(&rp.Decision{Respond: &rp.Response{Status: 503}, Notice: c.notice}, ret); err != nil {
					t.Error(err)
				}
			})
			var methods []string
			for _, call := range o.Calls {
				methods = append(methods, call.Method)
				if len(call.Args) > 4000 {
					t.Errorf("%s has %d bytes", call.Method, len(call.Args))
				}
			}
			if !slices.Equal(methods, c.calls) {
				t.Errorf("calls %v, want %v", methods, c.calls)
			}
			if o.Exit == nil || o.Exit.Status != 503 {
				t.Errorf("outcome %+v", o)
			}
		})
	}
}
