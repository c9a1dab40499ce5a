// Package adminapi finds Kong's entities through the Admin API, for a Kong
// without a database. Imported by the wiring.
package adminapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kong-openid-connect/internal/kong/entities"
)

const (
	maxBody  = 4 << 20 // of one answer
	maxPages = 100     // of the consumers, where the case is ignored
	pageSize = 1000
)

// Options of Lookups.
type Options struct {
	// URL of the Admin API: http://127.0.0.1:8001, https://..., or unix:/path of a socket.
	URL string
	// TokenHeader and Token go with every request, for an Admin API that asks for
	// it (Kong-Admin-Token, apikey ...); "" for none.
	TokenHeader string
	Token       entities.PEM
	// Roots are the authorities of an https URL; nil for the system's.
	Roots *x509.CertPool
	// Timeout bounds one request; 0 for 5 s.
	Timeout time.Duration
}

// Lookups implements entities.Lookups. Workspaces are not told apart: Kong
// without a database has one.
type Lookups struct {
	base   string
	header string
	token  entities.PEM
	client *http.Client
	tokens tokenList
}

var _ entities.Lookups = (*Lookups)(nil)

// New returns the lookups. It asks nothing yet.
func New(o Options) (*Lookups, error) {
	if o.Timeout <= 0 {
		o.Timeout = 5 * time.Second
	}
	t := &http.Transport{
		Proxy: nil, DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext, TLSHandshakeTimeout: o.Timeout,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: o.Timeout, MaxResponseHeaderBytes: 64 << 10,
	}
	l := &Lookups{header: o.TokenHeader, token: o.Token}
	if path, ok := strings.CutPrefix(o.URL, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		l.base = "http://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: o.Timeout}).DialContext(ctx, "unix", path)
		}
	} else {
		u, err := url.Parse(o.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return nil, errors.New("-admin-api must be an http or https URL, or unix:/path of a socket")
		}
		if u.User != nil {
			return nil, errors.New("-admin-api must not hold a user or password: use the token header")
		}
		l.base = strings.TrimSuffix(u.String(), "/")
	}
	if o.Roots != nil {
		t.TLSClientConfig = tlsConfig(o.Roots)
	}
	l.client = &http.Client{
		Transport: t, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return l, nil
}

// get asks for a path and decodes the answer into v. Only Kong's own word for
// "not found" is one.
func (l *Lookups) get(ctx context.Context, what, path string, v any) error {
	fail := func(err error) error { return &entities.LookupError{What: what + " at the Admin API", Err: err} }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+path, nil)
	if err != nil {
		return fail(errors.New("the request cannot be made"))
	}
	req.Header.Set("Accept", "application/json")
	if l.header != "" && l.token.Reveal() != "" {
		req.Header.Set(l.header, l.token.Reveal())
	}
	resp, err := l.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the URL may hold a token that is looked for
		}
		return fail(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fail(err)
	}
	switch {
	case len(b) > maxBody:
		return fail(fmt.Errorf("the answer is larger than %d bytes", maxBody))
	case resp.StatusCode == http.StatusNotFound:
		var m struct{ Message string }
		if json.Unmarshal(b, &m) == nil && m.Message == "Not found" {
			return entities.ErrNotFound
		}
		return fail(errors.New("404, but not in Kong's words: is the address that of the Admin API?"))
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fail(fmt.Errorf("status %d: set the token that the Admin API asks for", resp.StatusCode))
	case resp.StatusCode != http.StatusOK:
		return fail(fmt.Errorf("status %d", resp.StatusCode))
	}
	if json.Unmarshal(b, v) != nil {
		return fail(errors.New("the answer is not what Kong writes"))
	}
	return nil
}

// another says that the answer is not what was asked for, which proves nothing.
func another(what string) error {
	return &entities.LookupError{What: what, Err: errors.New("the Admin API's answer is another one's or empty")}
}

// consumer is a consumer as the Admin API writes it.
type consumer struct {
	ID       string   `json:"id"`
	Username string   `json:"username"`
	CustomID string   `json:"custom_id"`
	Tags     []string `json:"tags"`
}

func (c consumer) entity() entities.Consumer {
	return entities.Consumer{ID: c.ID, Username: c.Username, CustomID: c.CustomID, Tags: c.Tags}
}

// ConsumerByID implements entities.Lookups.
func (l *Lookups) ConsumerByID(ctx context.Context, _, id string) (*entities.Consumer, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	var c consumer
	if err := l.get(ctx, "consumer by id", "/consumers/"+url.PathEscape(id), &c); err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.ID, id) {
		return nil, another("consumer by id")
	}
	e := c.entity()
	return &e, nil
}

// ConsumerByUsername implements entities.Lookups.
func (l *Lookups) ConsumerByUsername(ctx context.Context, _, name string, ignoreCase bool) (*entities.Consumer, error) {
	of := func(c *entities.Consumer) string { return c.Username }
	if name == "" {
		return nil, entities.ErrNotFound
	}
	// A path that ends in dots would be read as another, and a name in the form
	// of an id is taken for one.
	if !ignoreCase && !entities.IsUUID(name) && strings.Trim(name, ".") != "" {
		var c consumer
		if err := l.get(ctx, "consumer by username", "/consumers/"+url.PathEscape(name), &c); err != nil {
			return nil, err
		}
		if c.Username != name {
			return nil, another("consumer by username")
		}
		e := c.entity()
		return &e, nil
	}
	return l.search(ctx, "username", name, ignoreCase, of)
}

// ConsumerByCustomID implements entities.Lookups.
func (l *Lookups) ConsumerByCustomID(ctx context.Context, _, id string, ignoreCase bool) (*entities.Consumer, error) {
	of := func(c *entities.Consumer) string { return c.CustomID }
	if id == "" {
		return nil, entities.ErrNotFound
	}
	var p struct{ Data []consumer }
	if err := l.get(ctx, "consumer by custom_id", "/consumers?custom_id="+url.QueryEscape(id), &p); err != nil {
		return nil, err
	}
	for _, c := range p.Data {
		if c.CustomID == id {
			e := c.entity()
			return &e, nil
		}
	}
	if ignoreCase {
		return l.search(ctx, "custom_id", id, true, of)
	}
	return nil, entities.ErrNotFound
}

// search goes through all consumers, page by page.
func (l *Lookups) search(ctx context.Context, what, value string, ignoreCase bool, of func(*entities.Consumer) string) (*entities.Consumer, error) {
	var found []entities.Consumer
	path := fmt.Sprintf("/consumers?size=%d", pageSize)
	for page := 0; ; page++ {
		if page == maxPages {
			return nil, &entities.LookupError{What: "consumer by " + what, Err: fmt.Errorf("there are more than %d consumers: use a database, or do not ignore the case", maxPages*pageSize)}
		}
		var p struct {
			Data   []consumer
			Offset string
		}
		if err := l.get(ctx, "consumer by "+what, path, &p); err != nil {
			if errors.Is(err, entities.ErrNotFound) {
				err = &entities.LookupError{What: "consumer by " + what, Err: errors.New("the Admin API has no consumers")}
			}
			return nil, err
		}
		for _, c := range p.Data {
			e := c.entity()
			if of(&e) == value || ignoreCase && strings.EqualFold(of(&e), value) {
				found = append(found, e)
			}
		}
		if p.Offset == "" {
			return entities.Pick(found, value, what, of)
		}
		path = fmt.Sprintf("/consumers?size=%d&offset=%s", pageSize, url.QueryEscape(p.Offset))
	}
}

// Certificate implements entities.Lookups.
func (l *Lookups) Certificate(ctx context.Context, _, id string) (*entities.Certificate, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	var c struct{ ID, Cert, Key string }
	if err := l.get(ctx, "certificate", "/certificates/"+url.PathEscape(id), &c); err != nil {
		return nil, err
	}
	if strings.HasPrefix(c.Cert, "{vault://") || strings.HasPrefix(c.Key, "{vault://") {
		return nil, &entities.LookupError{What: "certificate", Err: errors.New("it is a vault reference, which only Kong resolves: store certificate and key themselves")}
	}
	if !strings.EqualFold(c.ID, id) || c.Cert == "" {
		return nil, another("certificate")
	}
	return &entities.Certificate{ID: c.ID, Cert: c.Cert, Key: entities.NewPEM(c.Key)}, nil
}

// CACertificate implements entities.Lookups.
func (l *Lookups) CACertificate(ctx context.Context, id string) (*entities.CACertificate, error) {
	if !entities.IsUUID(id) {
		return nil, entities.ErrNotFound
	}
	var c struct{ ID, Cert string }
	if err := l.get(ctx, "CA certificate", "/ca_certificates/"+url.PathEscape(id), &c); err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.ID, id) || c.Cert == "" {
		return nil, another("CA certificate")
	}
	return &entities.CACertificate{ID: c.ID, Cert: c.Cert}, nil
}

// OAuth2Token implements entities.Lookups.
func (l *Lookups) OAuth2Token(ctx context.Context, _, accessToken string) (*entities.OAuth2Token, error) {
	if accessToken == "" {
		return nil, entities.ErrNotFound
	}
	t, err := l.tokens.find(ctx, l, accessToken)
	if err != nil {
		return nil, err
	}
	var c struct {
		ID       string              `json:"id"`
		Name     string              `json:"name"`
		ClientID string              `json:"client_id"`
		Consumer struct{ ID string } `json:"consumer"`
	}
	if !entities.IsUUID(t.Credential.ID) {
		return nil, &entities.LookupError{What: "OAuth2 token", Err: errors.New("it has no credential")}
	}
	if err := l.get(ctx, "OAuth2 credential", "/oauth2/"+url.PathEscape(t.Credential.ID), &c); err != nil {
		return nil, err
	}
	token := &entities.OAuth2Token{
		ID: t.ID, CreatedAt: time.Unix(int64(t.CreatedAt), 0), ExpiresIn: t.ExpiresIn, Scope: t.Scope, AuthenticatedUserID: t.AuthenticatedUserID,
		Credential: entities.OAuth2Credential{ID: c.ID, Name: c.Name, ClientID: c.ClientID, ConsumerID: c.Consumer.ID},
	}
	if t.Service != nil {
		token.ServiceID = t.Service.ID
	}
	return token, nil
}

// KnowsGroups implements entities.Lookups.
func (l *Lookups) KnowsGroups(ctx context.Context) (bool, error) {
	var p struct{ Data []json.RawMessage }
	err := l.get(ctx, "consumer groups", "/consumer_groups?size=1", &p)
	if errors.Is(err, entities.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// GroupByName implements entities.Lookups.
func (l *Lookups) GroupByName(ctx context.Context, _, name string) (*entities.Group, error) {
	if name == "" || strings.Trim(name, ".") == "" || entities.IsUUID(name) {
		return nil, entities.ErrNotFound
	}
	var g struct {
		ID, Name      string
		ConsumerGroup *struct{ ID, Name string } `json:"consumer_group"`
	}
	if err := l.get(ctx, "consumer group", "/consumer_groups/"+url.PathEscape(name), &g); err != nil {
		return nil, err
	}
	if g.ConsumerGroup != nil { // beside the consumers in it
		g.ID, g.Name = g.ConsumerGroup.ID, g.ConsumerGroup.Name
	}
	if g.Name != name {
		return nil, another("consumer group")
	}
	return &entities.Group{ID: g.ID, Name: g.Name}, nil
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
