package e2e

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// hiddenForm returns the action and the hidden inputs of a page's form.
func hiddenForm(t *testing.T, a *answer) (string, url.Values) {
	t.Helper()
	m := formAction.FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no form on the page: %s", a.body)
	}
	action, err := a.Request.URL.Parse(html.UnescapeString(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	v := url.Values{}
	for _, in := range formInput.FindAllStringSubmatch(a.body, -1) {
		v.Set(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
	}
	return action.String(), v
}

// begin asks for a protected page and returns the authorization URL.
func (b *browser) begin(page string) *url.URL {
	b.t.Helper()
	to := b.get(page).want(b.t, 302).location(b.t)
	if !strings.HasPrefix(to.String(), env.Issuer) {
		b.t.Fatalf("sent to %s, want the provider", to)
	}
	return to
}

// atProvider logs in at the provider and returns its answer to the login: the
// redirect of response_mode query, or the page of form_post.
func (b *browser) atProvider(to *url.URL, user string) *answer {
	b.t.Helper()
	a := b.get(to.String())
	if a.StatusCode == 200 && strings.Contains(a.body, `name="password"`) {
		action, form := hiddenForm(b.t, a)
		form.Set("username", user)
		form.Set("password", "doe")
		a = b.post(action, form)
	}
	return a
}

// login walks through the whole login of a page and returns the answer to the callback.
func (b *browser) login(page, user string) *answer {
	b.t.Helper()
	return b.back(b.atProvider(b.begin(page), user))
}

// back carries the provider's answer to the gateway.
func (b *browser) back(a *answer) *answer {
	b.t.Helper()
	for a.StatusCode == 302 || a.StatusCode == 303 {
		to := a.location(b.t)
		if !strings.HasPrefix(to.String(), env.Issuer) {
			return b.get(to.String())
		}
		a = b.get(to.String())
	}
	a.want(b.t, 200)
	action, form := hiddenForm(b.t, a)
	return b.post(action, form)
}
