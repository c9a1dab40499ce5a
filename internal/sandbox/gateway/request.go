package gateway

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// request is one request on its way through the gateway: nginx's variables
// and Kong's context in one.
type request struct {
	g      *Gateway
	w      *worker
	conn   *clientConn
	stream *stream // of HTTP/2
	id     string
	start  time.Time
	method string
	*requestHead

	scheme     string
	port       int // of the listener
	tls        *tls.ConnectionState
	peer       netip.AddrPort
	remoteAddr string
	remotePort int // 0 when the address came from a header
	trusted    bool
	uri        string // nginx's $uri
	normal     string // the path Kong routes by
	body       *body

	match   *match
	service entity

	up       target
	respHdr  []header // set before the upstream's answer is there
	answer   *answer  // set by whoever ends the request
	ctx      map[string]any
	nginxCtx map[string]any

	consumer   *protocol.Consumer
	credential *protocol.Credential
	serialize  map[string]any
}

// target is where the request goes; plugins change it.
type target struct {
	scheme, host string
	port         int
	hostHeader   string
	uri, args    string
	body         []byte
	bodySet      bool
	prefix       string // X-Forwarded-Prefix
}

// answer is a response that the gateway makes itself.
type answer struct {
	status  int
	headers []header
	body    []byte
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// forwarded returns a forwarding header of a trusted peer, else "".
func (r *request) forwarded(name string) string {
	if !r.trusted {
		return ""
	}
	return get(r.headers, name)
}

func (g *Gateway) isTrusted(ip string) bool {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	for _, p := range g.trusted {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// resolveClient works out the client's address as nginx's realip module does, without recursion.
func (r *request) resolveClient() {
	r.remoteAddr, r.remotePort = r.peer.Addr().Unmap().String(), int(r.peer.Port())
	r.trusted = r.g.isTrusted(r.remoteAddr)
	if !r.trusted {
		return
	}
	v := strings.Join(all(r.headers, r.g.opts.RealIPHeader), ",")
	if i := strings.LastIndexByte(v, ','); i >= 0 {
		v = v[i+1:]
	}
	v = strings.TrimSpace(v)
	if a, err := netip.ParseAddr(v); err == nil {
		r.remoteAddr, r.remotePort = a.String(), 0
	} else if ap, err := netip.ParseAddrPort(v); err == nil {
		r.remoteAddr, r.remotePort = ap.Addr().String(), int(ap.Port())
	}
}

func (r *request) xForwardedFor() string {
	v := strings.Join(all(r.headers, "x-forwarded-for"), ", ")
	if v != "" {
		v += ", "
	}
	return v + r.peer.Addr().Unmap().String()
}

func (r *request) xForwardedProto() string { return orElse(r.forwarded("x-forwarded-proto"), r.scheme) }
func (r *request) xForwardedHost() string  { return orElse(r.forwarded("x-forwarded-host"), r.host) }
func (r *request) xForwardedPath() string  { return orElse(r.forwarded("x-forwarded-path"), r.path) }
func (r *request) xForwardedPort() string {
	return orElse(r.forwarded("x-forwarded-port"), strconv.Itoa(r.port))
}
func (r *request) xForwardedPrefix() string {
	return orElse(r.forwarded("x-forwarded-prefix"), r.up.prefix)
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// protocolName is http, https, grpc or grpcs.
func (r *request) protocolName() string {
	if r.match != nil && contains(r.match.protocols, "grpc", "grpcs") {
		return map[string]string{"http": "grpc", "https": "grpcs"}[r.scheme]
	}
	return r.scheme
}
