package rp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/url"
	"strings"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// authorizationCodeMethod sends the client to the provider and takes its
// callback (behaviour.md 6.9, RFC 6749 4.1, RFC 7636, RFC 9207).
type authorizationCodeMethod struct{}

func (authorizationCodeMethod) name() Method { return MethodAuthorizationCode }

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

// loginUnderWay takes a callback of ours before any other credential: a
// browser that holds both a session and a pending login is finishing the
// login, and a callback whose login is over leads back to its page.
func (x *Exchange) loginUnderWay(ctx context.Context) (*Identity, *Decision, error) {
	p := x.Policy
	if !p.Methods.Has(MethodAuthorizationCode) {
		return nil, nil, nil
	}
	cb, err := x.findCallback(ctx)
	if err != nil {
		return nil, nil, asError(err)
	}
	if cb == nil || cb.outcome == LoginForeign {
		return nil, nil, nil
	}
	if p.Methods.Has(MethodSession) {
		// At a login the session before it ends: a new id at login.
		c, err := (sessionMethod{}).find(ctx, x)
		if err != nil {
			return nil, nil, asError(err)
		}
		if cb.outcome == LoginStale && c != nil {
			return nil, x.leadBack(ctx, cb), nil
		}
	}
	x.method = MethodAuthorizationCode
	id, err := x.finishLogin(ctx, cb)
	if a, ok := err.(*answer); ok {
		return nil, a.decision, nil
	}
	if err != nil {
		return nil, nil, asError(err)
	}
	id.Method, id.Origin = MethodAuthorizationCode, MethodAuthorizationCode
	x.used = &Credential{Method: MethodAuthorizationCode, callback: cb}
	return id, nil, nil
}

// leadBack answers a stale callback of a browser that is logged in: it goes to
// the page of that login. nil where the page is not of this origin.
func (x *Exchange) leadBack(ctx context.Context, cb *callback) *Decision {
	if err := x.Request.Need(ctx, NeedExternal); err != nil {
		return nil
	}
	if origin, ok := x.Request.External.origin(); !ok || !sameOrigin(cb.login.ReturnTo, origin) {
		return nil
	}
	return x.redirect(cb.login.ReturnTo, nil, "callback_stale")
}

func (authorizationCodeMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	cb, err := x.findCallback(ctx)
	if err != nil {
		return nil, err
	}
	return &Credential{Method: MethodAuthorizationCode, callback: cb}, nil
}

func (authorizationCodeMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	if c.callback == nil {
		if !x.mayLogIn() {
			return nil, nil
		}
		return nil, x.startLogin(ctx, "", 0)
	}
	return x.finishLogin(ctx, c.callback)
}

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
		return nil, err
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

// startLogin answers with the redirect to the provider. returnTo is where the
// client lands after the login; "" is the present URL.
func (x *Exchange) startLogin(ctx context.Context, returnTo string, attempt int) error {
	p := x.Policy
	here, err := x.url(ctx)
	if err != nil {
		return err
	}
	if returnTo == "" {
		if d, err := x.fragmentPage(ctx); d != nil || err != nil {
			if err != nil {
				return err
			}
			return &answer{d}
		}
		returnTo = here
		query, fragment := p.takeFragment(x.Request.RawQuery)
		if p.Code.PreserveQuery && query != "" {
			returnTo += "?" + safeQuery(query)
		}
		if fragment != "" {
			returnTo += "#" + fragment
		}
	}
	l := Login{ReturnTo: returnTo, RedirectURI: p.client(x.Client).RedirectURI, Nonce: random(18), Client: x.Client, Attempt: attempt}
	if l.RedirectURI == "" {
		l.RedirectURI = here
	}
	pkce, err := p.Provider.UsePKCE(ctx)
	if err != nil {
		return err
	}
	if pkce {
		l.Verifier = token.Opaque(random(32))
	}
	state, cookies, err := p.Logins.Begin(ctx, x.browser(), l)
	if err != nil {
		return asError(err)
	}
	extra, err := x.clientArgs(ctx)
	if err != nil {
		return err
	}
	to, err := p.Provider.AuthorizationURL(ctx, AuthorizationRequest{
		Client: x.Client, RedirectURI: l.RedirectURI, State: state, Nonce: l.Nonce, Verifier: l.Verifier, Extra: extra,
		ACRValues: strings.Join(p.StepUp.ACR, " "), MaxAge: p.StepUp.maxAge(),
	})
	if err != nil {
		return err
	}
	return &answer{x.redirect(to, append(x.cookies, cookies...), "login_begun")}
}

// clientArgs copies authorization_query_args_client from the client's request.
func (x *Exchange) clientArgs(ctx context.Context) ([]Field, error) {
	var out []Field
	for _, n := range x.Policy.Code.ClientArgs {
		v, _, err := x.Request.arg(ctx, Places{Query: true, Body: true}, n)
		if err != nil {
			return nil, err
		}
		if v != "" {
			out = append(out, Field{n, v})
		}
	}
	return out, nil
}

// finishLogin turns an authorization response into an identity.
func (x *Exchange) finishLogin(ctx context.Context, cb *callback) (*Identity, error) {
	p := x.Policy
	deny := func(reason Reason, description string) error {
		return &Error{Kind: Unauthorized, Description: description, Reason: reason, Final: true}
	}
	if cb.repeated {
		return nil, deny("callback_repeated", "an argument of the authorization response occurs twice")
	}
	switch cb.outcome {
	case LoginForeign:
		return nil, deny("state_unknown", "the authorization response has a state that was not made here")
	case LoginStale:
		return nil, x.restartLogin(ctx, cb)
	}
	if err := x.Request.Need(ctx, NeedExternal); err != nil {
		return nil, err
	}
	if !p.Code.begunHere(cb.login.ReturnTo, x.Request.External.Host) {
		return nil, deny("callback_planted", "the pending login was begun on a host from which this browser cannot have its cookie")
	}
	cookies, first, err := p.Logins.Finish(ctx, x.browser(), cb.state, cb.login.ID)
	if err != nil {
		return nil, asError(err)
	}
	x.cookies = append(x.cookies, cookies...)
	if !first {
		return nil, x.restartLogin(ctx, cb)
	}
	l := cb.login
	x.Client, x.login = l.Client, &l
	md, err := p.Provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	// The ID token beside the code names the issuer too, and providers leave the argument out then.
	named := cb.issuer != "" || p.Code.Hybrid && cb.idToken != ""
	if cb.issuer != "" && !isIssuer(md.Issuer, cb.issuer) || !named && md.ResponseISS {
		return nil, deny("callback_issuer", "the authorization response is not from the expected issuer (RFC 9207)")
	}
	switch cb.errorCode {
	case "":
	case "temporarily_unavailable", "server_error":
		return nil, &Error{Description: "the provider answered the login with an error of its own", Reason: "provider_error"}
	default:
		return nil, deny("login_refused", "the provider refused the login: "+printable(cb.errorCode))
	}
	if cb.code == "" {
		return nil, deny("callback_code", "the authorization response has no code")
	}
	var front *token.Token
	if p.Code.Hybrid {
		// Verified before the code is used: it binds the code to this login (Core 3.3.2.9).
		want := IDTokenExpectation{Client: l.Client, Nonce: l.Nonce, Code: token.Opaque(cb.code), FrontChannel: true, Method: MethodAuthorizationCode}
		if cb.idToken == "" {
			return nil, deny("callback_id_token", "the authorization response has no ID token, though response_type asks for one")
		}
		front, err = p.Provider.VerifyIDToken(ctx, cb.idToken, want)
		if err != nil {
			return nil, err
		}
	}
	tr, err := p.Provider.RedeemCode(ctx, l.Client, token.Opaque(cb.code), l.RedirectURI, l.Verifier)
	if err != nil {
		return nil, err
	}
	id, err := x.loginIdentity(ctx, cb, tr)
	if err == nil && front != nil && !sameLogin(front, id.ID) {
		return nil, deny("callback_id_token", "the ID tokens beside the code and for it are of different issuers or subjects")
	}
	return id, err
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

// isIssuer compares the iss of an authorization response with the provider's.
// That of a multi-tenant provider is held against the ID token later.
func isIssuer(expected, iss string) bool {
	if strings.Contains(expected, "{tenantid}") {
		return true
	}
	return token.Issuers{Expected: []string{expected}}.Accepts(iss, nil)
}

func (x *Exchange) loginIdentity(ctx context.Context, cb *callback, tr *TokenResponse) (*Identity, error) {
	p := x.Policy
	id := &Identity{
		Client: x.Client, AccessToken: tr.AccessToken, IDToken: tr.IDToken, RefreshToken: tr.RefreshToken, TokenType: tr.TokenType,
		Scope: tr.Scope, Expiry: tr.Expiry, TokenResponse: tr.Raw, replay: tr.Replay,
	}
	var err error
	if tr.IDToken != "" {
		want := IDTokenExpectation{Client: x.Client, AccessToken: tr.AccessToken, Code: token.Opaque(cb.code), Method: MethodAuthorizationCode}
		if p.Code.VerifyNonce {
			want.Nonce = x.login.Nonce
		}
		if id.ID, err = p.Provider.VerifyIDToken(ctx, tr.IDToken, want); err != nil {
			return nil, err
		}
		id.IDToken = id.ID.Raw // what an encrypted one holds
		if iss, _ := id.ID.Claims["iss"].(string); cb.issuer != "" && !claims.SameIssuer(iss, cb.issuer) {
			return nil, &Error{Kind: Unauthorized, Description: "authorization response and ID token are of different issuers", Reason: "callback_issuer", Final: true}
		}
	} else if p.Code.OpenID {
		return nil, &Error{Kind: Unauthorized, Description: "the provider's answer holds no ID token, though scope openid was asked for", Reason: "no_id_token"}
	}
	if token.LooksJWS(tr.AccessToken.Reveal()) {
		if id.Access, err = p.Provider.VerifyAccessToken(ctx, x.Client, tr.AccessToken, MethodAuthorizationCode); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// restartLogin begins the login of a stale callback again, for the page that
// its state seals. Its code is never exchanged.
func (x *Exchange) restartLogin(ctx context.Context, cb *callback) error {
	if err := x.Request.Need(ctx, NeedExternal); err != nil {
		return err
	}
	// The state proves who sealed the address, not for whom: only a page of this origin is returned to.
	origin, _ := x.Request.External.origin()
	if !sameOrigin(cb.login.ReturnTo, origin) {
		return &Error{Kind: Unauthorized, Description: "the authorization response belongs to no login of this browser", Reason: "callback_stale", Final: true}
	}
	if cb.errorCode != "" {
		return &Error{Kind: Unauthorized, Description: "the provider refused a login that has ended", Reason: "callback_stale", Final: true}
	}
	return x.startLogin(ctx, cb.login.ReturnTo, cb.login.Attempt)
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
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
