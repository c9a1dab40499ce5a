package op

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// PushRequest is an authorization request that goes to the provider first (RFC
// 9126 section 2.1).
type PushRequest struct {
	Client *clientauth.Client
	// Auth is pushed_authorization_request_endpoint_auth_method; "" leaves the
	// choice to the client and the metadata.
	Auth clientauth.Method
	// Form holds the arguments of the authorization request, client_id among them.
	Form    url.Values
	Headers []Field
	// DPoP binds the code to a key (RFC 9449 section 10.1); nil for no binding.
	DPoP *token.DPoPSigner
}

// PushedRequest is what stands for a request that was pushed (RFC 9126 section 2.2).
type PushedRequest struct {
	RequestURI string
	// Expiry is when the provider forgets it; zero where it did not say.
	Expiry time.Time
}

// maxRequestURI bounds what goes into the client's address bar.
const maxRequestURI = 2048

// PushAuthorizationRequest hands the arguments of an authorization request to
// the provider. Errors are *Error.
func (p *Provider) PushAuthorizationRequest(ctx context.Context, r PushRequest) (*PushedRequest, error) {
	a, host, err := p.post(ctx, pushService, postRequest{client: r.Client, auth: r.Auth, form: r.Form, headers: r.Headers, dpop: r.DPoP})
	if err != nil {
		return nil, err
	}
	name := pushService.name
	fail := func(text string) error {
		return &Error{Call: name, Host: host, Status: a.status, Err: errors.New(text)}
	}
	var o claims.Object
	if a.status == http.StatusCreated {
		if o, err = a.object(); err != nil {
			return nil, fail("its answer is not a JSON object")
		}
	} else if o, err = a.granted(name, host); err != nil {
		return nil, err
	}
	out := &PushedRequest{RequestURI: stringOf(o, "request_uri")}
	if out.RequestURI == "" || len(out.RequestURI) > maxRequestURI || printable(out.RequestURI, maxRequestURI) != out.RequestURI {
		return nil, fail("its answer holds no usable request_uri")
	}
	seconds, present, ok := expiresIn(o["expires_in"])
	if !ok {
		return nil, fail("its answer has an expires_in that is not a number")
	}
	if present {
		out.Expiry = p.env.Now().Add(seconds)
	}
	return out, nil
}

// requestLifetime is how long a request object is good, in seconds: as long as a person
// and slow network take to get to the provider.
const requestLifetime = 300

// signRequest puts the arguments into a request object (RFC 9101 section 4). It
// returns what stands beside it: client_id, and what OpenID Connect Core
// section 6.1 wants to see all the same.
func (p *Provider) signRequest(r *AuthorizationRequest, args url.Values, m *Metadata) (url.Values, error) {
	signer, err := r.Client.RequestSigner(m.RequestObjectAlgs)
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	for name, values := range args {
		object[name] = requestMember(name, values)
	}
	now := p.env.Now().Unix()
	object["iss"], object["aud"], object["jti"] = r.ClientID, m.Issuer, rand.Text()
	object["iat"], object["nbf"], object["exp"] = now, now, now+requestLifetime
	for _, n := range []string{"request", "request_uri", "sub"} {
		delete(object, n) // RFC 9101 sections 4 and 10.8
	}
	signed, err := signer.SignRequest(object)
	if err != nil {
		return nil, err
	}
	outside := url.Values{"request": {signed.Reveal()}}
	for _, n := range []string{"client_id", "response_type", "scope"} {
		if args.Has(n) {
			outside[n] = args[n]
		}
	}
	return outside, nil
}

// requestMember gives an argument the JSON type that it has in a request object
// (OpenID Connect Core section 6.1).
func requestMember(name string, values []string) any {
	if len(values) != 1 {
		return values
	}
	v := values[0]
	switch name {
	case "max_age":
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	case "claims", "authorization_details":
		if json.Valid([]byte(v)) {
			return json.RawMessage(v)
		}
	}
	return v
}
