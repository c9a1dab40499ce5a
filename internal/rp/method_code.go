package rp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// authorizationCodeMethod sends the client to the provider and takes its
// callback (behaviour.md 6.9, RFC 6749 4.1, RFC 7636, RFC 9207).
type authorizationCodeMethod struct{}

func (authorizationCodeMethod) name() Method { return MethodAuthorizationCode }

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
	if a, ok := errors.AsType[*answer](err); ok {
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
	if cb.repeated {
		return nil, notAccepted("callback_repeated", "an argument of the authorization response occurs twice")
	}
	switch cb.outcome {
	case LoginForeign:
		return nil, notAccepted("state_unknown", "the authorization response has a state that was not made here")
	case LoginStale:
		return nil, x.restartLogin(ctx, cb)
	}
	if err := x.Request.Need(ctx, NeedExternal); err != nil {
		return nil, unread(err)
	}
	if !p.Code.begunHere(cb.login.ReturnTo, x.Request.External.Host) {
		return nil, notAccepted("callback_planted", "the pending login was begun on a host from which this browser cannot have its cookie")
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
	if err := cb.judge(&p.Code, md); err != nil {
		return nil, err
	}
	front, err := x.frontChannelToken(ctx, cb)
	if err != nil {
		return nil, err
	}
	tr, err := p.Provider.RedeemCode(ctx, l.Client, token.Opaque(cb.code), l.RedirectURI, l.Verifier)
	if err != nil {
		return nil, err
	}
	id, err := x.loginIdentity(ctx, cb, tr)
	if err == nil && front != nil && !sameLogin(front, id.ID) {
		return nil, notAccepted("callback_id_token", "the ID tokens beside the code and for it are of different issuers or subjects")
	}
	return id, err
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
		return unread(err)
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
