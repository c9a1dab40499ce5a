package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"time"
)

func reason(status int) string { return http.StatusText(status) }

// Headers that are not passed on because the gateway writes them itself, or
// because they are about one hop only.
var notForwarded = map[string]bool{
	"host": true, "connection": true, "content-length": true, "transfer-encoding": true, "keep-alive": true, "expect": true,
	"upgrade": true, "proxy-connection": true, "proxy": true, "te": true, "via": true,
	"x-forwarded-for": true, "x-forwarded-proto": true, "x-forwarded-host": true, "x-forwarded-port": true,
	"x-forwarded-path": true, "x-forwarded-prefix": true, "x-real-ip": true, "x-kong-request-id": true,
}

// upstreamHead is the head of the request to the service.
func (r *request) upstreamHead(bodyLen int, hasBody bool) []byte {
	var b strings.Builder
	uri := orElse(r.up.uri, "/")
	if r.up.args != "" {
		uri += "?" + r.up.args
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.method, uri)
	for _, h := range r.upstreamFields() {
		b.WriteString(h.name + ": " + h.value + "\r\n")
		if h.name == "X-Kong-Request-Id" && hasBody {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", bodyLen)
		}
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// upstreamFields are the headers of the request to the service, in Kong's
// order: those that the gateway writes, then what the client sent.
func (r *request) upstreamFields() []header {
	var out []header
	line := func(name, value string) {
		if value != "" {
			out = append(out, header{name, value})
		}
	}
	version := "1.1"
	if r.stream != nil {
		version = "2"
	}
	line("Via", strings.Join(append(all(r.headers, "via"), version+" kong/"+Version), ", "))
	line("Host", r.up.hostHeader)
	if r.upgrade {
		line("Connection", "upgrade")
		line("Upgrade", get(r.headers, "upgrade"))
	} else {
		line("Connection", "keep-alive")
	}
	line("X-Forwarded-For", r.xForwardedFor())
	line("X-Forwarded-Proto", r.xForwardedProto())
	line("X-Forwarded-Host", r.xForwardedHost())
	line("X-Forwarded-Port", r.xForwardedPort())
	line("X-Forwarded-Path", r.xForwardedPath())
	line("X-Forwarded-Prefix", r.xForwardedPrefix())
	line("X-Real-IP", r.remoteAddr)
	line("X-Kong-Request-Id", r.id)
	if strings.Contains(lower(get(r.headers, "te")), "trailers") {
		line("TE", "trailers")
	}
	hop := map[string]bool{}
	for _, v := range all(r.headers, "connection") {
		for _, t := range strings.Split(v, ",") {
			hop[lower(strings.TrimSpace(t))] = true
		}
	}
	for _, h := range r.headers {
		if n := lower(h.name); !notForwarded[n] && !hop[n] {
			out = append(out, h)
		}
	}
	return out
}

// proxy sends the request to the service and passes the answer on.
func (r *request) proxy() (keep bool) {
	if contains([]string{"grpc", "grpcs"}, r.up.scheme) && r.stream != nil {
		return r.proxyGRPC()
	}
	var data []byte
	has := r.length >= 0 || r.length == -1
	if err := r.body.read(); err != nil {
		status := 400
		if errors.Is(err, errBodyTooLarge) {
			status = 413
		}
		r.keepAlive = false
		r.fail(status, reason(status))
		_ = r.writeAnswer()
		return false
	}
	var err error
	if r.up.bodySet {
		data, has = r.up.body, true
	} else if data, err = r.body.bytes(); err != nil {
		r.fail(500, "An unexpected error occurred")
		return r.writeAnswer() == nil && r.keepAlive
	}
	started := time.Now()
	c, resp, err := r.exchange(data, has)
	if err != nil {
		r.g.logf("error", "upstream %s:%d: %v", r.up.host, r.up.port, err)
		status, text := 502, "An invalid response was received from the upstream server"
		if errors.Is(err, os.ErrDeadlineExceeded) {
			status, text = 504, "The upstream server is timing out"
		}
		r.fail(status, text)
		return r.writeAnswer() == nil && r.keepAlive
	}
	return r.relay(c, resp, started)
}

// exchange writes the request and reads the head of the answer. A connection
// that was kept and turns out to be dead is replaced once.
func (r *request) exchange(data []byte, has bool) (*upstreamConn, *upstreamResponse, error) {
	addr := net.JoinHostPort(strings.Trim(r.up.host, "[]"), strconv.Itoa(r.up.port))
	head := r.upstreamHead(len(data), has)
	timeout := func(name string) time.Duration {
		if n := num(r.service[name]); n > 0 {
			return time.Duration(n) * time.Millisecond
		}
		return 60 * time.Second
	}
	for {
		c, reused, err := r.g.pool.get(r.up.scheme, addr, timeout("connect_timeout"))
		if err != nil {
			return nil, nil, err
		}
		if !r.g.track(c) {
			c.Close()
			return nil, nil, net.ErrClosed
		}
		c.SetWriteDeadline(time.Now().Add(timeout("write_timeout")))
		c.readTimeout = timeout("read_timeout")
		c.SetReadDeadline(time.Now().Add(c.readTimeout))
		if _, err = c.Write(append(head, data...)); err == nil {
			var resp *upstreamResponse
			if resp, err = c.readResponse(r.method); err == nil {
				return c, resp, nil
			}
		}
		r.g.untrack(c)
		c.Close()
		if !reused || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil, err
		}
	}
}

// relay writes the service's answer to the client.
func (r *request) relay(c *upstreamConn, resp *upstreamResponse, started time.Time) (keep bool) {
	defer r.g.untrack(c)
	upgraded := resp.status == 101
	var hs []header
	pass := func(want func(string) bool) {
		for _, h := range resp.headers {
			n := lower(h.name)
			if n == "connection" || n == "keep-alive" || n == "transfer-encoding" || n == "content-length" || upgraded && n == "upgrade" {
				continue
			}
			if want(n) {
				hs = append(hs, h)
			}
		}
	}
	pass(func(n string) bool { return n == "content-type" || n == "date" })
	chunked := false
	switch {
	case upgraded:
		hs = append(hs, header{"Connection", "upgrade"}, header{"Upgrade", get(resp.headers, "upgrade")})
	case resp.length >= 0 && hasHeader(resp.headers, "content-length"):
		hs = append(hs, header{"Content-Length", get(resp.headers, "content-length")})
	case !resp.noBody && r.minor == 1:
		chunked = true
		hs = append(hs, header{"Transfer-Encoding", "chunked"})
	case !resp.noBody:
		r.keepAlive = false
	}
	if !upgraded {
		hs = append(hs, r.connectionHeader())
	}
	for _, h := range r.respHdr {
		if n := lower(h.name); n != "" && n != "content-type" && n != "content-length" && n != "transfer-encoding" && n != "connection" {
			hs = append(hs, h)
		}
	}
	pass(func(n string) bool { return n != "content-type" && n != "date" && n != "via" })
	if !hasHeader(hs, "server") {
		hs = append(hs, header{"Server", "kong/" + Version})
	}
	total, waited := time.Since(r.start), time.Since(started)
	hs = append(hs, header{"X-Kong-Upstream-Latency", strconv.FormatInt(waited.Milliseconds(), 10)},
		header{"X-Kong-Proxy-Latency", strconv.FormatInt((total - waited).Milliseconds(), 10)},
		header{"Via", strings.Join(append(all(resp.headers, "via"), "1.1 kong/"+Version), ", ")}, header{"X-Kong-Request-Id", r.id})
	r.conn.SetWriteDeadline(time.Now().Add(headTimeout))
	r.writeHead(resp.status, hs)
	if upgraded {
		if r.flush() == nil {
			r.splice(c)
		}
		c.Close()
		return false
	}
	err := r.copyBody(c, resp, chunked)
	if ferr := r.flush(); err == nil {
		err = ferr
	}
	if err != nil || !resp.keepAlive {
		c.Close()
	} else {
		r.g.pool.put(c)
	}
	return err == nil && r.keepAlive
}

// copyBody streams the body, piece by piece as it comes.
func (r *request) copyBody(c *upstreamConn, resp *upstreamResponse, chunked bool) error {
	if resp.noBody || r.method == "HEAD" {
		return nil
	}
	dst := r.bodyWriter()
	var cw io.WriteCloser
	if chunked {
		cw = httputil.NewChunkedWriter(r.conn.out)
		dst = cw
	}
	buf := make([]byte, 16<<10)
	for {
		c.SetReadDeadline(time.Now().Add(c.readTimeout))
		n, err := resp.body.Read(buf)
		if n > 0 {
			r.conn.SetWriteDeadline(time.Now().Add(headTimeout))
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return werr
			}
			if c.r.Buffered() == 0 {
				if werr := r.flush(); werr != nil {
					return werr
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if cw == nil {
		return nil
	}
	if err := cw.Close(); err != nil {
		return err
	}
	_, err := r.conn.out.WriteString("\r\n")
	return err
}

// splice passes bytes both ways until one side ends.
func (r *request) splice(c *upstreamConn) {
	r.conn.SetDeadline(time.Time{})
	c.SetDeadline(time.Time{})
	done := make(chan struct{}, 2)
	go func() {
		io.Copy(c, r.conn.head)
		done <- struct{}{}
	}()
	go func() {
		io.Copy(r.conn, c.r)
		done <- struct{}{}
	}()
	<-done
	c.Close()
	r.conn.Close()
	<-done
}
