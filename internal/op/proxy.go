package op

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// proxies chooses the proxy of a request: by the scheme of its URL, unless its
// host is excepted. Unlike the environment's convention, loopback addresses
// are not exempt by themselves: the configuration is explicit.
type proxies struct {
	http, https                           *url.URL
	httpAuthorization, httpsAuthorization string
	except                                []string // lower case; "*" for all
}

func newProxies(c HTTP) (*proxies, error) {
	p := &proxies{httpAuthorization: c.HTTPProxyAuthorization.Reveal(), httpsAuthorization: c.HTTPSProxyAuthorization.Reveal()}
	var err error
	if p.http, p.httpAuthorization, err = proxyURL(c.HTTPProxy, p.httpAuthorization); err != nil {
		return nil, errors.New("http_proxy is not a URL of a proxy, such as http://proxy.example:3128")
	}
	if p.https, p.httpsAuthorization, err = proxyURL(c.HTTPSProxy, p.httpsAuthorization); err != nil {
		return nil, errors.New("https_proxy is not a URL of a proxy, such as http://proxy.example:3128")
	}
	for _, s := range strings.Split(c.NoProxy, ",") {
		if s = strings.ToLower(strings.TrimSpace(s)); s != "" {
			p.except = append(p.except, s)
		}
	}
	return p, nil
}

// proxyURL parses the address of a proxy. Credentials in it become the
// authorization, unless one is configured, and leave the URL.
func proxyURL(s, authorization string) (*url.URL, string, error) {
	if s == "" {
		return nil, authorization, nil
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", errors.New("not a URL of a proxy")
	}
	if u.User != nil && authorization == "" {
		password, _ := u.User.Password()
		authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	u.User = nil
	return u, authorization, nil
}

// choose returns the proxy for u, nil for none, and what to authorize with.
func (p *proxies) choose(u *url.URL) (*url.URL, string) {
	if p.excepted(u) {
		return nil, ""
	}
	if u.Scheme == "https" {
		return p.https, p.httpsAuthorization
	}
	return p.http, p.httpAuthorization
}

func (p *proxies) excepted(u *url.URL) bool {
	host := strings.ToLower(u.Hostname())
	for _, e := range p.except {
		if e == "*" || e == host || e == strings.ToLower(u.Host) {
			return true
		}
		if _, cidr, err := net.ParseCIDR(e); err == nil {
			if ip := net.ParseIP(host); ip != nil && cidr.Contains(ip) {
				return true
			}
			continue
		}
		// A domain covers its subdomains, with or without a leading dot or wildcard.
		domain := strings.TrimPrefix(strings.TrimPrefix(e, "*"), ".")
		if domain != "" && (host == domain || strings.HasSuffix(host, "."+domain)) {
			return true
		}
	}
	return false
}

// proxy implements http.Transport.Proxy.
func (p *proxies) proxy(r *http.Request) (*url.URL, error) {
	u, _ := p.choose(r.URL)
	return u, nil
}

// connectHeader implements http.Transport.GetProxyConnectHeader.
func (p *proxies) connectHeader(context.Context, *url.URL, string) (http.Header, error) {
	if p.httpsAuthorization == "" {
		return nil, nil
	}
	return http.Header{"Proxy-Authorization": {p.httpsAuthorization}}, nil
}

// authorize adds the authorization for a proxy that sees the request itself,
// which it does for http URLs only.
func (p *proxies) authorize(r *http.Request) {
	if r.URL.Scheme != "http" {
		return
	}
	if u, authorization := p.choose(r.URL); u != nil && authorization != "" {
		r.Header.Set("Proxy-Authorization", authorization)
	}
}
