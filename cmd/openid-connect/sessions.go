package main

import (
	"context"
	"errors"
	"fmt"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/plugin"
)

// adminSessions shows the admin endpoints the sessions of the plugin's
// configurations (-admin-sessions).
type adminSessions struct{ env *plugin.Environment }

// List implements admin.Sessions.
func (a adminSessions) List(ctx context.Context, subject, after string, size int) ([]admin.Session, error) {
	list, err := a.env.ListSessions(ctx, subject, after, size)
	if errors.Is(err, plugin.ErrNoMetadata) {
		return nil, admin.ErrNoMetadata
	}
	out := make([]admin.Session, len(list))
	for i, s := range list {
		out[i] = admin.Session(s)
	}
	return out, unavailable(err)
}

// EndSubject implements admin.Sessions.
func (a adminSessions) EndSubject(ctx context.Context, issuer, subject string) error {
	return unavailable(a.env.EndSubject(ctx, issuer, subject))
}

// EndLogin implements admin.Sessions.
func (a adminSessions) EndLogin(ctx context.Context, issuer, sid string) error {
	return unavailable(a.env.EndLogin(ctx, issuer, sid))
}

// End implements admin.Sessions.
func (a adminSessions) End(ctx context.Context, id string) error {
	return unavailable(a.env.EndSession(ctx, id))
}

// unavailable says that a storage or a list could not be asked, which is all
// that goes wrong here.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", admin.ErrUnavailable, err)
}
