package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// grpcStatus is how Kong maps a status of HTTP to one of gRPC.
var grpcStatus = map[int]int{200: 0, 400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 499: 1, 500: 13, 501: 12, 503: 14, 504: 4}

// grpcMessages are Kong's words where an answer has none.
var grpcMessages = []string{
	"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
	"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
}

func grpcCode(status int) int {
	if code, ok := grpcStatus[status]; ok {
		return code
	}
	switch status / 100 {
	case 5:
		return 13
	case 4:
		return 3
	case 2:
		return 0
	}
	return 2
}

// grpcDenial turns an answer to a gRPC call into a gRPC status: the body
// becomes grpc-message. An answer with a Content-Type of its own stays as it
// is, unless that is gRPC's, whose body stays a body.
func grpcDenial(r *request, a *answer) {
	ct := get(a.headers, "content-type")
	own := hasPrefixFold(ct, "application/grpc")
	if !own && (ct != "" || !r.isGRPC()) {
		return
	}
	code := -1
	if !hasHeader(a.headers, "grpc-status") {
		code = grpcCode(a.status)
		a.headers = setHeader(a.headers, "grpc-status", strconv.Itoa(code))
	}
	switch {
	case len(a.body) > 0 && !own:
		a.headers = setHeader(a.headers, "grpc-message", escapeHeaderValue(string(a.body)))
		a.body = nil
	case code >= 0 && !hasHeader(a.headers, "grpc-message") && own:
		a.headers = setHeader(a.headers, "grpc-message", grpcMessages[code])
	}
}

// grpcRoute answers what may not use a route for gRPC.
func (r *request) grpcRoute(protocols []string) {
	if !contains(protocols, "grpc", "grpcs") {
		return
	}
	switch {
	case !hasPrefixFold(get(r.headers, "content-type"), "application/grpc"):
		r.fail(415, "Non-gRPC request matched gRPC route")
	case r.stream == nil:
		r.fail(426, "Please use HTTP2 protocol")
		r.answer.headers = append(r.answer.headers, header{"Connection", "Upgrade"}, header{"Upgrade", "HTTP/2"})
	case !contains(protocols, "grpc") && r.xForwardedProto() != "https":
		r.answer = &answer{status: 200, headers: []header{{"Content-Type", "application/grpc"}, {"grpc-status", "1"}, {"grpc-message", "gRPC request matched gRPCs route"}}}
	}
}

// newGRPCTransport dials services that speak gRPC: HTTP/2, in clear text too.
func newGRPCTransport() *http.Transport {
	var p http.Protocols
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: &p, DisableCompression: true, DialContext: (&net.Dialer{Timeout: 60 * time.Second}).DialContext,
		// Kong does not verify services unless it is told to.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
}

// proxyGRPC passes a call to a gRPC service, messages as they come and trailers.
func (r *request) proxyGRPC() bool {
	ctx, cancel := context.WithCancel(r.stream.r.Context())
	defer cancel()
	started := time.Now()
	resp, err := r.callService(ctx)
	if err != nil {
		r.g.logf("error", "upstream %s:%d: %v", r.up.host, r.up.port, err)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.fail(504, "The upstream server is timing out")
		} else {
			r.fail(502, "An invalid response was received from the upstream server")
		}
		return r.writeAnswer() == nil
	}
	defer resp.Body.Close()
	total, waited := time.Since(r.start), time.Since(started)
	var hs []header
	for _, name := range sortedKeys(resp.Header) {
		for _, v := range resp.Header[name] {
			hs = append(hs, header{name, v})
		}
	}
	for _, h := range r.respHdr {
		if h.name != "" {
			hs = append(hs, h)
		}
	}
	if !hasHeader(hs, "server") {
		hs = append(hs, header{"Server", "kong/" + Version})
	}
	hs = append(hs, header{"X-Kong-Upstream-Latency", strconv.FormatInt(waited.Milliseconds(), 10)},
		header{"X-Kong-Proxy-Latency", strconv.FormatInt((total - waited).Milliseconds(), 10)}, header{"Via", "2 kong/" + Version}, header{"X-Kong-Request-Id", r.id})
	r.writeHead(resp.StatusCode, hs)
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if _, werr := r.stream.w.Write(buf[:n]); werr != nil {
				return false
			}
			_ = r.flush()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the stream ends as the service's did
		}
	}
	for name, values := range resp.Trailer {
		for _, v := range values {
			r.stream.w.Header().Add(http.TrailerPrefix+name, v)
		}
	}
	return true
}

// callService sends the call on. A body that no plugin has asked for is passed
// on as it comes.
func (r *request) callService(ctx context.Context) (*http.Response, error) {
	scheme := map[string]string{"grpc": "http", "grpcs": "https"}[r.up.scheme]
	target := scheme + "://" + net.JoinHostPort(strings.Trim(r.up.host, "[]"), strconv.Itoa(r.up.port)) + orElse(r.up.uri, "/")
	if r.up.args != "" {
		target += "?" + r.up.args
	}
	var in io.Reader = r.stream.r.Body
	size := r.stream.r.ContentLength
	if r.up.bodySet || r.body.complete {
		data := r.up.body
		if !r.up.bodySet {
			var err error
			if data, err = r.body.bytes(); err != nil {
				return nil, err
			}
		}
		in, size = bytes.NewReader(data), int64(len(data))
	}
	q, err := http.NewRequestWithContext(ctx, r.method, target, in)
	if err != nil {
		return nil, err
	}
	q.ContentLength, q.Host = size, r.up.hostHeader
	q.Header["User-Agent"] = nil // Go would name itself
	for _, h := range r.upstreamFields() {
		switch lower(h.name) {
		case "connection", "x-forwarded-prefix":
			continue
		}
		name := http.CanonicalHeaderKey(h.name)
		q.Header[name] = append(q.Header[name], h.value)
	}
	q.Header["Via"] = []string{"2 kong/" + Version}
	return r.g.grpc.RoundTrip(q)
}
