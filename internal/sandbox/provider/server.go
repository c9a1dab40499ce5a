package provider

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Server is a provider that listens.
type Server struct {
	*Provider
	// URL is the address, http://host:port; the issuer unless Options set one.
	URL  string
	http *http.Server
	done chan struct{}
}

// Start makes a provider and serves it on a TCP address, "127.0.0.1:0" for any
// port. An address beyond loopback is refused unless Options.AllowRemote is set.
func Start(addr string, o Options) (*Server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("provider: listening on %q: write host:port", addr)
	}
	if !o.AllowRemote && !loopbackHost(host) {
		return nil, fmt.Errorf("provider: listening on %q: this provider is for tests and listens on loopback only", addr)
	}
	p, err := New(o)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("provider: listening on %q: %w", addr, err)
	}
	s := &Server{Provider: p, URL: "http://" + l.Addr().String(), done: make(chan struct{})}
	if p.Issuer() == "" {
		if err := p.SetIssuer(s.URL); err != nil {
			l.Close()
			return nil, err
		}
	}
	s.http = &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() {
		defer close(s.done)
		s.http.Serve(l)
	}()
	return s, nil
}

// Close stops at once: open connections are closed, and Close returns when the
// listener is.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
