package plugin

import (
	"errors"
	"fmt"
	"testing"

	"kong-openid-connect/internal/rp"
)

func TestOutcome(t *testing.T) {
	respond := func(status int) *rp.Response { return &rp.Response{Status: status} }
	denied := func(kind rp.Kind, status int) *rp.Decision {
		return &rp.Decision{Respond: respond(status), Err: fmt.Errorf("denied: %w", &rp.Error{Kind: kind})}
	}
	for _, c := range []struct {
		name string
		d    *rp.Decision
		want string
	}{
		{"let through", &rp.Decision{}, "allowed"},
		{"as somebody", &rp.Decision{Authenticate: &rp.Principal{}}, "allowed"},
		{"as the anonymous consumer", &rp.Decision{Authenticate: &rp.Principal{Anonymous: true}}, "anonymous"},
		{"sent to the provider", &rp.Decision{Respond: respond(302)}, "redirected"},
		{"answered, as at a logout", &rp.Decision{Respond: respond(200)}, "answered"},
		{"401", denied(rp.Unauthorized, 401), "unauthorized"},
		{"401 by a redirect", denied(rp.Unauthorized, 302), "unauthorized"},
		{"403", denied(rp.Forbidden, 403), "forbidden"},
		{"400", denied(rp.Invalid, 400), "invalid"},
		{"503", denied(rp.Unavailable, 503), "unavailable"},
		{"500", denied(rp.Unexpected, 500), "error"},
		{"an error of nobody's", &rp.Decision{Respond: respond(500), Err: errors.New("x")}, "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := outcome(c.d); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
