package rp

import (
	"context"
	"errors"
	"net/url"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// Metadata is what the core needs of the provider's metadata (OpenID Connect
// Discovery 1.0, RFC 8414), overrides of the configuration applied.
type Metadata struct {
	Issuer                string
	AuthorizationEndpoint string
	EndSessionEndpoint    string
	RevocationEndpoint    string
	ResponseISS           bool // authorization_response_iss_parameter_supported
	// PKCEMethods is nil where the provider is silent.
	PKCEMethods []string
}

// TokenResponse is a successful answer of the token endpoint (RFC 6749 5.1).
type TokenResponse struct {
	AccessToken  token.Opaque
	IDToken      token.Opaque
	RefreshToken token.Opaque
	TokenType    string
	Scope        string
	Expiry       time.Time     // by expires_in, else exp; zero when neither is there
	Raw          claims.Object // the whole answer
	Replay       []Field       // token_headers_replay: for the client's response
	// Verified remembers who has verified the tokens of a kept answer; nil
	// remembers nothing.
	Verified *Verified
}

// Verified is what one policy verified of a kept answer. Another policy, or
// another generation of keys, verifies anew.
type Verified struct{ by atomic.Pointer[verifiedBy] }

type verifiedBy struct {
	policy     *Policy
	generation uint64
	client     int
	access, id *token.Token
}

// Forward is what of the client's own request goes with a call to the provider.
type Forward struct {
	Args    []Field
	Headers []Field
	// Bound says that the token of the call is bound to this program's DPoP key.
	Bound bool
}

// Grant is a request to the token endpoint on a client's behalf (RFC 6749 4.3, 4.4, 6; RFC 7523).
type Grant struct {
	Method Method // password, client_credentials or refresh_token
	Client int    // of the configured clients; not used by client_credentials
	User   string // user name, or the caller's client id
	Secret token.Opaque
	// Assertion stands in for User and Secret of client_credentials (RFC 7523 2.1 and 2.2).
	Assertion    token.Opaque
	AssertsGrant bool // it is the grant itself, not the client's authentication
	RefreshToken token.Opaque
	Forward      Forward
	// Uncached asks the provider whatever is kept.
	Uncached bool
}

// Introspection is an active introspection result (RFC 7662).
type Introspection struct {
	Claims claims.Object
	JWT    token.Opaque // RFC 9701
	Expiry time.Time    // zero: unknown
}

// UserInfo is a userinfo answer (OpenID Connect Core 5.3).
type UserInfo struct {
	Claims claims.Object
	JWT    token.Opaque
}

// ErrNoEndpoint says that a method's endpoint is neither configured nor
// discovered: the method does not match (U9).
var ErrNoEndpoint = errors.New("the provider has no such endpoint")

// AuthorizationRequest is what the authorization URL is built from.
type AuthorizationRequest struct {
	Client      int
	RedirectURI string
	State       string
	Nonce       string
	Verifier    token.Opaque // PKCE code verifier; "" when PKCE is off
	ACRValues   string       // step-up (RFC 9470); "" for none
	MaxAge      string       // step-up; "" leaves the configured one
	Extra       []Field      // arguments copied from the client's request; protocol arguments are dropped
}

// IDTokenExpectation is what an ID token must fit besides the configuration.
type IDTokenExpectation struct {
	Client       int
	Nonce        string // "" when none was sent or verify_nonce is off
	AccessToken  token.Opaque
	Code         token.Opaque
	Kept         bool   // it was verified when it came, and may have expired since
	FrontChannel bool   // it came with the code, so that it must vouch for it (Core 3.3.2.10)
	Method       Method // for ignore_signature
}

// Provider is the OpenID Provider of a policy. Errors are *Error: Unauthorized
// where the provider or a check refused, Unexpected where it could not be asked.
type Provider interface {
	Metadata(ctx context.Context) (*Metadata, error)
	// AuthorizationURL builds the URL that the client is sent to (RFC 6749 4.1.1).
	AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error)
	// UsePKCE reports whether a code verifier is to be sent.
	UsePKCE(ctx context.Context) (bool, error)
	// RedeemCode exchanges an authorization code (RFC 6749 4.1.3).
	RedeemCode(ctx context.Context, client int, code token.Opaque, redirectURI string, verifier token.Opaque) (*TokenResponse, error)
	// Refresh uses a refresh token (RFC 6749 6).
	Refresh(ctx context.Context, client int, refresh token.Opaque) (*TokenResponse, error)
	// Grant asks for tokens, or answers from the cache; hit tells which.
	Grant(ctx context.Context, g Grant) (tr *TokenResponse, hit bool, err error)
	// ForgetGrant drops the kept answer to a grant.
	ForgetGrant(ctx context.Context, g Grant)
	// Exchange trades a bearer token for one of the provider's own where the
	// configuration says so (RFC 8693); nil where the token is to be used as it is.
	Exchange(ctx context.Context, client int, raw token.Opaque) (*TokenResponse, error)
	// LegacyExchange trades the token that goes to the service (token_exchange_endpoint).
	LegacyExchange(ctx context.Context, raw token.Opaque, expiry time.Time) (token.Opaque, error)
	// AuthorizationResponse verifies the response of a JARM mode for a client and
	// returns its members.
	AuthorizationResponse(ctx context.Context, client int, raw token.Opaque) (url.Values, error)
	// Introspect asks whether a token is good. An inactive one is Unauthorized.
	// Errors may be ErrNoEndpoint.
	Introspect(ctx context.Context, client int, raw token.Opaque, f Forward) (*Introspection, error)
	// UserInfo asks who the bearer of a token is. subject, where not empty, is
	// whom the answer must be about. expiry bounds how long it is kept. Errors
	// may be ErrNoEndpoint.
	UserInfo(ctx context.Context, raw token.Opaque, subject string, expiry time.Time, f Forward) (*UserInfo, error)
	// DistributedClaims asks a claims source (OpenID Connect Core 5.6.2). What
	// it returns may hold more than was wanted of it.
	DistributedClaims(ctx context.Context, s ClaimsSource) (claims.Object, error)
	// Revoke withdraws a token at the provider (RFC 7009); hint is its type.
	Revoke(ctx context.Context, client int, raw token.Opaque, hint string) error
	// EndSessionURL is where a client is sent to log out (OpenID Connect
	// RP-Initiated Logout 1.0); "" where the provider has none.
	EndSessionURL(ctx context.Context, client int, idToken token.Opaque, returnTo string) (string, error)
	// Generation changes whenever the trusted keys change.
	Generation() uint64
	// VerifyAccessToken verifies a JWT access token: signature and standard
	// claims. How the token was come by decides whether ignore_signature applies.
	VerifyAccessToken(ctx context.Context, client int, raw token.Opaque, m Method) (*token.Token, error)
	// VerifyIDToken verifies an ID token (OpenID Connect Core 3.1.3.7).
	VerifyIDToken(ctx context.Context, raw token.Opaque, want IDTokenExpectation) (*token.Token, error)
	// VerifyLogoutToken verifies a logout token of the provider's.
	VerifyLogoutToken(ctx context.Context, raw token.Opaque) (*token.Logout, error)
	// Decode reads a token that this program has verified before and kept sealed.
	Decode(raw token.Opaque) (*token.Token, error)
}

// Session is an open login session.
type Session struct {
	ID       string // base64url
	Subject  string
	Audience string
	Tokens   StoredTokens

	// Remaining lifetimes; zero where the timer is disabled.
	Timeout, Idling, Rolling, Absolute time.Duration

	Read   *ReadTokens // nil: nothing is kept
	Handle any         // the session package's own
}

// ReadTokens keeps what the tokens of a session say, for all requests that come
// with the same session: what was read of a token depends on nothing else. The
// zero value has read none. Its tokens are shared and must not be changed.
type ReadTokens struct {
	access, id atomic.Pointer[token.Token]
	room       int    // that the claims of both may take in memory
	bearer     string // the access token as an Authorization header has it
}

// NewReadTokens has read none of t, whose access token shares its memory with
// the header that services get.
func NewReadTokens(t *StoredTokens) *ReadTokens {
	r := &ReadTokens{bearer: bearerScheme + t.AccessToken.Reveal(), room: roomOf(t.AccessToken) + roomOf(t.IDToken)}
	t.AccessToken = token.Opaque(r.bearer[len(bearerScheme):])
	return r
}

// Weight estimates the memory that the tokens take once they are read, in bytes.
func (r *ReadTokens) Weight() int { return r.room }

// roomOf is what the claims of a token may take in memory for it to be kept;
// those of another shape are read each time.
func roomOf(raw token.Opaque) int {
	if raw == "" {
		return 0
	}
	return 1536 + 3*len(raw)
}

// StoredTokens is what a session keeps.
type StoredTokens struct {
	Method       Method
	Issuer       string // who vouched for the session's subject
	SID          string // the login at the provider; "" where it names none
	Client       int
	AccessToken  token.Opaque
	IDToken      token.Opaque
	RefreshToken token.Opaque
	TokenType    string
	Scope        string
	Expiry       time.Time

	Introspection claims.Object
	UserInfo      claims.Object
}

// Browser is what binds a cookie to its sender.
type Browser struct {
	Cookies   []string // raw Cookie header lines
	IP        string
	Scheme    string
	UserAgent string
}

// Sessions keeps login sessions.
type Sessions interface {
	// Open returns the session of a request; nil when there is none that holds.
	// An error means that the storage could not be asked.
	Open(ctx context.Context, b Browser) (*Session, error)
	// Start begins a session with a new id, in the place of the one whose cookies
	// b carries, which ends. It returns Set-Cookie values.
	Start(ctx context.Context, b Browser, subject string, t StoredTokens) (*Session, []string, error)
	// Refresh stores what do returns under a new id. Among all nodes one caller
	// runs do; the others get the session that it made.
	Refresh(ctx context.Context, b Browser, s *Session, do func(context.Context) (StoredTokens, error)) (*Session, []string, error)
	// Due reports whether Touch would write, so that nothing is asked for when it would not.
	Due(ctx context.Context, s *Session) bool
	// Touch renews the idling or rolling timer where that is due; no cookies otherwise.
	Touch(ctx context.Context, b Browser, s *Session) (*Session, []string, error)
	// Destroy ends a session, or removes the cookies that b carries when s is nil.
	Destroy(ctx context.Context, b Browser, s *Session) ([]string, error)
	// EndLogin ends the sessions that a logout token names, once.
	EndLogin(ctx context.Context, l *token.Logout) error
	// EndSubject ends all sessions of a subject that have begun.
	EndSubject(ctx context.Context, issuer, subject string) error
	// Owns reports whether a cookie of this name is one of the session's.
	Owns(cookie string) bool
	// Binds reports whether sessions are bound to the client's address or scheme,
	// so that these have to be known before Open.
	Binds() Needs
}

// Login is a login that has begun and not ended.
type Login struct {
	ID          string
	ReturnTo    string // absolute URL
	RedirectURI string
	Nonce       string
	Verifier    token.Opaque
	Client      int
	Attempt     int // how often it began anew for lack of its cookie; handed on unchanged
}

// LoginOutcome says what a callback's state came to.
type LoginOutcome uint8

const (
	// LoginForeign is a state that this relying party never made, or whose login began anew often enough: a browser without cookies is not sent round and round.
	LoginForeign LoginOutcome = iota
	// LoginStale is an authentic state whose browser no longer holds its login, or whose login was used: begin again, never exchange its code.
	LoginStale
	// LoginFound is a state with its login.
	LoginFound
)

// Logins keeps pending logins in cookies.
type Logins interface {
	// Owns reports whether a cookie of this name is one of a pending login's.
	Owns(cookie string) bool
	// Begin seals a login. It returns the state and the Set-Cookie values.
	Begin(ctx context.Context, b Browser, l Login) (state string, cookies []string, err error)
	// Resume opens the login of a state. Where it is stale only ReturnTo and Attempt are filled.
	Resume(ctx context.Context, b Browser, state string) (Login, LoginOutcome, error)
	// Finish claims a login, once: first is false for whoever comes second. It
	// returns the Set-Cookie values that remove it.
	Finish(ctx context.Context, b Browser, state, id string) (cookies []string, first bool, err error)
}
