package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
	"weak"

	"kong-openid-connect/internal/fault"
	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/token"
)

// SessionEnds knows where the configurations of this process keep their
// sessions and the lists of those that have ended, so that what ends a login
// ends it in all of them. The zero value knows none.
type SessionEnds struct {
	mu   sync.Mutex
	next uint64
	live map[uint64]weak.Pointer[sessions]
}

func (e *SessionEnds) add(s *sessions) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live == nil {
		e.live = map[uint64]weak.Pointer[sessions]{}
	}
	e.next++
	e.live[e.next] = weak.Make(s)
	runtime.AddCleanup(s, e.forget, e.next)
}

func (e *SessionEnds) forget(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, id)
}

// all returns the sessions of configurations that are in use; of one issuer,
// unless that is "".
func (e *SessionEnds) all(issuer string) []*sessions {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*sessions
	for _, w := range e.live {
		if s := w.Value(); s != nil && (issuer == "" || s.issuer == issuer) {
			out = append(out, s)
		}
	}
	return out
}

// revoke lists a key in each of the lists that some of these use, for as long as
// the longest-lived of their sessions. The error names what could not be written.
func revoke(ctx context.Context, of []*sessions, key string, from time.Time) error {
	var life time.Duration
	lists := map[string]*sessions{}
	for _, s := range of {
		life = max(life, s.life)
		if s.where.revocations != nil {
			lists[s.where.name] = s
		}
	}
	if len(lists) == 0 {
		return errors.New("there is no list of ended sessions")
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed []error
	for name, s := range lists {
		wg.Go(func() {
			if err := revokeIn(ctx, s.where.revocations, key, from, s.now().Add(life)); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("%s: %w", strings.SplitN(name, "/", 2)[0], err))
			}
		})
	}
	wg.Wait()
	return errors.Join(failed...)
}

// revokeIn runs in a goroutine, where no request could recover from a panic.
func revokeIn(ctx context.Context, list session.Revocations, key string, from, until time.Time) (err error) {
	defer fault.Recover(&err)
	return list.Revoke(ctx, key, from, until)
}

// endSubject ends the sessions of a subject that have begun.
func endSubject(ctx context.Context, of []*sessions, issuer, subject string, now time.Time) error {
	if err := revoke(ctx, of, session.SubjectKey(issuer, subject), now); err != nil {
		return err
	}
	forget(ctx, of, subject)
	return nil
}

// forget removes what storages list by the subject. Where that fails the list of
// ended sessions stands.
func forget(ctx context.Context, of []*sessions, subject string) {
	for _, s := range of {
		if !s.indexed {
			continue
		}
		m, err := s.manager.get(ctx)
		if err == nil {
			_, err = m.EndSubject(ctx, subject)
		}
		if err != nil {
			s.log.WarnContext(ctx, "openid-connect: ended sessions stay in the storage until their time is over", "error", err)
		}
	}
}

// kin are the sessions of every configuration of the same provider in this process.
func (s *sessions) kin() []*sessions { return s.ends.all(s.issuer) }

// EndLogin implements rp.Sessions.
func (s *sessions) EndLogin(ctx context.Context, l *token.Logout) error {
	unavailable := func(err error) error {
		return &rp.Error{Kind: rp.Unavailable, Description: "sessions cannot be ended at present", Reason: "session_storage", Err: err}
	}
	if s.where.revocations == nil {
		return unavailable(errors.New("there is no list of ended sessions"))
	}
	used := session.LogoutTokenKey(l.Issuer, l.JTI)
	seen, err := s.where.revocations.Revoked(ctx, used)
	if err != nil {
		return unavailable(err)
	}
	if seen {
		return &rp.Error{Kind: rp.Invalid, Description: "the logout token was used before", Reason: "logout_token_replayed"}
	}
	now := s.now()
	if l.SID != "" {
		err = revoke(ctx, s.kin(), session.LoginKey(l.Issuer, l.SID), now.Add(-session.ClockSkew))
	} else {
		err = endSubject(ctx, s.kin(), l.Issuer, l.Subject, now)
	}
	if err != nil {
		return unavailable(err)
	}
	// Last: a token that could not do its work may come again.
	if err := s.where.revocations.Revoke(ctx, used, now.Add(-session.ClockSkew), l.Until); err != nil {
		return unavailable(err)
	}
	return nil
}

// EndSubject implements rp.Sessions.
func (s *sessions) EndSubject(ctx context.Context, issuer, subject string) error {
	if subject == "" {
		return &rp.Error{Description: "the sessions of nobody cannot be ended", Reason: "no_subject"}
	}
	if err := endSubject(ctx, s.kin(), issuer, subject, s.now()); err != nil {
		return &rp.Error{Kind: rp.Unavailable, Description: "the sessions of the subject cannot be ended at present", Reason: "session_storage", Err: err}
	}
	return nil
}

// reach says what is wrong with the list for configurations by which others
// than the browser end sessions; warn is for what cannot be known.
func (s *storage) reach(c *Config, env *Environment) (warn string, err error) {
	param := ""
	switch {
	case c.BackchannelLogoutURISuffix != "":
		param = "backchannel_logout_uri_suffix"
	case c.LogoutAllSessions:
		param = "logout_all_sessions"
	default:
		return "", nil
	}
	if s.shared {
		return "", nil
	}
	if env.DataPlane {
		return "", fmt.Errorf("%s: a data plane has no list of ended sessions that others read: set session_revocation_storage to redis", param)
	}
	return param + " ends sessions on this node alone, as there is no list that other nodes read: where there are others, set session_revocation_storage to redis", nil
}

func normalIssuer(c *Config) string { return op.NormaliseIssuer(c.Issuer) }
