package op

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

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
// that the endpoint has already is kept.
func (p *Provider) AuthorizationURL(ctx context.Context, r AuthorizationRequest) (string, error) {
	m, err := p.Metadata(ctx)
	if err != nil {
		return "", err
	}
	address, err := p.endpoint(ctx, "authorization endpoint", func(e *Endpoints) string { return e.Authorization })
	if err != nil {
		return "", err
	}
	return r.url(address, PKCEMethod(m.PKCEMethods))
}

func (r *AuthorizationRequest) url(address, pkce string) (string, error) {
	u, err := parseEndpoint(address)
	if err != nil {
		return "", &Error{Call: "authorization endpoint", Kind: Misconfigured, Err: err}
	}
	u.Fragment, u.RawFragment = "", ""
	conf := oauth2.Config{
		ClientID: r.ClientID, RedirectURL: r.RedirectURI, Scopes: r.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: u.String()},
	}
	var opts []oauth2.AuthCodeOption
	var repeated url.Values
	set := func(name, value string) { opts = append(opts, oauth2.SetAuthURLParam(name, value)) }
	for _, f := range r.Args {
		set(f.Name, f.Value.Reveal())
	}
	for _, f := range r.ClientArgs {
		if !ReservedArgument(f.Name) {
			set(f.Name, f.Value.Reveal())
		}
	}
	if len(r.Audience) > 0 && !named(r.ClientArgs, "audience") {
		repeated = url.Values{"audience": r.Audience}
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
	set("state", r.State)
	set("client_id", r.ClientID)
	set("redirect_uri", r.RedirectURI)
	to := conf.AuthCodeURL(r.State, opts...)
	if len(repeated) > 0 {
		to += "&" + repeated.Encode()
	}
	return to, nil
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
