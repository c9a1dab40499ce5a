package rp

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origin returns scheme://host[:port] of the request as its client sees it.
// Whatever is not a plain host name or address is refused: it goes into
// redirects.
func (e External) origin() (string, bool) {
	if e.Scheme != "http" && e.Scheme != "https" {
		return "", false
	}
	host := e.Host
	if !validHost(host) {
		return "", false
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	if e.Port == 0 || e.Scheme == "http" && e.Port == 80 || e.Scheme == "https" && e.Port == 443 {
		return e.Scheme + "://" + host, true
	}
	if e.Port < 0 || e.Port > 65535 {
		return "", false
	}
	return e.Scheme + "://" + host + ":" + strconv.Itoa(e.Port), true
}

func validHost(h string) bool {
	if h == "" || len(h) > 255 {
		return false
	}
	if strings.HasPrefix(h, "[") || strings.Contains(h, ":") {
		a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for _, c := range []byte(h) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
		if !ok {
			return false
		}
	}
	return true
}

// url returns the request's URL as its client sees it, without a query.
func (x *Exchange) url(ctx context.Context) (string, error) {
	if err := x.Request.Need(ctx, NeedExternal|NeedTarget); err != nil {
		return "", unread(err)
	}
	e := x.Request.External
	o, ok := e.origin()
	if !ok {
		return "", &Error{Kind: Invalid, Description: "the request's host is not a host name", Reason: "bad_host"}
	}
	return o + safePath(e.Path), nil
}

// safePath makes a path fit for a Location header: it begins with one slash,
// and bytes that a URL may not hold are percent-encoded. Escapes stay.
func safePath(p string) string {
	return escape("/"+strings.TrimLeft(p, "/\\"), "\"<>\\^`{|}?#")
}

// safeQuery does the same to a query.
func safeQuery(q string) string {
	return escape(q, "\"<>\\^`{|}#")
}

const upperHex = "0123456789ABCDEF"

// escape percent-encodes controls, blanks, bytes above ASCII, the listed ones
// and every % that begins no escape (RFC 3986 2.1).
func escape(s, listed string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(listed, c) >= 0 || c == '%' && !(i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])) {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// sameOrigin reports whether target is an absolute URL of origin.
func sameOrigin(target, origin string) bool {
	u, err := url.Parse(target)
	if err != nil || u.User != nil || u.Opaque != "" || u.Host == "" {
		return false
	}
	o, err := url.Parse(origin)
	if err != nil {
		return false
	}
	return strings.EqualFold(u.Scheme, o.Scheme) && strings.EqualFold(hostPort(u), hostPort(o))
}

// begunHere reports whether a browser that sends a pending login's cookie to
// host can have begun that login, which leads to target. Browsers keep a cookie
// to the host that set it, or to the domain that it names: a login of another
// host was begun by somebody who chose that name, and its cookie was planted.
func (c *CodePolicy) begunHere(target, host string) bool {
	u, err := url.Parse(target)
	if err != nil {
		return false
	}
	if u.Host == "" {
		return target == "" || target == "/" // it was too long to be kept
	}
	from := strings.ToLower(u.Hostname())
	if from == strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")) {
		return true
	}
	domain := strings.ToLower(strings.TrimPrefix(c.CookieDomain, "."))
	return domain != "" && (from == domain || strings.HasSuffix(from, "."+domain))
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
