package op

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
)

const (
	// maxBody bounds the answer of a provider.
	maxBody = 1 << 20
	// maxAnswerHeader bounds the header of an answer.
	maxAnswerHeader = 64 << 10
	userAgent       = "kong-openid-connect"
)

// client speaks HTTP with a provider: bounded in time and size, without
// redirects, cookies or compression.
type client struct {
	http    *http.Client
	proxies *proxies
	total   time.Duration
	observe func(call string, status int, took time.Duration) // nil: nobody counts
}

// newClient returns connections of their own, with a client certificate if one
// is given.
func newClient(c HTTP, roots *x509.CertPool, certificate *tls.Certificate) (*client, error) {
	p, err := newProxies(c)
	if err != nil {
		return nil, err
	}
	timeout := c.timeout()
	t := &http.Transport{
		Proxy:                  p.proxy,
		GetProxyConnectHeader:  p.connectHeader,
		DialContext:            (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    32,
		MaxResponseHeaderBytes: maxAnswerHeader,
		DisableKeepAlives:      c.DisableKeepAlive,
		// An answer is as large as it looks.
		DisableCompression: true,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            roots,
			InsecureSkipVerify: c.InsecureSkipVerify,
		},
	}
	if certificate != nil {
		// Whatever authorities the server names: the certificate is configured.
		t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return &client{
		http: &http.Client{
			Transport:     t,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		proxies: p,
		// A server may drip its answer; the whole exchange ends in time nevertheless.
		total: 2 * timeout,
	}, nil
}

// call is one request to the provider.
type call struct {
	name   string // for messages
	method string
	url    string
	header http.Header
	form   url.Values // the body of a POST; nil for none
	body   []byte     // the body of a POST that is no form
}

// answer is a provider's answer, whatever its status.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do performs the call. Errors are *Error of kind Unavailable or Misconfigured.
func (c *client) do(ctx context.Context, k call) (*answer, error) {
	u, err := parseEndpoint(k.url)
	if err != nil {
		return nil, &Error{Call: k.name, Kind: Misconfigured, Err: err}
	}
	fail := func(err error) error { return &Error{Call: k.name, Host: u.Host, Err: err} }
	ctx, cancel := context.WithTimeout(ctx, c.total)
	defer cancel()
	var body io.Reader
	switch {
	case k.form != nil:
		body = strings.NewReader(k.form.Encode())
	case k.body != nil:
		body = bytes.NewReader(k.body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, k.url, body)
	if err != nil {
		return nil, fail(errors.New("the request could not be made"))
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if k.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, values := range k.header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	traceOf(ctx).set(req.Header)
	c.proxies.authorize(req)
	status := 0
	if c.observe != nil {
		began := time.Now()
		defer func() { c.observe(k.name, status, time.Since(began)) }()
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fail(cause(err))
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err == nil && len(b) <= maxBody {
		status = res.StatusCode
	}
	if err != nil {
		return nil, fail(fmt.Errorf("its answer broke off: %w", cause(err)))
	}
	if len(b) > maxBody {
		return nil, fail(fmt.Errorf("its answer is larger than %d bytes", maxBody))
	}
	return &answer{res.StatusCode, res.Header, b}, nil
}

// cause takes the URL, whose query may hold a secret, out of an error.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// parseEndpoint reads an absolute http or https URL.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("its address is not an absolute http or https URL")
	}
	return u, nil
}

// object reads the answer as a JSON object, whatever its Content-Type says.
func (a *answer) object() (claims.Object, error) {
	o, err := claims.Decode(a.body)
	if err != nil {
		// The decoder's text may quote the body.
		return nil, errors.New("its answer is not a JSON object")
	}
	return o, nil
}

// getObject fetches a JSON object with status 200.
func (c *client) getObject(ctx context.Context, name, address string, headers []Field) (*answer, claims.Object, error) {
	h := http.Header{}
	setHeaders(h, headers)
	a, err := c.do(ctx, call{name: name, method: http.MethodGet, url: address, header: h})
	if err != nil {
		return nil, nil, err
	}
	host := hostOf(address)
	if a.status != http.StatusOK {
		return a, nil, &Error{Call: name, Host: host, Status: a.status, Err: errors.New("status 200 was expected")}
	}
	o, err := a.object()
	if err != nil {
		return a, nil, &Error{Call: name, Host: host, Status: a.status, Err: err}
	}
	return a, o, nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// close gives idle connections back.
func (c *client) close() { c.http.CloseIdleConnections() }
