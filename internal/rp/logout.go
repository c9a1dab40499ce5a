package rp

import (
	"context"
	"net/url"
	"path"
	"slices"
	"strings"

	"kong-openid-connect/internal/token"
)

// LogoutPolicy says which requests log out, and how (behaviour.md 14).
type LogoutPolicy struct {
	Methods                     []string // HTTP methods that may
	Suffix, QueryArg, PostArg   string   // triggers; "" = none
	RevokeAccess, RevokeRefresh bool
	All                         bool // every session of the subject ends
}

func (l *LogoutPolicy) enabled() bool { return l.Suffix != "" || l.QueryArg != "" || l.PostArg != "" }

// logout answers a request that logs out; nil when it is none.
func (x *Exchange) logout(ctx context.Context) (*Decision, error) {
	p, l := x.Policy, &x.Policy.Logout
	if !l.enabled() || !slices.Contains(l.Methods, x.Request.Method) {
		return nil, nil
	}
	wanted, err := x.logoutWanted(ctx)
	if !wanted || err != nil {
		return nil, err
	}
	var s *Session
	if p.Methods.Has(MethodSession) {
		if _, err := (sessionMethod{}).find(ctx, x); err != nil {
			return nil, err
		}
		s = x.presented
		b, err := x.writer(ctx)
		if err != nil {
			return nil, err
		}
		if l.All && s != nil && s.Subject != "" {
			// First: where this fails the session is still there to try again with.
			if err := p.Sessions.EndSubject(ctx, s.Tokens.Issuer, s.Subject); err != nil {
				return nil, asError(err)
			}
		}
		cookies, err := p.Sessions.Destroy(ctx, b, s)
		x.cookies = append(x.cookies, cookies...)
		x.presented = nil
		if err != nil {
			return nil, asError(err)
		}
	}
	idToken := token.Opaque("")
	if s != nil {
		x.record(EventLogout, s.Tokens.Method, s.Subject, s)
		x.Client, idToken = s.Tokens.Client, s.Tokens.IDToken
		x.revoke(ctx, s)
	}
	returnTo := p.client(x.Client).LogoutRedirectURI
	to, err := p.Provider.EndSessionURL(ctx, x.Client, idToken, returnTo)
	if err != nil {
		// The session has ended whatever the provider says.
		p.warn(ctx, "the provider's end session endpoint is not known; the logout is ours alone", "error", err)
	}
	if to == "" {
		to = returnTo
	}
	if to != "" {
		return x.redirect(to, x.cookies, "logout"), nil
	}
	d := &Decision{Respond: &Response{Status: 200, Body: []byte("{}")}, Reason: "logout"}
	d.Downstream.Set = []Field{{"Content-Type", contentJSON}, {"Cache-Control", "no-store"}}
	d.setCookies(x.cookies)
	return d, nil
}

func (x *Exchange) logoutWanted(ctx context.Context) (bool, error) {
	l := &x.Policy.Logout
	if l.Suffix != "" && strings.HasSuffix(normalPath(x.Request.Path), l.Suffix) {
		return true, nil
	}
	if l.QueryArg != "" {
		if _, ok, err := x.Request.Query(ctx, l.QueryArg); ok || err != nil {
			return ok, err
		}
	}
	if l.PostArg != "" {
		if _, ok, err := x.Request.BodyArg(ctx, l.PostArg); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// normalPath decodes a path and takes its dots out.
func normalPath(p string) string {
	if d, err := url.PathUnescape(p); err == nil {
		p = d
	}
	return path.Clean("/" + p)
}

// revoke withdraws the tokens of a session, each as what it is. The logout goes
// on without (U85).
func (x *Exchange) revoke(ctx context.Context, s *Session) {
	p := x.Policy
	for _, t := range []struct {
		wanted bool
		token  token.Opaque
		hint   string
	}{
		{p.Logout.RevokeAccess, s.Tokens.AccessToken, "access_token"},
		{p.Logout.RevokeRefresh, s.Tokens.RefreshToken, "refresh_token"},
	} {
		if !t.wanted || t.token == "" {
			continue
		}
		if err := p.Provider.Revoke(ctx, s.Tokens.Client, t.token, t.hint); err != nil {
			p.warn(ctx, "a token could not be revoked at logout", "token", t.hint, "error", err)
		}
	}
}
