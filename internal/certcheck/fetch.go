package certcheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxOCSP = 64 << 10
	maxCRL  = 16 << 20
)

// newHTTP returns a client without redirects: the addresses stand in
// certificates of trusted authorities, and only those are asked.
func newHTTP(o *Options) *http.Client {
	return &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  o.proxy,
			DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:    o.Timeout,
			ResponseHeaderTimeout:  o.Timeout,
			IdleConnTimeout:        30 * time.Second,
			MaxIdleConnsPerHost:    4,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, InsecureSkipVerify: o.InsecureSkipVerify},
		},
	}
}

// proxy implements http.Transport.Proxy. The environment says nothing.
func (o *Options) proxy(r *http.Request) (*url.URL, error) {
	host := o.HTTPProxy
	if r.URL.Scheme == "https" {
		host = o.HTTPSProxy
	}
	if host == "" {
		return nil, nil
	}
	return &url.URL{Scheme: "http", Host: host}, nil
}

// isHTTP reports an address that can be asked.
func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Scheme, "http") || strings.EqualFold(u.Scheme, "https"))
}

// fetch asks a server; body nil is a GET. Errors name its host only.
func (c *Checker) fetch(ctx context.Context, address, contentType string, body []byte, limit int64) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address of the revocation server is no URL")
	}
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: the request could not be made", u.Host)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("User-Agent", "kong-openid-connect")
	res, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: it answers with status %d", u.Host, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: its answer broke off", u.Host)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: its answer is larger than %d bytes", u.Host, limit)
	}
	return b, nil
}
