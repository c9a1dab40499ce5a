package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// Socket is the name of the Unix socket in Kong's prefix.
const Socket = "openid-connect-admin.socket"

// MinToken is the least length of an admin token.
const MinToken = 16

// ErrTokenNeeded says that an address that others can reach has no token.
var ErrTokenNeeded = errors.New("an admin address that is not loopback needs a token: set -admin-token-file, or listen on 127.0.0.1")

// ListenTCP listens on host:port. Unless the host is a loopback address there
// must be a token.
func ListenTCP(address, token string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("admin address %q is not host:port", address)
	}
	if token != "" && len(token) < MinToken {
		return nil, fmt.Errorf("the admin token has %d characters, at least %d are needed", len(token), MinToken)
	}
	if token == "" && !loopback(host) {
		return nil, fmt.Errorf("admin address %s: %w", address, ErrTokenNeeded)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	// A name may have resolved to what it should not.
	if a, ok := l.Addr().(*net.TCPAddr); token == "" && (!ok || !a.IP.IsLoopback()) {
		_ = l.Close()
		return nil, fmt.Errorf("admin address %s: %w", address, ErrTokenNeeded)
	}
	return l, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Guard is who may ask.
type Guard struct {
	// Token is required, as `Authorization: Bearer` or in Kong-Admin-Token; ""
	// requires none.
	Token string
	// Hosts are the names under which the endpoints may be asked for, without
	// ports; nil for any. Loopback names are always among them. It keeps web
	// pages that lie about their own name (DNS rebinding) away.
	Hosts []string
	// AnyHost switches the check of names off, for a socket behind Kong's own port.
	AnyHost bool
}

// Protect lets only those through to h who pass the guard.
func Protect(h http.Handler, g Guard) http.Handler {
	want := sha256.Sum256([]byte(g.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !g.AnyHost && !g.host(r.Host) {
			message(w, http.StatusMisdirectedRequest, "The endpoints do not answer to this host name")
			return
		}
		if g.Token != "" {
			got := sha256.Sum256([]byte(presented(r)))
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="openid-connect"`)
				message(w, http.StatusUnauthorized, "Unauthorized")
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

func (g *Guard) host(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if loopback(host) {
		return true
	}
	for _, h := range g.Hosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

func presented(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return r.Header.Get("Kong-Admin-Token")
}

// Serve serves h on l until the context ends, then lets requests under way
// finish for up to grace.
func Serve(ctx context.Context, l net.Listener, h http.Handler, grace time.Duration) error {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: Timeout + 10*time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // its lines hold what clients send
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := s.Shutdown(end)
	if err != nil {
		err = s.Close()
	}
	<-done
	return err
}
