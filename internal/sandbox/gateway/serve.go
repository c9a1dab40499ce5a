package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	keepAliveTimeout = 75 * time.Second
	headTimeout      = 60 * time.Second
)

// clientConn is a client's connection; all its requests are one worker's.
type clientConn struct {
	net.Conn
	head *headReader
	out  *bufio.Writer
}

func (g *Gateway) listen() error {
	var err error
	if g.proxyLn, err = net.Listen("tcp", g.opts.ProxyAddr); err != nil {
		return fmt.Errorf("listen for the proxy: %w", err)
	}
	g.h2 = newH2Server(g)
	g.wg.Add(1)
	go g.accept(g.proxyLn, "http")
	if g.opts.ProxyTLSAddr != "" {
		conf := g.opts.TLSConfig
		if conf == nil {
			if conf, err = selfSigned(); err != nil {
				return err
			}
		}
		ln, err := net.Listen("tcp", g.opts.ProxyTLSAddr)
		if err != nil {
			return fmt.Errorf("listen for the proxy with TLS: %w", err)
		}
		g.tlsLn = tls.NewListener(ln, withHTTP2(conf))
		g.wg.Add(1)
		go g.accept(g.tlsLn, "https")
	}
	return g.listenAdmin()
}

func (g *Gateway) accept(ln net.Listener, scheme string) {
	defer g.wg.Done()
	for {
		c, err := ln.Accept()
		if err != nil {
			if g.stopping() || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		if !g.track(c) {
			c.Close()
			return
		}
		g.wg.Add(1)
		go func() {
			defer g.wg.Done()
			defer g.untrack(c)
			defer c.Close()
			g.serve(c, scheme)
		}()
	}
}

func (g *Gateway) serve(c net.Conn, scheme string) {
	var state *tls.ConnectionState
	if tc, ok := c.(*tls.Conn); ok {
		tc.SetDeadline(time.Now().Add(headTimeout))
		if tc.Handshake() != nil {
			return
		}
		tc.SetDeadline(time.Time{})
		s := tc.ConnectionState()
		state = &s
		if s.NegotiatedProtocol == "h2" {
			g.h2.take(c)
			return
		}
	} else if g.opts.HTTP2 {
		begun, isHTTP2 := beginsHTTP2(c)
		if c = begun; isHTTP2 {
			g.h2.take(c)
			return
		}
	}
	conn := &clientConn{Conn: c, head: newHeadReader(c), out: bufio.NewWriter(c)}
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	local, _ := netip.ParseAddrPort(c.LocalAddr().String())
	w := g.worker()
	for first := true; ; first = false {
		timeout := keepAliveTimeout
		if first {
			timeout = headTimeout
		}
		c.SetReadDeadline(time.Now().Add(timeout))
		raw, err := conn.head.head(maxHead)
		if err != nil && !errors.Is(err, errHeadTooLarge) && !errors.Is(err, errLineTooLong) {
			return
		}
		c.SetReadDeadline(time.Now().Add(keepAliveTimeout))
		r := &request{
			g: g, conn: conn, id: newID(), start: time.Now(), scheme: scheme, port: int(local.Port()), tls: state, peer: peer,
			ctx: map[string]any{}, nginxCtx: map[string]any{}, serialize: map[string]any{}, requestHead: &requestHead{minor: 1},
		}
		g.counters.Requests.Add(1)
		if err == nil {
			var h *requestHead
			if h, err = parseRequest(raw); err == nil {
				r.requestHead, r.method = h, h.method
			}
		}
		if w.isRetired() {
			w = g.worker()
		}
		r.w = w
		if err == nil {
			err = checkCertificate(state, r.start)
		}
		if err != nil {
			r.refuse(err)
			return
		}
		keep := r.run()
		if r.body != nil {
			r.body.cleanup()
		}
		if !keep || g.stopping() {
			return
		}
	}
}

func (w *worker) isRetired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.retired
}

// checkCertificate holds a client certificate to what nginx asks of any, even
// with ssl_verify_client optional_no_ca: that it is valid at this time.
func checkCertificate(s *tls.ConnectionState, now time.Time) error {
	if s == nil || len(s.PeerCertificates) == 0 {
		return nil
	}
	if c := s.PeerCertificates[0]; now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return errCertificate
	}
	return nil
}

// certificatePage is nginx's own, past Kong's error pages.
const certificatePage = "<html>\r\n<head><title>400 The SSL certificate error</title></head>\r\n<body>\r\n" +
	"<center><h1>400 Bad Request</h1></center>\r\n<center>The SSL certificate error</center>\r\n</body>\r\n</html>\r\n"

// refuse answers what nginx refuses before Kong sees it.
func (r *request) refuse(err error) {
	if errors.Is(err, errCertificate) {
		r.g.logf("info", "client SSL certificate verify error: %v", err)
		r.keepAlive, r.respHdr = false, nil
		r.answer = &answer{status: 400, headers: []header{{"Content-Type", "text/html; charset=UTF-8"}}, body: []byte(certificatePage)}
		_ = r.writeAnswer()
		return
	}
	status, text := 400, "Bad request"
	switch {
	case errors.Is(err, errLineTooLong):
		status, text = 414, "URI too long"
	case errors.Is(err, errHeadTooLarge):
		text = "Request header or cookie too large"
	case errors.Is(err, errors.ErrUnsupported):
		status, text = 501, "Not implemented"
	}
	r.g.logf("info", "client sent a request that is refused: %v", err)
	r.keepAlive = false
	r.respHdr = nil
	r.answer = &answer{status: status, headers: []header{{"Content-Type", "text/plain; charset=utf-8"}}, body: []byte(text + "\nrequest_id: " + r.id + "\n")}
	_ = r.writeAnswer()
}

// run takes a request through routing, plugins and proxying. It says whether the connection goes on.
func (r *request) run() (keep bool) {
	r.resolveClient()
	r.body = &body{src: r.conn.head, length: r.length, newFile: r.g.newBodyFile}
	switch {
	case r.stream != nil:
		r.body.plain = r.stream.r.Body
	case r.length > 0:
		r.body.preread = int(min(int64(r.conn.head.buffered()), r.length))
	default:
		r.body.preread = r.conn.head.buffered()
	}
	if r.expect {
		r.body.expect = func() error {
			_, err := io.WriteString(r.conn, "HTTP/1.1 100 Continue\r\n\r\n")
			return err
		}
	}
	var err error
	if r.uri, err = nginxURI(r.path); err != nil {
		r.refuse(err)
		return false
	}
	r.normal = normalizePath(r.path)
	st := r.g.state.Load()
	if r.route(st); r.answer == nil {
		r.access(st)
	}
	if r.answer == nil {
		return r.proxy()
	}
	// What the client still sends of its body is taken in, within bounds.
	if r.stream == nil && r.body.present() && !r.body.complete {
		if r.expect && r.body.preread == 0 {
			r.keepAlive = false
		} else if r.body.read() != nil {
			r.keepAlive = false
		}
	}
	return r.writeAnswer() == nil && r.keepAlive
}

// route finds the route and prepares the upstream request by it.
func (r *request) route(st *state) {
	m := st.router.find(routeKey{scheme: r.scheme, method: r.method, host: r.host, port: r.port, path: r.normal, header: func(n string) []string { return all(r.headers, n) }})
	if m == nil {
		r.fail(404, "no Route matched with those values")
		return
	}
	r.match, r.service = m, m.service
	if r.xForwardedProto() == "http" && contains(m.protocols, "https", "wss") && !contains(m.protocols, "http", "ws") {
		r.fail(426, "Please use HTTPS protocol")
		r.answer.headers = append(r.answer.headers, header{"Connection", "Upgrade"}, header{"Upgrade", "TLS/1.2, HTTP/1.1"})
		return
	}
	if r.grpcRoute(m.protocols); r.answer != nil {
		return
	}
	if m.stripPath && len(m.paths) > 0 {
		r.up.prefix = orElse(m.prefix, "/")
	}
	r.up.uri, r.up.args = escapePath(m.upstream), r.args
	if s := m.service; s != nil {
		r.up.scheme, r.up.host, r.up.port = map[string]string{"ws": "http", "wss": "https"}[str(s["protocol"])], str(s["host"]), num(s["port"])
		r.up.scheme = orElse(r.up.scheme, str(s["protocol"]))
		r.up.hostHeader = r.up.host
		if !(r.up.scheme == "http" && r.up.port == 80 || r.up.scheme == "https" && r.up.port == 443) {
			r.up.hostHeader += ":" + strconv.Itoa(r.up.port)
		}
	}
	if m.preserve {
		r.up.hostHeader = get(r.headers, "host")
	}
}

func contains(l []string, any ...string) bool {
	for _, x := range l {
		for _, a := range any {
			if x == a {
				return true
			}
		}
	}
	return false
}

// access runs the plugins in order of priority until one ends the request.
func (r *request) access(st *state) {
	for _, ps := range st.plugins {
		service := ""
		if r.service != nil {
			service = str(r.service["id"])
		}
		consumer := ""
		if r.consumer != nil {
			consumer = r.consumer.ID
		}
		conf := ps.pick(r.match.id, service, consumer)
		if conf == nil || !conf.protocols[r.protocolName()] && !conf.protocols[map[string]string{"http": "ws", "https": "wss"}[r.scheme]] {
			continue
		}
		if !ps.kind.external {
			bundled[ps.kind.name](r, conf.config)
		} else if err := r.w.deliver(ps.kind, conf, r); err != nil && !errors.Is(err, errExit) {
			r.fail(500, "An unexpected error occurred")
		}
		if r.answer != nil {
			return
		}
	}
	if r.service == nil {
		r.fail(503, "no Service found with those values")
	}
}

// fail makes an error answer in Kong's words, in the form that Accept asks for.
func (r *request) fail(status int, message string) {
	ct, body := "application/grpc", ""
	if !r.isGRPC() {
		ct = responseType(all(r.headers, "accept"))
		body = errorBody(ct, message, r.id)
	}
	r.answer = &answer{status: status, headers: []header{{"Content-Type", ct}}, body: []byte(body)}
	grpcDenial(r, r.answer)
}

// denyJSON is an answer of a bundled plugin.
func (r *request) denyJSON(status int, message string, hs ...header) {
	r.answer = &answer{status: status, headers: append([]header{{"Content-Type", "application/json; charset=utf-8"}}, hs...),
		body: []byte(fmt.Sprintf("{\n  \"message\":%q,\n  \"request_id\":%q\n}", message, r.id))}
}

// writeAnswer writes the answer with the headers that plugins had set before it.
func (r *request) writeAnswer() error {
	a := r.answer
	hs := []header{{"Date", time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}}
	if ct := get(a.headers, "content-type"); ct != "" {
		hs = append(hs, header{"Content-Type", ct})
	}
	if !hasHeader(a.headers, "connection") {
		hs = append(hs, r.connectionHeader())
	}
	for _, h := range r.respHdr {
		if h.name != "" && !hasHeader(a.headers, h.name) && !strings.EqualFold(h.name, "content-length") {
			hs = append(hs, h)
		}
	}
	for _, h := range a.headers {
		if !strings.EqualFold(h.name, "content-type") {
			hs = append(hs, h)
		}
	}
	hs = append(hs, header{"Content-Length", strconv.Itoa(len(a.body))},
		header{"X-Kong-Response-Latency", strconv.FormatInt(time.Since(r.start).Milliseconds(), 10)},
		header{"Server", "kong/" + Version}, header{"X-Kong-Request-Id", r.id})
	r.conn.SetWriteDeadline(time.Now().Add(headTimeout))
	r.writeHead(a.status, hs)
	if r.method != "HEAD" {
		r.bodyWriter().Write(a.body)
	}
	return r.flush()
}

func (r *request) connectionHeader() header {
	if r.keepAlive {
		return header{"Connection", "keep-alive"}
	}
	return header{"Connection", "close"}
}

func hasHeader(hs []header, name string) bool {
	for _, h := range hs {
		if strings.EqualFold(h.name, name) {
			return true
		}
	}
	return false
}

func writeHead(w *bufio.Writer, status int, hs []header) {
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", status, reason(status))
	for _, h := range hs {
		w.WriteString(h.name)
		w.WriteString(": ")
		w.WriteString(h.value)
		w.WriteString("\r\n")
	}
	w.WriteString("\r\n")
}
