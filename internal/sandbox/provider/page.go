package provider

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed pages.html
var pagesHTML string

var pages = template.Must(template.New("pages").Parse(pagesHTML))

// submitScript stands in the form_post page; the policy allows it by its hash.
const submitScript = `document.forms[0].submit()`

type loginPage struct {
	Action, Client, Login, Username string
	Wrong                           bool
}

type field struct{ Name, Value string }

type formPost struct {
	Action, Client string
	Fields         []field
}

// loggedOut tells other applications by frames, then leads on.
type loggedOut struct {
	Frames []string
	Target string
}

func (l loggedOut) origins() []string {
	var out []string
	for _, f := range l.Frames {
		if u, err := url.Parse(f); err == nil {
			out = append(out, u.Scheme+"://"+u.Host)
		}
	}
	return out
}

type message struct{ Title, Text string }

// page renders one of pages.html. There is no form-action in the policy:
// browsers apply it to the redirect after the form too, which leads to the client.
func (p *Provider) page(w http.ResponseWriter, status int, name string, data any) {
	sum := sha256.Sum256([]byte(submitScript))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; script-src 'sha256-"+
		base64.StdEncoding.EncodeToString(sum[:])+"'")
	if out, ok := data.(loggedOut); ok {
		h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; frame-src "+strings.Join(out.origins(), " "))
	}
	w.WriteHeader(status)
	// The headers are out: an error can only be a reader that has gone.
	pages.ExecuteTemplate(w, name, data)
}

func (p *Provider) index(w http.ResponseWriter, _ *http.Request) {
	p.page(w, http.StatusOK, "message", message{"OpenID Provider of the sandbox", "For one machine and for tests. Metadata: " + p.Issuer() + "/.well-known/openid-configuration"})
}
