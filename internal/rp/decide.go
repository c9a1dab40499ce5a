package rp

import (
	"context"
	"errors"

	"kong-openid-connect/internal/claims"
)

// Decide turns a request into a decision. It never fails: every error becomes
// a Decision that denies, in deny.
func (p *Policy) Decide(ctx context.Context, r *Request) *Decision {
	x := &Exchange{Policy: p, Request: r}
	d := x.conclude(ctx)
	d.Method, d.Events = x.method, x.events
	return d
}

func (x *Exchange) conclude(ctx context.Context) *Decision {
	d, err := x.decide(ctx)
	if err != nil {
		instead, ferr := x.fallBack(ctx, err)
		if instead != nil {
			return instead
		}
		if ferr != nil {
			err = ferr
		}
		return x.deny(ctx, err)
	}
	if d == nil {
		return x.deny(ctx, &Error{Description: "no decision was made", Reason: "internal"})
	}
	return d
}

func (x *Exchange) decide(ctx context.Context) (*Decision, error) {
	p, r := x.Policy, x.Request
	if err := r.Need(ctx, p.Needs()); err != nil {
		return nil, unread(err)
	}
	if d := x.resourceMetadata(ctx); d != nil {
		return d, nil
	}
	if d := x.providerLogout(ctx); d != nil {
		return d, nil
	}
	if !p.RunOnPreflight && r.Method == "OPTIONS" {
		return x.preflight(), nil
	}
	if p.Anonymous != "" && r.Authenticated {
		return x.standAside(), nil
	}
	if err := x.chooseClient(ctx); err != nil {
		return nil, err
	}
	if d, err := x.logout(ctx); d != nil || err != nil {
		return d, err
	}
	id, d, err := x.identify(ctx)
	if d != nil || err != nil {
		return d, err
	}
	return x.admit(ctx, id)
}

// identify searches the methods in their order. The first credential found
// decides, but for the fall-through that a method asks for by a nil identity.
func (x *Exchange) identify(ctx context.Context) (*Identity, *Decision, error) {
	if id, d, err := x.loginUnderWay(ctx); id != nil || d != nil || err != nil {
		return id, d, err
	}
	for _, m := range methods {
		if !x.Policy.Methods.Has(m.name()) {
			continue
		}
		c, err := m.find(ctx, x)
		if err != nil {
			x.method = m.name()
			return nil, nil, asError(err)
		}
		if c == nil {
			continue
		}
		x.method = m.name()
		id, err := m.authenticate(ctx, x, c)
		if a, ok := errors.AsType[*answer](err); ok {
			return nil, a.decision, nil
		}
		if err != nil {
			return nil, nil, asError(err)
		}
		if id == nil {
			x.method = ""
			continue
		}
		if id.Method == "" {
			id.Method = m.name()
		}
		if id.Origin == "" {
			id.Origin = id.Method
		}
		x.used = c
		return id, nil, nil
	}
	if x.bearer != nil {
		return nil, nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "no method knows the bearer token", Reason: "unknown_token"}
	}
	e := &Error{Kind: Unauthorized, Description: "no credential was found", Reason: "no_credential"}
	if x.Request.Header.Get(preflightHeader) != "" {
		e.Err = errPreflight
	}
	return nil, nil, e
}

// admit runs the phases that every method shares once the caller is known.
func (x *Exchange) admit(ctx context.Context, id *Identity) (*Decision, error) {
	p := x.Policy
	if !id.Expiry.IsZero() && claims.Expired(id.Expiry, p.Now(), p.Leeway) {
		return nil, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the access token has expired", Reason: "expired"}
	}
	if err := x.prove(ctx, id); err != nil {
		return nil, err
	}
	if err := x.learn(ctx, id); err != nil {
		return nil, err
	}
	x.collect(ctx, id)
	if err := x.stepUp(ctx, id); err != nil {
		if a, ok := errors.AsType[*answer](err); ok {
			return a.decision, nil
		}
		return nil, err
	}
	if err := p.Claims.authorize(id); err != nil {
		return nil, err
	}
	pr, err := x.principal(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := x.keepSession(ctx, id); err != nil {
		return nil, err
	}
	if id.Method == MethodAuthorizationCode || id.Session != nil && id.Method != MethodSession {
		x.record(EventLogin, id.Method, id.Subject(), id.Session)
	}
	d := &Decision{Reason: allowed(id.Method)}
	if err := x.headers(ctx, d, id); err != nil {
		return nil, err
	}
	if p.Login.Methods.Has(id.Method) {
		if err := x.loginAction(ctx, d, id); err != nil {
			return nil, err
		}
	}
	if d.Respond == nil {
		if err := x.hide(ctx, d, id); err != nil {
			return nil, err
		}
		pr.apply(d)
		x.downgrade(d)
		if p.Session.NoStore && id.Session != nil {
			d.Downstream.Set = append(d.Downstream.Set, Field{"Cache-Control", "no-store"})
		}
	} else {
		d.Upstream = HeaderEdits{}
	}
	d.Downstream.Set = append(d.Downstream.Set, id.replay...)
	d.setCookies(x.cookies)
	return d, nil
}

// allowed returns the reason of a request that is let through, ok_<method>;
// those of the hot path are not put together.
func allowed(m Method) Reason {
	switch m {
	case MethodBearer:
		return "ok_bearer"
	case MethodSession:
		return "ok_session"
	}
	return Reason("ok_" + string(m))
}

// answer is how a method answers a request itself, as with a redirect to the provider.
type answer struct{ decision *Decision }

func (*answer) Error() string { return "answered" }

// chooseClient picks the client of the request (behaviour.md 4.1).
func (x *Exchange) chooseClient(ctx context.Context) error {
	p := x.Policy
	if len(p.Clients) < 2 {
		return nil
	}
	v, err := x.clientArg(ctx)
	if err != nil {
		return unread(err)
	}
	x.Client = p.clientIndex(v)
	return nil
}

func (x *Exchange) clientArg(ctx context.Context) (string, error) {
	s := &x.Policy.ClientArg
	for _, h := range s.Headers {
		if v := x.Request.Header.Get(h); v != "" {
			return v, nil
		}
	}
	if s.Arg == "" {
		return "", nil
	}
	v, _, err := x.Request.arg(ctx, Places{Query: true, Body: true}, s.Arg)
	return v, err
}

func (p *Policy) clientIndex(v string) int {
	for i := range p.Clients {
		if v != "" && p.Clients[i].ID == v {
			return i
		}
	}
	n := 0
	for _, c := range []byte(v) {
		if c < '0' || c > '9' || n > len(p.Clients) {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n >= 1 && n <= len(p.Clients) {
		return n - 1
	}
	return 0
}
