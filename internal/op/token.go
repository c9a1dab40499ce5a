package op

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// TokenRequest is a request to the token endpoint (RFC 6749 section 4).
type TokenRequest struct {
	Client *clientauth.Client
	// Auth is token_endpoint_auth_method; "" leaves the choice to the client and
	// the metadata.
	Auth clientauth.Method
	// Form holds grant_type and the grant's own parameters.
	Form url.Values
	// Args and Headers are added to, and replace those of the same name in, the
	// request, except for the client's proof.
	Args    []Field
	Headers []Field
	// ClientArgs came with the caller's request. They are treated as Args, but
	// never replace what the grant and the client's proof consist of.
	ClientArgs []Field
	// Unauthenticated requests bring a proof of their own in Form, such as the
	// caller's client assertion; Client is not used.
	Unauthenticated bool
	// DPoP binds what is issued to a key (RFC 9449); nil for no binding.
	DPoP *token.DPoPSigner
}

// grantArguments are what a caller's argument never replaces.
var grantArguments = []string{
	"grant_type", "code", "code_verifier", "redirect_uri", "refresh_token", "username", "password", "assertion", "token",
	"token_type_hint", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
	"client_id", "client_secret", "client_assertion", "client_assertion_type",
}

// callersArgs drops what a caller may not set.
func callersArgs(fields []Field, own url.Values) []Field {
	return slices.DeleteFunc(slices.Clone(fields), func(f Field) bool {
		return slices.Contains(grantArguments, strings.ToLower(f.Name)) || f.Name != "scope" && f.Name != "audience" && own.Has(f.Name)
	})
}

// TokenResponse is a successful answer (RFC 6749 section 5.1).
type TokenResponse struct {
	AccessToken  token.Opaque
	IDToken      token.Opaque
	RefreshToken token.Opaque
	TokenType    string
	Scope        string
	// Expiry of the access token: by expires_in, else by its exp; zero when
	// neither is known. It lies in the past for an expires_in of 0 or below.
	Expiry time.Time
	Header http.Header
	Raw    claims.Object
}

// Token asks the token endpoint. Errors are *Error: Refused where the provider
// says no, Unavailable where it fails, Misconfigured where the request cannot
// be made.
func (p *Provider) Token(ctx context.Context, r TokenRequest) (*TokenResponse, error) {
	a, host, err := p.post(ctx, tokenService, postRequest{
		client: r.Client, auth: r.Auth, form: r.Form, args: append(slices.Clip(r.Args), callersArgs(r.ClientArgs, r.Form)...), headers: r.Headers, bare: r.Unauthenticated, dpop: r.DPoP,
	})
	if err != nil {
		return nil, err
	}
	o, err := a.granted(tokenService.name, host)
	if err != nil {
		return nil, err
	}
	return p.tokenResponse(host, a, o)
}

// granted returns the body of an answer of status 200; others are errors by what
// they say (RFC 6749 section 5.2). name and host are for messages.
func (a *answer) granted(name, host string) (claims.Object, error) {
	o, err := a.object()
	if a.status == http.StatusOK {
		if err != nil {
			return nil, &Error{Call: name, Host: host, Status: a.status, Err: err}
		}
		return o, nil
	}
	e := &Error{Call: name, Host: host, Status: a.status, Kind: kindOf(a.status)}
	if err == nil {
		e.Code = printable(stringOf(o, "error"), 64)
		e.Description = printable(stringOf(o, "error_description"), 256)
	}
	return nil, e
}

// kindOf classifies a status other than success. Throttling and time-outs are
// the provider's trouble, not a verdict on the caller.
func kindOf(status int) Kind {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Unavailable
	}
	if status >= 400 && status < 500 {
		return Refused
	}
	return Unavailable
}

// tokenResponse reads an answer of status 200 (RFC 6749 section 5.1). host is for
// messages.
func (p *Provider) tokenResponse(host string, a *answer, o claims.Object) (*TokenResponse, error) {
	r := &TokenResponse{
		AccessToken: token.Opaque(stringOf(o, "access_token")), IDToken: token.Opaque(stringOf(o, "id_token")),
		RefreshToken: token.Opaque(stringOf(o, "refresh_token")), TokenType: stringOf(o, "token_type"),
		Scope: stringOf(o, "scope"), Header: a.header, Raw: o,
	}
	fail := func(text string) error {
		return &Error{Call: tokenService.name, Host: host, Status: a.status, Err: errors.New(text)}
	}
	if r.AccessToken == "" {
		// Some providers refuse with status 200.
		if code := stringOf(o, "error"); code != "" {
			return nil, &Error{Call: tokenService.name, Kind: Refused, Host: host, Status: a.status, Code: printable(code, 64), Description: printable(stringOf(o, "error_description"), 256)}
		}
		return nil, fail("its answer holds no access_token")
	}
	seconds, present, ok := expiresIn(o["expires_in"])
	switch {
	case !ok:
		return nil, fail("its answer has an expires_in that is not a number")
	case present:
		r.Expiry = p.env.Now().Add(seconds)
	default:
		if u, err := token.Parse(r.AccessToken.Reveal(), 0); err == nil {
			r.Expiry, _ = claims.Time(u.Claims["exp"])
		}
	}
	return r, nil
}

// maxLifetime bounds what an expires_in may say.
const maxLifetime = 10 * 365 * 24 * time.Hour

// expiresIn reads a number or a numeric string of seconds.
func expiresIn(v any) (d time.Duration, present, ok bool) {
	var text string
	switch v := v.(type) {
	case nil:
		return 0, false, true
	case json.Number:
		text = v.String()
	case string:
		if text = strings.TrimSpace(v); text == "" {
			return 0, false, true
		}
	default:
		return 0, true, false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != f {
		return 0, true, false
	}
	switch {
	case f <= 0:
		return -time.Second, true, true
	case f >= maxLifetime.Seconds():
		return maxLifetime, true, true
	}
	return time.Duration(f) * time.Second, true, true
}
