package op

import (
	"context"
	"net/http"
)

// Trace is a caller's trace context (W3C Trace Context), which goes on to the
// provider with the calls that its request causes. The zero value is none.
type Trace struct{ parent, state string }

const (
	traceParentLength = 55
	maxTraceState     = 512
)

// NewTrace takes the traceparent of version 00 and tracestate of a request.
// What does not have their form is left out.
func NewTrace(parent, state string) Trace {
	if !traceParent(parent) {
		return Trace{}
	}
	if len(state) > maxTraceState || !visible(state) {
		state = ""
	}
	return Trace{parent, state}
}

// traceParent reports whether s is 00-<32 hex>-<16 hex>-<2 hex> with ids that are not zero.
func traceParent(s string) bool {
	if len(s) != traceParentLength || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	trace, parent, flags := s[3:35], s[36:52], s[53:]
	return hexadecimal(trace) && hexadecimal(parent) && hexadecimal(flags) && !zeros(trace) && !zeros(parent)
}

func hexadecimal(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zeros(s string) bool {
	for _, c := range []byte(s) {
		if c != '0' {
			return false
		}
	}
	return true
}

func visible(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

type traceKey struct{}

// WithTrace returns a context whose calls to a provider carry t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	if t.parent == "" {
		return ctx
	}
	return context.WithValue(ctx, traceKey{}, t)
}

func traceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

func (t Trace) set(h http.Header) {
	if t.parent == "" {
		return
	}
	h.Set("Traceparent", t.parent)
	if t.state != "" {
		h.Set("Tracestate", t.state)
	}
}
