package plugin

import (
	"context"
	"errors"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
)

const (
	refreshLease = 30 * time.Second // longer than a refresh may take
	refreshKept  = 10 * time.Second // how long losers find the winner's result
)

// refreshRefused is the result of a refresh that the provider refused. No
// sealed session reads so.
const refreshRefused = "refused"

// update stores other tokens under a new id.
func (s *sessions) update(ctx context.Context, m *session.Manager, b rp.Browser, old *rp.Session, t rp.StoredTokens) (*rp.Session, []string, error) {
	o := old.Handle.(*session.Session)
	o.Data = pack(t)
	cookies, err := m.Save(ctx, input(b), o)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	return s.view(m, o, t, nil), cookies, nil
}

// Refresh implements rp.Sessions: one caller among all nodes refreshes, the
// others read its sealed session and never refresh themselves.
func (s *sessions) Refresh(ctx context.Context, b rp.Browser, old *rp.Session, do func(context.Context) (rp.StoredTokens, error)) (*rp.Session, []string, error) {
	m, err := s.manager.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s.locks == nil {
		t, err := do(ctx)
		if err != nil {
			return nil, nil, err
		}
		return s.update(ctx, m, b, old, t)
	}
	var mine *rp.Session
	var cookies []string
	var refusal error
	sealed, err := s.locks.Once(ctx, agreedName("refresh", old.ID), refreshLease, refreshKept, func(ctx context.Context) ([]byte, error) {
		t, err := do(ctx)
		if isRefusal(err) {
			refusal = err
			return []byte(refreshRefused), nil // the others must end the session too, not ask again
		}
		if err != nil {
			return nil, err
		}
		if mine, cookies, err = s.update(ctx, m, b, old, t); err != nil {
			return nil, err
		}
		return []byte(mine.Handle.(*session.Session).Sealed()), nil
	})
	switch {
	case refusal != nil:
		return nil, nil, refusal
	case err != nil:
		if e := (*rp.Error)(nil); errors.As(err, &e) {
			return nil, nil, err
		}
		return nil, nil, &rp.Error{Kind: rp.Unavailable, Description: "the session's tokens could not be refreshed together with the other nodes", Reason: "refresh_lock", Err: err}
	case mine != nil:
		return mine, cookies, nil
	case string(sealed) == refreshRefused:
		return nil, nil, &rp.Error{Kind: rp.Unauthorized, Description: "the provider refused to refresh the session's tokens", Reason: "refresh_refused"}
	}
	return s.handOver(ctx, m, b, string(sealed))
}

// handOver opens what another request's refresh made, with the cookies that
// give it to this one's browser.
func (s *sessions) handOver(ctx context.Context, m *session.Manager, b rp.Browser, sealed string) (*rp.Session, []string, error) {
	o, _, err := m.OpenSealed(ctx, input(b), sealed)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	if o == nil {
		return nil, nil, sessionError(session.ErrEnded)
	}
	return s.touch(ctx, m, b, o)
}

// isRefusal reports whether err is the provider's refusal, or a check's, not an outage.
func isRefusal(err error) bool {
	e, ok := errors.AsType[*rp.Error](err)
	return ok && e.Kind == rp.Unauthorized
}
