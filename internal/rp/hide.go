package rp

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// hide removes the credential that authenticated this request, where
// hide_credentials says so (behaviour.md 11.3), and always the cookies of
// pending logins, which are nobody else's.
func (x *Exchange) hide(ctx context.Context, d *Decision, id *Identity) error {
	p, c := x.Policy, x.used
	var hidden func(string) bool
	if p.HideCredentials && c != nil {
		switch {
		case c.Method == MethodSession:
			hidden = p.Sessions.Owns
		case c.Place == PlaceCookie:
			hidden = func(n string) bool { return n == c.Name }
		case c.Place == PlaceHeader:
			x.clearHeader(d, c.Name)
		case c.Place == PlaceQuery:
			q := dropArgs(x.Request.RawQuery, c.args())
			d.Request.RawQuery = &q
		case c.Place == PlaceBody:
			if err := x.hideInBody(ctx, d, c.args()); err != nil {
				return err
			}
		}
	}
	if hidden != nil || p.Logins != nil {
		x.editCookies(d, hidden)
	}
	return nil
}

// clearHeader clears a header unless it is set anyway.
func (x *Exchange) clearHeader(d *Decision, name string) {
	for _, f := range d.Upstream.Set {
		if strings.EqualFold(f.Name, name) {
			return
		}
	}
	d.Upstream.Clear = append(d.Upstream.Clear, name)
}

func (x *Exchange) hideInBody(ctx context.Context, d *Decision, names []string) error {
	if err := x.Request.parseForm(ctx); err != nil {
		return err
	}
	var body []byte
	switch f := x.Request.form; f.kind {
	case formURLEncoded:
		raw, err := x.Request.Gateway.Body(ctx, MaxBody)
		if err != nil {
			return err
		}
		body = []byte(dropArgs(string(raw), names))
	case formJSON:
		o := make(map[string]any, len(f.object))
		for k, v := range f.object {
			if !slices.Contains(names, k) {
				o[k] = v
			}
		}
		b, err := json.Marshal(o)
		if err != nil {
			return err
		}
		body = b
	default:
		return nil
	}
	d.Request.Body = &body
	return nil
}

// dropArgs removes the named arguments from a query or form and leaves the
// rest as it was written.
func dropArgs(s string, names []string) string {
	var out []string
	for pair := range strings.SplitSeq(s, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(key); err == nil && slices.Contains(names, k) {
			continue
		}
		out = append(out, pair)
	}
	return strings.Join(out, "&")
}

// editCookies rewrites the Cookie header without the hidden cookies and
// without those of pending logins.
func (x *Exchange) editCookies(d *Decision, hidden func(string) bool) {
	drop := false
	var keep []string
	eachCookiePair(x.Request.Header, func(name, pair string) {
		if hidden != nil && hidden(name) || x.Policy.Logins != nil && x.Policy.Logins.Owns(name) {
			drop = true
			return
		}
		keep = append(keep, pair)
	})
	if !drop {
		return
	}
	if len(keep) == 0 {
		d.Upstream.Clear = append(d.Upstream.Clear, "cookie")
		return
	}
	d.Upstream.Set = append(d.Upstream.Set, Field{"Cookie", strings.Join(keep, "; ")})
}

// eachCookiePair calls f for every cookie of the request, in order (RFC 6265
// 4.2.1), with the pair as it was sent.
func eachCookiePair(h Header, f func(name, pair string)) {
	for _, line := range h["cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			pair = strings.Trim(pair, " \t")
			if pair == "" {
				continue
			}
			name, _, _ := strings.Cut(pair, "=")
			f(name, pair)
		}
	}
}
