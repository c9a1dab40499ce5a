package provider

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// misbehave lets the faults of the connection act. It returns the writer that
// the true answer goes to and a function to call after it, or done if the
// fault was the whole answer.
func (p *Provider) misbehave(w http.ResponseWriter, r *http.Request, endpoint, client string) (out http.ResponseWriter, after func(), done bool) {
	out, after = w, func() {}
	for _, f := range p.faults.take(func(f Fault) bool {
		return catalogue[f.Name].group == groupWire && f.acts(endpoint, client)
	}) {
		switch f.Name {
		case "slow":
			if p.sleep(r.Context(), durationOr(f.Delay, 5*time.Second)) != nil {
				return w, after, true
			}
		case "drip":
			held := &heldAnswer{header: w.Header(), status: http.StatusOK}
			out, after = held, func() { p.drip(r.Context(), w, held, durationOr(f.Delay, time.Second)) }
		default:
			p.wireFault(w, r, f)
			return w, after, true
		}
	}
	return out, after, false
}

func (p *Provider) wireFault(w http.ResponseWriter, r *http.Request, f Fault) {
	status := func(otherwise int) int {
		if f.Status != 0 {
			return f.Status
		}
		return otherwise
	}
	switch f.Name {
	case "status":
		if f.Value != "" {
			writeJSON(w, status(http.StatusInternalServerError), map[string]any{"error": f.Value, "error_description": "injected by the sandbox"})
			return
		}
		http.Error(w, "injected by the sandbox", status(http.StatusInternalServerError))
	case "body":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status(http.StatusOK))
		io.WriteString(w, f.Value)
	case "hang":
		// A day is for ever here: the caller's deadline comes first.
		p.sleep(r.Context(), 24*time.Hour)
		reset(w)
	case "huge-body":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"padding":"`)
		pad(w, sizeOr(f.Size, 100<<20))
		io.WriteString(w, `"}`)
	case "gzip-bomb":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, `{"padding":"`)
		pad(z, sizeOr(f.Size, 100<<20))
		io.WriteString(z, `"}`)
		z.Close()
	case "huge-header":
		w.Header().Set("X-Padding", strings.Repeat("a", int(sizeOr(f.Size, 1<<20))))
		writeJSON(w, http.StatusOK, map[string]any{})
	case "redirect-elsewhere":
		w.Header().Set("Location", f.valueOr(p.otherHost("/sandbox/elsewhere")))
		w.WriteHeader(status(http.StatusFound))
	case "redirect-loop":
		w.Header().Set("Location", r.URL.RequestURI())
		w.WriteHeader(status(http.StatusTemporaryRedirect))
	case "not-json":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "this is not JSON {")
	case "html":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!DOCTYPE html><title>Maintenance</title><script>alert(1)</script><p>We will be back soon.")
	case "empty":
		w.WriteHeader(status(http.StatusOK))
	case "truncated":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"access_token":"`)
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "connection-reset":
		reset(w)
	}
}

// reset ends the connection with a TCP reset, where it can be taken over.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// pad writes n bytes, or until the reader is gone.
func pad(w io.Writer, n int64) {
	chunk := bytes.Repeat([]byte("a"), 64<<10)
	for n > 0 {
		part := chunk[:min(n, int64(len(chunk)))]
		if _, err := w.Write(part); err != nil {
			return
		}
		n -= int64(len(part))
	}
}

// otherHost is a URL of this provider by another name of the same machine.
func (p *Provider) otherHost(path string) string {
	u, err := url.Parse(p.Issuer())
	if err != nil {
		return path
	}
	host := "localhost"
	if u.Hostname() == host {
		host = "127.0.0.1"
	}
	if port := u.Port(); port != "" {
		host = net.JoinHostPort(host, port)
	}
	u.Host = host
	return u.String() + path
}

// heldAnswer keeps an answer back, to be dripped.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header         { return h.header }
func (h *heldAnswer) WriteHeader(status int)      { h.status = status }
func (h *heldAnswer) Write(b []byte) (int, error) { return h.body.Write(b) }

func (p *Provider) drip(ctx context.Context, w http.ResponseWriter, h *heldAnswer, every time.Duration) {
	w.Header().Set("Content-Length", strconv.Itoa(h.body.Len()))
	w.WriteHeader(h.status)
	rc := http.NewResponseController(w)
	for _, b := range h.body.Bytes() {
		if p.sleep(ctx, every) != nil {
			return
		}
		if _, err := w.Write([]byte{b}); err != nil {
			return
		}
		rc.Flush()
	}
}

func durationOr(d Duration, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return time.Duration(d)
}
