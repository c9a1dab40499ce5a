package rp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// ProviderLogoutPolicy says on which paths the provider tells that a login has
// ended; "" = off.
type ProviderLogoutPolicy struct {
	BackChannel  string // suffix of the path (OpenID Connect Back-Channel Logout 1.0)
	FrontChannel string // suffix of the path (OpenID Connect Front-Channel Logout 1.0)
}

func (l *ProviderLogoutPolicy) enabled() bool { return l.BackChannel != "" || l.FrontChannel != "" }

// providerLogout answers what the provider, or a frame of its page, sends at a
// logout; nil where the request is something else. Whatever else is sent to
// these paths ends here too.
func (x *Exchange) providerLogout(ctx context.Context) *Decision {
	l := &x.Policy.ProviderLogout
	if !l.enabled() {
		return nil
	}
	switch path := normalPath(x.Request.Path); {
	case l.BackChannel != "" && strings.HasSuffix(path, l.BackChannel):
		return x.backChannelLogout(ctx)
	case l.FrontChannel != "" && strings.HasSuffix(path, l.FrontChannel):
		return x.frontChannelLogout(ctx)
	}
	return nil
}

// backChannelLogout takes a logout token (Back-Channel Logout 1.0 sections 2.5 to 2.8).
func (x *Exchange) backChannelLogout(ctx context.Context) *Decision {
	err := x.endByToken(ctx)
	d := &Decision{Respond: &Response{Status: 200}, Reason: "backchannel_logout", Err: err}
	d.Downstream.Set = []Field{{"Cache-Control", "no-store"}}
	if err == nil {
		return d
	}
	e := errorOf(err)
	d.Reason = e.Reason
	d.Respond.Status = 400 // also where the logout failed for want of a store (2.8)
	if e.Status != 0 {
		d.Respond.Status = e.Status
		d.Downstream.Set = append(d.Downstream.Set, e.Fields...)
	}
	body := map[string]string{"error": "invalid_request"}
	if e.Kind == Unexpected || e.Kind == Unavailable {
		body["error"] = "temporarily_unavailable"
	}
	if x.Policy.Errors.Display {
		body["error_description"] = detail(e.Description)
	}
	d.Respond.Body, _ = json.Marshal(body)
	d.Downstream.Set = append(d.Downstream.Set, Field{"Content-Type", contentJSON})
	return d
}

func (x *Exchange) endByToken(ctx context.Context) error {
	if x.Request.Method != "POST" {
		return &Error{Kind: Invalid, Status: 405, Description: "a logout token is sent by POST", Reason: "logout_method", Fields: []Field{{"Allow", "POST"}}}
	}
	raw, err := x.Request.formValue(ctx, "logout_token")
	if err != nil {
		return unread(err)
	}
	if raw == "" {
		return &Error{Kind: Invalid, Description: "the form has not one logout_token", Reason: "logout_token_missing"}
	}
	l, err := x.Policy.Provider.VerifyLogoutToken(ctx, token.Opaque(raw))
	if err != nil {
		return asError(err)
	}
	if err := x.Policy.Sessions.EndLogin(ctx, l); err != nil {
		return asError(err)
	}
	x.Client = x.Policy.clientIndex(l.ClientID)
	x.record(EventLogout, "", l.Subject, nil)
	return nil
}

// frontChannelLogout ends the session of the browser that shows the frame
// (Front-Channel Logout 1.0 section 2). Without the session's cookie, which
// browsers keep from frames of other sites unless it has SameSite=None, nothing
// is known of it, and nobody else's session ends.
func (x *Exchange) frontChannelLogout(ctx context.Context) *Decision {
	err := x.endByFrame(ctx)
	d := &Decision{Respond: &Response{Status: 200}, Reason: "frontchannel_logout", Err: err}
	d.Downstream.Set = []Field{
		{"Content-Type", contentHTML}, {"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy", "default-src 'none'; frame-ancestors " + x.framers(ctx)},
	}
	d.setCookies(x.cookies)
	title := "Logged out"
	if err != nil {
		e := errorOf(err)
		d.Respond.Status, title, _ = x.denial(e)
		d.Reason = e.Reason
		d.Downstream.Set = append(d.Downstream.Set, e.Fields...)
	}
	d.Respond.Body = fmt.Appendf(nil, "<!doctype html><title>%s</title>", title)
	return d
}

func (x *Exchange) endByFrame(ctx context.Context) error {
	p := x.Policy
	if x.Request.Method != "GET" {
		return &Error{Kind: Invalid, Status: 405, Description: "a frame is loaded by GET", Reason: "logout_method", Fields: []Field{{"Allow", "GET"}}}
	}
	q, err := x.Request.queryValues(ctx)
	if err != nil {
		return unread(err)
	}
	iss, sid := q["iss"], q["sid"]
	if len(iss) != len(sid) || len(iss) > 1 || len(iss) == 1 && (iss[0] == "" || sid[0] == "") {
		return &Error{Kind: Invalid, Description: "iss and sid come together, once, or not at all", Reason: "logout_arguments"}
	}
	if _, err := (sessionMethod{}).find(ctx, x); err != nil {
		return err
	}
	s := x.presented
	if s == nil {
		return nil
	}
	if len(iss) == 1 && (sid[0] != s.Tokens.SID || !claims.SameIssuer(iss[0], s.Tokens.Issuer)) {
		return &Error{Kind: Invalid, Description: "iss and sid are not those of the browser's session", Reason: "logout_other_session"}
	}
	b, err := x.writer(ctx)
	if err != nil {
		return err
	}
	cookies, err := p.Sessions.Destroy(ctx, b, s)
	x.cookies = append(x.cookies, cookies...)
	x.presented = nil
	if err != nil {
		return asError(err)
	}
	x.Client = s.Tokens.Client
	x.record(EventLogout, s.Tokens.Method, s.Subject, s)
	return nil
}

// framers are the origins of the provider's pages, for frame-ancestors (CSP
// Level 3 section 6.4.2).
func (x *Exchange) framers(ctx context.Context) string {
	pages := []string{x.Policy.Issuer}
	if md, err := x.Policy.Provider.Metadata(ctx); err == nil {
		pages = append(pages, md.Issuer, md.EndSessionEndpoint, md.AuthorizationEndpoint)
	}
	var origins []string
	for _, page := range pages {
		u, err := url.Parse(page)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || !validHost(u.Hostname()) {
			continue
		}
		if o := u.Scheme + "://" + u.Host; !slices.Contains(origins, o) {
			origins = append(origins, o)
		}
	}
	if len(origins) == 0 {
		return "'none'"
	}
	return strings.Join(origins, " ")
}
