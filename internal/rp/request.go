package rp

import (
	"context"
	"errors"
	"net/url"
	"strings"
)

// Needs names parts of a request that a policy reads beside the headers, so
// that the gateway is asked for all of them in one round trip.
type Needs uint16

const (
	// NeedMethod fills Request.Method.
	NeedMethod Needs = 1 << iota
	// NeedTarget fills Request.Path and Request.RawQuery, as the client sent them.
	NeedTarget
	// NeedExternal fills Request.External: the URL as the client sees it.
	NeedExternal
	// NeedClient fills Request.ClientIP, the trusted forwarded address of the client.
	NeedClient
	// NeedAuthenticated fills Request.Authenticated: whether an earlier plugin authenticated the caller.
	NeedAuthenticated
)

// Header holds request header fields: names in lower case, as the gateway
// gives them, with `_` and `-` distinct; values may be any bytes.
type Header map[string][]string

// Get returns the first value of the field, whose name is in lower case, or "".
func (h Header) Get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Canonical is the spelling under which header names are compared: lower case, `_` as `-`.
func Canonical(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// IsToken reports whether s is a token of RFC 9110 5.6.2, as names of header
// fields and cookies are.
func IsToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// External is the URL of the request as its client sees it, by the
// forwarding headers of trusted peers only.
type External struct {
	Scheme string
	Host   string // without port
	Port   int
	Path   string // percent-encoded, without query
}

// ErrBodyTooLarge says that a body exceeds the limit that was asked for.
var ErrBodyTooLarge = errors.New("request body is too large")

// Gateway is what may be asked of the gateway while a decision is made. Each
// call costs a round trip.
type Gateway interface {
	// Fetch fills the parts of r that needs names, in one round trip.
	Fetch(ctx context.Context, r *Request, needs Needs) error
	// Body returns the request's body of at most limit bytes; ErrBodyTooLarge above.
	Body(ctx context.Context, limit int64) ([]byte, error)
	// Variable returns an nginx variable such as ssl_client_raw_cert; "" when unknown.
	Variable(ctx context.Context, name string) (string, error)
}

// Request is one HTTP request as the gateway received it. The headers are
// always there; other parts once they were fetched (Need).
type Request struct {
	Header        Header
	Method        string
	Path          string // as sent, percent-encoded, without query
	RawQuery      string // as sent, without `?`
	External      External
	ClientIP      string
	Authenticated bool // an earlier plugin has authenticated the caller

	Gateway   Gateway
	Workspace string // of the plugin entity, for lookups of Kong's own data
	has       Needs

	query    url.Values
	hasQuery bool
	form     *form
}

// NewRequest returns a request whose headers and the parts named by has are filled.
func NewRequest(g Gateway, h Header, has Needs) *Request {
	return &Request{Header: h, Gateway: g, has: has}
}

// Need makes sure that the named parts are filled. It costs at most one round
// trip, and none when they are there already.
func (r *Request) Need(ctx context.Context, n Needs) error {
	missing := n &^ r.has
	if missing == 0 {
		return nil
	}
	if err := r.Gateway.Fetch(ctx, r, missing); err != nil {
		return err
	}
	r.has |= missing
	return nil
}
