package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// IntrospectionRequest asks whether a token is good (RFC 7662 section 2.1).
type IntrospectionRequest struct {
	Client *clientauth.Client
	// Auth is introspection_endpoint_auth_method; "" leaves the choice to the
	// client and the metadata.
	Auth   clientauth.Method
	Token  token.Opaque
	Param  string // introspection_token_param_name; "" for token
	Hint   string // token_type_hint; "" sends none
	Accept string // "" for application/json
	// Args and Headers replace those of the same name; a configured
	// Authorization replaces the client's proof.
	Args    []Field
	Headers []Field
	// ClientArgs came with the caller's request; they never replace the token or
	// the client's proof.
	ClientArgs []Field
	// Verifier judges a signed answer and opens an encrypted one; nil refuses both.
	Verifier *token.Verifier
}

// Answer is the claims that a provider answered with.
type Answer struct {
	Claims claims.Object
	JWT    token.Opaque // the answer itself where it is a JWT (RFC 9701, OpenID Connect Core 5.3.2)
	Token  *token.Token // that JWT, verified
}

// Active reports whether an introspection answer says that the token is good:
// `active` is the boolean true and nothing else.
func (a *Answer) Active() bool {
	active, ok := a.Claims["active"].(bool)
	return ok && active
}

// Introspect asks the introspection endpoint. Whether the token is active, and
// whose it is, is for the caller to judge. Errors are *Error, or those of
// package token for a signed answer.
func (p *Provider) Introspect(ctx context.Context, r IntrospectionRequest) (*Answer, error) {
	form := url.Values{}
	form.Set(orDefault(r.Param, "token"), r.Token.Reveal())
	if r.Hint != "" {
		form.Set("token_type_hint", r.Hint)
	}
	a, host, err := p.post(ctx, introspectionService, postRequest{
		client: r.Client, auth: r.Auth, form: form, args: append(slices.Clip(r.Args), callersArgs(r.ClientArgs, form)...), headers: withAccept(r.Accept, r.Headers),
	})
	if err != nil {
		return nil, err
	}
	out, err := p.claimsOf(ctx, introspectionService.name, host, a, token.UseIntrospection, r.Verifier)
	if err != nil {
		return nil, err
	}
	if inner, ok := out.Claims["token_introspection"].(map[string]any); ok && out.Token != nil {
		out.Claims = inner
	}
	return out, nil
}

// UserinfoRequest asks who the bearer of a token is (OpenID Connect Core
// section 5.3.1).
type UserinfoRequest struct {
	AccessToken token.Opaque
	Accept      string // "" for application/json
	Args        []Field
	Headers     []Field
	// DPoP is the key that the token is bound to; nil for a bearer's token.
	DPoP *token.DPoPSigner
	// Subject is the `sub` that the answer must have; "" where none is known.
	Subject string
	// Verifier judges a signed answer and opens an encrypted one; nil refuses both.
	Verifier *token.Verifier
}

// ErrSubject says that userinfo is about somebody else (Core section 5.3.2):
// it must not be used.
var ErrSubject = errors.New("userinfo is of another subject")

// Userinfo asks the userinfo endpoint. Errors are *Error, ErrSubject, or those
// of package token for a signed answer.
func (p *Provider) Userinfo(ctx context.Context, r UserinfoRequest) (*Answer, error) {
	const name = "userinfo endpoint"
	address, err := p.endpoint(ctx, name, func(e *Endpoints) string { return e.Userinfo })
	if err != nil {
		return nil, err
	}
	u, err := parseEndpoint(address)
	if err != nil {
		return nil, &Error{Call: name, Kind: Misconfigured, Err: err}
	}
	if len(r.Args) > 0 {
		q := u.Query()
		for _, f := range r.Args {
			q.Set(f.Name, f.Value.Reveal())
		}
		u.RawQuery = q.Encode()
	}
	scheme := "Bearer "
	if r.DPoP != nil {
		scheme = "DPoP "
	}
	a, err := p.withDPoP(r.DPoP, http.MethodGet, u.String(), r.AccessToken, func(header http.Header) (*answer, error) {
		header.Set("Authorization", scheme+r.AccessToken.Reveal())
		setHeaders(header, withAccept(r.Accept, r.Headers))
		return p.client.do(ctx, call{name: name, method: http.MethodGet, url: u.String(), header: header})
	})
	if err != nil {
		return nil, err
	}
	out, err := p.claimsOf(ctx, name, u.Host, a, token.UseUserinfo, r.Verifier)
	if err != nil {
		return nil, err
	}
	if r.Subject != "" && out.Claims["sub"] != r.Subject {
		return nil, ErrSubject
	}
	return out, nil
}

// claimsOf reads an answer of status 200 that is a JSON object, or a JWT whose
// signature holds.
func (p *Provider) claimsOf(ctx context.Context, name, host string, a *answer, use token.Use, v *token.Verifier) (*Answer, error) {
	if a.status != http.StatusOK {
		_, err := a.granted(name, host)
		return nil, err
	}
	raw := strings.TrimSpace(string(a.body))
	if token.IsJWE(raw) {
		if v == nil {
			return nil, &Error{Call: name, Host: host, Status: a.status, Err: errors.New("its answer is encrypted, which was not asked for")}
		}
		plain, err := v.Decrypter.Open(ctx, raw)
		if err != nil {
			return nil, err
		}
		// What is not signed within is as good as an answer in clear: it came over
		// the same connection.
		a = &answer{a.status, a.header, plain}
		raw = strings.TrimSpace(string(plain))
	}
	if token.LooksJWS(raw) {
		if v == nil {
			return nil, &Error{Call: name, Host: host, Status: a.status, Err: errors.New("its answer is a JWT, which was not asked for")}
		}
		t, err := v.Verify(ctx, raw, use)
		if err != nil {
			return nil, err
		}
		return &Answer{Claims: t.Claims, JWT: t.Raw, Token: t}, nil
	}
	o, err := a.object()
	if err != nil {
		return nil, &Error{Call: name, Host: host, Status: a.status, Err: err}
	}
	return &Answer{Claims: o}, nil
}

// RevocationRequest withdraws a token (RFC 7009 section 2.1).
type RevocationRequest struct {
	Client *clientauth.Client
	// Auth is revocation_endpoint_auth_method; "" leaves the choice to the client
	// and the metadata.
	Auth  clientauth.Method
	Token token.Opaque
	Param string // revocation_token_param_name; "" for token
	Hint  string // token_type_hint; "" sends none
}

// Revoke asks the revocation endpoint. A token that the provider does not know
// counts as revoked. Errors are *Error.
func (p *Provider) Revoke(ctx context.Context, r RevocationRequest) error {
	form := url.Values{}
	form.Set(orDefault(r.Param, "token"), r.Token.Reveal())
	if r.Hint != "" {
		form.Set("token_type_hint", r.Hint)
	}
	a, host, err := p.post(ctx, revocationService, postRequest{client: r.Client, auth: r.Auth, form: form})
	if err != nil {
		return err
	}
	if a.status >= 200 && a.status < 300 {
		return nil
	}
	_, err = a.granted(revocationService.name, host)
	return err
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// withAccept puts an Accept header before the configured ones, which may
// replace it.
func withAccept(accept string, headers []Field) []Field {
	if accept == "" {
		return headers
	}
	return append([]Field{{"Accept", token.Opaque(accept)}}, headers...)
}
