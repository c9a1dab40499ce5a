package pdkio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	pdk "github.com/Kong/go-pdk"

	"kong-openid-connect/internal/kong/wire"
	"kong-openid-connect/internal/rp"
)

// errOver says that a request was used after its event had ended.
var errOver = errors.New("the request has been decided: the gateway can not be asked any more")

// mostHeaders is how many header lines Kong shows at most. It cuts the list
// without a word, so that an identity could hide behind as many others.
const mostHeaders = 1000

var errManyHeaders = errors.New("the request has as many header lines as Kong shows: more could be hidden")

// allHeaders is the argument of get_headers: Int{mostHeaders}. Kong's default
// of 100 would hide an Authorization behind 100 others.
var allHeaders = wire.AppendInt(nil, 1, mostHeaders)

// Link is one connection to Kong, over which events come one after another.
type Link struct {
	conn *wire.Conn
	pdk  *pdk.PDK
}

// NewLink returns a Link over conn.
func NewLink(conn *wire.Conn) *Link {
	return &Link{conn: conn, pdk: pdk.Init(conn)}
}

// Exchange is one event: what may be asked of Kong, and how it ends. It
// implements rp.Gateway, and is used by one goroutine at a time.
type Exchange struct {
	link *Link
	over atomic.Bool
	grpc bool
}

var _ rp.Gateway = (*Exchange)(nil)

// Begin returns the Exchange of the event that is about to be handled.
func (l *Link) Begin() *Exchange { return &Exchange{link: l} }

// PDK returns go-pdk's objects, for calls that this package has no method for.
// Setters cost no round trip.
func (x *Exchange) PDK() *pdk.PDK { return x.link.pdk }

// Request asks for all headers and for what needs names in one round trip. A
// part that the client made invalid is left out, and fails when it is needed.
func (x *Exchange) Request(ctx context.Context, needs rp.Needs) (*rp.Request, error) {
	if err := x.usable(ctx); err != nil {
		return nil, err
	}
	c := x.link.conn
	c.Call("kong.request.get_headers", allHeaders)
	x.ask(needs, false)
	frame, err := c.Reply()
	if err != nil {
		return nil, fmt.Errorf("reading the request's headers: %w", err)
	}
	h, err := headers(frame)
	if err != nil {
		// The other replies stay unread: nothing but an exit can follow.
		return nil, fmt.Errorf("decoding the request's headers: %w", err)
	}
	x.grpc = strings.HasPrefix(h.Get("content-type"), "application/grpc")
	var parts rp.Request
	parts.Header = h
	external, err := x.fill(ctx, &parts, needs, false)
	if err != nil {
		return nil, err
	}
	if external != nil {
		needs &^= rp.NeedExternal
	}
	r := rp.NewRequest(x, h, needs)
	r.Method, r.Path, r.RawQuery = parts.Method, parts.Path, parts.RawQuery
	r.External, r.ClientIP, r.Authenticated = parts.External, parts.ClientIP, parts.Authenticated
	return r, nil
}

// Fetch fills the named parts of r in one round trip, or in three for an
// External behind a proxy that sends X-Forwarded-Path or X-Forwarded-Prefix.
// An *rp.Error of kind Invalid is the client's or its proxy's fault.
func (x *Exchange) Fetch(ctx context.Context, r *rp.Request, needs rp.Needs) error {
	if err := x.usable(ctx); err != nil {
		return err
	}
	known := r.Path != ""
	x.ask(needs, known)
	external, err := x.fill(ctx, r, needs, known)
	if err != nil {
		return err
	}
	return external
}

// Variable returns an nginx variable; "" when there is none of that name.
func (x *Exchange) Variable(ctx context.Context, name string) (string, error) {
	arg := wire.AppendText(nil, 1, name)
	frame, err := x.Call(ctx, "kong.nginx.get_var", arg)
	if err != nil {
		return "", fmt.Errorf("reading the nginx variable %s: %w", name, err)
	}
	v, err := wire.Text(frame, 1)
	if err != nil {
		return "", fmt.Errorf("reading the nginx variable %s: %w", name, err)
	}
	return v, nil
}

// Call asks Kong for one reply to a PDK method, whose arguments are an encoded
// message. The reply is valid until Kong is asked again.
func (x *Exchange) Call(ctx context.Context, method string, args []byte) ([]byte, error) {
	if err := x.usable(ctx); err != nil {
		return nil, err
	}
	x.link.conn.Call(method, args)
	return x.link.conn.Reply()
}

func (x *Exchange) usable(ctx context.Context) error {
	if x.over.Load() {
		return errOver
	}
	return context.Cause(ctx)
}

// ask queues the calls for needs, in the order in which fill reads their
// replies. knownTarget says that the path has been read before.
func (x *Exchange) ask(needs rp.Needs, knownTarget bool) {
	c := x.link.conn
	if needs&rp.NeedMethod != 0 {
		c.Call("kong.request.get_method", nil)
	}
	if wantsTarget(needs, knownTarget) {
		c.Call("kong.request.get_path_with_query", nil)
	}
	if needs&rp.NeedExternal != 0 {
		c.Call("kong.request.get_forwarded_scheme", nil)
		c.Call("kong.request.get_forwarded_host", nil)
		c.Call("kong.request.get_forwarded_port", nil)
	}
	if needs&rp.NeedClient != 0 {
		c.Call("kong.client.get_forwarded_ip", nil)
	}
	if needs&rp.NeedAuthenticated != 0 {
		c.Call("kong.client.get_credential", nil)
	}
}

func wantsTarget(needs rp.Needs, known bool) bool {
	return needs&rp.NeedTarget != 0 || needs&rp.NeedExternal != 0 && !known
}

// fill reads the replies to ask into r. Every reply is read even when one is
// malformed, so that the stream stays in order. The first result is what
// is wrong with the external URL.
func (x *Exchange) fill(ctx context.Context, r *rp.Request, needs rp.Needs, knownTarget bool) (invalid, err error) {
	c := x.link.conn
	var first error
	next := func(what string, decode func([]byte) error) bool {
		frame, err := c.Reply()
		if err != nil {
			first = fmt.Errorf("reading %s: %w", what, err)
			return false
		}
		if err := decode(frame); err != nil && first == nil {
			first = fmt.Errorf("decoding %s: %w", what, err)
		}
		return true
	}
	str := func(to *string) func([]byte) error {
		return func(b []byte) (err error) { *to, err = wire.Text(b, 1); return err }
	}
	if needs&rp.NeedMethod != 0 && !next("the request's method", str(&r.Method)) {
		return nil, first
	}
	if wantsTarget(needs, knownTarget) {
		var target string
		if !next("the request's target", str(&target)) {
			return nil, first
		}
		r.Path, r.RawQuery = splitTarget(target)
	}
	var scheme, host string
	var port int
	if needs&rp.NeedExternal != 0 {
		if !next("the forwarded scheme", str(&scheme)) || !next("the forwarded host", str(&host)) ||
			!next("the forwarded port", func(b []byte) error {
				n, err := wire.Int(b, 1)
				port = int(n)
				return err
			}) {
			return nil, first
		}
	}
	if needs&rp.NeedClient != 0 && !next("the client's address", str(&r.ClientIP)) {
		return nil, first
	}
	if needs&rp.NeedAuthenticated != 0 && !next("the credential of an earlier plugin", func(b []byte) error {
		id, err := wire.Text(b, 1)
		if err != nil {
			return err
		}
		consumer, err := wire.Text(b, 2)
		// Only a credential counts: an anonymous consumer has none.
		r.Authenticated = id != "" || consumer != ""
		return err
	}) {
		return nil, first
	}
	if first != nil || needs&rp.NeedExternal == 0 {
		return nil, first
	}
	path, err := x.externalPath(ctx, r)
	if err != nil {
		return nil, err
	}
	r.External, invalid = external(scheme, host, port, path)
	return invalid, nil
}

// splitTarget splits a request target as it was sent. Kong gives it with the
// fragment that a broken client may have sent, which is no part of either.
func splitTarget(target string) (path, query string) {
	target, _, _ = strings.Cut(target, "#")
	path, query, _ = strings.Cut(target, "?")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path, query
}
