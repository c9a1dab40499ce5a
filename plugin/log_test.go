package plugin_test

import (
	"log/slog"
	"strings"
	"testing"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/plugin"
)

// A provider without an introspection endpoint is an ordinary one, and the
// default switches the method on: what is to be said of that is not said for
// each of a thousand requests a second, and it says of which configuration.
func TestAWarningThatEachRequestRepeats(t *testing.T) {
	var log strings.Builder
	env := newWorld(t, &decisionCase{}).environment()
	env.Log = slog.New(slog.NewTextHandler(&log, nil))
	i := plugin.New(env).Start(t.Context(), []byte(`{"issuer":"https://idp.example.com","using_pseudo_issuer":true,"auth_methods":["introspection"],"client_id":["a"]}`))
	log.Reset()
	for range 3 {
		r := rp.NewRequest(nil, rp.Header{"authorization": {"Bearer opaque"}}, ^rp.Needs(0))
		if d := i.Access(t.Context(), r); d.Respond == nil || d.Respond.Status != 401 {
			t.Fatalf("decision = %+v", d)
		}
	}
	const warning = "method introspection has no endpoint"
	if n := strings.Count(log.String(), warning); n != 1 {
		t.Errorf("%q is written %d times, want once:\n%s", warning, n, &log)
	}
	if !strings.Contains(log.String(), "issuer=https://idp.example.com") {
		t.Errorf("no line names the issuer:\n%s", &log)
	}
}
