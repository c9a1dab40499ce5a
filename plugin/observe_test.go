package plugin

import (
	"errors"
	"fmt"
	"testing"
	"time"

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
			if got := outcomeOf(c.d).String(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// tallied counts what an Observer is asked for and told.
type tallied struct {
	asked, told map[string]int
	silent
}

// silent is an Observer that listens to nothing.
type silent struct{}

func (silent) Request(string, string) func(time.Duration) { return func(time.Duration) {} }
func (silent) Denied(string)                              {}
func (silent) Event(string)                               {}
func (silent) Session(string) func()                      { return func() {} }
func (silent) SessionRefused(string)                      {}

func (t tallied) Request(method, outcome string) func(time.Duration) {
	t.asked[method+" "+outcome]++
	return func(time.Duration) { t.told[method+" "+outcome]++ }
}

func TestRequestCountsAreResolvedOnce(t *testing.T) {
	o := tallied{asked: map[string]int{}, told: map[string]int{}}
	c := &requestCounts{observer: o}
	methods := []rp.Method{""}
	for _, m := range Method("").OneOf() {
		methods = append(methods, rp.Method(m))
	}
	for range 3 {
		for _, m := range methods {
			for k := range outcomes {
				c.decided(m, k, time.Millisecond)
			}
		}
	}
	for _, m := range methods {
		for k := range outcomes {
			if name := string(m) + " " + k.String(); o.asked[name] != 1 || o.told[name] != 3 {
				t.Errorf("%q: asked %d times, told %d times, want 1 and 3", name, o.asked[name], o.told[name])
			}
		}
	}
	c = &requestCounts{observer: silent{}}
	if n := testing.AllocsPerRun(100, func() { c.decided(rp.MethodAuthorizationCode, redirected, time.Millisecond) }); n != 0 {
		t.Errorf("counting allocates %v times", n)
	}
}
