package provider

import (
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofLifetime is how old a DPoP proof may be.
const proofLifetime = 60 * time.Second

// proof checks the DPoP proof of a request (RFC 9449 section 4.3) and returns
// the thumbprint of its key; "" where the request has none. access is the token
// that it must be about, "" at the token endpoint.
func (p *Provider) proof(w http.ResponseWriter, x *exchange, client, access string) (string, *oauthError) {
	bad := func(description string) (string, *oauthError) {
		e := refuse("invalid_dpop_proof", description)
		return "", &e
	}
	proofs := x.r.Header.Values("DPoP")
	if len(proofs) == 0 {
		return "", nil
	}
	if len(proofs) > 1 {
		return bad("more than one proof")
	}
	jws, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256})
	if err != nil {
		return bad("the proof cannot be read")
	}
	header := jws.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return bad("typ or jwk is wrong")
	}
	raw, err := jws.Verify(header.JSONWebKey)
	if err != nil {
		return bad("the signature is wrong")
	}
	var c struct {
		JTI, HTM, HTU, ATH, Nonce string
		IAT                       int64
	}
	if json.Unmarshal(raw, &c) != nil {
		return bad("the claims cannot be read")
	}
	now := p.now()
	ath := sha256.Sum256([]byte(access))
	switch age := now.Sub(time.Unix(c.IAT, 0)); {
	case c.HTM != x.r.Method || c.HTU != p.addressOf(x.r.URL):
		return bad("the proof is of another request")
	case age > proofLifetime || age < -proofLifetime:
		return bad("the proof is too old")
	case access != "" && c.ATH != b64(ath[:]):
		return bad("ath is not that of the token")
	}
	if f, ok := p.faults.one(x.endpoint, client, "dpop-nonce"); ok && c.Nonce != f.valueOr("sandbox-nonce") {
		w.Header().Set("DPoP-Nonce", f.valueOr("sandbox-nonce"))
		e := refuse("use_dpop_nonce", "a nonce is required")
		return "", &e
	}
	sum, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil || c.JTI == "" {
		return bad("the key or the jti is wrong")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := "dpop " + b64(sum) + " " + c.JTI
	if _, used := p.state.jtis[id]; used {
		return bad("the proof was used before")
	}
	p.state.jtis[id] = now.Add(2 * proofLifetime)
	return b64(sum), nil
}

// addressOf is a request's URL as the issuer's clients write it.
func (p *Provider) addressOf(u *url.URL) string { return p.Issuer() + u.Path }

// presented reads the access token of a request to a resource: by RFC 6750, or
// with the DPoP scheme (RFC 9449 section 7.1).
func presented(x *exchange) (value string, dpop bool) {
	scheme, value, _ := strings.Cut(x.r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "DPoP") {
		return strings.TrimSpace(value), true
	}
	return bearer(x), false
}

// possesses answers a request whose sender does not show the key of its token.
func (p *Provider) possesses(w http.ResponseWriter, x *exchange, t *accessToken, value string, dpop bool) bool {
	deny := func(code string) bool {
		w.Header().Set("WWW-Authenticate", `DPoP error="`+code+`", algs="ES256 EdDSA"`)
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
	if t.jkt == "" && !dpop {
		return true
	}
	jkt, fail := p.proof(w, x, t.grant.client.ID, value)
	switch {
	case fail != nil:
		return deny(fail.code)
	case !dpop || t.jkt == "" || jkt != t.jkt:
		return deny("invalid_token")
	}
	return true
}
