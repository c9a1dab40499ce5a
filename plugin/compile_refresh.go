package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
)

// update stores other tokens under a new id.
func (s *sessions) update(ctx context.Context, m *session.Manager, b rp.Browser, old *rp.Session, t rp.StoredTokens) (*rp.Session, []string, error) {
	o := old.Handle.(*session.Session)
	o.Data = pack(t)
	cookies, err := m.Save(ctx, input(b), o)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	return s.view(m, o, t), cookies, nil
}

const (
	refreshLease = 30 * time.Second // longer than a refresh may take
	refreshKept  = 10 * time.Second // how long losers find the winner's result
)

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
	sum := sha256.Sum256([]byte(old.ID))
	sealed, err := s.locks.Once(ctx, "refresh-"+hex.EncodeToString(sum[:16]), refreshLease, refreshKept, func(ctx context.Context) ([]byte, error) {
		t, err := do(ctx)
		if err != nil {
			return nil, err
		}
		if mine, cookies, err = s.update(ctx, m, b, old, t); err != nil {
			return nil, err
		}
		return []byte(mine.Handle.(*session.Session).Sealed()), nil
	})
	if err != nil {
		if e := (*rp.Error)(nil); errors.As(err, &e) {
			return nil, nil, err
		}
		return nil, nil, &rp.Error{Description: "the session's tokens could not be refreshed together with the other nodes", Reason: "refresh_lock", Err: err}
	}
	if mine != nil {
		return mine, cookies, nil
	}
	o, _, err := m.OpenSealed(ctx, input(b), string(sealed))
	if err != nil {
		return nil, nil, sessionError(err)
	}
	if o == nil {
		return nil, nil, sessionError(session.ErrEnded)
	}
	if cookies, err = m.Touch(ctx, input(b), o); err != nil {
		return nil, nil, sessionError(err)
	}
	t, err := unpack(o.Data)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	return s.view(m, o, t), cookies, nil
}
