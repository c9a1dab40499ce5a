package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
)

// KeptSession is a session as a storage lists it.
type KeptSession struct {
	ID       string // its id, or the hash of it (session_hash_storage_key)
	Audience string
	Storage  string // session_storage
}

// ErrNoMetadata says that no configuration in use keeps an index of sessions.
var ErrNoMetadata = errors.New("no configuration keeps session metadata")

// leastLife is how long an ending is kept where no configuration in use says
// that its sessions live longer: Kong's default of session_remember_absolute_timeout.
const leastLife = 30 * 24 * time.Hour

// everywhere is the sessions of all configurations in use, and this node's list,
// which those that are not in use yet will read.
func (e *Environment) everywhere() []*sessions {
	node := &sessions{where: storage{name: "node", revocations: e.Revocations}, life: leastLife, now: e.Now}
	return append([]*sessions{node}, e.Ends.all("")...)
}

// reachable is an error where sessions may be listed where this process, in
// which no configuration is in use yet, does not know of.
func (e *Environment) reachable() error {
	if !e.SharedList && len(e.Ends.all("")) == 0 {
		return errors.New("no configuration is in use yet in this process, so it is not known where its sessions are listed: send a request through the plugin first")
	}
	return nil
}

// audited records that an operator ended sessions.
func (e *Environment) audited(ctx context.Context, what slog.Attr, issuer string) {
	if e.Audit != nil {
		e.Audit.LogAttrs(ctx, slog.LevelInfo, "logout", slog.String("by", "operator"), slog.String("issuer", issuer), what)
	}
}

// EndSubject ends the sessions of a subject that have begun. issuer is as in its tokens.
func (e *Environment) EndSubject(ctx context.Context, issuer, subject string) error {
	if err := e.reachable(); err != nil {
		return err
	}
	if err := revoke(ctx, e.everywhere(), session.SubjectKey(issuer, subject), e.Now()); err != nil {
		return err
	}
	e.audited(ctx, slog.String("subject", subject), issuer)
	forget(ctx, e.Ends.all(op.NormaliseIssuer(issuer)), subject)
	return nil
}

// EndLogin ends the sessions of a login at a provider.
func (e *Environment) EndLogin(ctx context.Context, issuer, sid string) error {
	if err := e.reachable(); err != nil {
		return err
	}
	if err := revoke(ctx, e.everywhere(), session.LoginKey(issuer, sid), e.Now().Add(-session.ClockSkew)); err != nil {
		return err
	}
	e.audited(ctx, slog.String("login", rp.RecordName(sid)), issuer)
	return nil
}

// EndSession ends a session by its id, or by what KeptSession.ID says.
func (e *Environment) EndSession(ctx context.Context, id string) error {
	key := session.IDKey(id)
	if key == "" {
		return fmt.Errorf("%.64q is no id of a session", id)
	}
	if err := e.reachable(); err != nil {
		return err
	}
	if err := revoke(ctx, e.everywhere(), key, e.Now().Add(-session.ClockSkew)); err != nil {
		return err
	}
	e.audited(ctx, slog.String("session", rp.RecordName(id)), "")
	for _, s := range e.Ends.all("") {
		if s.where.store == nil {
			continue
		}
		m, err := s.manager.get(ctx)
		if err != nil {
			return err
		}
		if err := m.Forget(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// ListSessions returns up to size sessions of a subject in the order of their
// ids, after the given one. Those that a provider or an operator ended by sid
// are listed until their time is over.
func (e *Environment) ListSessions(ctx context.Context, subject, after string, size int) ([]KeptSession, error) {
	type found struct {
		KeptSession
		manager *session.Manager
	}
	all := map[string]found{}
	indexed := false
	for _, s := range e.Ends.all("") {
		if !s.indexed {
			continue
		}
		indexed = true
		m, err := s.manager.get(ctx)
		if err != nil {
			return nil, err
		}
		keys, err := m.Listed(ctx, subject)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			all[k] = found{KeptSession{k, m.Audience(), s.where.kind}, m}
		}
	}
	if !indexed {
		return nil, ErrNoMetadata
	}
	var out []KeptSession
	for _, f := range slices.SortedFunc(maps.Values(all), func(a, b found) int { return strings.Compare(a.ID, b.ID) }) {
		if f.ID <= after {
			continue
		}
		if len(out) == size {
			break
		}
		live, err := f.manager.Live(ctx, f.ID)
		if err != nil {
			return nil, err
		}
		if live {
			out = append(out, f.KeptSession)
		}
	}
	return out, nil
}
