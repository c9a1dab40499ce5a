package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// preface is how an HTTP/2 client begins in clear text (RFC 9113 3.4). nginx
// tells it from HTTP/1 on one port.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// stream is the HTTP/2 side of a request; HTTP/1 requests have none.
type stream struct {
	w http.ResponseWriter
	r *http.Request
}

// h2Server serves connections that turn out to be HTTP/2.
type h2Server struct {
	g      *Gateway
	server *http.Server
	conns  chan net.Conn

	mu   sync.Mutex
	ends map[net.Conn]chan struct{}
}

// h2Conn is what the requests of one connection share.
type h2Conn struct {
	net.Conn
	w *worker
}

// Deadlines are those of the connection, not of a request's.
func (h2Conn) SetDeadline(time.Time) error      { return nil }
func (h2Conn) SetReadDeadline(time.Time) error  { return nil }
func (h2Conn) SetWriteDeadline(time.Time) error { return nil }

type h2Key struct{}

func newH2Server(g *Gateway) *h2Server {
	s := &h2Server{g: g, conns: make(chan net.Conn), ends: map[net.Conn]chan struct{}{}}
	var p http.Protocols
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	s.server = &http.Server{
		Protocols: &p, Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: headTimeout, IdleTimeout: keepAliveTimeout, MaxHeaderBytes: maxHead,
		ErrorLog: log.New(io.Discard, "", 0), ConnState: s.changed,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, h2Key{}, &h2Conn{c, g.worker()})
		},
	}
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		_ = s.server.Serve(s)
	}()
	return s
}

// Accept, Close and Addr make it the listener of its own server.
func (s *h2Server) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.g.stop:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the gateway's end is the listener's.
func (s *h2Server) Close() error { return nil }

// Addr is the proxy's.
func (s *h2Server) Addr() net.Addr { return s.g.proxyLn.Addr() }

func (s *h2Server) changed(c net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.ends[c]; end != nil {
		close(end)
		delete(s.ends, c)
	}
}

// take serves a connection until its end.
func (s *h2Server) take(c net.Conn) {
	end := make(chan struct{})
	s.mu.Lock()
	s.ends[c] = end
	s.mu.Unlock()
	select {
	case s.conns <- c:
		<-end
	case <-s.g.stop:
	}
}

// beginsHTTP2 reads as far as the client's bytes may be the preface. The
// connection that it returns gives them once more.
func beginsHTTP2(c net.Conn) (net.Conn, bool) {
	c.SetReadDeadline(time.Now().Add(headTimeout))
	buf, n := make([]byte, len(preface)), 0
	for n < len(buf) && string(buf[:n]) == preface[:n] {
		m, err := c.Read(buf[n:])
		n += m
		if err != nil {
			break
		}
	}
	return &begunConn{Conn: c, begun: buf[:n]}, string(buf[:n]) == preface
}

// begunConn is a connection of which some bytes have been read.
type begunConn struct {
	net.Conn
	begun []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(p, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// serve takes one HTTP/2 request through the gateway.
func (s *h2Server) serve(w http.ResponseWriter, hr *http.Request) {
	c := hr.Context().Value(h2Key{}).(*h2Conn)
	if c.w.isRetired() {
		c.w = s.g.worker()
	}
	peer, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	local, _ := netip.ParseAddrPort(c.LocalAddr().String())
	r := &request{
		g: s.g, conn: &clientConn{Conn: c}, id: newID(), start: time.Now(), scheme: "http", port: int(local.Port()), tls: hr.TLS, peer: peer, w: c.w,
		ctx: map[string]any{}, nginxCtx: map[string]any{}, serialize: map[string]any{}, stream: &stream{w, hr}, requestHead: &requestHead{},
	}
	if hr.TLS != nil {
		r.scheme = "https"
	}
	s.g.counters.Requests.Add(1)
	h, err := h2Head(hr)
	if err != nil {
		r.refuse(err)
		return
	}
	r.requestHead, r.method = h, h.method
	r.run()
	r.body.cleanup()
}

// h2Head is the head of an HTTP/2 request in the form of HTTP/1's, as nginx
// gives it to Lua: names in lower case, the authority as Host.
func h2Head(hr *http.Request) (*requestHead, error) {
	h := &requestHead{method: hr.Method, target: hr.RequestURI, minor: 10, host: lower(stripPort(hr.Host)), keepAlive: true, length: -2}
	h.headers = append(h.headers, header{"host", hr.Host})
	for _, name := range sortedKeys(hr.Header) {
		values := hr.Header[name]
		n := lower(name)
		if len(values) > 1 && onceOnly[n] {
			return nil, errBadHead
		}
		for _, v := range values {
			h.headers = append(h.headers, header{n, v})
		}
	}
	if len(h.headers) > 1000 {
		return nil, errHeadTooLarge
	}
	if err := h.split(); err != nil {
		return nil, err
	}
	switch {
	case hr.ContentLength > 0:
		h.length = hr.ContentLength
	case hr.ContentLength < 0:
		h.length = -1
	}
	return h, nil
}

// writeHead writes the head of a response.
func (r *request) writeHead(status int, hs []header) {
	if r.stream == nil {
		writeHead(r.conn.out, status, hs)
		return
	}
	out := r.stream.w.Header()
	// Go fills in what is not there at all.
	out["Date"], out["Content-Type"] = nil, nil
	for _, h := range hs {
		switch n := lower(h.name); n {
		case "connection", "keep-alive", "transfer-encoding", "upgrade":
		default:
			name := http.CanonicalHeaderKey(n)
			out[name] = append(out[name], h.value)
		}
	}
	r.stream.w.WriteHeader(status)
}

// bodyWriter is where the body of a response goes.
func (r *request) bodyWriter() io.Writer {
	if r.stream != nil {
		return r.stream.w
	}
	return r.conn.out
}

func (r *request) flush() error {
	if r.stream != nil {
		return http.NewResponseController(r.stream.w).Flush()
	}
	return r.conn.out.Flush()
}

// httpVersion is 1, 1.1 or 2.
func (r *request) httpVersion() float64 { return float64(10+r.minor) / 10 }

// isGRPC reports whether Kong takes the request for a gRPC call.
func (r *request) isGRPC() bool {
	return r.stream != nil && hasPrefixFold(get(r.requestHead.headers, "content-type"), "application/grpc")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && lower(s[:len(prefix)]) == prefix
}

// withHTTP2 offers HTTP/2 to clients of the TLS listener.
func withHTTP2(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{"h2", "http/1.1"}
	return c
}
