package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Socket is the name of the Unix socket in Kong's prefix.
const Socket = "openid-connect-admin.socket"

// SocketMode is the mode of the socket where nothing is said: Kong's workers
// are the same user as the plugin server that they started.
const SocketMode fs.FileMode = 0o600

// MinToken is the least length of an admin token.
const MinToken = 16

// maxSocketPath is what an address of a Unix socket may have, less what is
// appended while it is being made.
const maxSocketPath = 107 - 14

// ListenUnix listens on a Unix socket of the given mode. The socket appears at
// its path complete, in place of the one of a process before; closing the
// listener leaves the path alone, for it may be a successor's by then.
func ListenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path has more than %d bytes: use a shorter prefix, or -admin-listen", path, maxSocketPath)
	}
	fresh := path + ".new-" + rand.Text()[:8]
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(fresh, mode)
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(fresh)
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}

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
