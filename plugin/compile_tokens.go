package plugin

import (
	"context"
	"crypto/sha256"
	"net/url"

	"kong-openid-connect/internal/rp"
	"kong-openid-connect/internal/token"
)

func (p *relyingProvider) verifier(client int, m rp.Method) *token.Verifier {
	v := &token.Verifier{Keys: p.keys, SkipSignature: p.skipAll || p.skip.Has(m)}
	if cl := p.client(client); p.hmac && cl != nil {
		v.HMACSecret = cl.Secret()
	}
	if client >= 0 && client < len(p.decrypters) {
		v.Decrypter = p.decrypters[client]
	}
	return v
}

// expected returns whose tokens are accepted: issuers_allowed, else the
// provider's own issuer (behaviour.md 8.3).
func (p *relyingProvider) expected(ctx context.Context) (token.Issuers, error) {
	if len(p.allowed) > 0 {
		return token.Issuers{Expected: p.allowed, Enforced: true}, nil
	}
	if !p.verifyClaims {
		return token.Issuers{}, nil
	}
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return token.Issuers{}, providerError(err)
	}
	return token.Issuers{Expected: []string{m.Issuer}}, nil
}

// scopeOf separates cached verifications that differ in more than the
// configuration: the client whose secret may be a key, and skipped signatures.
func (p *relyingProvider) scopeOf(client int, v *token.Verifier, use byte) [sha256.Size]byte {
	s := p.scope
	s[0] ^= use
	if v != nil && v.SkipSignature {
		s[1] ^= 1
	}
	s[2] ^= byte(client)
	s[3] ^= byte(client >> 8)
	return s
}

const (
	useAccess byte = 1
	useDecode byte = 2
	useBearer byte = 3 // the domains are checked too
)

// Generation implements rp.Provider.
func (p *relyingProvider) Generation() uint64 { return p.keys.Generation() }

// VerifyAccessToken implements rp.Provider.
func (p *relyingProvider) VerifyAccessToken(ctx context.Context, client int, raw token.Opaque, m rp.Method) (*token.Token, error) {
	v := p.verifier(client, m)
	use := useAccess
	if m == rp.MethodBearer {
		use = useBearer
	}
	key := token.NewCacheKey(raw.Reveal(), p.scopeOf(client, v, use), p.keys.Generation())
	if t, ok := p.cache.Get(key); ok {
		return t, nil
	}
	t, err := v.Verify(ctx, raw.Reveal(), token.UseAccess)
	if err != nil {
		return nil, tokenError(err)
	}
	issuers, err := p.expected(ctx)
	if err != nil {
		return nil, err
	}
	rules := token.AccessRules{Issuers: issuers, Leeway: p.leeway, VerifyClaims: p.verifyClaims}
	if m == rp.MethodBearer {
		rules.Domains = p.domains
	}
	if err := rules.Check(token.UseAccess, t.Claims, p.now()); err != nil {
		return nil, tokenError(err)
	}
	// Under the generation from before the verification: what a withdrawn key
	// verified is never found again.
	p.cache.Put(key, t)
	return t, nil
}

// VerifyIDToken implements rp.Provider.
func (p *relyingProvider) VerifyIDToken(ctx context.Context, raw token.Opaque, want rp.IDTokenExpectation) (*token.Token, error) {
	issuers, err := p.expected(ctx)
	if err != nil {
		return nil, err
	}
	rules := &token.IDRules{
		Issuers: issuers, Leeway: p.leeway, VerifyClaims: p.verifyClaims, Domains: p.domains, AccessToken: want.AccessToken, Code: want.Code,
		VerifyNonce: want.Nonce != "", Nonce: token.Opaque(want.Nonce), SkipExpiry: want.Method == rp.MethodSession || want.Kept, RequireCodeHash: want.FrontChannel,
	}
	if cl := p.client(want.Client); cl != nil {
		rules.ClientID = cl.ID()
	}
	if want.Method == rp.MethodAuthorizationCode {
		rules.MaxAge = p.maxAge
	}
	t, err := p.provider.VerifyIDToken(ctx, p.verifier(want.Client, want.Method), raw, rules)
	if err != nil {
		return nil, tokenError(err)
	}
	return t, nil
}

// Decode implements rp.Provider.
func (p *relyingProvider) Decode(raw token.Opaque) (*token.Token, error) {
	key := token.NewCacheKey(raw.Reveal(), p.scopeOf(0, nil, useDecode), 0)
	if t, ok := p.cache.Get(key); ok {
		return t, nil
	}
	u, err := token.Parse(raw.Reveal(), 0)
	if err != nil {
		return nil, &rp.Error{Description: "a stored token cannot be read", Reason: "stored_token", Err: err}
	}
	t := &token.Token{Raw: u.Raw, Header: u.Header, Claims: u.Claims}
	p.cache.Put(key, t)
	return t, nil
}

// AuthorizationResponse implements rp.Provider.
func (p *relyingProvider) AuthorizationResponse(ctx context.Context, client int, raw token.Opaque) (url.Values, error) {
	m, err := p.provider.Metadata(ctx)
	if err != nil {
		return nil, providerError(err)
	}
	rules := &token.ResponseRules{Issuers: token.Issuers{Expected: []string{m.Issuer}}, Leeway: p.leeway}
	if len(p.allowed) > 0 {
		rules.Issuers.Expected = p.allowed
	}
	if cl := p.client(client); cl != nil {
		rules.ClientID = cl.ID()
	}
	v, err := token.VerifyJARM(ctx, p.verifier(client, rp.MethodAuthorizationCode), raw.Reveal(), rules, p.now())
	if err != nil {
		return nil, tokenError(err)
	}
	return v, nil
}
