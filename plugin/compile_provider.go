package plugin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

// relyingProvider is the provider as one configuration sees it: it adapts op
// and token to the core.
type relyingProvider struct {
	provider   *op.Provider
	clients    []*clientauth.Client
	decrypters []*token.Decrypter // by client
	exchange   exchangePolicy
	dpop       *clientDPoP       // nil: off
	auth       clientauth.Method // token_endpoint_auth_method
	keys       token.Keys
	cache      *token.Cache
	now        func() time.Time
	scope      [sha256.Size]byte // of cached verifications
	scopeText  string            // the same, for keys

	allowed      []string // issuers_allowed
	leeway       time.Duration
	verifyClaims bool
	skipAll      bool // verify_signature=false
	skip         rp.MethodSet
	hmac         bool
	domains      []string
	maxAge       *time.Duration

	request op.AuthorizationRequest // the parts that never change
	pkce    *bool
	args    []op.Field
	headers []op.Field

	calls         calls
	tokenEndpoint string
	firstAuth     clientauth.Method // client_auth[1], whose form the client_credentials method uses
}

// providerConfig is how a configuration reaches its provider.
func providerConfig(c *Config, env *Environment) op.Config {
	return op.Config{
		Issuer:       c.Issuer,
		PseudoIssuer: c.UsingPseudoIssuer,
		Endpoints: op.Endpoints{
			Authorization: string(c.AuthorizationEndpoint), Token: string(c.TokenEndpoint), Introspection: string(c.IntrospectionEndpoint),
			Userinfo: string(c.UserinfoEndpoint), Revocation: string(c.RevocationEndpoint), EndSession: string(c.EndSessionEndpoint),
			PushedAuthorization: string(c.PushedAuthorizationRequestEndpoint),
			MTLSToken:           string(c.MTLSTokenEndpoint), MTLSIntrospection: string(c.MTLSIntrospectionEndpoint), MTLSRevocation: string(c.MTLSRevocationEndpoint),
		},
		JWKSURI:             string(c.JWKSEndpoint),
		ExtraJWKSURIs:       urls(c.ExtraJWKSURIs),
		IssuerKeys:          issuerKeys(c),
		DiscoveryHeaders:    fields(c.DiscoveryHeadersNames, c.DiscoveryHeadersValues),
		VerifyParameters:    c.VerifyParameters,
		Parameters:          op.Parameters{ResponseType: strings.Join(c.ResponseType, " "), ResponseMode: string(c.ResponseMode), Scopes: c.Scopes, AuthMethods: authMethods(c)},
		RediscoveryLifetime: seconds(c.RediscoveryLifetime),
		CacheTTL:            seconds(c.CacheTTL),
		HTTP:                httpOf(c, env),
	}
}

func issuerKeys(c *Config) []op.IssuerKeys {
	var keys []op.IssuerKeys
	for _, k := range c.IssuerKeys {
		keys = append(keys, op.IssuerKeys{Issuer: k.Issuer, URIs: urls(k.JWKSURIs)})
	}
	return keys
}

func newRelyingProvider(c *Config, env *Environment) (*relyingProvider, error) {
	provider, err := env.Providers.Provider(providerConfig(c, env))
	if err != nil {
		return nil, err
	}
	p := &relyingProvider{
		provider: provider, auth: clientauth.Method(c.TokenEndpointAuthMethod), keys: provider.Keys(c.IssuersAllowed), cache: env.Tokens, now: env.Now,
		scope: c.Digest(), allowed: c.IssuersAllowed, leeway: seconds(c.Leeway), verifyClaims: c.VerifyClaims, skipAll: !c.VerifySignature,
		hmac: c.EnableHSSignatures, domains: c.Domains, pkce: c.RequireProofKeyForCodeExchange,
		args: fields(c.TokenPostArgsNames, c.TokenPostArgsValues), headers: fields(c.TokenHeadersNames, c.TokenHeadersValues),
		request: op.AuthorizationRequest{
			ResponseType: strings.Join(c.ResponseType, " "), ResponseMode: string(c.ResponseMode), Scopes: nonEmpty(c.Scopes), Audience: c.Audience,
			Args: textFields(c.AuthorizationQueryArgsNames, c.AuthorizationQueryArgsValues),
			Sign: c.RequireSignedRequestObject, Push: c.RequirePushedAuthorizationRequests,
			PushAuth: clientauth.Method(c.PushedAuthorizationRequestEndpointAuthMethod),
		},
	}
	if p.calls, err = newCalls(c, env); err != nil {
		return nil, err
	}
	if p.exchange, err = newExchangePolicy(c, env); err != nil {
		return nil, err
	}
	p.dpop = newClientDPoP(c, env)
	p.scopeText = string(p.scope[:])
	p.tokenEndpoint, p.firstAuth = string(c.TokenEndpoint), clientauth.Method(at(c.ClientAuth, 0))
	for _, g := range c.IgnoreSignature {
		p.skip |= rp.NewMethodSet(rp.Method(g))
	}
	if c.MaxAge != nil {
		p.maxAge = optionalSeconds(c.MaxAge)
		p.request.MaxAge = strconv.FormatInt(int64(math.Floor(*c.MaxAge)), 10)
	}
	for i := range max(len(c.ClientID), 1) {
		cl, err := client(c, i, env)
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i+1, err)
		}
		p.clients = append(p.clients, cl)
		d, err := decrypter(c, i)
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i+1, err)
		}
		p.decrypters = append(p.decrypters, d)
	}
	return p, nil
}

func httpOf(c *Config, env *Environment) op.HTTP {
	return op.HTTP{
		Timeout: time.Duration(c.Timeout * float64(time.Millisecond)), InsecureSkipVerify: !c.SSLVerify, DisableKeepAlive: !c.Keepalive,
		HTTPProxy: string(c.HTTPProxy), HTTPProxyAuthorization: token.Opaque(c.HTTPProxyAuthorization.Reveal()),
		HTTPSProxy: string(c.HTTPSProxy), HTTPSProxyAuthorization: token.Opaque(c.HTTPSProxyAuthorization.Reveal()), NoProxy: c.NoProxy,
		Certificate: clientCertificate(c, env),
	}
}

func authMethods(c *Config) []string {
	var out []string
	for _, m := range c.ClientAuth {
		out = append(out, string(m))
	}
	return out
}

// nonEmpty drops empty scopes: [""] asks for none.
func nonEmpty(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
}

// fields pairs names and values by index. A name without a value is left out (U1).
func fields(names []string, values []param.Secret) []op.Field {
	var out []op.Field
	for i := range min(len(names), len(values)) {
		out = append(out, op.Field{Name: names[i], Value: token.Opaque(values[i].Reveal())})
	}
	return out
}

func textFields(names, values []string) []op.Field {
	var out []op.Field
	for i := range min(len(names), len(values)) {
		out = append(out, op.Field{Name: names[i], Value: token.Opaque(values[i])})
	}
	return out
}

// Metadata implements rp.Provider.
func (p *relyingProvider) Metadata(ctx context.Context) (*rp.Metadata, error) {
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return nil, providerError(err)
	}
	return &rp.Metadata{
		Issuer: m.Issuer, AuthorizationEndpoint: m.Endpoints.Authorization, EndSessionEndpoint: m.Endpoints.EndSession,
		RevocationEndpoint: m.Endpoints.Revocation, ResponseISS: m.ResponseISS, PKCEMethods: m.PKCEMethods,
	}, nil
}

// UsePKCE implements rp.Provider.
func (p *relyingProvider) UsePKCE(ctx context.Context) (bool, error) {
	if p.pkce != nil {
		return *p.pkce, nil
	}
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return false, providerError(err)
	}
	return op.UsePKCE(p.pkce, m.PKCEMethods), nil
}

func (p *relyingProvider) client(i int) *clientauth.Client {
	if i >= 0 && i < len(p.clients) {
		return p.clients[i]
	}
	return p.clients[0]
}

// AuthorizationURL implements rp.Provider.
func (p *relyingProvider) AuthorizationURL(ctx context.Context, r rp.AuthorizationRequest) (string, error) {
	cl := p.client(r.Client)
	if cl == nil {
		return "", &rp.Error{Description: "the authorization code flow needs client_id", Reason: "no_client"}
	}
	full := p.request
	full.Client = cl
	full.ClientID, full.RedirectURI, full.State, full.Nonce, full.Verifier = cl.ID(), r.RedirectURI, r.State, r.Nonce, r.Verifier
	if r.ACRValues != "" {
		full.Args = append(slices.Clone(full.Args), op.Field{Name: "acr_values", Value: token.Opaque(r.ACRValues)})
	}
	if r.MaxAge != "" {
		full.MaxAge = r.MaxAge
	}
	full.ClientArgs = opFields(r.Extra)
	var err error
	if full.DPoP, err = p.prover(ctx); err != nil {
		return "", err
	}
	u, err := p.provider.AuthorizationURL(ctx, full)
	if e := (*op.Error)(nil); errors.As(err, &e) && e.Kind == op.Refused {
		// Whoever begins a login has brought nothing that could be refused.
		return "", &rp.Error{Description: "the provider refused the request for a login: " + e.Code, Reason: "provider_refused", Err: err}
	}
	if err != nil {
		return "", providerError(err)
	}
	return u, nil
}

// RedeemCode implements rp.Provider.
func (p *relyingProvider) RedeemCode(ctx context.Context, client int, code token.Opaque, redirectURI string, verifier token.Opaque) (*rp.TokenResponse, error) {
	f := url.Values{"grant_type": {"authorization_code"}, "code": {code.Reveal()}, "redirect_uri": {redirectURI}}
	if verifier != "" {
		f.Set("code_verifier", verifier.Reveal())
	}
	return p.token(ctx, client, f)
}

// Refresh implements rp.Provider.
func (p *relyingProvider) Refresh(ctx context.Context, client int, refresh token.Opaque) (*rp.TokenResponse, error) {
	r, err := p.token(ctx, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh.Reveal()}})
	return r, notTheToken(err)
}

// notTheToken makes a refusal that is no verdict on the refresh token this side's
// or the provider's fault: of the client, or by something in between that does
// not speak OAuth.
func notTheToken(err error) error {
	e, ok := errors.AsType[*op.Error](err)
	if !ok || e.Kind != op.Refused || e.Code != "" && e.Code != "invalid_client" && e.Code != "unauthorized_client" {
		return err
	}
	return &rp.Error{Description: "the provider refused this relying party at the " + e.Call + ": check client_id, client_secret and client_auth", Reason: "client_refused", Err: err}
}

func (p *relyingProvider) token(ctx context.Context, client int, form url.Values) (*rp.TokenResponse, error) {
	cl := p.client(client)
	if cl == nil {
		return nil, &rp.Error{Description: "grant " + form.Get("grant_type") + " needs client_id", Reason: "no_client"}
	}
	r, err := p.ask(ctx, op.TokenRequest{Client: cl, Auth: p.auth, Form: form, Args: p.args, Headers: p.headers})
	if err != nil {
		return nil, err
	}
	return p.response(r, rp.Method(form.Get("grant_type"))), nil
}

// providerError classifies an error of op.
func providerError(err error) error {
	var e *op.Error
	switch {
	case errors.As(err, &e) && e.Kind == op.Refused:
		d := "the provider refused the " + e.Call
		if e.Code != "" {
			d += ": " + e.Code
		}
		return &rp.Error{Kind: rp.Unauthorized, Description: d, Reason: "provider_refused", Err: err}
	case errors.As(err, &e) && e.Kind == op.Misconfigured:
		return &rp.Error{Description: "the configuration does not allow the call to the provider", Reason: "misconfigured", Err: err}
	}
	return &rp.Error{Description: "the provider is not available", Reason: "provider_unavailable", Err: err}
}

// tokenError classifies an error of token.
func tokenError(err error) error {
	if e := (*rp.Error)(nil); errors.As(err, &e) {
		return err
	}
	u := func(reason rp.Reason, d string) error {
		return &rp.Error{Kind: rp.Unauthorized, Code: "invalid_token", Description: d, Reason: reason, Err: err}
	}
	switch {
	case errors.Is(err, token.ErrKeysUnavailable):
		return &rp.Error{Description: "the provider's keys are not available", Reason: "keys_unavailable", Err: err}
	case errors.Is(err, token.ErrExpired):
		return u("expired", "the token has expired")
	case errors.Is(err, token.ErrClaims):
		return u("claims", err.Error())
	case errors.Is(err, token.ErrNoKey):
		return u("no_key", "no trusted key fits the token")
	case errors.Is(err, token.ErrSignature):
		return u("signature", "invalid signature")
	case errors.Is(err, token.ErrAlgorithm):
		return u("algorithm", "the token's algorithm is not accepted")
	case errors.Is(err, token.ErrMalformed):
		return u("malformed", "the token is malformed")
	}
	return &rp.Error{Description: "the token could not be verified", Reason: "internal", Err: err}
}
