package rp

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"kong-openid-connect/internal/claims"
)

func down(d *Decision, name string) (string, bool) {
	n, v := 0, ""
	for _, f := range append(d.Downstream.Set[:len(d.Downstream.Set):len(d.Downstream.Set)], d.Downstream.Add...) {
		if strings.EqualFold(f.Name, name) {
			n, v = n+1, f.Value
		}
	}
	return v, n == 1
}

func TestErrorTypeFollowsAccept(t *testing.T) {
	for _, c := range []struct{ name, accept, want string }{
		{"none", "", contentJSON},
		{"any", "*/*", contentJSON},
		{"json", "application/json", contentJSON},
		{"html", "text/html", contentHTML},
		{"case does not matter", "Text/HTML", contentHTML},
		{"a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", contentHTML},
		{"xml", "application/xml", contentXML},
		{"plain", "text/plain", contentPlain},
		{"any text", "text/*", contentPlain},
		{"any application", "application/*", contentJSON},
		{"quality decides", "text/html;q=0.1, application/xml;q=0.2", contentXML},
		{"first of equals", "text/plain, text/html", contentPlain},
		{"three digits", "text/html;q=0.998, text/plain;q=0.999", contentPlain},
		{"zero is never", "text/html;q=0", contentJSON},
		{"zero in full", "text/html;q=0.000, text/plain;q=0.001", contentPlain},
		{"q after parameters", "text/html;level=1;Q=0.1, text/plain;q=0.2", contentPlain},
		{"spaces", " text/plain ; q=0.3 ,\ttext/html ; q=0.4", contentHTML},
		{"what cannot be written is JSON", "image/png, text/html;q=0.5", contentJSON},
		{"malformed weight", "text/html;q=2, text/plain;q=0.1", contentPlain},
		{"more malformed weights", "text/html;q=1.001, text/html;q=.5, text/html;q=0.1234, text/html;q=-1, text/html;q=", contentJSON},
		{"malformed types", "text, /html, text/, te xt/html, \x00/\x01, ;;;, ,", contentJSON},
		{"too many members", strings.Repeat("text/plain;q=0.1,", 32) + "text/html", contentPlain},
		{"too long", strings.Repeat(" ", 3000) + "text/html", contentJSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := Header{}
			if c.accept != "" {
				h["accept"] = []string{c.accept}
			}
			if got := errorType(h); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	if got := errorType(Header{"accept": {"image/png;q=0.1", "text/html"}}); got != contentHTML {
		t.Errorf("two lines: %q", got)
	}
}

func FuzzAccept(f *testing.F) {
	f.Add("text/html;q=0.1,*/*")
	f.Add(";q=1.,/;q=")
	f.Fuzz(func(t *testing.T, s string) {
		switch errorType(Header{"accept": {s}}) {
		case contentJSON, contentHTML, contentXML, contentPlain:
		default:
			t.Fatal("no type")
		}
	})
}

const nasty = "<b>\"no\" & 'never' </b>\r\n\x00 \\ ü" + `%s`

func TestErrorBodiesEscapeConfiguredMessages(t *testing.T) {
	for _, c := range []struct {
		accept, contentType string
		check               func(t *testing.T, body []byte)
	}{
		{"application/json", contentJSON, func(t *testing.T, b []byte) {
			var v map[string]string
			if err := json.Unmarshal(b, &v); err != nil || v["message"] != nasty || v["error"] != "no credential was found" || len(v) != 2 {
				t.Errorf("%s: %v", b, err)
			}
		}},
		{"text/html", contentHTML, func(t *testing.T, b []byte) {
			if bytes.Contains(b, []byte("<b>")) || !bytes.Contains(b, []byte("&lt;b&gt;")) || !bytes.Contains(b, []byte("<p>no credential was found</p>")) {
				t.Errorf("%s", b)
			}
		}},
		{"application/xml", contentXML, func(t *testing.T, b []byte) {
			var v struct {
				Message string `xml:"message"`
				Detail  string `xml:"detail"`
			}
			if err := xml.Unmarshal(b, &v); err != nil || !strings.HasPrefix(v.Message, "<b>") || v.Detail != "no credential was found" {
				t.Errorf("%s: %v", b, err)
			}
		}},
		{"text/plain", contentPlain, func(t *testing.T, b []byte) {
			if lines := strings.Split(string(b), "\n"); len(lines) != 3 || strings.ContainsAny(string(b), "\r\x00") {
				t.Errorf("%q", b)
			}
		}},
	} {
		t.Run(c.accept, func(t *testing.T) {
			p := bearerPolicy(nil)
			p.Errors.UnauthorizedMessage, p.Errors.Display = nasty, true
			d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"accept": {c.accept}}))
			if d.Respond == nil || d.Respond.Status != 401 {
				t.Fatalf("%+v", d.Respond)
			}
			if v, _ := down(d, "Content-Type"); v != c.contentType {
				t.Errorf("type %q", v)
			}
			if v, _ := down(d, "Cache-Control"); v != "no-store" {
				t.Errorf("Cache-Control %q", v)
			}
			c.check(t, d.Respond.Body)
		})
	}
}

func TestDeniedGRPCHasNoContentType(t *testing.T) {
	for _, ct := range []string{"application/grpc", "application/grpc+proto", "Application/gRPC-web"} {
		p := bearerPolicy(nil)
		p.Errors.UnauthorizedMessage = "go 100% away\n"
		d := p.Decide(t.Context(), newRequest("POST", "/", "", Header{"content-type": {ct}, "accept": {"text/html"}}))
		if _, ok := down(d, "Content-Type"); ok || d.Respond == nil || d.Respond.Status != 401 {
			t.Errorf("%s: %+v", ct, d)
		}
		if got := string(d.Respond.Body); got != "go 100%25 away%0A" {
			t.Errorf("message %q", got)
		}
	}
}

func TestDescriptionsShowNoTokens(t *testing.T) {
	secret := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzIn0.c2lnbmF0dXJl"
	for in, want := range map[string]string{
		"the token has expired":                        "the token has expired",
		"bad " + secret + "!":                          "bad [redacted].[redacted].c2lnbmF0dXJl!",
		"code " + strings.Repeat("x", 40) + " is used": "code [redacted] is used",
		"iss is https://idp.example.com/realms/a":      "iss is https://idp.example.com/realms/a",
		"two\r\nlines":                                 "two  lines",
	} {
		if got := detail(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := detail(strings.Repeat("ab ", 1000)); len(got) > maxDetail {
		t.Errorf("%d bytes", len(got))
	}
	p := bearerPolicy(claims.Object{})
	p.Errors.Display = true
	d := p.Decide(t.Context(), newRequest("GET", "/", "access_token="+secret, Header{"authorization": {"Bearer " + secret}}))
	c, _ := down(d, "WWW-Authenticate")
	if strings.Contains(string(d.Respond.Body)+c, "eyJ") {
		t.Errorf("%s %s", d.Respond.Body, c)
	}
}

func TestChallenges(t *testing.T) {
	const bearer, opaque = "Bearer " + jws, "Bearer unknown"
	for _, c := range []struct {
		name            string
		auth            string
		expose, display bool
		want            string // "" = no header
	}{
		{"no credential", "", true, true, `Bearer realm="idp.example.com"`},
		{"invalid", bearer + "x", true, false, `Bearer realm="idp.example.com", error="invalid_token"`},
		{"invalid and explained", opaque, true, true, `Bearer realm="idp.example.com", error="invalid_token", error_description="the bearer token is not a JWT"`},
		{"invalid, not exposed", bearer + "x", false, true, `Bearer realm="idp.example.com"`},
		{"missing scope", bearer, true, false, `Bearer realm="idp.example.com", error="insufficient_scope", scope="a b"`},
		{"missing scope, not exposed", bearer, false, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := bearerPolicy(claims.Object{"scope": "a"})
			p.Claims = ClaimsPolicy{Scope: "a b", Require: []Requirement{{"scopes", claims.Path{"scope"}, claims.CompileRequired([]string{"a b"})}}}
			p.Errors.ExposeCode, p.Errors.Display = c.expose, c.display
			h := Header{}
			if c.auth != "" {
				h["authorization"] = []string{c.auth}
			}
			d := p.Decide(t.Context(), newRequest("GET", "/", "", h))
			got, once := down(d, "WWW-Authenticate")
			if got != c.want || once != (c.want != "") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestRedirectsInsteadOfErrorsByClient(t *testing.T) {
	p := bearerPolicy(claims.Object{"sub": "s"})
	p.Clients = []Client{{ID: "one", UnauthorizedURI: "https://one/401", ForbiddenURI: "https://one/403", UnexpectedURI: "https://one/500"},
		{ID: "two", UnauthorizedURI: "https://two/401", ForbiddenURI: "https://two/403", UnexpectedURI: "https://two/500"}}
	p.ClientArg = ClientSelector{Headers: []string{"x-client"}}
	forbid := func(p *Policy) { p.Claims.Forbidden = []string{"sub"} }
	fail := func(p *Policy) { p.Provider = &fakeProvider{err: &Error{Description: "down"}} }
	for _, c := range []struct {
		name, client, auth string
		change             func(*Policy)
		want               string
	}{
		{"401 of the first", "", "", nil, "https://one/401"},
		{"401 of the second by id", "two", "", nil, "https://two/401"},
		{"401 of the second by number", "2", "", nil, "https://two/401"},
		{"403 of the first", "", "Bearer " + jws, forbid, "https://one/403"},
		{"403 of the second", "two", "Bearer " + jws, forbid, "https://two/403"},
		{"500 of the second", "two", "Bearer " + jws, fail, "https://two/500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := *p
			if c.change != nil {
				c.change(&q)
			}
			h := Header{"x-client": {c.client}}
			if c.auth != "" {
				h["authorization"] = []string{c.auth}
			}
			d := q.Decide(t.Context(), newRequest("GET", "/", "", h))
			if to, _ := down(d, "Location"); d.Respond == nil || d.Respond.Status != 302 || to != c.want {
				t.Errorf("%+v to %q, want %q", d.Respond, to, c.want)
			}
			if v, _ := down(d, "Cache-Control"); v != "no-store" {
				t.Errorf("Cache-Control %q", v)
			}
		})
	}
}

func TestUnavailableStorageIsNoRedirect(t *testing.T) {
	p := bearerPolicy(nil)
	p.Clients = []Client{{UnexpectedURI: "https://one/500"}}
	p.Provider = &fakeProvider{err: &Error{Kind: Unavailable, Description: "storage is down"}}
	d := p.Decide(t.Context(), newRequest("GET", "/", "", Header{"authorization": {"Bearer " + jws}}))
	if _, ok := down(d, "Retry-After"); !ok || d.Respond == nil || d.Respond.Status != 503 {
		t.Errorf("%+v", d)
	}
}

func TestDisplayedDescriptionsAreCleaned(t *testing.T) {
	secret := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzIn0.c2ln"
	p := bearerPolicy(nil)
	p.Errors.Display = true
	p.Provider = &fakeProvider{err: &Error{Kind: Unauthorized, Code: "invalid_token", Description: "refused " + secret}}
	for _, h := range []Header{{}, {"accept": {"text/html"}}, {"accept": {"application/xml"}}, {"accept": {"text/plain"}}, {"content-type": {"application/grpc"}}} {
		h["authorization"] = []string{"Bearer " + jws}
		d := p.Decide(t.Context(), newRequest("POST", "/", "", h))
		c, _ := down(d, "WWW-Authenticate")
		if text := string(d.Respond.Body) + c; strings.Contains(text, "eyJ") || !strings.Contains(text, "[redacted]") {
			t.Errorf("%v: %s", h, text)
		}
	}
}
