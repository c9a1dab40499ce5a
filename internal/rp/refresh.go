package rp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"kong-openid-connect/internal/token"
)

// due reports whether a token that ends at exp is to be refreshed (behaviour.md 7.4: the boundary counts).
func due(now, exp time.Time, leeway time.Duration) bool {
	return !now.Before(exp.Add(-leeway))
}

// refreshKept is how long the result of a refresh answers requests that still
// carry the session it replaced.
const refreshKept = 10 * time.Second

// maxKept bounds how many results are kept. Beyond it the oldest gives way, and
// a request that still needs it reads it where the nodes agree.
const maxKept = 4096

// Flight keeps refreshes of one session to one at a time, and their results
// for the requests that were on their way meanwhile.
type Flight struct {
	group singleflight.Group
	mu    sync.Mutex
	kept  map[string]kept
	queue []expiry // the oldest first
}

type kept struct {
	result *refreshed
	until  time.Time
}

// expiry is when the result for an id is forgotten.
type expiry struct {
	id    string
	until time.Time
}

type refreshed struct {
	session *Session
	cookies []string
}

func (f *Flight) recall(id string, now time.Time) *refreshed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k, ok := f.kept[id]; ok && now.Before(k.until) {
		return k.result
	}
	return nil
}

// keep forgets at most as many results as were kept since the last call: what
// it does under the lock does not grow with their number.
func (f *Flight) keep(id string, r *refreshed, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept == nil {
		f.kept = map[string]kept{}
	}
	for n := 0; len(f.queue) > 0 && (len(f.queue) >= maxKept || n < 2 && !now.Before(f.queue[0].until)); n++ {
		old := f.queue[0]
		f.queue = f.queue[1:]
		if k, ok := f.kept[old.id]; ok && k.until.Equal(old.until) {
			delete(f.kept, old.id)
		}
	}
	until := now.Add(refreshKept)
	f.kept[id] = kept{r, until}
	f.queue = append(f.queue, expiry{id, until})
}

// refresh renews the tokens of a session (behaviour.md 7.4). nil without an
// error: the provider refused, the session has ended.
func (x *Exchange) refresh(ctx context.Context, b Browser, s *Session) (*refreshed, error) {
	p := x.Policy
	if r := p.Flight.recall(s.ID, p.Now()); r != nil {
		return r, nil
	}
	v, err, _ := p.Flight.group.Do(s.ID, func() (any, error) {
		if r := p.Flight.recall(s.ID, p.Now()); r != nil {
			return r, nil
		}
		// The result serves every request that waits, so one that goes away must not end it.
		ctx := context.WithoutCancel(ctx)
		ctx, cancel := context.WithTimeout(ctx, refreshBudget)
		defer cancel()
		var asked atomic.Bool // another node may have refreshed
		ns, cookies, err := p.Sessions.Refresh(ctx, b, s, func(ctx context.Context) (StoredTokens, error) {
			asked.Store(true)
			return x.refreshNow(ctx, s)
		})
		if err != nil {
			return nil, err
		}
		if asked.Load() {
			x.record(EventRefresh, ns.Tokens.Method, ns.Subject, ns)
		}
		r := &refreshed{ns, cookies}
		p.Flight.keep(s.ID, r, p.Now())
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*refreshed), nil
}

// refreshBudget bounds a refresh, whatever the provider calls inside it add up to.
const refreshBudget = 20 * time.Second

// refreshNow asks the provider for other tokens and verifies them.
func (x *Exchange) refreshNow(ctx context.Context, s *Session) (StoredTokens, error) {
	p, old := x.Policy, s.Tokens
	tr, err := p.Provider.Refresh(ctx, old.Client, old.RefreshToken)
	if err != nil {
		return StoredTokens{}, err
	}
	t := old
	t.AccessToken, t.TokenType, t.Expiry = tr.AccessToken, tr.TokenType, tr.Expiry
	if tr.Scope != "" {
		t.Scope = tr.Scope
	}
	if tr.RefreshToken != "" {
		t.RefreshToken = tr.RefreshToken
	}
	if token.LooksJWS(t.AccessToken.Reveal()) {
		if _, err := p.Provider.VerifyAccessToken(ctx, t.Client, t.AccessToken, MethodSession); err != nil {
			return StoredTokens{}, err
		}
	}
	if tr.IDToken != "" {
		id, err := p.Provider.VerifyIDToken(ctx, tr.IDToken, IDTokenExpectation{Client: old.Client, AccessToken: tr.AccessToken, Method: MethodSession})
		if err != nil {
			return StoredTokens{}, err
		}
		// OpenID Connect Core 12.2: a refreshed ID token is about the same subject.
		if sub, _ := id.Claims["sub"].(string); s.Subject != "" && sub != s.Subject {
			return StoredTokens{}, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the refreshed ID token has another subject", Reason: "refresh_subject"}
		}
		t.IDToken = id.Raw // what an encrypted one holds
	}
	if !t.Expiry.IsZero() && due(p.Now(), t.Expiry, 0) {
		return StoredTokens{}, &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the refreshed access token has expired already", Reason: "expired"}
	}
	return t, nil
}

// refused reports whether err is a refusal, not an outage.
func refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Unauthorized
}
