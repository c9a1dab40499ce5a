package rp

import (
	"context"
	"slices"
	"strings"
)

// deny is the one place that turns an error into a decision (behaviour.md 15).
func (x *Exchange) deny(ctx context.Context, err error) *Decision {
	e := errorOf(err)
	status, message, redirect := x.denial(e)
	gone := x.destroyDenied(ctx, e)
	cookies := append(x.cookies, gone...)
	if redirect != "" {
		r := x.redirect(redirect, cookies, e.Reason)
		r.Err = err
		return r
	}
	d := &Decision{Reason: e.Reason, Err: err}
	x.errorAnswer(d, status, message, e.Description)
	d.Downstream.Set = append(d.Downstream.Set, e.Fields...)
	if c := x.challenge(e, status); c != "" {
		d.Downstream.Set = append(d.Downstream.Set, Field{"WWW-Authenticate", c})
	}
	if e.Kind == Unavailable {
		d.Downstream.Set = append(d.Downstream.Set, Field{"Retry-After", retryAfter})
	}
	d.setCookies(cookies)
	return d
}

// retryAfter is when a client may try again after 503, in seconds: a part that is
// away is looked for more often.
const retryAfter = "5"

// errorAnswer fills in the body in the type that the client asks for. The
// description is shown with display_errors only.
func (x *Exchange) errorAnswer(d *Decision, status int, message, description string) {
	shown := ""
	if x.Policy.Errors.Display {
		shown = detail(description)
	}
	h := x.headerFields()
	if isGRPC(h) {
		d.Respond = &Response{Status: status, Body: grpcMessage(message, shown)}
		d.Downstream.Set = []Field{{"Cache-Control", "no-store"}}
		return
	}
	t := errorType(h)
	d.Respond = &Response{Status: status, Body: errorBody(t, message, shown)}
	d.Downstream.Set = []Field{{"Content-Type", t}, {"Cache-Control", "no-store"}}
}

// headerFields are those of the request; none where it could not be read.
func (x *Exchange) headerFields() Header {
	if x.Request == nil {
		return nil
	}
	return x.Request.Header
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
	wanted := e.Kind == Unauthorized && p.Errors.DestroyUnauthorized || e.Kind == Forbidden && p.Errors.DestroyForbidden
	if x.presented == nil || !wanted {
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
	// Pieces that this very answer would have set are not among those that the browser has.
	x.cookies = slices.DeleteFunc(x.cookies, func(c string) bool { return p.Sessions.Owns(cookieName(c)) })
	return cookies
}

// challenge is the WWW-Authenticate value (RFC 6750 3, behaviour.md 15.3): one
// value, as Kong keeps the last of a list only.
func (x *Exchange) challenge(e *Error, status int) string {
	p := x.Policy
	shown := e.Code != "" && p.Errors.ExposeCode
	if status != 401 && !(shown && (status == 403 || status == 400)) {
		return ""
	}
	realm := p.Realm
	if realm == "" {
		realm = "kong"
	}
	scheme, algorithms := "Bearer", ""
	if p.Possession != nil {
		if algorithms = p.Possession.Algorithms(); algorithms != "" && (e.DPoP || p.Possession.Required()) {
			scheme = "DPoP"
		}
	}
	var b strings.Builder
	param := func(name, value string) {
		if b.Len() > 0 {
			b.WriteString(", ")
		} else {
			b.WriteString(scheme + " ")
		}
		b.WriteString(name + "=" + quoted(value))
	}
	param("realm", realm)
	if p.Resource.MetadataURL != "" {
		param("resource_metadata", p.Resource.MetadataURL)
	}
	if shown {
		param("error", e.Code)
		if e.Code == "insufficient_scope" && p.Claims.Scope != "" {
			param("scope", p.Claims.Scope)
		}
		if e.Code == insufficientAuthentication {
			p.StepUp.challenge(param)
		}
		if p.Errors.Display && e.Description != "" {
			param("error_description", detail(e.Description))
		}
	}
	switch {
	case scheme == "DPoP":
		param("algs", algorithms)
	case algorithms != "":
		// Either scheme would do.
		b.WriteString(", DPoP algs=" + quoted(algorithms))
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

// Unusable is the decision of a configuration that did not compile: 500,
// whatever the request.
func Unusable(r *Request, err error) *Decision {
	x := &Exchange{Policy: &Policy{}, Request: r}
	return x.deny(context.Background(), &Error{Description: "the plugin's configuration cannot be used", Reason: "configuration", Err: err})
}
