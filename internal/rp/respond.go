package rp

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
)

const contentJSON = "application/json; charset=utf-8"

// redirect answers with 302.
func (x *Exchange) redirect(to string, cookies []string, reason Reason) *Decision {
	d := &Decision{Respond: &Response{Status: 302}, Reason: reason}
	d.Downstream.Set = []Field{{"Location", to}, {"Cache-Control", "no-store"}}
	for _, c := range cookies {
		d.Downstream.Add = append(d.Downstream.Add, Field{"Set-Cookie", c})
	}
	return d
}

// deny is the one place that turns an error into a decision (behaviour.md 15).
func (x *Exchange) deny(ctx context.Context, err error) *Decision {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Description: "unexpected error", Reason: "internal", Err: err}
	}
	p := x.Policy
	status, message, redirect := x.denial(e)
	cookies := append(x.cookies, x.destroyDenied(ctx, e)...)
	d := &Decision{Reason: e.Reason, Err: err}
	if redirect != "" {
		r := x.redirect(redirect, cookies, e.Reason)
		r.Err = err
		return r
	}
	body := map[string]string{"message": message}
	if p.Errors.Display && e.Description != "" {
		body["error"] = e.Description
	}
	text, _ := json.Marshal(body)
	d.Respond = &Response{Status: status, Body: text}
	d.Downstream.Set = []Field{{"Content-Type", contentJSON}, {"Cache-Control", "no-store"}}
	if c := x.challenge(e, status); c != "" {
		d.Downstream.Set = append(d.Downstream.Set, Field{"WWW-Authenticate", c})
	}
	if e.Kind == Unavailable {
		d.Downstream.Set = append(d.Downstream.Set, Field{"Retry-After", "5"})
	}
	for _, c := range cookies {
		d.Downstream.Add = append(d.Downstream.Add, Field{"Set-Cookie", c})
	}
	return d
}

func (x *Exchange) denial(e *Error) (status int, message, redirect string) {
	p := x.Policy
	c := p.client(x.Client)
	switch e.Kind {
	case Unauthorized:
		status, message, redirect = 401, p.Errors.UnauthorizedMessage, c.UnauthorizedURI
		if message == "" {
			message = "Unauthorized"
		}
	case Forbidden:
		status, message, redirect = 403, p.Errors.ForbiddenMessage, c.ForbiddenURI
		if message == "" {
			message = "Forbidden"
		}
	case Unavailable:
		status, message = 503, "Service unavailable"
	case Invalid:
		status, message = 400, "Bad request"
	default:
		status, message, redirect = 500, "An unexpected error occurred", c.UnexpectedURI
	}
	if e.Status != 0 {
		status = e.Status
	}
	return status, message, redirect
}

// destroyDenied ends the session that a denied request presented, where the
// configuration says so.
func (x *Exchange) destroyDenied(ctx context.Context, e *Error) []string {
	p := x.Policy
	if x.presented == nil || e.Kind == Unauthorized && !p.Errors.DestroyUnauthorized || e.Kind == Forbidden && !p.Errors.DestroyForbidden ||
		e.Kind != Unauthorized && e.Kind != Forbidden {
		return nil
	}
	b, err := x.writer(ctx)
	if err != nil {
		b = x.browser()
	}
	cookies, err := p.Sessions.Destroy(ctx, b, x.presented)
	if err != nil {
		p.warn(ctx, "the session of a denied request could not be ended", "error", err)
	}
	return cookies
}

// challenge is the WWW-Authenticate value (RFC 6750 3, behaviour.md 15.3).
func (x *Exchange) challenge(e *Error, status int) string {
	p := x.Policy
	if status != 401 && (status != 403 || e.Code == "" || !p.Errors.ExposeCode) {
		return ""
	}
	realm := p.Realm
	if realm == "" {
		realm = "kong"
	}
	var b strings.Builder
	b.WriteString(`Bearer realm=`)
	b.WriteString(quoted(realm))
	if e.Code != "" && p.Errors.ExposeCode {
		b.WriteString(`, error=`)
		b.WriteString(quoted(e.Code))
		if e.Code == "insufficient_scope" && p.Claims.Scope != "" {
			b.WriteString(`, scope=`)
			b.WriteString(quoted(p.Claims.Scope))
		}
		if p.Errors.Display && e.Description != "" {
			b.WriteString(`, error_description=`)
			b.WriteString(quoted(e.Description))
		}
	}
	return b.String()
}

// quoted writes a quoted-string of RFC 9110 5.6.4 out of printable ASCII.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\'')
		case c < ' ' || c > '~':
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
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

// passCallback sends the callback on as the GET that it stands for: without
// body and protocol arguments, the original query put back (U109).
func (x *Exchange) passCallback(d *Decision) {
	q := dropArgs(x.Request.RawQuery, protocolArgs)
	if x.Policy.Code.PreserveQuery {
		if _, original, ok := strings.Cut(x.login.ReturnTo, "?"); ok {
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
	listed := func(name string) bool {
		for _, t := range p.Login.Tokens {
			if t == name {
				return true
			}
		}
		return false
	}
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

// Unusable is the decision of a configuration that did not compile: 500,
// whatever the request.
func Unusable(err error) *Decision {
	x := &Exchange{Policy: &Policy{}}
	return x.deny(context.Background(), &Error{Description: "the plugin's configuration cannot be used", Reason: "configuration", Err: err})
}
