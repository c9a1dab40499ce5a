package plugin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
)

// Observer is told what happens, for metrics. Its methods are called on the
// request's path from many goroutines at once.
type Observer interface {
	// Decided tells of a request: the method whose credential was judged, "" for
	// none; the outcome; why it was denied, "" where it was not.
	Decided(method, outcome, reason string, took time.Duration)
	// Event tells of a login, a logout or a refresh.
	Event(kind string)
	// Session tells what became of a session.
	Session(event string)
	// SessionRefused tells that a session's cookie did not hold, and why.
	SessionRefused(reason string)
}

// outcome classes a decision by one of a few words.
func outcome(d *rp.Decision) string {
	switch {
	case d.Err != nil:
		return refusal(d.Err)
	case d.Respond != nil && d.Respond.Status/100 == 3:
		return "redirected"
	case d.Respond != nil:
		return "answered"
	case d.Authenticate != nil && d.Authenticate.Anonymous:
		return "anonymous"
	}
	return "allowed"
}

// refusal classes the error of a request that was denied.
func refusal(err error) string {
	e, ok := errors.AsType[*rp.Error](err)
	if !ok {
		return "error"
	}
	switch e.Kind {
	case rp.Unauthorized:
		return "unauthorized"
	case rp.Forbidden:
		return "forbidden"
	case rp.Invalid:
		return "invalid"
	case rp.Unavailable:
		return "unavailable"
	}
	return "error"
}

// observe reports a decision to metrics, the logs and the record of events.
func (i *instance) observe(ctx context.Context, r *rp.Request, d *rp.Decision, took time.Duration) {
	class, reason := outcome(d), ""
	if d.Err != nil {
		reason = string(d.Reason)
		i.logDenial(ctx, d, class)
	}
	if i.observer != nil {
		i.observer.Decided(string(d.Method), class, reason, took)
		for k := range d.Events {
			i.observer.Event(string(d.Events[k].Kind))
		}
	}
	if i.audit != nil {
		i.writeAudit(ctx, r, d, class)
	}
}

// logDenial writes one line for a request that was denied. One that is the
// fault of the provider, the configuration or this program goes to Kong's own
// error log too, with the id of the request: what Kong reads of this process's
// output it logs at level info, which its default leaves out.
func (i *instance) logDenial(ctx context.Context, d *rp.Decision, class string) {
	status := 0
	if d.Respond != nil {
		status = d.Respond.Status
	}
	level := slog.LevelInfo
	if class == "error" || class == "unavailable" {
		level = slog.LevelError
		d.Notice = "openid-connect: request answered with an error: reason " + string(d.Reason) + ", plugin " + i.id + ": " + d.Err.Error()
	}
	i.log.Log(ctx, level, "openid-connect: request denied", "status", status, "method", string(d.Method), "reason", string(d.Reason), "error", d.Err)
}

// writeAudit writes the lines of the record: who logged in and out, whose
// tokens were renewed, and what was refused.
func (i *instance) writeAudit(ctx context.Context, r *rp.Request, d *rp.Decision, class string) {
	for k := range d.Events {
		e := &d.Events[k]
		i.audit.LogAttrs(ctx, slog.LevelInfo, string(e.Kind), append(i.place(r), slog.String("method", string(e.Method)), slog.String("client", e.Client),
			slog.String("subject", e.Subject), slog.String("session", e.Session))...)
	}
	if d.Err != nil {
		i.audit.LogAttrs(ctx, slog.LevelInfo, "refusal", append(i.place(r), slog.String("method", string(d.Method)), slog.String("outcome", class), slog.String("reason", string(d.Reason)))...)
	}
}

// place says where an audited step happened. The address is left out where
// nothing had to ask for it.
func (i *instance) place(r *rp.Request) []slog.Attr {
	return []slog.Attr{
		slog.String("plugin_id", i.id), slog.String("route_id", i.route), slog.String("service_id", i.service), slog.String("address", r.ClientIP),
	}
}

// traced hands the request's trace context on to the calls to the provider.
func traced(ctx context.Context, r *rp.Request) context.Context {
	parent := r.Header.Get("traceparent")
	if parent == "" {
		return ctx
	}
	return op.WithTrace(ctx, op.NewTrace(parent, r.Header.Get("tracestate")))
}

// observedSessions tells an Observer what becomes of sessions.
type observedSessions struct {
	rp.Sessions
	observer Observer
}

// Start implements rp.Sessions.
func (s observedSessions) Start(ctx context.Context, b rp.Browser, subject string, t rp.StoredTokens, old *rp.Session) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Start(ctx, b, subject, t, old)
	s.tell("started", err)
	return n, cookies, err
}

// Refresh implements rp.Sessions.
func (s observedSessions) Refresh(ctx context.Context, b rp.Browser, old *rp.Session, do func(context.Context) (rp.StoredTokens, error)) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Refresh(ctx, b, old, do)
	s.tell("refreshed", err)
	return n, cookies, err
}

// Touch implements rp.Sessions.
func (s observedSessions) Touch(ctx context.Context, b rp.Browser, old *rp.Session) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Touch(ctx, b, old)
	s.tell("touched", err)
	return n, cookies, err
}

// Destroy implements rp.Sessions.
func (s observedSessions) Destroy(ctx context.Context, b rp.Browser, old *rp.Session) ([]string, error) {
	cookies, err := s.Sessions.Destroy(ctx, b, old)
	if old != nil {
		s.tell("ended", err)
	}
	return cookies, err
}

func (s observedSessions) tell(event string, err error) {
	if err != nil {
		event += "_failed"
	}
	s.observer.Session(event)
}
