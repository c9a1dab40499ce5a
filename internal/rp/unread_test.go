package rp

import (
	"context"
	"errors"
	"testing"
)

// unreadable is a gateway that cannot be asked for what a request lacks.
type unreadable struct {
	fakeGateway
	err error
}

func (g *unreadable) Fetch(context.Context, *Request, Needs) error { return g.err }

// A host that is none is the client's fault: 400 and no line among the errors,
// which a client could fill at will.
func TestWhoseFaultAnUnreadableRequestIs(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		reason Reason
	}{
		"the client's":  {&Error{Kind: Invalid, Description: "the forwarded host is not a host name", Reason: "bad_host"}, 400, "bad_host"},
		"the gateway's": {errors.New("the connection broke off"), 500, "gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Policy{RunOnPreflight: true, Methods: NewMethodSet(MethodAuthorizationCode), Code: CodePolicy{ResponseMode: ModeQuery}}
			r := NewRequest(&unreadable{err: c.err}, Header{}, ^NeedExternal) // which only the login asks for
			d := p.Decide(t.Context(), r)
			if d.Respond == nil || d.Respond.Status != c.status || d.Reason != c.reason {
				t.Errorf("%+v, reason %s; want %d, %s", d.Respond, d.Reason, c.status, c.reason)
			}
		})
	}
}
