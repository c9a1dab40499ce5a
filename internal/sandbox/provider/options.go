package provider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Options say what the provider knows. The zero value serves the default
// clients and users with the system's clock.
type Options struct {
	// Issuer is the issuer URL, without a trailing slash. It may have a path,
	// and may be set later with SetIssuer.
	Issuer string
	// Clients and Users are those of DefaultClients and DefaultUsers if nil.
	Clients []Client
	Users   []User
	// Keys are shared with other providers if given; otherwise New makes its
	// own, which costs about a tenth of a second.
	Keys *Keys
	// Metadata is laid over the discovery document; a nil value removes a member.
	Metadata map[string]any
	// Now is the provider's clock, time.Now if nil.
	Now func() time.Time
	// Sleep delays the answers of the faults slow, hang and drip. It returns
	// early with ctx.Err() when the client is gone. A timer if nil.
	Sleep func(ctx context.Context, d time.Duration) error
	// AllowRemote lets Start listen beyond loopback, and the control interface
	// answer there.
	AllowRemote bool
}

// Client authentication methods (OpenID Connect Core section 9).
const (
	AuthBasic         = "client_secret_basic"
	AuthPost          = "client_secret_post"
	AuthSecretJWT     = "client_secret_jwt"
	AuthPrivateKeyJWT = "private_key_jwt"
	AuthNone          = "none"
)

// Grant types that a client may be limited to.
const (
	GrantCode        = "authorization_code"
	GrantPassword    = "password"
	GrantCredentials = "client_credentials"
	GrantRefresh     = "refresh_token"
	GrantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
)

// Client is a registered relying party. The JSON names are those of OpenID
// Connect Dynamic Client Registration where it has them.
type Client struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
	Name   string `json:"client_name,omitempty"`
	// AuthMethods are the accepted ways to authenticate. If nil: none for a
	// client without secret and keys; else basic, post and client_secret_jwt
	// with a secret, private_key_jwt with keys.
	AuthMethods []string `json:"auth_methods,omitempty"`
	// Grants are the allowed grant types; all five if nil.
	Grants []string `json:"grant_types,omitempty"`
	// RedirectURIs and PostLogoutRedirectURIs are compared exactly.
	RedirectURIs           []string `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`
	// LoopbackRedirects also allows every http or https URL on loopback.
	LoopbackRedirects bool `json:"loopback_redirects,omitempty"`
	// RequirePKCE refuses authorization requests without a code challenge;
	// public clients always need one.
	RequirePKCE bool `json:"require_pkce,omitempty"`
	// DefaultScopes are granted in addition to those asked for, as Keycloak does.
	DefaultScopes []string `json:"default_scopes,omitempty"`
	// Scopes are all that may be asked for; any if nil.
	Scopes []string `json:"scopes,omitempty"`
	// Audience is the aud of access tokens, to which an audience or resource
	// argument adds; "account" if nil.
	Audience []string `json:"audience,omitempty"`
	// Claims stand in access tokens of the client credentials grant.
	Claims map[string]any `json:"claims,omitempty"`
	// JWKS or JWKSURI hold the client's keys for private_key_jwt.
	JWKS    *jose.JSONWebKeySet `json:"jwks,omitempty"`
	JWKSURI string              `json:"jwks_uri,omitempty"`

	// OpaqueTokens makes access tokens random strings instead of JWTs.
	OpaqueTokens bool `json:"opaque_tokens,omitempty"`
	// PlainTyp gives JWT access tokens the type JWT instead of at+jwt.
	PlainTyp bool `json:"plain_typ,omitempty"`
	// SigningAlg signs the client's tokens: RS256 (if empty), PS256, ES256,
	// EdDSA, or HS256 with the secret for ID tokens.
	SigningAlg string `json:"signing_alg,omitempty"`
	// SignedUserinfo makes the userinfo answer a JWT.
	SignedUserinfo bool `json:"signed_userinfo,omitempty"`
	// DPoP demands a proof with every token request (RFC 9449 section 5.2); with
	// one, tokens of any client are bound to its key.
	DPoP bool `json:"dpop_bound_access_tokens,omitempty"`
	// KeepRefreshToken switches refresh token rotation off.
	KeepRefreshToken bool `json:"keep_refresh_token,omitempty"`
	// NoRefreshToken withholds refresh tokens.
	NoRefreshToken bool `json:"no_refresh_token,omitempty"`

	// BackchannelLogoutURI receives a logout token when a login that this
	// client took part in ends.
	BackchannelLogoutURI string `json:"backchannel_logout_uri,omitempty"`
	// FrontchannelLogoutURI is framed, with iss and sid, by the page after a logout.
	FrontchannelLogoutURI string `json:"frontchannel_logout_uri,omitempty"`

	// Lifetimes in seconds; 300 for access and ID tokens, 1800 for refresh
	// tokens and 60 for codes if zero.
	AccessTokenSeconds  int `json:"access_token_seconds,omitempty"`
	IDTokenSeconds      int `json:"id_token_seconds,omitempty"`
	RefreshTokenSeconds int `json:"refresh_token_seconds,omitempty"`
	CodeSeconds         int `json:"code_seconds,omitempty"`
}

// User is an account. Claims are laid over the standard ones.
type User struct {
	Username string         `json:"username"`
	Password string         `json:"password"`
	Subject  string         `json:"sub,omitempty"`
	Name     string         `json:"name,omitempty"`
	Email    string         `json:"email,omitempty"`
	Groups   []string       `json:"groups,omitempty"`
	Roles    []string       `json:"roles,omitempty"`
	Claims   map[string]any `json:"claims,omitempty"`
}

// DefaultClients are the clients of a provider that is given none. Their
// secrets are public test values.
func DefaultClients() []Client {
	common := func(c Client) Client {
		c.LoopbackRedirects = true
		c.DefaultScopes = []string{"email", "profile"}
		return c
	}
	return []Client{
		common(Client{ID: "kong", Secret: "kong-secret-0123456789abcdef0123456789abcdef", Name: "Kong", Claims: map[string]any{"tier": "gold"}}),
		common(Client{ID: "second", Secret: "second-secret-0123456789abcdef0123456789abcde", Name: "Second application", Claims: map[string]any{"tier": "silver"}}),
		common(Client{ID: "opaque", Secret: "opaque-secret-0123456789abcdef0123456789abcde", Name: "Opaque tokens", OpaqueTokens: true}),
		common(Client{ID: "public", Name: "Public application"}),
		common(Client{ID: "secret-jwt", Secret: "jwt-secret-0123456789abcdef0123456789abcdef0123456789abcdef01234567", Name: "Secret assertions", AuthMethods: []string{AuthSecretJWT}}),
	}
}

// DefaultUsers are the accounts of a provider that is given none.
func DefaultUsers() []User {
	return []User{
		{Username: "alex", Password: "doe", Name: "Alex Doe", Email: "alex@example.test", Groups: []string{"employees", "marketing"}, Roles: []string{"user"},
			Claims: map[string]any{"given_name": "Alex", "family_name": "Doe", "hd": "example.test", "department": map[string]any{"name": "Marketing", "floor": 3}}},
		{Username: "blake", Password: "doe", Name: "Blake Doe", Email: "blake@example.test", Groups: []string{"employees", "engineering", "admins"}, Roles: []string{"user", "admin"},
			Claims: map[string]any{"given_name": "Blake", "family_name": "Doe", "hd": "example.test"}},
		{Username: "casey", Password: "doe", Name: "Casey Ångström", Email: "casey@other.test",
			Claims: map[string]any{"hd": "other.test"}},
		{Username: "mallory", Password: "doe", Name: "Mallory\r\nX-Injected: yes", Email: "mallory@other.test", Groups: []string{"employees,admins", "emp\x00loyees", " admins"},
			Claims: map[string]any{"nickname": "☃\r\n\tX-Admin: 1", "deep": map[string]any{"a": map[string]any{"b": []any{1, "two", nil}}}}},
	}
}

func (c *Client) prepare() error {
	if c.ID == "" {
		return errors.New("provider: a client has no id: give it one")
	}
	if c.Name == "" {
		c.Name = c.ID
	}
	if c.Audience == nil {
		c.Audience = []string{"account"}
	}
	if c.SigningAlg == "" {
		c.SigningAlg = RS256
	}
	if !slices.Contains([]string{RS256, PS256, ES256, EdDSA, HS256}, c.SigningAlg) {
		return fmt.Errorf("provider: client %q: signing algorithm %q is not supported: use RS256, PS256, ES256, EdDSA or HS256", c.ID, c.SigningAlg)
	}
	if c.Grants == nil {
		c.Grants = []string{GrantCode, GrantPassword, GrantCredentials, GrantRefresh, GrantExchange}
	}
	if c.AuthMethods == nil {
		if c.Secret != "" {
			c.AuthMethods = append(c.AuthMethods, AuthBasic, AuthPost, AuthSecretJWT)
		}
		if c.JWKS != nil || c.JWKSURI != "" {
			c.AuthMethods = append(c.AuthMethods, AuthPrivateKeyJWT)
		}
		if c.AuthMethods == nil {
			c.AuthMethods = []string{AuthNone}
		}
	}
	return nil
}

func (c *Client) public() bool { return slices.Contains(c.AuthMethods, AuthNone) }

func (c *Client) allowsRedirect(listed []string, uri string) bool {
	if slices.Contains(listed, uri) {
		return true
	}
	return c.LoopbackRedirects && loopbackURL(uri)
}

func loopbackURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return false
	}
	return loopbackHost(u.Hostname())
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (u *User) prepare() error {
	if u.Username == "" || u.Password == "" {
		return errors.New("provider: a user needs a username and a password")
	}
	if u.Subject == "" {
		u.Subject = "sub-" + u.Username
	}
	return nil
}

func seconds(n, otherwise int) time.Duration {
	if n == 0 {
		n = otherwise
	}
	return time.Duration(n) * time.Second
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
