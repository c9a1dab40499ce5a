package testproviders

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Callback is what a provider sends the browser back to the relying party with.
type Callback struct {
	// URL is the redirect URI with its query and fragment.
	URL string
	// Form is the body of a form_post answer (OAuth 2.0 Form Post Response
	// Mode), nil otherwise.
	Form url.Values
}

// Values returns the answer's parameters, from body, query or fragment.
func (c *Callback) Values() url.Values {
	if c.Form != nil {
		return c.Form
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return url.Values{}
	}
	values := u.Query()
	if fragment, err := url.ParseQuery(u.Fragment); err == nil {
		for name, v := range fragment {
			values[name] = append(values[name], v...)
		}
	}
	return values
}

// ErrRefused is returned when the provider shows its login form again.
var ErrRefused = errors.New("the provider refused the login")

// Login opens an authorization URL as a browser without JavaScript would, fills
// the provider's login form in, and returns where the provider sends the
// browser back to, without going there. It works with Keycloak, oidc-provider
// and the sandbox's provider.
func Login(ctx context.Context, authURL, username, password string) (*Callback, error) {
	return NewBrowser().Login(ctx, authURL, username, password)
}

// Browser keeps a provider's cookies, so that a second login needs no form and
// a logout finds its session. It is not safe for concurrent use.
type Browser struct {
	client   *http.Client
	lastForm bool
}

// NewBrowser returns a browser without cookies.
func NewBrowser() *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // without options it does not fail
	}
	return &Browser{client: &http.Client{
		Jar:           jar,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ShownForm tells whether the last Login met a login form.
func (b *Browser) ShownForm() bool { return b.lastForm }

// Bounds of one walk through a provider's pages.
const (
	maxSteps = 20
	maxPage  = 1 << 20
)

// Login is as the function Login, in this browser's session. The walk ends at
// the first redirect or form that leaves the origin of authURL.
func (b *Browser) Login(ctx context.Context, authURL, username, password string) (*Callback, error) {
	b.lastForm = false
	return b.walk(ctx, authURL, username, password)
}

// Logout opens an end-session URL and confirms what it asks. The callback is
// nil where the provider ends on a page of its own.
func (b *Browser) Logout(ctx context.Context, endSessionURL string) (*Callback, error) {
	callback, err := b.walk(ctx, endSessionURL, "", "")
	if errors.Is(err, errNoForm) {
		return nil, nil
	}
	return callback, err
}

var errNoForm = errors.New("the provider's page has no form to go on with")

func (b *Browser) walk(ctx context.Context, from, username, password string) (*Callback, error) {
	at, err := url.Parse(from)
	if err != nil {
		return nil, err
	}
	origin := at.Scheme + "://" + at.Host
	method, form := http.MethodGet, url.Values(nil)
	filled := false
	for range maxSteps {
		resp, page, err := b.send(ctx, method, at, form)
		if err != nil {
			return nil, err
		}
		if location := resp.Header.Get("Location"); location != "" && resp.StatusCode/100 == 3 {
			next, err := at.Parse(location)
			if err != nil {
				return nil, fmt.Errorf("the provider redirects to %q: %w", location, err)
			}
			if next.Scheme+"://"+next.Host != origin {
				return &Callback{URL: next.String()}, nil
			}
			at, method, form = next, http.MethodGet, nil
			continue
		}
		found := firstForm(page)
		if found == nil {
			return nil, fmt.Errorf("%w: %s answers %d", errNoForm, at.Path, resp.StatusCode)
		}
		next, err := at.Parse(found.action)
		if err != nil {
			return nil, fmt.Errorf("the form's action is %q: %w", found.action, err)
		}
		if next.Scheme+"://"+next.Host != origin {
			return &Callback{URL: next.String(), Form: found.values}, nil
		}
		if found.password != "" {
			if filled || username == "" {
				return nil, fmt.Errorf("%w: %s answers %d", ErrRefused, at.Path, resp.StatusCode)
			}
			filled, b.lastForm = true, true
			found.values.Set(found.username, username)
			found.values.Set(found.password, password)
		}
		at, method, form = next, found.method, found.values
	}
	return nil, fmt.Errorf("the provider's pages go on after %d steps", maxSteps)
}

func (b *Browser) send(ctx context.Context, method string, at *url.URL, form url.Values) (*http.Response, *html.Node, error) {
	target, body := *at, io.Reader(nil)
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else if form != nil {
		target.RawQuery = form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "text/html")
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", at.Scheme+"://"+at.Host)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := html.Parse(io.LimitReader(resp.Body, maxPage))
	return resp, page, err
}

type loginForm struct {
	action, method     string
	username, password string // names of the fields, if there are
	values             url.Values
}

// firstForm returns the form with a password field, or else the first one.
func firstForm(page *html.Node) *loginForm {
	var first *loginForm
	for n := range page.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		form := readForm(n)
		if form.password != "" {
			return form
		}
		if first == nil {
			first = form
		}
	}
	return first
}

func readForm(n *html.Node) *loginForm {
	form := &loginForm{action: attribute(n, "action"), method: http.MethodGet, values: url.Values{}}
	if strings.EqualFold(attribute(n, "method"), "post") {
		form.method = http.MethodPost
	}
	for field := range n.Descendants() {
		if field.Type != html.ElementNode || field.Data != "input" && field.Data != "button" {
			continue
		}
		name, kind := attribute(field, "name"), strings.ToLower(attribute(field, "type"))
		switch {
		case name == "":
		case field.Data == "button" || kind == "submit":
			// A browser sends the button that was pressed: here the first one.
			if value := attribute(field, "value"); value != "" && !form.values.Has(name) {
				form.values.Set(name, value)
			}
		case kind == "password":
			form.password = name
		case kind == "" || kind == "text" || kind == "email":
			if form.username == "" {
				form.username = name
			}
		case kind == "checkbox" || kind == "radio":
			// Left as a browser leaves what nobody ticks.
		default:
			form.values.Add(name, attribute(field, "value"))
		}
	}
	return form
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
