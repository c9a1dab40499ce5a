package rp

import (
	"context"
	"sync/atomic"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// sessionMethod authenticates by the session cookie (behaviour.md 6.1).
type sessionMethod struct{}

func (sessionMethod) name() Method { return MethodSession }

func (sessionMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	if len(x.Request.Header["cookie"]) == 0 {
		return nil, nil
	}
	s, err := x.Policy.Sessions.Open(ctx, x.browser())
	if err != nil {
		return nil, asError(err)
	}
	if s == nil || s.Tokens.Method == MethodKongOAuth2 {
		return nil, nil
	}
	x.presented = s
	return &Credential{Method: MethodSession, Place: PlaceCookie, session: s}, nil
}

func (sessionMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	p, s := x.Policy, c.session
	x.Client = s.Tokens.Client
	if exp := s.Tokens.Expiry; !exp.IsZero() {
		now := p.Now()
		refreshable := p.Refresh && s.Tokens.RefreshToken != ""
		switch {
		case refreshable && due(now, exp, p.Leeway):
			b, err := x.writer(ctx)
			if err != nil {
				return nil, err
			}
			r, err := x.refresh(ctx, b, s)
			switch {
			case err == nil:
				s = r.session
				x.presented = s
				x.cookies = append(x.cookies, r.cookies...)
			case refused(err):
				return nil, x.endSession(ctx, s)
			case claims.Expired(exp, now, p.Leeway):
				return nil, err
			default:
				p.warn(ctx, "a session's tokens could not be refreshed; it goes on until its access token expires", "error", err)
			}
		case !refreshable && claims.Expired(exp, now, p.Leeway):
			return nil, x.endSession(ctx, s)
		}
	}
	id, err := x.sessionIdentity(ctx, s)
	if err != nil || !x.heldToBearerRules(id) {
		return nil, err
	}
	return id, nil
}

// heldToBearerRules reports whether the session of a bearer token holds what this
// configuration asks of such tokens beyond their verification. It may have been
// made by one that asks less; then the search for another credential goes on.
func (x *Exchange) heldToBearerRules(id *Identity) bool {
	if id.Origin != MethodBearer {
		return true
	}
	if x.Policy.IntrospectJWT && id.Introspection == nil {
		return false
	}
	return id.Access == nil || x.sessionCookieFits(id.Access) == nil
}

// endSession removes a session that cannot go on. The search for another
// credential continues.
func (x *Exchange) endSession(ctx context.Context, s *Session) error {
	b, err := x.writer(ctx)
	if err != nil {
		return err
	}
	cookies, err := x.Policy.Sessions.Destroy(ctx, b, s)
	if err != nil {
		return &Error{Kind: Unavailable, Description: "a session could not be ended", Reason: "session_storage", Err: err}
	}
	x.presented = nil
	x.cookies = append(x.cookies, cookies...)
	return nil
}

func (x *Exchange) sessionIdentity(ctx context.Context, s *Session) (*Identity, error) {
	p, t := x.Policy, s.Tokens
	id := &Identity{
		Method: MethodSession, Origin: t.Method, Client: t.Client, Session: s,
		AccessToken: t.AccessToken, IDToken: t.IDToken, RefreshToken: t.RefreshToken,
		TokenType: t.TokenType, Scope: t.Scope, Expiry: t.Expiry,
		Introspection: t.Introspection, UserInfo: t.UserInfo,
	}
	read := s.Read
	if read == nil {
		read = new(ReadTokens)
	}
	var err error
	if p.Session.Reverify {
		if looksJWS(t.AccessToken) {
			if id.Access, err = p.Provider.VerifyAccessToken(ctx, t.Client, t.AccessToken, MethodSession); err != nil {
				return nil, err
			}
		}
		if t.IDToken != "" {
			if id.ID, err = p.Provider.VerifyIDToken(ctx, t.IDToken, IDTokenExpectation{Client: t.Client, Method: MethodSession}); err != nil {
				return nil, err
			}
		}
		return id, nil
	}
	if readable(t.Method) && (read.access.Load() != nil || looksJWS(t.AccessToken)) {
		if id.Access, err = x.keptAccess(ctx, t.Client, t.AccessToken, read); err != nil {
			return nil, err
		}
	}
	if t.IDToken != "" {
		if id.ID, err = x.keptID(ctx, t.Client, t.IDToken, read); err != nil {
			return nil, err
		}
	}
	return id, nil
}

func looksJWS(raw token.Opaque) bool { return raw != "" && token.LooksJWS(raw.Reveal()) }

// readable reports whether the access tokens of a method are read. Those of
// the others were judged by somebody else, who answered with the claims.
func readable(m Method) bool {
	return m != MethodIntrospection && m != MethodUserInfo && m != MethodKongOAuth2
}

// keptAccess reads an access token that was verified before. Its key is not
// kept: where a header shows it, the token is verified again, which the cache
// makes cheap, and without success only the header is missing.
func (x *Exchange) keptAccess(ctx context.Context, client int, raw token.Opaque, read *ReadTokens) (*token.Token, error) {
	if x.Policy.Headers.accessKey {
		if t, err := x.Policy.Provider.VerifyAccessToken(ctx, client, raw, MethodSession); err == nil {
			return t, nil
		}
	}
	return x.read(raw, &read.access)
}

// keptID does the same for an ID token.
func (x *Exchange) keptID(ctx context.Context, client int, raw token.Opaque, read *ReadTokens) (*token.Token, error) {
	if x.Policy.Headers.idKey {
		if t, err := x.Policy.Provider.VerifyIDToken(ctx, raw, IDTokenExpectation{Client: client, Method: MethodSession}); err == nil {
			return t, nil
		}
	}
	return x.read(raw, &read.id)
}

// read returns the token that was read before, or reads it and keeps it.
func (x *Exchange) read(raw token.Opaque, kept *atomic.Pointer[token.Token]) (*token.Token, error) {
	if t := kept.Load(); t != nil {
		return t, nil
	}
	t, err := x.Policy.Provider.Decode(raw)
	if err == nil && t.Claims.Weight() <= roomOf(raw) {
		kept.Store(t)
	}
	return t, err
}

// keepSession starts a session for a method that makes one, or touches the
// session that authenticated (behaviour.md 12.2).
func (x *Exchange) keepSession(ctx context.Context, id *Identity) error {
	p := x.Policy
	if !p.Methods.Has(MethodSession) {
		return nil
	}
	if id.Session != nil && !p.Sessions.Due(ctx, id.Session) {
		return nil
	}
	if id.Session == nil && (p.Session.Disabled.Has(id.Method) || x.unbound(id)) {
		return nil
	}
	b, err := x.writer(ctx)
	if err != nil {
		return err
	}
	if id.Session != nil {
		s, cookies, err := p.Sessions.Touch(ctx, b, id.Session)
		if refused(err) {
			x.presented = nil
			return err
		}
		if err != nil {
			p.warn(ctx, "a session could not be touched; it goes on", "error", err)
			return nil
		}
		id.Session = s
		x.cookies = append(x.cookies, cookies...)
		return nil
	}
	t := StoredTokens{
		Method: id.Method, Client: id.Client, AccessToken: id.AccessToken, IDToken: id.IDToken, RefreshToken: id.RefreshToken,
		TokenType: id.TokenType, Scope: id.Scope, Expiry: id.Expiry, Introspection: id.Introspection, UserInfo: id.UserInfo,
	}
	subject := ""
	subject, t.Issuer, t.SID = x.loginOf(ctx, id)
	s, cookies, err := p.Sessions.Start(ctx, b, subject, t)
	if err != nil {
		if id.Method == MethodAuthorizationCode {
			return asError(err)
		}
		p.warn(ctx, "no session could be started; the request goes on without", "method", id.Method, "error", err)
		return nil
	}
	id.Session = s
	x.cookies = append(x.cookies, cookies...)
	return nil
}

// loginOf names a login as the provider will when it ends: by the ID token where
// there is one, for subjects of access tokens may differ by the audience.
func (x *Exchange) loginOf(ctx context.Context, id *Identity) (subject, issuer, sid string) {
	var sources []claims.Object
	for _, t := range []*token.Token{id.ID, id.Access} {
		if t != nil {
			sources = append(sources, t.Claims)
		}
	}
	for _, c := range append(sources, id.Introspection, id.UserInfo) {
		if subject, _ = c["sub"].(string); subject != "" {
			issuer, _ = c["iss"].(string)
			break
		}
	}
	for _, c := range append(sources, id.Introspection) {
		if sid, _ = c["sid"].(string); sid != "" {
			break
		}
	}
	if issuer != "" {
		return subject, issuer, sid
	}
	if md, err := x.Policy.Provider.Metadata(ctx); err == nil {
		return subject, md.Issuer, sid
	}
	return subject, x.Policy.Issuer, sid
}

// unbound reports whether a session would outlive a bond of its credential:
// Kong's own token to a service, a consumer and its revocation, and an exchanged
// one to the key that the token it stands for was bound to.
func (x *Exchange) unbound(id *Identity) bool {
	return id.Method == MethodKongOAuth2 || x.exchanged && x.Policy.Possession != nil
}

// writer returns the browser with all that a cookie's attributes depend on.
func (x *Exchange) writer(ctx context.Context) (Browser, error) {
	if err := x.Request.Need(ctx, NeedExternal|x.Policy.Sessions.Binds()); err != nil {
		return Browser{}, unread(err)
	}
	return x.browser(), nil
}

func (x *Exchange) browser() Browser {
	r := x.Request
	return Browser{Cookies: r.Header["cookie"], IP: r.ClientIP, Scheme: r.External.Scheme, UserAgent: r.Header.Get("user-agent")}
}
