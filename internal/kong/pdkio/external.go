package pdkio

import (
	"context"
	"fmt"
	"strings"

	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// externalPath returns the path of the URL as the client sees it, percent-encoded.
//
// The protocol has no get_forwarded_path, and nginx's upstream_x_forwarded_prefix
// holds the prefix that the route stripped unless a proxy gave one. So where
// such a header came in, Kong is asked whether it trusts the peer. A path is
// whole (Kong sends it so itself); a prefix stands before the own path.
func (x *Exchange) externalPath(ctx context.Context, r *rp.Request) (string, error) {
	path, prefix := r.Header.Get("x-forwarded-path"), r.Header.Get("x-forwarded-prefix")
	if path == "" && prefix == "" {
		return escapePath(r.Path), nil
	}
	trusted, err := x.TrustedPeer(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case !trusted:
		path = r.Path
	case path != "":
		path, _ = splitTarget(path)
	default:
		prefix, _ = splitTarget(prefix)
		path = strings.TrimRight(prefix, "/") + r.Path
	}
	return escapePath(path), nil
}

// TrustedPeer reports whether Kong trusts the headers of whoever sent the
// request to it (trusted_ips). It costs two round trips.
func (x *Exchange) TrustedPeer(ctx context.Context) (bool, error) {
	peer, err := x.Call(ctx, "kong.client.get_ip", nil)
	if err != nil {
		return false, fmt.Errorf("reading the address of the peer: %w", err)
	}
	ip, err := wire.Text(peer, 1)
	if err != nil {
		return false, fmt.Errorf("decoding the address of the peer: %w", err)
	}
	arg := wire.AppendText(nil, 1, ip)
	reply, err := x.Call(ctx, "kong.ip.is_trusted", arg)
	if err != nil {
		return false, fmt.Errorf("asking whether the peer is trusted: %w", err)
	}
	trusted, err := wire.Int(reply, 1)
	if err != nil {
		return false, fmt.Errorf("decoding whether the peer is trusted: %w", err)
	}
	return trusted != 0, nil
}

// external checks the parts of the client's URL. A list, as chained proxies
// make it, stands for its first element: the proxy nearest to the client.
func external(scheme, host string, port int, path string) (rp.External, error) {
	scheme, host = firstOf(strings.ToLower(scheme)), firstOf(strings.ToLower(host))
	switch {
	case scheme != "http" && scheme != "https":
		return rp.External{}, &rp.Error{Kind: rp.Invalid, Description: "the forwarded scheme is neither http nor https", Reason: "bad_host"}
	case !validHost(host):
		return rp.External{}, &rp.Error{Kind: rp.Invalid, Description: "the forwarded host is not a host name", Reason: "bad_host"}
	case port < 1 || port > 65535:
		return rp.External{}, &rp.Error{Kind: rp.Invalid, Description: "the forwarded port is not a port", Reason: "bad_host"}
	}
	return rp.External{Scheme: scheme, Host: host, Port: port, Path: path}, nil
}

func firstOf(list string) string {
	v, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(v)
}

// validHost reports whether s can stand in the authority of a URL: a name, an
// IPv4 address or a bracketed IPv6 address, without user info and port.
func validHost(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && strings.Trim(inner, "0123456789abcdef:.") == ""
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// escapePath percent-encodes what may not stand in a path (RFC 3986, 3.3) and
// leaves the rest as it was sent.
func escapePath(s string) string {
	return escape(s, func(c byte) bool { return c == '/' || pchar(c) })
}

// escapeQuery does the same for a query (RFC 3986, 3.4). Brackets, braces and
// such are common in queries and pass.
func escapeQuery(s string) string {
	return escape(s, func(c byte) bool { return c > ' ' && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>' })
}

func escape(s string, plain func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	var b []byte
	for i := range len(s) {
		c := s[i]
		if plain(c) && c != '%' || c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(s)+16), s[:i]...)
		}
		b = append(b, '%', hex[c>>4], hex[c&15])
	}
	if b == nil {
		return s
	}
	return string(b)
}

func pchar(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,;=:@%", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
