package rp

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"strings"
)

// fragmentArg brings the fragment of a page to the gateway, to which browsers
// do not send it (preserve_fragment).
const fragmentArg = "openid_fragment"

// maxFragment bounds the fragment that is kept in a pending login.
const maxFragment = 1 << 10

// fragmentScript comes back to the same page with its fragment as an argument.
// It is constant: the policy of the page names it by its hash.
const fragmentScript = `var u=location.href.split("#")[0];location.replace(u+(u.indexOf("?")<0?"?":"&")+"` + fragmentArg + `="+encodeURIComponent(location.hash.slice(1)))`

// fragmentPage answers a navigation that is to log in with a page that asks
// for its fragment; nil where that is not wanted or is known already.
func (x *Exchange) fragmentPage(ctx context.Context) (*Decision, error) {
	if !x.Policy.Code.Fragment || x.Request.Method != "GET" || !isNavigation(x.Request.Header) {
		return nil, nil
	}
	if _, ok, err := x.Request.Query(ctx, fragmentArg); ok || err != nil {
		return nil, err
	}
	here, err := x.url(ctx)
	if err != nil {
		return nil, err
	}
	again := here + "?"
	if q := x.Request.RawQuery; q != "" {
		again += safeQuery(q) + "&"
	}
	again += fragmentArg + "="
	hash := sha256.Sum256([]byte(fragmentScript))
	d := &Decision{Respond: &Response{Status: 200}, Reason: "login_fragment"}
	d.Respond.Body = []byte("<!doctype html>\n<html><head><meta charset=\"utf-8\"><title>Login</title>\n<script>" + fragmentScript +
		"</script>\n<noscript><meta http-equiv=\"refresh\" content=\"0;url=" + html.EscapeString(again) + "\"></noscript></head>\n<body></body></html>\n")
	d.Downstream.Set = []Field{
		{"Content-Type", contentHTML}, {"Cache-Control", "no-store"}, {"Referrer-Policy", "no-referrer"}, {"X-Content-Type-Options", "nosniff"},
		{"Content-Security-Policy", "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	}
	d.setCookies(x.cookies)
	return d, nil
}

// takeFragment takes the argument of fragmentPage out of a query and returns
// the fragment that it stands for.
func (p *Policy) takeFragment(query string) (rest, fragment string) {
	if !p.Code.Fragment {
		return query, ""
	}
	args := parseArgs(query)
	if _, ok := args[fragmentArg]; !ok {
		return query, ""
	}
	if f := args.Get(fragmentArg); len(f) <= maxFragment {
		fragment = safeQuery(f) // RFC 3986 3.5: the characters of a query
	}
	return dropArgs(query, []string{fragmentArg}), fragment
}

// withoutFragment cuts the fragment off a URL.
func withoutFragment(u string) string {
	u, _, _ = strings.Cut(u, "#")
	return u
}
