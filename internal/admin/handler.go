package admin

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Root is the path below which everything is.
const Root = "openid-connect"

// Timeout bounds the work for one request.
const Timeout = 20 * time.Second

// Options of a Handler.
type Options struct {
	Discovery Discovery
	Keys      Keys
	// Sessions are listed and ended; nil leaves their endpoints out.
	Sessions Sessions
	// Health tells the state; nil for a process that is ready as long as it answers.
	Health func(context.Context) Health
	// Metrics answers GET of the metrics; nil where there are none.
	Metrics http.Handler
	// Status tells what the status page shows; nil where there is no such page.
	Status func(context.Context) Status
	// Extra are further endpoints by their first path element. They see the path as it came.
	Extra map[string]http.Handler
	// Log takes what went wrong; nil for nowhere.
	Log *slog.Logger
}

// Handler serves the endpoints. It authenticates nobody: see Protect.
type Handler struct {
	o Options

	mu     sync.Mutex
	faults map[string]string // why parts fail, as it was logged
}

// New returns the handler.
func New(o Options) *Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Health == nil {
		o.Health = func(context.Context) Health { return Health{Ready: true} }
	}
	return &Handler{o: o, faults: map[string]string{}}
}

// endpoint is one resource: what each method does.
type endpoint map[string]func(w http.ResponseWriter, r *http.Request, t target)

// target is what a path names.
type target struct {
	base string // path of the collection as it was called, for `next`
	ref  string // decoded last element; "" for the collection
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	name, t, ok := parsePath(r.URL.EscapedPath())
	if !ok && h.o.Status != nil && r.URL.Path == "/"+Root+"/" {
		h.status(w, r)
		return
	}
	if !ok {
		notFound(w)
		return
	}
	if e := h.o.Extra[name]; e != nil {
		e.ServeHTTP(w, r)
		return
	}
	e := h.endpoint(name, t)
	if e == nil {
		notFound(w)
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	if serve := e[method]; serve != nil {
		serve(w, r, t)
		return
	}
	w.Header().Set("Allow", e.allow())
	if method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	message(w, http.StatusMethodNotAllowed, "Method not allowed")
}

func (h *Handler) endpoint(name string, t target) endpoint {
	switch {
	case name == "discovery-cache" || name == "issuers":
		if t.ref == "" {
			return endpoint{http.MethodGet: h.listObjects, http.MethodDelete: h.clearObjects}
		}
		return endpoint{http.MethodGet: h.getObject, http.MethodDelete: h.deleteObject}
	case name == "jwks":
		if t.ref == "" {
			return endpoint{http.MethodGet: h.getKeys, http.MethodDelete: h.rotateKeys}
		}
		return endpoint{http.MethodGet: h.getKey, http.MethodDelete: h.deleteKey}
	case name == "sessions" && h.o.Sessions != nil:
		if t.ref == "" {
			return endpoint{http.MethodGet: h.listSessions, http.MethodDelete: h.endSessions}
		}
		return endpoint{http.MethodDelete: h.endSession}
	case name == "health" && t.ref == "":
		return endpoint{http.MethodGet: h.health}
	case name == "metrics" && t.ref == "" && h.o.Metrics != nil:
		return endpoint{http.MethodGet: func(w http.ResponseWriter, r *http.Request, _ target) { h.o.Metrics.ServeHTTP(w, r) }}
	}
	return nil
}

func (e endpoint) allow() string {
	all := []string{http.MethodOptions}
	for m := range e {
		all = append(all, m)
	}
	if e[http.MethodGet] != nil {
		all = append(all, http.MethodHead)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// parsePath reads /openid-connect/<name>[/<ref>], with or without the name of
// a workspace before it and a slash behind it. Slashes within ref may be
// encoded or not: an issuer is a URL.
func parsePath(escaped string) (name string, t target, ok bool) {
	rest, found := strings.CutPrefix(escaped, "/"+Root+"/")
	base := "/" + Root
	if !found {
		ws, after, cut := strings.Cut(strings.TrimPrefix(escaped, "/"), "/")
		if rest, found = strings.CutPrefix(after, Root+"/"); !cut || !found || !workspaceName(ws) {
			return "", t, false
		}
		base = "/" + ws + base
	}
	name, ref, _ := strings.Cut(rest, "/")
	if name == "" {
		return "", t, false
	}
	t.base = base + "/" + name
	ref, err := url.PathUnescape(strings.TrimSuffix(ref, "/"))
	if err != nil {
		return "", t, false
	}
	t.ref = ref
	return name, t, true
}

// workspaceName reports whether a path element may be the name of a workspace.
func workspaceName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
		default:
			return false
		}
	}
	return true
}
