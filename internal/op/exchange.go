package op

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// The names of RFC 8693 sections 2.1 and 3.
const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// ExchangeRequest asks for another token in return for one (RFC 8693 section 2.1).
type ExchangeRequest struct {
	Client *clientauth.Client
	// Auth is token_endpoint_auth_method; "" leaves the choice to the client and
	// the metadata.
	Auth         clientauth.Method
	SubjectToken token.Opaque // an access token
	Scopes       []string     // none: no `scope` is sent
	Audience     []string     // one argument each; none: no `audience` is sent
	Args         []Field
	Headers      []Field
	DPoP         *token.DPoPSigner // binds what is issued to a key; nil for no binding
}

// Exchange asks the token endpoint for an access token in return for the
// subject's. The answer is not verified: that is due before it is used. Errors
// are those of Token.
func (p *Provider) Exchange(ctx context.Context, r ExchangeRequest) (*TokenResponse, error) {
	form := url.Values{
		"grant_type": {grantExchange}, "subject_token": {r.SubjectToken.Reveal()}, "subject_token_type": {typeAccessToken},
		"requested_token_type": {typeAccessToken},
	}
	if len(r.Scopes) > 0 {
		form.Set("scope", strings.Join(r.Scopes, " "))
	}
	if len(r.Audience) > 0 {
		form["audience"] = r.Audience
	}
	t, err := p.Token(ctx, TokenRequest{Client: r.Client, Auth: r.Auth, Form: form, Args: r.Args, Headers: r.Headers, DPoP: r.DPoP})
	if err != nil {
		return nil, err
	}
	// issued_token_type is required, and some providers leave it out all the same.
	if issued := stringOf(t.Raw, "issued_token_type"); issued != "" && issued != typeAccessToken && issued != typeJWT {
		return nil, &Error{Call: tokenService.name, Status: http.StatusOK, Err: errors.New("token exchange: what it issued is no access token: " + printable(issued, 100))}
	}
	if strings.EqualFold(t.TokenType, "N_A") {
		return nil, &Error{Call: tokenService.name, Status: http.StatusOK, Err: errors.New("token exchange: what it issued cannot be used as an access token")}
	}
	return t, nil
}

// maxExchanged bounds the token that LegacyExchange returns; a header line
// holds no more.
const maxExchanged = 64 << 10

// LegacyExchange posts a token as the bearer's to `token_exchange_endpoint`,
// which answers 200 with nothing but the new token. Errors are *Error: Refused
// where the endpoint says no.
func (p *Provider) LegacyExchange(ctx context.Context, endpoint string, subject token.Opaque) (token.Opaque, error) {
	const name = "token exchange endpoint"
	a, err := p.client.do(ctx, call{
		name: name, method: http.MethodPost, url: endpoint, form: url.Values{},
		header: http.Header{"Authorization": {"Bearer " + subject.Reveal()}, "Accept": {"*/*"}},
	})
	if err != nil {
		return "", err
	}
	host := hostOf(endpoint)
	if a.status != http.StatusOK {
		_, err := a.granted(name, host)
		return "", err
	}
	issued := strings.TrimSpace(string(a.body))
	if !isToken68(issued) {
		return "", &Error{Call: name, Host: host, Status: a.status, Err: errors.New("its answer is not a token and nothing else")}
	}
	return token.Opaque(issued), nil
}

// isToken68 reports whether s can stand after "Bearer " (RFC 6750 section 2.1).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	if s == "" || len(s) > maxExchanged {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return true
}
