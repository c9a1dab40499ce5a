package rp

import (
	"context"
	"net/url"
	"strings"

	"kong-openid-connect/internal/token"
)

// callback is an authorization response.
type callback struct {
	code, state, issuer string
	idToken             token.Opaque // of the hybrid flow
	errorCode           string
	description         string
	repeated            bool // an argument occurred twice (RFC 6749 3.1)
	login               Login
	outcome             LoginOutcome
}

// protocolArgs are arguments of an authorization response that no service is to see.
var protocolArgs = []string{"code", "state", "session_state", "iss", "response", "id_token", "access_token", "token_type", "expires_in", "error", "error_description", "error_uri"}

// findCallback returns the authorization response that the request carries in
// the place of the response mode, or nil.
func (x *Exchange) findCallback(ctx context.Context) (*callback, error) {
	var args url.Values
	switch x.Policy.Code.ResponseMode {
	case ModeFormPost:
		if bodyKind(x.Request.Header.Get("content-type")) != formURLEncoded {
			return nil, nil
		}
		if err := x.Request.parseForm(ctx); err != nil {
			return nil, err
		}
		args = x.Request.form.values
	default:
		q, err := x.Request.queryValues(ctx)
		if err != nil {
			return nil, err
		}
		args = q
	}
	if x.Policy.Code.JARM {
		// Nothing outside the signed response counts.
		var err error
		if args, err = x.signedResponse(ctx, args); args == nil || err != nil {
			return nil, err
		}
	}
	if len(args["state"]) == 0 || len(args["code"]) == 0 && len(args["error"]) == 0 {
		return nil, nil
	}
	cb := &callback{code: args.Get("code"), state: args.Get("state"), issuer: args.Get("iss"), errorCode: args.Get("error"), description: args.Get("error_description")}
	cb.idToken = token.Opaque(args.Get("id_token"))
	for _, n := range []string{"code", "state", "iss", "error", "id_token"} {
		cb.repeated = cb.repeated || len(args[n]) > 1
	}
	if err := x.Request.Need(ctx, x.Policy.bindings()); err != nil {
		return nil, unread(err)
	}
	var err error
	if cb.login, cb.outcome, err = x.Policy.Logins.Resume(ctx, x.browser(), cb.state); err != nil {
		return nil, asError(err)
	}
	return cb, nil
}

// signedResponse returns the members of the one `response` argument; nil where
// there is none that verifies for any of the clients. Which of them began the
// login is known only by what is inside.
func (x *Exchange) signedResponse(ctx context.Context, args url.Values) (url.Values, error) {
	if len(args["response"]) != 1 {
		return nil, nil
	}
	raw := token.Opaque(args.Get("response"))
	if !token.LooksJWS(raw.Reveal()) && !token.IsJWE(raw.Reveal()) {
		return nil, nil
	}
	var refusal error
	for i := range max(len(x.Policy.Clients), 1) {
		inner, err := x.Policy.Provider.AuthorizationResponse(ctx, i, raw)
		if err == nil {
			return inner, nil
		}
		if !refused(err) {
			return nil, err
		}
		refusal = err
	}
	return nil, &Error{Kind: Unauthorized, Description: "the signed authorization response is not acceptable", Reason: "callback_jarm", Final: true, Err: refusal}
}

func (p *Policy) bindings() Needs {
	if p.Sessions == nil {
		return 0
	}
	return p.Sessions.Binds()
}

// notAccepted denies an authorization response. The anonymous consumer does not
// stand in for whoever brings one.
func notAccepted(reason Reason, description string) error {
	return &Error{Kind: Unauthorized, Description: description, Reason: reason, Final: true}
}

// judge says what is wrong with the response to a login that began here.
func (cb *callback) judge(code *CodePolicy, md *Metadata) error {
	// The ID token beside the code names the issuer too, and providers leave the argument out then.
	named := cb.issuer != "" || code.Hybrid && cb.idToken != ""
	if cb.issuer != "" && !isIssuer(md.Issuer, cb.issuer) || !named && md.ResponseISS {
		return notAccepted("callback_issuer", "the authorization response is not from the expected issuer (RFC 9207)")
	}
	switch cb.errorCode {
	case "":
	case "temporarily_unavailable", "server_error":
		return &Error{Description: "the provider answered the login with an error of its own", Reason: "provider_error"}
	default:
		return notAccepted("login_refused", "the provider refused the login: "+printable(cb.errorCode))
	}
	if cb.code == "" {
		return notAccepted("callback_code", "the authorization response has no code")
	}
	return nil
}

// frontChannelToken verifies the ID token that comes beside the code in the
// hybrid flow, before the code is used: it binds the code to this login (OpenID
// Connect Core 3.3.2.9). nil in the code flow.
func (x *Exchange) frontChannelToken(ctx context.Context, cb *callback) (*token.Token, error) {
	if !x.Policy.Code.Hybrid {
		return nil, nil
	}
	if cb.idToken == "" {
		return nil, notAccepted("callback_id_token", "the authorization response has no ID token, though response_type asks for one")
	}
	want := IDTokenExpectation{Client: x.login.Client, Nonce: x.login.Nonce, Code: token.Opaque(cb.code), FrontChannel: true, Method: MethodAuthorizationCode}
	return x.Policy.Provider.VerifyIDToken(ctx, cb.idToken, want)
}

// isIssuer compares the iss of an authorization response with the provider's.
// That of a multi-tenant provider is held against the ID token later.
func isIssuer(expected, iss string) bool {
	if strings.Contains(expected, "{tenantid}") {
		return true
	}
	return token.Issuers{Expected: []string{expected}}.Accepts(iss, nil)
}

// sameLogin reports whether both ID tokens of the hybrid flow are about one
// subject of one issuer (OpenID Connect Core 3.3.3.6). One that did not come
// again is not another one.
func sameLogin(front, back *token.Token) bool {
	if back == nil {
		return true
	}
	for _, name := range []string{"iss", "sub"} {
		f, ok1 := front.Claims[name].(string)
		b, ok2 := back.Claims[name].(string)
		if !ok1 || !ok2 || f != b {
			return false
		}
	}
	return true
}

// printable keeps what RFC 6749 allows in an error code, bounded.
func printable(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '.' || r == '-' {
			return r
		}
		return '.'
	}, s)
}
