package rp

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// redirect answers with 302.
func (x *Exchange) redirect(to string, cookies []string, reason Reason) *Decision {
	d := &Decision{Respond: &Response{Status: 302}, Reason: reason}
	d.Downstream.Set = []Field{{"Location", to}, {"Cache-Control", "no-store"}}
	d.setCookies(cookies)
	return d
}

// loginAction carries out login_action for a request that has logged in
// (behaviour.md 13).
func (x *Exchange) loginAction(ctx context.Context, d *Decision, id *Identity) error {
	p := x.Policy
	switch p.Login.Action {
	case LoginRedirect:
		to := p.client(x.Client).LoginRedirectURI
		if to == "" && x.login != nil {
			to = x.login.ReturnTo
		}
		if to == "" {
			here, err := x.url(ctx)
			if err != nil {
				return err
			}
			to = here
			if q := x.ownQuery(); p.Code.PreserveQuery && q != "" {
				to += "?" + safeQuery(q)
			}
		}
		d.Respond = &Response{Status: 302}
		d.Downstream.Set = append(d.Downstream.Set, Field{"Location", p.withTokens(to, id)}, Field{"Cache-Control", "no-store"})
	case LoginResponse:
		body, err := json.Marshal(p.loginTokens(id))
		if err != nil {
			return err
		}
		d.Respond = &Response{Status: 200, Body: body}
		d.Downstream.Set = append(d.Downstream.Set, Field{"Content-Type", contentJSON}, Field{"Cache-Control", "no-store"})
	default:
		if x.login != nil {
			x.passCallback(d)
		}
	}
	return nil
}

// ownQuery is the request's query without the credential that it may hold.
func (x *Exchange) ownQuery() string {
	if c := x.used; c != nil && c.Place == PlaceQuery {
		return dropArgs(x.Request.RawQuery, c.args())
	}
	return x.Request.RawQuery
}

// passCallback sends the callback on as the GET that it stands for: without
// body and protocol arguments, the original query put back (U109).
func (x *Exchange) passCallback(d *Decision) {
	q := dropArgs(x.Request.RawQuery, protocolArgs)
	if x.Policy.Code.PreserveQuery {
		if _, original, ok := strings.Cut(withoutFragment(x.login.ReturnTo), "?"); ok {
			q = original
		}
	}
	d.Request.Method = "GET"
	d.Request.RawQuery = &q
	if x.Policy.Code.ResponseMode == ModeFormPost {
		var empty []byte
		d.Request.Body = &empty
		d.Upstream.Clear = append(d.Upstream.Clear, "content-type")
	}
}

func (p *Policy) loginTokens(id *Identity) map[string]any {
	listed := func(name string) bool { return slices.Contains(p.Login.Tokens, name) }
	if listed("tokens") && id.TokenResponse != nil {
		return id.TokenResponse
	}
	if listed("introspection") && id.Introspection != nil {
		return id.Introspection
	}
	out := map[string]any{}
	for name, v := range map[string]string{"id_token": id.IDToken.Reveal(), "access_token": id.AccessToken.Reveal(), "refresh_token": id.RefreshToken.Reveal()} {
		if v != "" && listed(name) {
			out[name] = v
		}
	}
	return out
}

// withTokens appends login_tokens to a redirect target.
func (p *Policy) withTokens(to string, id *Identity) string {
	tokens := p.loginTokens(id)
	if len(tokens) == 0 {
		return to
	}
	v := url.Values{}
	for k, t := range tokens {
		switch t := t.(type) {
		case string:
			v.Set(k, t)
		default:
			if b, err := json.Marshal(t); err == nil {
				v.Set(k, strings.Trim(string(b), `"`))
			}
		}
	}
	base, fragment, _ := strings.Cut(to, "#")
	if p.Login.Fragment {
		if fragment != "" {
			fragment += "&"
		}
		return base + "#" + fragment + v.Encode()
	}
	sep := "?"
	if strings.Contains(base, "?") {
		sep = "&"
	}
	to = base + sep + v.Encode()
	if fragment != "" {
		to += "#" + fragment
	}
	return to
}
