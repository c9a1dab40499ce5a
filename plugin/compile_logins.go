package plugin

import (
	"context"
	"log/slog"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// logins adapts the pending logins of package session to the core.
type logins struct {
	logins keyed[session.Logins]
	name   string
	claims store.Claims // nil: nodes share nothing
	keep   time.Duration
	log    *slog.Logger
}

const (
	endlessLogin = time.Hour       // how long a used login without a timeout is remembered
	claimTimeout = 2 * time.Second // how long a callback waits for the other nodes' word
)

func newLogins(c *Config, env *Environment, digest [32]byte) (*logins, error) {
	cfg := session.LoginConfig{
		Cookie:          cookieOf(c.AuthorizationCookieName, c.AuthorizationCookiePath, c.AuthorizationCookieDomain, c.AuthorizationCookieSameSite, c.AuthorizationCookieHTTPOnly, c.AuthorizationCookieSecure),
		Timeout:         seconds(c.AuthorizationRollingTimeout),
		Digest:          digest,
		PreviousSecrets: previousSecrets(c),
		MaxHeaderLine:   env.MaxHeaderLine,
		Used:            env.UsedLogins,
		Now:             env.Now,
	}
	probe := cfg
	probe.Secret = []byte("only to check the configuration")
	if _, err := session.NewLogins(probe); err != nil {
		return nil, err
	}
	l := &logins{name: c.AuthorizationCookieName, keep: cfg.Timeout, log: env.logOf(c)}
	if l.keep <= 0 {
		l.keep = endlessLogin
	}
	shared, err := agree(c, env)
	if err != nil {
		return nil, err
	}
	l.claims = shared.claims
	l.logins.secret = sessionSecret(c, env)
	l.logins.make = func(secret []byte) (*session.Logins, error) {
		full := cfg
		full.Secret = secret
		return session.NewLogins(full)
	}
	return l, nil
}

// Owns implements rp.Logins.
func (l *logins) Owns(name string) bool { return session.IsLoginCookie(l.name, name) }

// Begin implements rp.Logins.
func (l *logins) Begin(ctx context.Context, b rp.Browser, x rp.Login) (string, []string, error) {
	s, err := l.logins.get(ctx)
	if err != nil {
		return "", nil, err
	}
	return s.Begin(session.Login{
		Nonce: x.Nonce, CodeVerifier: x.Verifier.Reveal(), RedirectURI: x.RedirectURI, Client: x.Client, ReturnTo: x.ReturnTo, Attempt: x.Attempt,
	}, input(b))
}

// Resume implements rp.Logins.
func (l *logins) Resume(ctx context.Context, b rp.Browser, state string) (rp.Login, rp.LoginOutcome, error) {
	s, err := l.logins.get(ctx)
	if err != nil {
		return rp.Login{}, rp.LoginForeign, err
	}
	x, outcome := s.Resume(state, input(b))
	login := rp.Login{
		ID: x.ID(), Nonce: x.Nonce, Verifier: token.Opaque(x.CodeVerifier), RedirectURI: x.RedirectURI, Client: x.Client, ReturnTo: x.ReturnTo, Attempt: x.Attempt,
	}
	switch outcome {
	case session.Resumed:
		return login, rp.LoginFound, nil
	case session.Stale:
		return login, rp.LoginStale, nil
	}
	return rp.Login{}, rp.LoginForeign, nil
}

// Finish implements rp.Logins.
func (l *logins) Finish(ctx context.Context, b rp.Browser, state, id string) ([]string, bool, error) {
	s, err := l.logins.get(ctx)
	if err != nil {
		return nil, false, err
	}
	return s.Finish(state, input(b)), s.Claim(id) && l.firstOfAll(ctx, id), nil
}

// firstOfAll says whether no other node has used the login. Where that cannot
// be known the login goes on: this process, the browser's cookie and the
// provider, which takes a code once, have let it pass.
func (l *logins) firstOfAll(ctx context.Context, id string) bool {
	if l.claims == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	first, err := l.claims.Claim(ctx, agreedName("login", id), l.keep)
	if err != nil {
		l.log.WarnContext(ctx, "openid-connect: a login's single use could not be agreed on with the other nodes; this node alone vouches for it: check the Redis or the database that they share", "error", err)
		return true
	}
	return first
}
