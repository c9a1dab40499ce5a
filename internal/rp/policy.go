package rp

import (
	"context"
	"log/slog"
	"time"

	"kong-openid-connect/internal/claims"
)

// Policy is one configuration, compiled. It is immutable and shared by every
// instance of an equal configuration; the request path never sees a raw
// parameter. The zero value denies everything.
type Policy struct {
	Issuer         string
	Realm          string // of challenges: the issuer's host
	Methods        MethodSet
	RunOnPreflight bool
	Anonymous      string // "" = off

	Clients   []Client
	ClientArg ClientSelector

	Basic          BasicPolicy
	RefreshToken   RefreshPolicy
	Forward        ForwardPolicy
	LegacyExchange bool // token_exchange_endpoint is set
	IntrospectJWT  bool // introspect_jwt_tokens
	SearchUserInfo bool // search_user_info, or a header that needs it
	UserInfoClaims bool // search_user_info: it is a claim source
	// DistributedClaims follows _claim_sources (resolve_distributed_claims).
	DistributedClaims bool
	Bearer            BearerPolicy
	Code              CodePolicy
	Login             LoginPolicy
	Logout            LogoutPolicy
	ProviderLogout    ProviderLogoutPolicy
	Session           SessionPolicy
	Claims            ClaimsPolicy
	StepUp            StepUpPolicy
	Resource          ResourcePolicy
	Credential        claims.Path // credential_claim; nil = off
	Groups            claims.Path // authenticated_groups_claim; nil = off
	Headers           HeaderPolicy
	MaxHeader         int // bytes of a header value made of claims; 0 = DefaultMaxHeader
	HideCredentials   bool
	Leeway            time.Duration
	Refresh           bool // refresh_tokens
	Errors            ErrorPolicy

	Provider   Provider
	Possession Possession // nil: proof of possession is off
	Principals PrincipalPolicy
	Consumer   ConsumerPolicy
	Consumers  Consumers
	KongTokens KongTokens // nil: Kong's OAuth2 tokens cannot be looked up
	Sessions   Sessions
	Logins     Logins
	Now        func() time.Time
	Log        *slog.Logger // warnings that are not a denial; nil = none
	Flight     *Flight      // refreshes under way
}

// Client is one of the indexed clients (client_id[i] and the lists beside it).
type Client struct {
	ID                string
	RedirectURI       string
	LoginRedirectURI  string
	LogoutRedirectURI string
	UnauthorizedURI   string
	ForbiddenURI      string
	UnexpectedURI     string
}

// ClientSelector is how a request chooses a client (behaviour.md 4.1).
type ClientSelector struct {
	Headers []string // lower case, in the order of search
	Arg     string
}

// BearerPolicy says where a bearer token may stand.
type BearerPolicy struct {
	Places     Places
	DPoP       bool   // the DPoP scheme counts too
	HeaderName string // the one header to read, lower case; "" = the three of its own
	CookieName string
	// IDToken finds the ID token that accompanies an access token; IDTokenName "" = never.
	IDToken     Places
	IDTokenName string
	// JWT session cookie (behaviour.md 8.6); "" = off.
	SessionCookie string
	SessionClaim  string
}

// BasicPolicy says where the pairs of the password and client_credentials
// methods may stand.
type BasicPolicy struct {
	Password          Places
	ClientCredentials Places
}

// RefreshPolicy says where a refresh token may stand; Name "" = nowhere.
type RefreshPolicy struct {
	Places Places
	Name   string
}

// ForwardPolicy names what of the client's request goes with calls to the provider.
type ForwardPolicy struct {
	TokenArgs, TokenHeaders                                               []string
	IntrospectionArgs, IntrospectionArgsFromHeaders, IntrospectionHeaders []string
	UserInfoArgs, UserInfoHeaders                                         []string
}

// ResponseMode is where the provider puts the authorization response.
type ResponseMode string

// Response modes that a gateway can read.
const (
	ModeQuery    ResponseMode = "query"
	ModeFormPost ResponseMode = "form_post"
)

// CodePolicy governs the authorization code flow (behaviour.md 6.9).
type CodePolicy struct {
	ResponseMode  ResponseMode
	JARM          bool // the response is a JWT, in the place of ResponseMode
	PreserveQuery bool
	VerifyNonce   bool
	OpenID        bool // scope openid is asked for, so that an ID token must come
	Hybrid        bool // response_type asks for an ID token beside the code
	// NavigationsOnly: whatever is no navigation gets 401 instead of the login (unauthorized_for_scripts).
	NavigationsOnly bool
	Fragment        bool     // preserve_fragment
	ClientArgs      []string // names copied from the client's request onto the authorization request
	CookieDomain    string   // of pending logins; "" = the host that set the cookie alone
}

// LoginAction is what a successful login is answered with (behaviour.md 13).
type LoginAction string

// The login actions.
const (
	LoginUpstream LoginAction = "upstream"
	LoginRedirect LoginAction = "redirect"
	LoginResponse LoginAction = "response"
)

// LoginPolicy governs what follows a login.
type LoginPolicy struct {
	Methods  MethodSet
	Action   LoginAction
	Tokens   []string
	Fragment bool // login_redirect_mode
}

// SessionPolicy governs who gets a session.
type SessionPolicy struct {
	Disabled MethodSet
	Reverify bool
	NoStore  bool // session_no_store
}

// Requirement is one *_claim and *_required pair.
type Requirement struct {
	Name     string // scopes, audience, groups, roles
	Path     claims.Path
	Required claims.Required
}

// ClaimsPolicy is claims authorization (behaviour.md 9).
type ClaimsPolicy struct {
	Require   []Requirement
	Forbidden []string
	Scope     string // of the insufficient_scope challenge
}

// ErrorPolicy says how errors are answered (behaviour.md 15).
type ErrorPolicy struct {
	UnauthorizedMessage string
	ForbiddenMessage    string
	ExposeCode          bool
	Display             bool
	DestroyUnauthorized bool
	DestroyForbidden    bool
}

// Needs returns what the policy reads of every request, so that one round trip fetches it.
func (p *Policy) Needs() Needs {
	var n Needs
	if !p.RunOnPreflight {
		n |= NeedMethod
	}
	if p.Resource.Resource != "" || p.Code.Fragment {
		n |= NeedMethod | NeedTarget
	}
	if p.Logout.enabled() || p.ProviderLogout.enabled() {
		n |= NeedMethod | NeedTarget
	}
	if p.Anonymous != "" {
		n |= NeedAuthenticated
	}
	if p.Methods.Has(MethodSession) && p.Sessions != nil {
		n |= p.Sessions.Binds()
	}
	if p.Methods.Has(MethodAuthorizationCode) {
		n |= NeedTarget
	}
	return n
}

// client returns client i, or the zero client when none is configured.
func (p *Policy) client(i int) Client {
	if i >= 0 && i < len(p.Clients) {
		return p.Clients[i]
	}
	if len(p.Clients) > 0 {
		return p.Clients[0]
	}
	return Client{}
}

// Exchange is the state of one request while it is being decided.
type Exchange struct {
	Policy  *Policy
	Request *Request
	Client  int // index of the chosen client

	presented *Session // session that the request presented, valid or refused later
	cookies   []string // Set-Cookie values so far
	bearer    *Credential
	searched  bool        // bearer was searched
	exchanged bool        // another token stands in for the bearer's
	used      *Credential // the credential that authenticated
	login     *Login      // the login that this callback finished
	method    Method      // whose credential is being judged
	events    []Event
}

func (p *Policy) warn(ctx context.Context, msg string, args ...any) {
	if p.Log != nil {
		p.Log.WarnContext(ctx, "openid-connect: "+msg, args...)
	}
}
