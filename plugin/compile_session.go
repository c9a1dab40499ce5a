package plugin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/store"
)

// identityDigest names the configuration that vouches for an identity: a
// session is taken only by configurations with the same digest.
func identityDigest(c *Config) [32]byte {
	list := struct {
		Issuer, Auth, Token, Userinfo, Introspection, JWKS string
		Extra, Allowed, Clients, Audience, Domains         []string
		Pseudo, Signature, Claims, Nonce, HS, SSL          bool
		Ignore                                             []UnverifiedGrant
		DPoP, MTLS                                         PossessionMode
		ClientDPoP                                         ClientDPoP        `json:",omitempty"`
		Bound                                              []IssuerKeySource `json:",omitempty"`
		// What is set where less is verified, or by another endpoint.
		Inactive, CertificateSSL     bool   `json:",omitempty"`
		MTLSToken, MTLSIntrospection string `json:",omitempty"`
		// Whoever shares sessions has to read the same list of ended ones.
		List []byte `json:",omitempty"`
	}{
		Issuer: c.Issuer, Auth: string(c.AuthorizationEndpoint), Token: string(c.TokenEndpoint), Userinfo: string(c.UserinfoEndpoint),
		Introspection: string(c.IntrospectionEndpoint), JWKS: string(c.JWKSEndpoint),
		Extra: urls(c.ExtraJWKSURIs), Allowed: c.IssuersAllowed, Clients: c.ClientID, Audience: c.Audience, Domains: c.Domains,
		Pseudo: c.UsingPseudoIssuer, Signature: c.VerifySignature, Claims: c.VerifyClaims, Nonce: c.VerifyNonce, HS: c.EnableHSSignatures, SSL: c.SSLVerify,
		Inactive: !c.IntrospectionCheckActive, CertificateSSL: c.TLSClientAuthCertID != "" && !c.TLSClientAuthSSLVerify,
		MTLSToken: string(c.MTLSTokenEndpoint), MTLSIntrospection: string(c.MTLSIntrospectionEndpoint),
		Bound:  c.IssuerKeys,
		Ignore: c.IgnoreSignature, DPoP: c.ProofOfPossessionDPoP, MTLS: c.ProofOfPossessionMTLS,
	}
	if c.ClientDPoP != ClientDPoPOff {
		list.ClientDPoP = c.ClientDPoP
	}
	if c.SessionRevocationStorage == RevocationStorageRedis {
		where := redisKey(&c.Redis.Redis, c.Redis.Socket)
		list.List = where[:]
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic("identity digest: " + err.Error())
	}
	return sha256.Sum256(b)
}

// keyed keeps what was made with a session secret until that is another one:
// the secret of a discovery object ends with it, and one that cannot be learned
// now may be learned later.
type keyed[T any] struct {
	secret func(context.Context) ([]byte, error)
	make   func(secret []byte) (*T, error)

	held atomic.Pointer[madeWith[T]]
}

type madeWith[T any] struct {
	sum   [sha256.Size]byte
	value *T
}

func (k *keyed[T]) get(ctx context.Context) (*T, error) {
	secret, err := k.secret(ctx)
	if err != nil {
		return nil, &rp.Error{Kind: rp.Unavailable, Description: "the session secret cannot be had at present", Reason: "session_secret", Err: err}
	}
	sum := sha256.Sum256(secret)
	if h := k.held.Load(); h != nil && h.sum == sum {
		return h.value, nil
	}
	v, err := k.make(secret)
	if err != nil {
		return nil, &rp.Error{Description: "sessions cannot be kept with this configuration", Reason: "session", Err: err}
	}
	k.held.Store(&madeWith[T]{sum, v})
	return v, nil
}

// sessionSecret returns what gives session_secret, or the one that is
// generated with the discovery object of the configuration's provider.
func sessionSecret(c *Config, env *Environment) func(context.Context) ([]byte, error) {
	if s := c.SessionSecret.Reveal(); s != "" {
		secret := []byte(s)
		return func(context.Context) ([]byte, error) { return secret, nil }
	}
	provider := providerConfig(c, env)
	scope := provider.Scope()
	return func(ctx context.Context) ([]byte, error) { return env.Secrets.SessionSecret(ctx, c.Issuer, scope) }
}

// previousSecrets are accepted for reading.
func previousSecrets(c *Config) [][]byte {
	var out [][]byte
	for _, s := range c.SessionPreviousSecrets {
		out = append(out, []byte(s.Reveal()))
	}
	return out
}

func cookieOf(name, path, domain string, site SameSite, httpOnly bool, secure *bool) session.Cookie {
	return session.Cookie{Name: name, Path: path, Domain: domain, SameSite: session.SameSite(site), HTTPOnly: httpOnly, Secure: secure}
}

// sessions adapts package session to the core.
type sessions struct {
	manager keyed[session.Manager]
	binds   rp.Needs
	names   []string
	locks   store.Locks // nil: this process is alone

	observer Observer // nil: nobody counts

	where   storage
	indexed bool          // the storage lists sessions by subject
	life    time.Duration // of the longest session
	issuer  string        // normalised
	ends    *SessionEnds
	now     func() time.Time
	log     *slog.Logger
}

func newSessions(c *Config, env *Environment, digest [32]byte) (*sessions, error) {
	where, err := openStorage(c, env)
	if err != nil {
		return nil, err
	}
	if _, ok := where.store.(session.Index); !ok && c.SessionStoreMetadata && where.store != nil {
		return nil, errors.New("session_store_metadata: memcached keeps no index of sessions: use redis, or leave it off")
	}
	cfg := session.Config{
		Cookie:             cookieOf(c.SessionCookieName, c.SessionCookiePath, c.SessionCookieDomain, c.SessionCookieSameSite, c.SessionCookieHTTPOnly, c.SessionCookieSecure),
		Timeouts:           session.Timeouts{Idling: seconds(c.SessionIdlingTimeout), Rolling: seconds(c.SessionRollingTimeout), Absolute: seconds(c.SessionAbsoluteTimeout)},
		Remember:           c.SessionRemember,
		RememberCookie:     c.SessionRememberCookieName,
		RememberTimeouts:   session.Timeouts{Rolling: seconds(c.SessionRememberRollingTimeout), Absolute: seconds(c.SessionRememberAbsoluteTimeout)},
		Audience:           c.SessionAudience,
		EnforceSameSubject: c.SessionEnforceSameSubject,
		Digest:             digest,
		HashStorageKey:     c.SessionHashStorageKey,
		HashSubject:        c.SessionHashSubject,
		PreviousSecrets:    previousSecrets(c),
		MaxHeaderLine:      env.MaxHeaderLine,
		LoginCookie:        c.AuthorizationCookieName,
		Store:              where.store,
		StoreMetadata:      c.SessionStoreMetadata && where.store != nil,
		Revocations:        where.revocations,
		Decode:             decodePayload,
		Openings:           env.Openings,
		Now:                env.Now,
	}
	warning, err := where.reach(c, env)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		env.Log.Warn("openid-connect: " + warning)
	}
	s := &sessions{
		names: []string{c.SessionCookieName}, locks: where.locks, where: where, indexed: cfg.StoreMetadata, issuer: normalIssuer(c),
		ends: &env.Ends, observer: env.Observer, now: env.Now, log: env.logOf(c),
	}
	cfg.Unlisted = func() {
		s.log.Warn("openid-connect: the list of ended sessions is full; cookies that were replaced stay good until their timers or their login end: lower session_absolute_timeout, or keep the list in Redis (session_revocation_storage)")
	}
	if c.SessionRemember {
		s.names = append(s.names, c.SessionRememberCookieName)
	}
	for _, b := range c.SessionBind {
		cfg.Bind = append(cfg.Bind, session.Bind(b))
		switch b {
		case SessionBindingIP:
			s.binds |= rp.NeedClient
		case SessionBindingScheme:
			s.binds |= rp.NeedExternal
		}
	}
	// What is wrong with the configuration is said when the instance starts.
	probe := cfg
	probe.Secret = []byte("only to check the configuration")
	checked, err := session.NewManager(probe)
	if err != nil {
		return nil, err
	}
	s.life = checked.MaxLife()
	s.manager.secret = sessionSecret(c, env)
	s.manager.make = func(secret []byte) (*session.Manager, error) {
		full := cfg
		full.Secret = secret
		return session.NewManager(full)
	}
	env.Ends.add(s)
	return s, nil
}

// Owns implements rp.Sessions: a cookie and its numbered pieces.
func (s *sessions) Owns(name string) bool {
	for _, n := range s.names {
		if rest, ok := strings.CutPrefix(name, n); ok && (rest == "" || len(rest) == 1 && rest[0] >= '2' && rest[0] <= '9') {
			return true
		}
	}
	return false
}

// Binds implements rp.Sessions.
func (s *sessions) Binds() rp.Needs { return s.binds }

func input(b rp.Browser) session.Input {
	return session.Input{Cookies: b.Cookies, ClientIP: b.IP, Scheme: b.Scheme, UserAgent: b.UserAgent}
}

// Open implements rp.Sessions.
func (s *sessions) Open(ctx context.Context, b rp.Browser) (*rp.Session, error) {
	m, err := s.manager.get(ctx)
	if err != nil {
		return nil, err
	}
	in := input(b)
	opened, why, err := m.Open(ctx, in)
	if err != nil {
		return nil, sessionError(err)
	}
	if opened == nil {
		if s.observer != nil && why != session.NoCookie {
			s.observer.SessionRefused(why.String())
		}
		return nil, nil
	}
	t, read, err := unpack(opened)
	if err != nil {
		return nil, nil // sealed by a version that wrote otherwise: no session
	}
	return s.view(m, opened, t, read), nil
}

func (s *sessions) view(m *session.Manager, o *session.Session, t rp.StoredTokens, read *rp.ReadTokens) *rp.Session {
	r := m.Remaining(o)
	return &rp.Session{
		ID: o.ID(), Subject: o.Subject, Audience: m.Audience(), Tokens: t, Read: read,
		Timeout: r.Timeout, Idling: r.Idling, Rolling: r.Rolling, Absolute: r.Absolute, Handle: o,
	}
}

// Start implements rp.Sessions.
func (s *sessions) Start(ctx context.Context, b rp.Browser, subject string, t rp.StoredTokens) (*rp.Session, []string, error) {
	m, err := s.manager.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	n := session.New(subject, pack(t))
	n.Issuer, n.SID = t.Issuer, t.SID
	cookies, err := m.Save(ctx, input(b), n)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	return s.view(m, n, t, nil), cookies, nil
}

// Due implements rp.Sessions.
func (s *sessions) Due(ctx context.Context, x *rp.Session) bool {
	m, err := s.manager.get(ctx)
	return err == nil && m.Due(x.Handle.(*session.Session))
}

// Touch implements rp.Sessions.
func (s *sessions) Touch(ctx context.Context, b rp.Browser, x *rp.Session) (*rp.Session, []string, error) {
	m, err := s.manager.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	o := *x.Handle.(*session.Session) // parallel requests may hold the same one
	return s.touch(ctx, m, b, &o)
}

func (s *sessions) touch(ctx context.Context, m *session.Manager, b rp.Browser, o *session.Session) (*rp.Session, []string, error) {
	cookies, err := m.Touch(ctx, input(b), o)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	// Whoever lost a renewal holds what the winner stored.
	t, read, err := unpack(o)
	if err != nil {
		return nil, nil, sessionError(err)
	}
	return s.view(m, o, t, read), cookies, nil
}

// Destroy implements rp.Sessions.
func (s *sessions) Destroy(ctx context.Context, b rp.Browser, x *rp.Session) ([]string, error) {
	m, err := s.manager.get(ctx)
	if err != nil {
		return nil, err
	}
	var o *session.Session
	if x != nil {
		o = x.Handle.(*session.Session)
	}
	cookies, err := m.Destroy(ctx, input(b), o)
	if err != nil {
		return cookies, sessionError(err)
	}
	return cookies, nil
}

func sessionError(err error) error {
	if _, ok := errors.AsType[*session.TooLargeError](err); ok {
		return &rp.Error{Kind: rp.Unexpected, Description: "the session does not fit in cookies: set session_storage to redis or memcached", Reason: "session_too_large", Err: err}
	}
	if _, ok := errors.AsType[*session.StorageError](err); ok {
		return &rp.Error{Kind: rp.Unavailable, Description: "the session storage cannot be written", Reason: "session_storage", Err: err}
	}
	if errors.Is(err, session.ErrEnded) {
		return &rp.Error{Kind: rp.Unauthorized, Description: "the session has ended meanwhile", Reason: "session_ended", Err: err}
	}
	return &rp.Error{Kind: rp.Unexpected, Description: "the session cannot be saved", Reason: "session", Err: err}
}
