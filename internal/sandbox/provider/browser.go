package provider

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Callback is what the provider sends a browser back with.
type Callback struct {
	// URL is the redirect URI; with the arguments in it for query and fragment.
	URL *url.URL
	// Params are the response's arguments, by whatever mode they come.
	Params url.Values
	// Post says that a browser would send Params as a form.
	Post bool
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
)

// SignIn does what a person does at an authorization URL: it logs in where the
// login page asks for it, and returns how the browser is sent back, without
// following. The client's Jar, if it has one, keeps the login. It is an error if
// the provider shows a page that is neither.
func SignIn(ctx context.Context, client *http.Client, authorizationURL, username, password string) (*Callback, error) {
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	page, cb, err := visit(ctx, &c, http.MethodGet, authorizationURL, nil)
	if err != nil || cb != nil {
		return cb, err
	}
	action, fields := formAction.FindStringSubmatch(page), hidden(page)
	if action == nil || !fields.Has("login") {
		return nil, fmt.Errorf("provider: signing in: the authorization endpoint shows no login page: %s", heading(page))
	}
	fields.Set("username", username)
	fields.Set("password", password)
	page, cb, err = visit(ctx, &c, http.MethodPost, html.UnescapeString(action[1]), fields)
	if err == nil && cb == nil {
		err = fmt.Errorf("provider: signing in as %q: the login page does not accept it: %s", username, heading(page))
	}
	return cb, err
}

func visit(ctx context.Context, c *http.Client, method, target string, form url.Values) (string, *Callback, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, fmt.Errorf("provider: signing in: %w", err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.Do(req)
	if err != nil {
		return "", nil, fmt.Errorf("provider: signing in: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxForm))
	if err != nil {
		return "", nil, fmt.Errorf("provider: signing in: %w", err)
	}
	if location := res.Header.Get("Location"); location != "" {
		u, err := url.Parse(location)
		if err != nil {
			return "", nil, fmt.Errorf("provider: signing in: the redirect cannot be read")
		}
		params := u.Query()
		if u.Fragment != "" {
			if params, err = url.ParseQuery(u.EscapedFragment()); err != nil {
				return "", nil, fmt.Errorf("provider: signing in: the fragment cannot be read")
			}
		}
		return "", &Callback{URL: u, Params: params}, nil
	}
	page := string(body)
	fields := hidden(page)
	if action := formAction.FindStringSubmatch(page); action != nil && !fields.Has("login") {
		u, err := url.Parse(html.UnescapeString(action[1]))
		if err != nil {
			return "", nil, fmt.Errorf("provider: signing in: the form's target cannot be read")
		}
		return "", &Callback{URL: u, Params: fields, Post: true}, nil
	}
	return page, nil, nil
}

func hidden(page string) url.Values {
	out := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		out.Add(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return out
}

var headingTag = regexp.MustCompile(`(?s)<h1>(.*?)</h1>.*?<p[^>]*>(.*?)</p>`)

func heading(page string) string {
	m := headingTag.FindStringSubmatch(page)
	if m == nil {
		return "an unknown page"
	}
	return html.UnescapeString(m[1] + ": " + m[2])
}
