package op

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"kong-openid-connect/internal/op/clientauth"
	"kong-openid-connect/internal/token"
)

// AuthorizationRequest is what a client is sent to the provider with (RFC 6749
// section 4.1.1, OpenID Connect Core section 3.1.2.1).
type AuthorizationRequest struct {
	ClientID     string
	RedirectURI  string
	ResponseType string // "" for code
	ResponseMode string // "" sends none
	Scopes       []string
	State        string
	Nonce        string       // "" sends none
	Verifier     token.Opaque // PKCE code verifier; "" for none
	Audience     []string     // one argument each
	MaxAge       string       // "" sends none
	// Client signs and pushes the request. It may be nil where neither is wanted.
	Client *clientauth.Client
	// Sign is require_signed_request_object, Push is
	// require_pushed_authorization_requests; nil leaves it to the metadata.
	Sign, Push *bool
	// PushAuth is pushed_authorization_request_endpoint_auth_method; "" leaves the
	// choice to the client and the metadata. PushHeaders go with the push.
	PushAuth    clientauth.Method
	PushHeaders []Field
	// DPoP binds the code to the key that is to redeem it (RFC 9449 section 10);
	// nil for no binding.
	DPoP *token.DPoPSigner
	// Args are the configured ones; ClientArgs those that the caller's request
	// brought, which may not repeat what this program sends itself.
	Args       []Field
	ClientArgs []Field
}

// reserved are arguments that a caller never sets.
var reserved = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "state", "nonce",
	"code_challenge", "code_challenge_method", "request", "request_uri", "client_assertion",
	"client_assertion_type", "client_secret", "dpop_jkt",
}

// ReservedArgument reports whether a caller's argument of this name is dropped.
func ReservedArgument(name string) bool {
	return slices.Contains(reserved, strings.ToLower(name))
}

// AuthorizationURL builds the address that a client is redirected to. A query
// that the endpoint has already is kept. Where the request is to be signed or
// pushed it is; a push is a call to the provider. Errors are *Error.
func (p *Provider) AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error) {
	const name = "authorization endpoint"
	m, err := p.Metadata(ctx)
	if err != nil {
		return "", err
	}
	address, err := p.endpoint(ctx, name, func(e *Endpoints) string { return e.Authorization })
	if err != nil {
		return "", err
	}
	u, err := parseEndpoint(address)
	if err != nil {
		return "", &Error{Call: name, Kind: Misconfigured, Err: err}
	}
	if r.ClientID == "" {
		r.ClientID = r.Client.ID()
	}
	args := r.arguments(PKCEMethod(m.PKCEMethods))
	if orAdvertised(r.Sign, m.RequireRequestObject) {
		if args, err = p.signRequest(&r, args, m); err != nil {
			return "", &Error{Call: name, Kind: Misconfigured, Host: u.Host, Err: err}
		}
	}
	if orAdvertised(r.Push, m.RequirePAR) {
		pushed, err := p.PushAuthorizationRequest(ctx, PushRequest{Client: r.Client, Auth: r.PushAuth, Form: args, Headers: r.PushHeaders, DPoP: r.DPoP})
		if err != nil {
			return "", err
		}
		args = url.Values{"client_id": {r.ClientID}, "request_uri": {pushed.RequestURI}}
	}
	u.Fragment, u.RawFragment = "", ""
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += args.Encode()
	return u.String(), nil
}

// orAdvertised returns what is configured, else what the provider demands.
func orAdvertised(configured *bool, advertised bool) bool {
	if configured != nil {
		return *configured
	}
	return advertised
}

// arguments returns all that the request consists of.
func (r *AuthorizationRequest) arguments(pkce string) url.Values {
	conf := oauth2.Config{ClientID: r.ClientID, RedirectURL: r.RedirectURI, Scopes: r.Scopes}
	var opts []oauth2.AuthCodeOption
	set := func(name, value string) { opts = append(opts, oauth2.SetAuthURLParam(name, value)) }
	for _, f := range r.Args {
		set(f.Name, f.Value.Reveal())
	}
	for _, f := range r.ClientArgs {
		if !ReservedArgument(f.Name) {
			set(f.Name, f.Value.Reveal())
		}
	}
	if r.MaxAge != "" {
		// A caller may ask for a fresher login by other arguments, not for an older one.
		set("max_age", r.MaxAge)
	}
	// These come last: nothing configured or sent by a caller replaces them.
	if r.ResponseType != "" {
		set("response_type", r.ResponseType)
	}
	if r.ResponseMode != "" {
		set("response_mode", r.ResponseMode)
	}
	if r.Nonce != "" {
		set("nonce", r.Nonce)
	}
	if v := r.Verifier.Reveal(); v != "" {
		if pkce == "plain" {
			set("code_challenge", v)
			set("code_challenge_method", "plain")
		} else {
			opts = append(opts, oauth2.S256ChallengeOption(v))
		}
	}
	if r.DPoP != nil {
		set("dpop_jkt", r.DPoP.Thumbprint())
	}
	set("state", r.State)
	set("client_id", r.ClientID)
	set("redirect_uri", r.RedirectURI)
	// What the library wrote, it wrote well-formed.
	args, _ := url.ParseQuery(strings.TrimPrefix(conf.AuthCodeURL(r.State, opts...), "?"))
	if len(r.Audience) > 0 && !named(r.ClientArgs, "audience") {
		args["audience"] = append(args["audience"], r.Audience...)
	}
	return args
}

func named(fields []Field, name string) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name })
}

// PKCEMethod returns the challenge method for a provider that advertises list:
// plain where it offers nothing else, S256 otherwise. A provider that is
// silent gets S256, which those without PKCE ignore (RFC 7636 section 5).
func PKCEMethod(list []string) string {
	if len(list) > 0 && !slices.Contains(list, "S256") && slices.Contains(list, "plain") {
		return "plain"
	}
	return "S256"
}

// UsePKCE reports whether a code verifier is to be sent: as configured, else
// unless the provider advertises an empty list or none that is known.
func UsePKCE(configured *bool, list []string) bool {
	if configured != nil {
		return *configured
	}
	return list == nil || slices.Contains(list, "S256") || slices.Contains(list, "plain")
}
