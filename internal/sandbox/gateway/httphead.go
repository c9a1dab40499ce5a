package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A header is one header line: the name as it was sent, the value trimmed.
type header struct{ name, value string }

// headReader reads HTTP/1 heads from a stream, with nginx's buffer sizes: what
// of a body comes along with a head decides where Kong keeps that body.
type headReader struct {
	src  io.Reader
	buf  []byte
	r, w int
}

const (
	smallHead = 1 << 10  // client_header_buffer_size
	largeHead = 8 << 10  // one of large_client_header_buffers
	maxHead   = 32 << 10 // all of them
)

var (
	errHeadTooLarge = errors.New("request header or cookie too large")
	errLineTooLong  = errors.New("request line too long")
	errBadHead      = errors.New("malformed head")
	errCertificate  = errors.New("the client certificate has expired or is not valid yet")
)

func newHeadReader(src io.Reader) *headReader {
	return &headReader{src: src, buf: make([]byte, smallHead)}
}

// head returns the next head, up to and with the empty line. limit bounds its size.
func (h *headReader) head(limit int) ([]byte, error) {
	// What is left of the request before goes to the front of a small buffer.
	left := h.buf[h.r:h.w]
	size := smallHead
	for size < len(left) {
		size *= 2
	}
	buf := make([]byte, size)
	h.r, h.w = 0, copy(buf, left)
	h.buf = buf
	scanned := 0
	for {
		// Empty lines before a request line are skipped.
		for h.r == scanned && h.r < h.w && (h.buf[h.r] == '\r' || h.buf[h.r] == '\n') {
			h.r++
			scanned++
		}
		if end := headEnd(h.buf[h.r:h.w]); end > 0 {
			head := h.buf[h.r : h.r+end]
			h.r += end
			return head, nil
		}
		if h.w-h.r >= limit {
			return nil, errHeadTooLarge
		}
		if h.w-h.r > largeHead && bytes.IndexByte(h.buf[h.r:h.w], '\n') < 0 {
			return nil, errLineTooLong
		}
		if h.w == len(h.buf) {
			grown := make([]byte, max(largeHead, len(h.buf)+largeHead))
			copy(grown, h.buf[:h.w])
			h.buf = grown
		}
		n, err := h.src.Read(h.buf[h.w:])
		h.w += n
		if err != nil && n == 0 {
			if err == io.EOF && h.w > h.r {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// headEnd is the length of the head at the start of b, or 0.
func headEnd(b []byte) int {
	for i := 0; ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		if rest := b[i:]; bytes.HasPrefix(rest, []byte("\r\n")) {
			return i + 2
		} else if bytes.HasPrefix(rest, []byte("\n")) {
			return i + 1
		}
	}
}

// buffered is how much has arrived beyond the head.
func (h *headReader) buffered() int { return h.w - h.r }

// Read reads what follows a head.
func (h *headReader) Read(p []byte) (int, error) {
	if h.r < h.w {
		n := copy(p, h.buf[h.r:h.w])
		h.r += n
		return n, nil
	}
	return h.src.Read(p)
}

// parseHeaders parses the lines of a head. Lines with a name that nginx calls
// invalid (anything but letters, digits, "-" and "_") are left out; control
// characters in a name, and NUL anywhere, are an error. Bytes are kept as they are.
func parseHeaders(head []byte) (first string, hs []header, err error) {
	lines := strings.Split(string(head), "\n")
	first = strings.TrimSuffix(lines[0], "\r")
	for _, line := range lines[1:] {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		valid := name != ""
		for i := 0; i < len(name); i++ {
			c := name[i]
			if c <= ' ' || c == 0x7f {
				return "", nil, errBadHead
			}
			if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				valid = false
			}
		}
		if strings.IndexByte(value, 0) >= 0 || strings.IndexByte(value, '\r') >= 0 {
			return "", nil, errBadHead
		}
		if !ok || !valid {
			continue
		}
		if len(hs) >= 1000 {
			return "", nil, errHeadTooLarge
		}
		hs = append(hs, header{name, strings.Trim(value, " \t")})
	}
	return first, hs, nil
}

// Headers that nginx takes once only.
var onceOnly = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "authorization": true, "expect": true, "content-range": true,
	"if-modified-since": true, "if-unmodified-since": true, "if-match": true, "if-none-match": true, "if-range": true,
}

// requestHead is a parsed request head.
type requestHead struct {
	method, target string // the target as sent
	path, args     string // of the target; without fragment in args
	minor          int    // of HTTP/1.x; 10 is HTTP/2
	host           string // lower-cased, without port
	headers        []header
	length         int64 // -1 for chunked, -2 for none
	keepAlive      bool
	expect         bool
	upgrade        bool
}

func parseRequest(head []byte) (*requestHead, error) {
	// nginx keeps a line in one buffer, whatever the whole head may be.
	for i, line := range bytes.SplitAfter(head, []byte("\n")) {
		if len(line) <= largeHead {
			continue
		}
		if i == 0 {
			return nil, errLineTooLong
		}
		return nil, errHeadTooLarge
	}
	first, hs, err := parseHeaders(head)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 {
		return nil, errBadHead
	}
	r := &requestHead{method: parts[0], target: parts[1], headers: hs, length: -2}
	if r.method == "" || strings.Trim(r.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_-") != "" {
		return nil, errBadHead
	}
	switch parts[2] {
	case "HTTP/1.1":
		r.minor = 1
	case "HTTP/1.0":
	default:
		return nil, errBadHead
	}
	urlHost := ""
	if rest, ok := strings.CutPrefix(r.target, "http://"); ok {
		i := strings.IndexAny(rest+"/", "/?")
		urlHost, r.target = rest[:i], rest[i:]
		if !strings.HasPrefix(r.target, "/") {
			r.target = "/" + r.target
		}
	}
	if err := r.split(); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, h := range hs {
		n := lower(h.name)
		if onceOnly[n] && seen[n] {
			return nil, errBadHead
		}
		seen[n] = true
	}
	if r.minor == 1 && !seen["host"] {
		return nil, errBadHead
	}
	host := get(hs, "host")
	if urlHost != "" {
		host = urlHost
	}
	r.host = lower(stripPort(host))
	if strings.ContainsAny(r.host, "/\\ \t") {
		return nil, errBadHead
	}
	conn := lower(strings.Join(all(hs, "connection"), ","))
	r.keepAlive = r.minor == 1 && !strings.Contains(conn, "close") || r.minor == 0 && strings.Contains(conn, "keep-alive")
	r.upgrade = strings.Contains(conn, "upgrade") && get(hs, "upgrade") != ""
	r.expect = strings.EqualFold(get(hs, "expect"), "100-continue") && r.minor == 1
	if seen["content-length"] {
		n, err := strconv.ParseUint(get(hs, "content-length"), 10, 62)
		if err != nil {
			return nil, errBadHead
		}
		r.length = int64(n)
	}
	if seen["transfer-encoding"] {
		if seen["content-length"] || r.minor == 0 {
			return nil, errBadHead
		}
		if !strings.EqualFold(get(hs, "transfer-encoding"), "chunked") {
			return nil, fmt.Errorf("%w: transfer coding", errors.ErrUnsupported)
		}
		r.length = -1
	}
	return r, nil
}

// split takes the target apart.
func (r *requestHead) split() error {
	if !strings.HasPrefix(r.target, "/") {
		return errBadHead
	}
	for i := 0; i < len(r.target); i++ {
		if c := r.target[i]; c <= ' ' || c == 0x7f {
			return errBadHead
		}
	}
	r.path, r.args, _ = strings.Cut(r.target, "?")
	r.args, _, _ = strings.Cut(r.args, "#")
	if i := strings.IndexByte(r.path, '#'); i >= 0 {
		r.path, r.args = r.path[:i], ""
	}
	return nil
}

func stripPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}

// get returns the first value of a header, "" when it is not there.
func get(hs []header, name string) string {
	for _, h := range hs {
		if strings.EqualFold(h.name, name) {
			return h.value
		}
	}
	return ""
}

func all(hs []header, name string) []string {
	var out []string
	for _, h := range hs {
		if strings.EqualFold(h.name, name) {
			out = append(out, h.value)
		}
	}
	return out
}

// setHeader replaces the first line of that name and drops the others; without one it appends. No values removes it.
func setHeader(hs []header, name string, values ...string) []header {
	out := make([]header, 0, len(hs)+len(values))
	done := false
	for _, h := range hs {
		if !strings.EqualFold(h.name, name) {
			out = append(out, h)
			continue
		}
		if !done {
			for _, v := range values {
				out = append(out, header{h.name, v})
			}
			done = true
		}
	}
	if !done {
		for _, v := range values {
			out = append(out, header{name, v})
		}
	}
	return out
}
