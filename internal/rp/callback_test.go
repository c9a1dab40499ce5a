package rp

import (
	"context"
	"strings"
	"testing"
	"time"

	"kong-openid-connect/internal/token"
)

// knownLogins holds one pending login, under state "good".
type knownLogins struct{ finished bool }

func (*knownLogins) Owns(name string) bool { return strings.HasPrefix(name, "authorization") }

func (*knownLogins) Begin(context.Context, Browser, Login) (string, []string, error) {
	return "fresh", []string{"authorization=x"}, nil
}

func (*knownLogins) Resume(_ context.Context, _ Browser, state string) (Login, LoginOutcome, error) {
	switch state {
	case "good":
		return Login{ID: "1", ReturnTo: "https://gw.example.com/page", RedirectURI: "https://gw.example.com/cb", Nonce: "n"}, LoginFound, nil
	case "stale":
		return Login{ReturnTo: "https://gw.example.com/page"}, LoginStale, nil
	}
	return Login{}, LoginForeign, nil
}

func (k *knownLogins) Finish(context.Context, Browser, string, string) ([]string, bool, error) {
	first := !k.finished
	k.finished = true
	return []string{"authorization=; Max-Age=0"}, first, nil
}

// redeemProvider counts the codes that were redeemed.
type redeemProvider struct {
	Provider
	redeemed int
}

func (*redeemProvider) Metadata(context.Context) (*Metadata, error) {
	return &Metadata{Issuer: "https://idp.example.com"}, nil
}
func (*redeemProvider) UsePKCE(context.Context) (bool, error) { return true, nil }
func (*redeemProvider) AuthorizationURL(_ context.Context, r AuthorizationRequest) (string, error) {
	return "https://idp.example.com/auth?state=" + r.State, nil
}
func (p *redeemProvider) RedeemCode(context.Context, int, token.Opaque, string, token.Opaque) (*TokenResponse, error) {
	p.redeemed++
	return nil, &Error{Kind: Unauthorized, Description: "no", Reason: "test"}
}

// FuzzCallback holds that whatever a callback carries, a code is redeemed only
// for a login of this browser, at most once, and nobody is let through or sent
// anywhere but to the provider or to a page of this origin.
func FuzzCallback(f *testing.F) {
	for _, q := range []string{"code=c&state=good", "code=c&state=stale", "code=c&state=other", "state=good&error=access_denied", "code=a&code=b&state=good",
		"code=c&state=good&iss=https://evil.example.com", "code=&state=good", "state=good&error=%3Cscript%3E", "%zz&code=c&state=good", "response=x.y.z"} {
		f.Add(q, false)
		f.Add(q, true)
	}
	f.Fuzz(func(t *testing.T, args string, post bool) {
		logins, provider := &knownLogins{}, &redeemProvider{}
		p := &Policy{
			Methods: NewMethodSet(MethodAuthorizationCode), RunOnPreflight: true, Code: CodePolicy{ResponseMode: ModeQuery, VerifyNonce: true, OpenID: true},
			Provider: provider, Logins: logins, Now: func() time.Time { return time.Unix(1e9, 0) }, Flight: &Flight{},
		}
		method, query, h := "GET", args, Header{"cookie": {"authorization=x"}}
		g := []byte(nil)
		if post {
			p.Code.ResponseMode = ModeFormPost
			method, query, g = "POST", "", []byte(args)
			h["content-type"] = []string{"application/x-www-form-urlencoded"}
		}
		for range 2 {
			r := newRequest(method, "/cb", query, h)
			r.Gateway.(*fakeGateway).body = g
			d := p.Decide(t.Context(), r)
			if d.Respond == nil {
				t.Fatalf("%q is let through", args)
			}
			for _, f := range d.Downstream.Set {
				if f.Name == "Location" && !strings.HasPrefix(f.Value, "https://idp.example.com/auth?") && f.Value != "https://gw.example.com/page" {
					t.Fatalf("%q leads to %q", args, f.Value)
				}
			}
		}
		if provider.redeemed > 1 || provider.redeemed == 1 && !logins.finished {
			t.Fatalf("%q redeems %d codes", args, provider.redeemed)
		}
	})
}
