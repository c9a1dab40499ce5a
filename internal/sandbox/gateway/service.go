package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
)

// upstreamConn is a connection to a service.
type upstreamConn struct {
	net.Conn
	raw         net.Conn // below TLS
	r           *bufio.Reader
	key         string
	readTimeout time.Duration
	since       time.Time
}

type upstreamResponse struct {
	status    int
	headers   []header
	length    int64 // -1: not known
	noBody    bool
	keepAlive bool
	body      io.Reader
}

func (c *upstreamConn) readResponse(method string) (*upstreamResponse, error) {
	for {
		raw, err := readHeadFrom(c.r)
		if err != nil {
			return nil, err
		}
		first, hs, err := parseHeaders(raw)
		if err != nil {
			return nil, err
		}
		proto, rest, _ := strings.Cut(first, " ")
		code, _, _ := strings.Cut(rest, " ")
		status, err := strconv.Atoi(code)
		if err != nil || !strings.HasPrefix(proto, "HTTP/1.") || status < 100 || status > 999 {
			return nil, fmt.Errorf("upstream sent no valid HTTP/1 header: %.40q", first)
		}
		if status < 200 && status != 101 {
			continue
		}
		resp := &upstreamResponse{status: status, headers: hs, length: -1}
		resp.noBody = method == "HEAD" || status == 204 || status == 304 || status == 101
		conn := lower(strings.Join(all(hs, "connection"), ","))
		resp.keepAlive = proto == "HTTP/1.1" && !strings.Contains(conn, "close")
		if v := get(hs, "content-length"); v != "" {
			n, err := strconv.ParseInt(v, 10, 63)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("upstream sent an invalid Content-Length")
			}
			resp.length = n
		}
		switch {
		case resp.noBody:
			resp.body = strings.NewReader("")
		case strings.EqualFold(get(hs, "transfer-encoding"), "chunked"):
			resp.length = -1
			resp.body = &chunkedBody{r: c.r, chunks: httputil.NewChunkedReader(c.r)}
		case resp.length >= 0:
			resp.body = &exactReader{r: c.r, n: resp.length}
		default:
			resp.body, resp.keepAlive = c.r, false
		}
		return resp, nil
	}
}

// readHeadFrom reads one head from a buffered stream, at most 64 KiB.
func readHeadFrom(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for partial := false; ; {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		head = append(head, line...)
		if len(head) > 64<<10 {
			return nil, errHeadTooLarge
		}
		if !partial && err == nil && len(head) > 2 && (string(line) == "\r\n" || string(line) == "\n") {
			return head, nil
		}
		partial = err == bufio.ErrBufferFull
	}
}

// chunkedBody reads a chunked body with its trailer, so that the connection can be used again.
type chunkedBody struct {
	r      *bufio.Reader
	chunks io.Reader
	done   bool
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	n, err := b.chunks.Read(p)
	if err == io.EOF && !b.done {
		b.done = true
		for {
			line, rerr := b.r.ReadSlice('\n')
			if rerr != nil {
				return n, io.ErrUnexpectedEOF
			}
			if string(line) == "\r\n" || string(line) == "\n" {
				break
			}
		}
	}
	return n, err
}

// exactReader reads n bytes; fewer are an error.
type exactReader struct {
	r io.Reader
	n int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.n {
		p = p[:e.n]
	}
	n, err := e.r.Read(p)
	e.n -= int64(n)
	if err == io.EOF && e.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// upstreamPool keeps connections to services for 60 s.
type upstreamPool struct {
	mu     sync.Mutex
	idle   map[string][]*upstreamConn
	closed bool
}

func newUpstreamPool() *upstreamPool { return &upstreamPool{idle: map[string][]*upstreamConn{}} }

func (p *upstreamPool) get(scheme, addr string, timeout time.Duration) (c *upstreamConn, reused bool, err error) {
	key := scheme + "://" + addr
	for {
		p.mu.Lock()
		l := p.idle[key]
		if len(l) == 0 {
			p.mu.Unlock()
			break
		}
		c, p.idle[key] = l[len(l)-1], l[:len(l)-1]
		p.mu.Unlock()
		if time.Since(c.since) < 60*time.Second && quiet(c.raw) {
			return c, true, nil
		}
		c.Close()
	}
	raw, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, false, err
	}
	c = &upstreamConn{Conn: raw, raw: raw, key: key}
	if scheme == "https" {
		host, _, _ := net.SplitHostPort(addr)
		// Kong does not verify services unless it is told to.
		tc := tls.Client(raw, &tls.Config{ServerName: host, InsecureSkipVerify: true})
		tc.SetDeadline(time.Now().Add(timeout))
		if err := tc.Handshake(); err != nil {
			raw.Close()
			return nil, false, err
		}
		c.Conn = tc
	}
	c.r = bufio.NewReader(c.Conn)
	return c, false, nil
}

func (p *upstreamPool) put(c *upstreamConn) {
	c.SetDeadline(time.Time{})
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.r.Buffered() > 0 || len(p.idle[c.key]) >= 60 {
		c.Close()
		return
	}
	p.idle[c.key] = append(p.idle[c.key], c)
}

func (p *upstreamPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.idle {
		for _, c := range l {
			c.Close()
		}
	}
	p.idle = nil
}
