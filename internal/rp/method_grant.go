package rp

import (
	"context"
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"

	"kong-openid-connect/internal/token"
)

// maxPair bounds a user name and password, or a client id and secret.
const maxPair = 8 << 10

// maxAssertion bounds a JWT-bearer assertion.
const maxAssertion = 64 << 10

// refreshTokenMethod authenticates by a refresh token of the provider
// (behaviour.md 6.6).
type refreshTokenMethod struct{}

func (refreshTokenMethod) name() Method { return MethodRefreshToken }

func (refreshTokenMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	p := &x.Policy.RefreshToken
	if p.Name == "" {
		return nil, nil
	}
	if p.Places.Header {
		if name, v := fold(x.Request.Header, Canonical(p.Name)); v != "" {
			if t, ok := scheme(v, "bearer"); ok {
				v = t
			}
			return &Credential{Method: MethodRefreshToken, Place: PlaceHeader, Name: name, Token: token.Opaque(v)}, nil
		}
	}
	v, place, err := x.Request.arg(ctx, p.Places, p.Name)
	if v == "" || err != nil {
		return nil, err
	}
	return &Credential{Method: MethodRefreshToken, Place: place, Name: p.Name, Token: token.Opaque(v)}, nil
}

func (refreshTokenMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	id, err := x.grantIdentity(ctx, Grant{Method: MethodRefreshToken, Client: x.Client, RefreshToken: c.Token, Forward: x.forwardToken(ctx)})
	if err == nil && id.RefreshToken == "" {
		id.RefreshToken = c.Token // it was not replaced
	}
	return id, err
}

// passwordMethod authenticates by a user's name and password (behaviour.md
// 6.7, RFC 6749 4.3).
type passwordMethod struct{}

func (passwordMethod) name() Method { return MethodPassword }

func (passwordMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	return x.findPair(ctx, MethodPassword, x.Policy.Basic.Password, "username", "password")
}

func (passwordMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	id, err := x.grantIdentity(ctx, Grant{Method: MethodPassword, Client: x.Client, User: c.User, Secret: c.Secret, Forward: x.forwardToken(ctx)})
	if err == nil || !refused(err) || c.Place != PlaceHeader || !x.Policy.Methods.Has(MethodClientCredentials) || !x.Policy.Basic.ClientCredentials.Header {
		return id, err
	}
	// The pair may be a client's: both methods share Basic. Not cached, as the next request asks for a password grant first (U21).
	again, cerr := x.grantIdentity(ctx, Grant{Method: MethodClientCredentials, User: c.User, Secret: c.Secret, Forward: x.forwardToken(ctx), Uncached: true})
	if cerr != nil {
		if !refused(cerr) {
			return nil, cerr
		}
		return nil, err
	}
	again.Method, again.Origin = MethodClientCredentials, MethodClientCredentials
	return again, nil
}

// clientCredentialsMethod authenticates by the caller's own client id and
// secret, or an assertion (behaviour.md 6.8, RFC 6749 4.4, RFC 7523).
type clientCredentialsMethod struct{}

func (clientCredentialsMethod) name() Method { return MethodClientCredentials }

const (
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	assertionJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

func (clientCredentialsMethod) find(ctx context.Context, x *Exchange) (*Credential, error) {
	places := x.Policy.Basic.ClientCredentials
	c, err := x.findPair(ctx, MethodClientCredentials, places, "client_id", "client_secret")
	if c != nil || err != nil {
		return c, err
	}
	return x.findAssertion(ctx, places)
}

// findAssertion looks for a JWT-bearer assertion that stands in for id and secret (U25).
func (x *Exchange) findAssertion(ctx context.Context, places Places) (*Credential, error) {
	for _, a := range []struct{ kind, value, name string }{
		{"grant_type", grantJWTBearer, "assertion"},
		{"client_assertion_type", assertionJWTBearer, "client_assertion"},
	} {
		for _, one := range []Places{{Query: places.Query}, {Body: places.Body}} {
			kind, _, err := x.Request.arg(ctx, one, a.kind)
			if err != nil {
				return nil, err
			}
			if kind != a.value {
				continue
			}
			v, place, err := x.Request.arg(ctx, one, a.name)
			if err != nil {
				return nil, err
			}
			if v != "" && len(v) <= maxAssertion {
				id, _, err := x.Request.arg(ctx, one, "client_id")
				if err != nil {
					return nil, err
				}
				return &Credential{
					Method: MethodClientCredentials, Place: place, Name: a.name, Token: token.Opaque(v), User: id, assertsGrant: a.name == "assertion",
					others: []string{a.kind},
				}, nil
			}
		}
	}
	return nil, nil
}

func (clientCredentialsMethod) authenticate(ctx context.Context, x *Exchange, c *Credential) (*Identity, error) {
	return x.grantIdentity(ctx, Grant{
		Method: MethodClientCredentials, User: c.User, Secret: c.Secret, Assertion: c.Token, AssertsGrant: c.assertsGrant, Forward: x.forwardToken(ctx),
	})
}

// findPair looks for two values that belong together: in Basic, query or body.
func (x *Exchange) findPair(ctx context.Context, m Method, places Places, user, secret string) (*Credential, error) {
	if places.Header {
		if u, s, ok := basic(x.Request.Header.Get("authorization")); ok {
			return &Credential{Method: m, Place: PlaceHeader, Name: "authorization", User: u, Secret: token.Opaque(s)}, nil
		}
	}
	for _, one := range []Places{{Query: places.Query}, {Body: places.Body}} {
		u, place, err := x.Request.arg(ctx, one, user)
		if err != nil {
			return nil, err
		}
		s, _, err := x.Request.arg(ctx, one, secret)
		if err != nil {
			return nil, err
		}
		if u != "" && s != "" && len(u)+len(s) <= maxPair {
			return &Credential{Method: m, Place: place, Name: user, User: u, Secret: token.Opaque(s), others: []string{secret}}, nil
		}
	}
	return nil, nil
}

// basic splits Basic credentials (RFC 7617). Text that is not base64 is taken
// as it is; without a user or a colon there is no credential (U106).
func basic(v string) (user, secret string, ok bool) {
	v, ok = scheme(v, "basic")
	if !ok || len(v) > 2*maxPair {
		return "", "", false
	}
	text := v
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(v); err == nil {
			text = string(b)
			break
		}
	}
	user, secret, ok = strings.Cut(text, ":")
	if !ok || user == "" || !utf8.ValidString(text) || len(text) > maxPair {
		return "", "", false
	}
	return user, secret, true
}

// grantIdentity asks for tokens and verifies them. A kept token that no longer
// verifies, as after a key rotation, is asked for anew, once (behaviour.md 7.3).
func (x *Exchange) grantIdentity(ctx context.Context, g Grant) (*Identity, error) {
	p := x.Policy
	tr, hit, err := p.Provider.Grant(ctx, g)
	if err != nil {
		return nil, err
	}
	id, err := x.tokensIdentity(ctx, g, tr, hit)
	if err == nil || !hit || !refused(err) {
		return id, err
	}
	p.Provider.ForgetGrant(ctx, g)
	if tr, hit, err = p.Provider.Grant(ctx, g); err != nil {
		return nil, err
	}
	return x.tokensIdentity(ctx, g, tr, hit)
}

func (x *Exchange) tokensIdentity(ctx context.Context, g Grant, tr *TokenResponse, hit bool) (*Identity, error) {
	p := x.Policy
	id := &Identity{
		Client: g.Client, AccessToken: tr.AccessToken, IDToken: tr.IDToken, RefreshToken: tr.RefreshToken, TokenType: tr.TokenType,
		Scope: tr.Scope, Expiry: tr.Expiry, TokenResponse: tr.Raw, replay: tr.Replay,
	}
	if g.Method == MethodClientCredentials {
		// It would be about the caller's own client, which is nobody's login.
		id.IDToken = ""
	}
	memo := tr.Verified
	if hit && memo != nil {
		if v := memo.by.Load(); v != nil && v.policy == p && v.client == g.Client && v.generation == p.Provider.Generation() && alive(v.access, p.Now()) {
			id.Access, id.ID = v.access, v.id
			if v.id != nil {
				id.IDToken = v.id.Raw
			}
			return id, nil
		}
	}
	var generation uint64
	if memo != nil {
		generation = p.Provider.Generation()
	}
	var err error
	if token.LooksJWS(tr.AccessToken.Reveal()) {
		if id.Access, err = p.Provider.VerifyAccessToken(ctx, g.Client, tr.AccessToken, g.Method); err != nil {
			return nil, err
		}
	}
	if id.IDToken != "" {
		// A kept one is verified too: whoever kept it may check less than this policy.
		id.ID, err = p.Provider.VerifyIDToken(ctx, tr.IDToken, IDTokenExpectation{Client: g.Client, AccessToken: tr.AccessToken, Method: g.Method, Kept: hit})
		if err == nil {
			id.IDToken = id.ID.Raw // what an encrypted one holds
		}
	}
	if err != nil {
		return nil, err
	}
	if memo != nil {
		memo.by.Store(&verifiedBy{policy: p, generation: generation, client: g.Client, access: id.Access, id: id.ID})
	}
	return id, nil
}

// alive reports whether a JWT access token has not reached its end; what is
// none has no end of its own.
func alive(t *token.Token, now time.Time) bool {
	return t == nil || t.Expiry.IsZero() || now.Before(t.Expiry)
}
