package gateway

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

func nginxMethods() map[string]pdkMethod {
	const p = "kong.nginx."
	return map[string]pdkMethod{
		p + "get_var": func(r *request, args []byte) ([]byte, error) {
			name, err := protocol.DecodeString(args)
			if err != nil {
				return nil, err
			}
			return protocol.String(r.variable(name)), nil
		},
		p + "get_tls1_version_str": stringCall(func(r *request) string { return tlsVersion(r.tls) }),
		p + "get_subsystem":        stringCall(func(*request) string { return "http" }),
		p + "req_start_time": func(r *request, _ []byte) ([]byte, error) {
			return protocol.Number(float64(r.start.UnixMilli()) / 1000), nil
		},
		p + "set_ctx": setContext,
		p + "get_ctx": func(r *request, args []byte) ([]byte, error) { return getKey(r.nginxCtx, args) },
	}
}

// setContext sets a member of ngx.ctx, in which Kong itself keeps who the
// caller is. false arrives as nil.
func setContext(r *request, args []byte) ([]byte, error) {
	if err := setKV(r.nginxCtx, args); err != nil {
		return nil, err
	}
	name, _, err := protocol.DecodeKV(args)
	if err != nil {
		return nil, err
	}
	m, _ := r.nginxCtx[name].(map[string]any)
	switch name {
	case "authenticated_credential":
		if r.credential = nil; m != nil {
			r.credential = &protocol.Credential{ID: str(m["id"]), ConsumerID: str(m["consumer_id"])}
		}
	case "authenticated_consumer":
		if r.consumer = nil; m != nil {
			r.consumer = &protocol.Consumer{ID: str(m["id"]), Username: str(m["username"]), CustomID: str(m["custom_id"])}
		}
	}
	return nil, nil
}

func tlsVersion(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	switch s.Version {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

// variable is an nginx variable; one that is unknown or not set is "".
func (r *request) variable(name string) string {
	name = lower(name)
	if n, ok := strings.CutPrefix(name, "http_"); ok {
		sep := ", "
		if n == "cookie" {
			sep = "; "
		}
		var values []string
		for _, h := range r.headers {
			if strings.ReplaceAll(lower(h.name), "-", "_") == n {
				values = append(values, h.value)
			}
		}
		return strings.Join(values, sep)
	}
	if n, ok := strings.CutPrefix(name, "arg_"); ok {
		for _, part := range strings.Split(r.args, "&") {
			if k, v, _ := strings.Cut(part, "="); lower(k) == n {
				return v
			}
		}
		return ""
	}
	if n, ok := strings.CutPrefix(name, "cookie_"); ok {
		for _, part := range strings.Split(strings.Join(all(r.headers, "cookie"), ";"), ";") {
			if k, v, _ := strings.Cut(strings.TrimSpace(part), "="); lower(k) == n {
				return v
			}
		}
		return ""
	}
	if strings.HasPrefix(name, "ssl_") {
		return r.sslVariable(name)
	}
	if f := variables[name]; f != nil {
		return f(r)
	}
	return ""
}

var variables = map[string]func(*request) string{
	"remote_addr":        func(r *request) string { return r.remoteAddr },
	"realip_remote_addr": func(r *request) string { return r.peer.Addr().Unmap().String() },
	"remote_port": func(r *request) string {
		if r.remotePort == 0 {
			return ""
		}
		return strconv.Itoa(r.remotePort)
	},
	"realip_remote_port": func(r *request) string { return strconv.Itoa(int(r.peer.Port())) },
	"server_port":        func(r *request) string { return strconv.Itoa(r.port) },
	"server_addr":        func(r *request) string { return strings.Trim(stripPort(r.conn.LocalAddr().String()), "[]") },
	"server_name":        func(*request) string { return "kong" },
	"server_protocol":    func(r *request) string { return "HTTP/" + strconv.FormatFloat(r.httpVersion(), 'f', 1, 64) },
	"nginx_version":      func(*request) string { return "1.25.3" },
	"request_id":         func(r *request) string { return r.id },
	"request_method":     func(r *request) string { return r.method },
	"request_uri":        func(r *request) string { return r.target },
	"uri":                func(r *request) string { return r.uri },
	"document_uri":       func(r *request) string { return r.uri },
	"args":               func(r *request) string { return r.args },
	"query_string":       func(r *request) string { return r.args },
	"is_args": func(r *request) string {
		if r.args != "" {
			return "?"
		}
		return ""
	},
	"scheme": func(r *request) string { return r.scheme },
	"https": func(r *request) string {
		if r.tls != nil {
			return "on"
		}
		return ""
	},
	"host":           func(r *request) string { return r.host },
	"content_type":   func(r *request) string { return get(r.headers, "content-type") },
	"content_length": func(r *request) string { return get(r.headers, "content-length") },
	"msec":           func(*request) string { return fmt.Sprintf("%.3f", float64(time.Now().UnixMilli())/1000) },

	"upstream_x_forwarded_for":    func(r *request) string { return r.xForwardedFor() },
	"upstream_x_forwarded_proto":  func(r *request) string { return r.xForwardedProto() },
	"upstream_x_forwarded_host":   func(r *request) string { return r.xForwardedHost() },
	"upstream_x_forwarded_port":   func(r *request) string { return r.xForwardedPort() },
	"upstream_x_forwarded_path":   func(r *request) string { return r.xForwardedPath() },
	"upstream_x_forwarded_prefix": func(r *request) string { return r.xForwardedPrefix() },
	"upstream_uri":                func(r *request) string { return r.up.uri },
	"upstream_scheme":             func(r *request) string { return r.up.scheme },
	"upstream_host":               func(r *request) string { return r.up.hostHeader },
}

func (r *request) sslVariable(name string) string {
	if r.tls == nil {
		return ""
	}
	var cert *x509.Certificate
	if len(r.tls.PeerCertificates) > 0 {
		cert = r.tls.PeerCertificates[0]
	}
	switch name {
	case "ssl_protocol":
		return tlsVersion(r.tls)
	case "ssl_server_name":
		return r.tls.ServerName
	case "ssl_cipher":
		return tls.CipherSuiteName(r.tls.CipherSuite)
	case "ssl_client_verify":
		return clientVerify(r.tls)
	}
	if cert == nil {
		return ""
	}
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	switch name {
	case "ssl_client_raw_cert":
		return string(raw)
	case "ssl_client_cert":
		return strings.ReplaceAll(string(bytes.TrimRight(raw, "\n")), "\n", "\n\t")
	case "ssl_client_escaped_cert":
		return strings.ReplaceAll(url.QueryEscape(string(raw)), "+", "%20")
	case "ssl_client_s_dn":
		return cert.Subject.String()
	case "ssl_client_i_dn":
		return cert.Issuer.String()
	case "ssl_client_serial":
		return strings.ToUpper(evenHex(cert.SerialNumber.Text(16)))
	case "ssl_client_fingerprint":
		sum := sha1.Sum(cert.Raw)
		return hex.EncodeToString(sum[:])
	case "ssl_client_v_start":
		return cert.NotBefore.UTC().Format("Jan _2 15:04:05 2006 GMT")
	case "ssl_client_v_end":
		return cert.NotAfter.UTC().Format("Jan _2 15:04:05 2006 GMT")
	}
	return ""
}

func evenHex(s string) string {
	if len(s)%2 == 1 {
		return "0" + s
	}
	return s
}

// clientVerify is what nginx says of a certificate that it asked for without a CA to trust.
func clientVerify(s *tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return "NONE"
	}
	cert := s.PeerCertificates[0]
	if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return "FAILED:self-signed certificate"
	}
	return "FAILED:unable to verify the first certificate"
}
