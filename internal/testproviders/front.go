package testproviders

import (
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// front stands before a provider: its address is the issuer's, known before
// the provider runs. It counts requests by path and can be made to break every
// connection, as a provider that is down does.
type front struct {
	addr string
	srv  *http.Server

	mu     sync.Mutex
	counts map[string]int
	down   bool
	target *url.URL
}

func newFront() (*front, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{addr: ln.Addr().String(), counts: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		// The provider makes its URLs from Host, so that stays as it came.
		Rewrite: func(r *httputil.ProxyRequest) {
			f.mu.Lock()
			target := f.target
			f.mu.Unlock()
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = target.Scheme, target.Host, r.In.Host
		},
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:      log.New(io.Discard, "", 0),
		FlushInterval: -1,
	}
	f.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.counts[r.URL.Path]++
		dead := f.down || f.target == nil
		f.mu.Unlock()
		if dead {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = f.srv.Serve(ln) }()
	return f, nil
}

func (f *front) backend(target *url.URL) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
}

func (f *front) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *front) snapshot() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.counts)
}

func (f *front) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.counts)
}

func (f *front) close() { _ = f.srv.Close() }
