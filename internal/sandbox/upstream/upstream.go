// Package upstream is a service to put behind a gateway: it answers what it
// was sent, byte for byte, so that tests see spoofed spellings of a header
// that net/http would have made one. For one machine and for tests; imported
// by cmd/sandbox and tests.
package upstream

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	maxHead = 256 << 10
	maxBody = 64 << 20
	maxSlow = time.Minute
)

// Header is one header line, name and value; in JSON the line itself.
type Header [2]string

// MarshalText writes "name: value".
func (h Header) MarshalText() ([]byte, error) { return []byte(h[0] + ": " + h[1]), nil }

// UnmarshalText reads "name: value".
func (h *Header) UnmarshalText(b []byte) error {
	h[0], h[1], _ = strings.Cut(string(b), ": ")
	return nil
}

// Request is what the service answers: the request as it arrived.
type Request struct {
	Method  string   `json:"method"`
	Target  string   `json:"target"` // of the request line, as sent
	Path    string   `json:"path"`
	Query   string   `json:"query"`
	Headers []Header `json:"headers"` // names and values as sent, in their order
	Body    string   `json:"body"`
	// BodyBase64 is set instead of Body when the body is not UTF-8.
	BodyBase64 string `json:"body_base64,omitempty"`
}

// Get returns the values of the header lines with exactly that name.
func (r *Request) Get(name string) []string {
	var out []string
	for _, h := range r.Headers {
		if h[0] == name {
			out = append(out, h[1])
		}
	}
	return out
}

// GetFold returns the values of the header lines whose name is the given one
// in any case, with "_" the same as "-".
func (r *Request) GetFold(name string) []string {
	var out []string
	for _, h := range r.Headers {
		if strings.EqualFold(strings.ReplaceAll(h[0], "_", "-"), strings.ReplaceAll(name, "_", "-")) {
			out = append(out, h[1])
		}
	}
	return out
}

// Service is a running echo service. Its answers: 200 with a Request as JSON;
// the status NNN at /status/NNN; at /slow the same after ?ms= milliseconds
// (1000, at most a minute); at /cookie with a Set-Cookie; a WebSocket
// handshake is accepted and bytes are echoed. Prefixes before these paths do
// not matter.
type Service struct {
	ln    net.Listener
	wg    sync.WaitGroup
	stop  chan struct{}
	once  sync.Once
	count atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	last  *Request
}

// Start listens on addr; "" is a free port of 127.0.0.1.
func Start(addr string) (*Service, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the echo service: %w", err)
	}
	s := &Service{ln: ln, stop: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	s.wg.Add(1)
	go s.accept()
	return s, nil
}

// Addr is the address that the service listens on.
func (s *Service) Addr() string { return s.ln.Addr().String() }

// Count is how many requests have arrived.
func (s *Service) Count() int64 { return s.count.Load() }

// Last is the request that arrived last, nil before the first.
func (s *Service) Last() *Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Close ends the service and waits for it.
func (s *Service) Close() error {
	s.once.Do(func() {
		close(s.stop)
		s.ln.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return nil
}

func (s *Service) accept() {
	defer s.wg.Done()
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		s.mu.Lock()
		select {
		case <-s.stop:
			s.mu.Unlock()
			c.Close()
			return
		default:
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			defer func() {
				c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			r := bufio.NewReader(c)
			for s.serve(c, r) == nil {
			}
		}()
	}
}

// serve answers one request; an error ends the connection.
func (s *Service) serve(c net.Conn, r *bufio.Reader) error {
	req, err := readRequest(r)
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
		return err
	}
	s.count.Add(1)
	s.mu.Lock()
	s.last = req
	s.mu.Unlock()
	if len(req.GetFold("sec-websocket-key")) == 1 && strings.EqualFold(strings.Join(req.GetFold("upgrade"), ""), "websocket") {
		sum := sha1.Sum([]byte(req.GetFold("sec-websocket-key")[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		io.Copy(c, r)
		return io.EOF
	}
	status, extra := 200, ""
	segs := strings.Split(strings.Trim(req.Path, "/"), "/")
	for i, seg := range segs {
		switch {
		case seg == "status" && i+1 < len(segs):
			if n, err := strconv.Atoi(segs[i+1]); err == nil && n >= 200 && n <= 599 {
				status = n
			}
		case seg == "slow":
			if err := s.slow(req.Query); err != nil {
				return err
			}
		case seg == "cookie":
			extra = "Set-Cookie: upstream=1; Path=/\r\n"
		}
	}
	body, err := json.MarshalIndent(req, "", "  ")
	if err != nil {
		return err
	}
	body = append(body, '\n')
	if status == 204 || status == 304 {
		body = nil
	}
	if status >= 300 && status < 400 {
		extra += "Location: /elsewhere\r\n"
	}
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nX-Upstream: echo\r\n%s", status, http.StatusText(status), extra)
	if status != 204 && status != 304 {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if req.Method == "HEAD" {
		body = nil
	}
	if _, err := c.Write(append([]byte(head+"\r\n"), body...)); err != nil {
		return err
	}
	if strings.EqualFold(strings.Join(req.GetFold("connection"), ","), "close") {
		return io.EOF
	}
	return nil
}

func (s *Service) slow(query string) error {
	wait := time.Second
	for _, p := range strings.Split(query, "&") {
		if v, ok := strings.CutPrefix(p, "ms="); ok {
			if n, err := strconv.Atoi(v); err == nil && n >= 0 {
				wait = min(time.Duration(n)*time.Millisecond, maxSlow)
			}
		}
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.stop:
		return net.ErrClosed
	}
}

// readRequest reads one request, without any change to its names and values.
func readRequest(r *bufio.Reader) (*Request, error) {
	first, err := readLine(r, maxHead)
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(first, " ", 3)
	if len(parts) != 3 || !strings.HasPrefix(parts[2], "HTTP/1.") {
		return nil, fmt.Errorf("malformed request line %.60q", first)
	}
	req := &Request{Method: parts[0], Target: parts[1], Headers: []Header{}}
	req.Path, req.Query, _ = strings.Cut(req.Target, "?")
	for left := maxHead; ; {
		line, err := readLine(r, left)
		if err != nil {
			return nil, fmt.Errorf("read a header: %w", err)
		}
		if line == "" {
			break
		}
		left -= len(line)
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("malformed header line %.60q", line)
		}
		req.Headers = append(req.Headers, Header{name, strings.TrimPrefix(value, " ")})
	}
	var body []byte
	switch {
	case strings.EqualFold(strings.Join(req.GetFold("transfer-encoding"), ","), "chunked"):
		body, err = io.ReadAll(io.LimitReader(httputil.NewChunkedReader(r), maxBody+1))
		for err == nil {
			var line string
			if line, err = readLine(r, maxHead); line == "" {
				break
			}
		}
	case len(req.GetFold("content-length")) > 0:
		n, perr := strconv.ParseUint(strings.TrimSpace(req.GetFold("content-length")[0]), 10, 31)
		if perr != nil || n > maxBody {
			return nil, errors.New("bad Content-Length")
		}
		body = make([]byte, n)
		_, err = io.ReadFull(r, body)
	}
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if len(body) > maxBody {
		return nil, errors.New("body too large")
	}
	if utf8.Valid(body) {
		req.Body = string(body)
	} else {
		req.BodyBase64 = base64.StdEncoding.EncodeToString(body)
	}
	return req, nil
}

func readLine(r *bufio.Reader, limit int) (string, error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		if len(b) > limit {
			return "", errors.New("head too large")
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
	}
}
