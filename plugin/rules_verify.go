package plugin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
)

// checkVerification warns of checks that are switched off.
func checkVerification(c *Config, r *report) {
	if !c.VerifySignature {
		r.warn("verify_signature", "leave it out", "is false: anyone can write a token that passes")
	}
	if len(c.IgnoreSignature) > 0 {
		r.warn("ignore_signature", "take it out", "is set: tokens of the grants it lists are not verified")
	}
	if !c.VerifyNonce && c.uses(MethodAuthorizationCode) {
		r.warn("verify_nonce", "leave it out", "is false: an ID token of another login is accepted")
	}
	if !c.IntrospectionCheckActive && (c.uses(MethodIntrospection) || c.IntrospectJWTTokens) {
		r.warn("introspection_check_active", "leave it out", "is false: revoked tokens are accepted")
	}
	if !c.SSLVerify {
		r.warn("ssl_verify", "leave it out and trust the certificate authority", "is false: anyone in between can pose as the provider")
	}
	if !c.TLSClientAuthSSLVerify {
		r.warn("tls_client_auth_ssl_verify", "leave it out and trust the certificate authority", "is false: anyone in between can pose as the provider")
	}
	if c.EnableHSSignatures && !slices.ContainsFunc(c.ClientSecret, func(s param.Secret) bool { return len(s.Reveal()) > 1 }) {
		r.warn("enable_hs_signatures", "give client_secret", "needs a client secret, and there is none")
	}
}

// checkPossession holds auth_methods to those that can prove possession
// (behaviour.md 1.2.5).
func checkPossession(c *Config, r *report) {
	if c.ProofOfPossessionMTLSFromHeader != nil && c.ProofOfPossessionMTLS == PossessionModeOff {
		r.warn("proof_of_possession_mtls_from_header", "set proof_of_possession_mtls", "has no effect while proof_of_possession_mtls is off")
	}
	if h := c.ProofOfPossessionMTLSFromHeader; h != nil {
		if h.CertificateHeaderName != "" && !rp.IsToken(h.CertificateHeaderName) {
			r.err("proof_of_possession_mtls_from_header.certificate_header_name", "write the name of a header", "has a character that a header's name may not have")
		}
		if !h.SecureSource {
			r.warn("proof_of_possession_mtls_from_header.secure_source", "leave it out", "is false: any client can claim any certificate")
		}
		if h.CertCacheTTL < 0 || h.CertCacheTTL > mostUnits {
			r.err("proof_of_possession_mtls_from_header.cert_cache_ttl", "write milliseconds", "is negative or larger than %.0f", mostUnits)
		}
		if h.HTTPTimeout <= 0 || h.HTTPTimeout > mostUnits {
			r.err("proof_of_possession_mtls_from_header.http_timeout", "write milliseconds", "is not positive, or larger than %.0f", mostUnits)
		}
	}
	path := "proof_of_possession_mtls"
	if c.ProofOfPossessionMTLS == PossessionModeOff {
		path = "proof_of_possession_dpop"
		if c.ProofOfPossessionDPoP == PossessionModeOff {
			return
		}
	}
	var cannot []string
	for _, m := range c.AuthMethods {
		if m != MethodBearer && m != MethodIntrospection && m != MethodSession {
			cannot = append(cannot, string(m))
		}
	}
	if !c.ProofOfPossessionAuthMethodsValidation {
		if len(cannot) > 0 {
			r.warn("proof_of_possession_auth_methods_validation", "take these methods out of auth_methods",
				"is false: %s are let through without a proof", strings.Join(cannot, ", "))
		}
		return
	}
	if len(cannot) > 0 {
		r.err("auth_methods", "keep bearer, introspection and session only", "has %s, which cannot prove possession as %s asks", strings.Join(cannot, ", "), path)
	}
	if c.uses(MethodSession) && !c.uses(MethodBearer, MethodIntrospection) {
		r.err("auth_methods", "add bearer or introspection", "has session alone, which cannot prove possession as %s asks", path)
	}
}

// checkTokenExchange holds the conditions to behaviour.md 1.2.6: needed for
// the target issuer itself, not allowed for another. Whether two texts name
// one issuer is only known for sure at run time, where an exchange that fits
// neither rule does not happen.
func checkTokenExchange(c *Config, r *report) {
	x := c.TokenExchange
	if x == nil {
		return
	}
	if !c.uses(MethodBearer) {
		r.warn("token_exchange", "add bearer to auth_methods", "has no effect: only bearer tokens are exchanged")
	}
	if x.Cache.TTL != nil && *x.Cache.TTL < 0 {
		r.err("token_exchange.cache.ttl", "write a number from 0 up", "is negative")
	}
	target := op.NormaliseIssuer(c.Issuer)
	seen := map[string]bool{}
	for i, s := range x.SubjectTokenIssuers {
		at := fmt.Sprintf("token_exchange.subject_token_issuers[%d]", i+1)
		issuer := op.NormaliseIssuer(s.Issuer)
		if seen[issuer] {
			r.warn(at+".issuer", "take it out", "stands there twice; the first one is used")
		}
		seen[issuer] = true
		if param.IsReference(c.Issuer) {
			continue
		}
		switch {
		case issuer == target && s.Conditions.IsZero():
			r.err(at+".conditions", "say when to exchange, or take the entry out", "is missing, and tokens of the issuer itself are exchanged only on conditions")
		case issuer != target && host(issuer) != host(target) && !s.Conditions.IsZero():
			r.err(at+".conditions", "take it out", "is given, and tokens of another issuer are always exchanged")
		}
		if issuer == target && (s.VerifySignature || s.JWKSURI != "") {
			r.warn(at, "leave verify_signature and jwks_uri out", "is the issuer itself, whose tokens are verified anyway")
		}
	}
}

func host(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
