package plugin

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
)

// Observer is told what happens, for metrics. Its methods, and the functions
// that they return, are called from many goroutines at once.
type Observer interface {
	// Request returns what is called with the time that a request took: one for
	// each method whose credential was judged, "" for none, and each outcome.
	Request(method, outcome string) func(took time.Duration)
	// Denied tells why a request was denied.
	Denied(reason string)
	// Event tells of a login, a logout or a refresh.
	Event(kind string)
	// Session returns what is called when something became of a session.
	Session(event string) func()
	// SessionRefused tells that a session's cookie did not hold, and why.
	SessionRefused(reason string)
}

// outcome is what came of a request.
type outcome uint8

const (
	allowed outcome = iota
	anonymous
	redirected
	answered
	unauthorized
	forbidden
	invalid
	unavailable
	failed
	outcomes // their number
)

// String is the word for metrics and logs.
func (o outcome) String() string {
	return [outcomes]string{"allowed", "anonymous", "redirected", "answered", "unauthorized", "forbidden", "invalid", "unavailable", "error"}[o]
}

// outcomeOf classes a decision.
func outcomeOf(d *rp.Decision) outcome {
	switch {
	case d.Err != nil:
		return refusal(d.Err)
	case d.Respond != nil && d.Respond.Status/100 == 3:
		return redirected
	case d.Respond != nil:
		return answered
	case d.Authenticate != nil && d.Authenticate.Anonymous:
		return anonymous
	}
	return allowed
}

// refusal classes the error of a request that was denied.
func refusal(err error) outcome {
	e, ok := errors.AsType[*rp.Error](err)
	if !ok {
		return failed
	}
	switch e.Kind {
	case rp.Unauthorized:
		return unauthorized
	case rp.Forbidden:
		return forbidden
	case rp.Invalid:
		return invalid
	case rp.Unavailable:
		return unavailable
	}
	return failed
}

// requestMethods are the methods that a decision may name.
var requestMethods = [...]rp.Method{
	"", rp.MethodSession, rp.MethodBearer, rp.MethodKongOAuth2, rp.MethodIntrospection, rp.MethodUserInfo,
	rp.MethodRefreshToken, rp.MethodPassword, rp.MethodClientCredentials, rp.MethodAuthorizationCode,
}

// requestCounts keeps what an Observer wants called for each method and
// outcome. It is asked when one comes up first, so that there is nothing for
// what never happens.
type requestCounts struct {
	observer Observer
	seen     [len(requestMethods)][outcomes]atomic.Pointer[func(time.Duration)]
}

func (c *requestCounts) decided(method rp.Method, o outcome, took time.Duration) {
	i := slices.Index(requestMethods[:], method)
	if i < 0 {
		i = 0 // there is no other method
	}
	tell := c.seen[i][o].Load()
	if tell == nil {
		f := c.observer.Request(string(requestMethods[i]), o.String())
		tell = &f
		c.seen[i][o].Store(tell)
	}
	(*tell)(took)
}

// observe reports a decision to metrics, the logs and the record of events.
func (i *instance) observe(ctx context.Context, r *rp.Request, d *rp.Decision, took time.Duration) {
	class := outcomeOf(d)
	if d.Err != nil {
		i.logDenial(ctx, d, class)
	}
	if i.counts != nil {
		i.counts.decided(d.Method, class, took)
		if d.Err != nil && d.Reason != "" {
			i.counts.observer.Denied(string(d.Reason))
		}
		for k := range d.Events {
			i.counts.observer.Event(string(d.Events[k].Kind))
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
func (i *instance) logDenial(ctx context.Context, d *rp.Decision, class outcome) {
	status := 0
	if d.Respond != nil {
		status = d.Respond.Status
	}
	level := slog.LevelInfo
	if class == failed || class == unavailable {
		level = slog.LevelError
		d.Notice = "openid-connect: request answered with an error: reason " + string(d.Reason) + ", plugin " + i.id + ": " + d.Err.Error()
	}
	i.log.Log(ctx, level, "openid-connect: request denied", "status", status, "method", string(d.Method), "reason", string(d.Reason), "error", d.Err)
}

// writeAudit writes the lines of the record: who logged in and out, whose
// tokens were renewed, and what was refused.
func (i *instance) writeAudit(ctx context.Context, r *rp.Request, d *rp.Decision, class outcome) {
	for k := range d.Events {
		e := &d.Events[k]
		i.audit.LogAttrs(ctx, slog.LevelInfo, string(e.Kind), append(i.place(r), slog.String("method", string(e.Method)), slog.String("client", e.Client),
			slog.String("subject", e.Subject), slog.String("session", e.Session))...)
	}
	if d.Err != nil {
		i.audit.LogAttrs(ctx, slog.LevelInfo, "refusal", append(i.place(r), slog.String("method", string(d.Method)), slog.String("outcome", class.String()), slog.String("reason", string(d.Reason)))...)
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
	started, refreshed, touched, ended tally
}

func newObservedSessions(s rp.Sessions, o Observer) observedSessions {
	of := func(event string) tally { return tally{o.Session(event), o.Session(event + "_failed")} }
	return observedSessions{s, of("started"), of("refreshed"), of("touched"), of("ended")}
}

// tally is what to call when a step succeeded, or failed.
type tally struct{ done, failed func() }

func (t tally) tell(err error) {
	if err != nil {
		t.failed()
		return
	}
	t.done()
}

// Start implements rp.Sessions.
func (s observedSessions) Start(ctx context.Context, b rp.Browser, subject string, t rp.StoredTokens) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Start(ctx, b, subject, t)
	s.started.tell(err)
	return n, cookies, err
}

// Refresh implements rp.Sessions.
func (s observedSessions) Refresh(ctx context.Context, b rp.Browser, old *rp.Session, do func(context.Context) (rp.StoredTokens, error)) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Refresh(ctx, b, old, do)
	s.refreshed.tell(err)
	return n, cookies, err
}

// Touch implements rp.Sessions.
func (s observedSessions) Touch(ctx context.Context, b rp.Browser, old *rp.Session) (*rp.Session, []string, error) {
	n, cookies, err := s.Sessions.Touch(ctx, b, old)
	s.touched.tell(err)
	return n, cookies, err
}

// Destroy implements rp.Sessions.
func (s observedSessions) Destroy(ctx context.Context, b rp.Browser, old *rp.Session) ([]string, error) {
	cookies, err := s.Sessions.Destroy(ctx, b, old)
	if old != nil {
		s.ended.tell(err)
	}
	return cookies, err
}
