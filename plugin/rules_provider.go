package plugin

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/param"
)

// checkIssuer looks at the issuer and at what a provider without discovery
// must be given.
func checkIssuer(c *Config, r *report) {
	if c.Issuer == "" || param.IsReference(c.Issuer) {
		return
	}
	if strings.ContainsAny(c.Issuer, " \t\r\n\\") {
		r.err("issuer", "write it as the provider does", "contains a blank, a backslash or a line break")
		return
	}
	u, err := url.Parse(c.Issuer)
	isURL := err == nil && u.Hostname() != "" && (u.Scheme == "http" || u.Scheme == "https")
	if !isURL && !c.UsingPseudoIssuer {
		r.warn("issuer", "write a URL, or set using_pseudo_issuer and the endpoints",
			"is no http or https URL, so nothing can be discovered")
	}
	if !c.UsingPseudoIssuer {
		return
	}
	if c.JWKSEndpoint == "" && len(c.ExtraJWKSURIs) == 0 && len(c.IssuerKeys) == 0 && c.uses(MethodBearer, MethodAuthorizationCode) {
		r.warn("jwks_endpoint", "set it", "is missing, and with using_pseudo_issuer no keys are discovered")
	}
	if c.allMethods() {
		return
	}
	for _, need := range []struct {
		path    string
		value   param.URL
		methods []Method
	}{
		{"authorization_endpoint", c.AuthorizationEndpoint, []Method{MethodAuthorizationCode}},
		{"token_endpoint", c.TokenEndpoint, []Method{MethodAuthorizationCode, MethodPassword, MethodClientCredentials, MethodRefreshToken}},
		{"introspection_endpoint", c.IntrospectionEndpoint, []Method{MethodIntrospection}},
		{"userinfo_endpoint", c.UserinfoEndpoint, []Method{MethodUserinfo}},
	} {
		if need.value == "" && c.uses(need.methods...) {
			r.warn(need.path, "set it", "is missing, and with using_pseudo_issuer it is not discovered")
		}
	}
}

// checkPlainHTTP warns of addresses at which tokens and secrets would cross a
// network in clear.
func checkPlainHTTP(c *Config, r *report) {
	warn := func(path, address string) {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" || loopback(u.Hostname()) {
			return
		}
		r.warn(path, "write https", "is plain http: tokens and secrets can be read on the way")
	}
	warn("issuer", c.Issuer)
	for _, e := range []struct {
		path    string
		address param.URL
	}{
		{"authorization_endpoint", c.AuthorizationEndpoint},
		{"token_endpoint", c.TokenEndpoint},
		{"introspection_endpoint", c.IntrospectionEndpoint},
		{"userinfo_endpoint", c.UserinfoEndpoint},
		{"revocation_endpoint", c.RevocationEndpoint},
		{"end_session_endpoint", c.EndSessionEndpoint},
		{"pushed_authorization_request_endpoint", c.PushedAuthorizationRequestEndpoint},
		{"token_exchange_endpoint", c.TokenExchangeEndpoint},
		{"jwks_endpoint", c.JWKSEndpoint},
		{"mtls_token_endpoint", c.MTLSTokenEndpoint},
		{"mtls_introspection_endpoint", c.MTLSIntrospectionEndpoint},
		{"mtls_revocation_endpoint", c.MTLSRevocationEndpoint},
	} {
		warn(e.path, string(e.address))
	}
	for i, u := range c.ExtraJWKSURIs {
		warn(fmt.Sprintf("extra_jwks_uris[%d]", i+1), string(u))
	}
	for i, k := range c.IssuerKeys {
		for j, u := range k.JWKSURIs {
			warn(fmt.Sprintf("issuer_keys[%d].jwks_uris[%d]", i+1, j+1), string(u))
		}
	}
}

// checkIssuerKeys looks for keys that verify no token.
func checkIssuerKeys(c *Config, r *report) {
	for i, k := range c.IssuerKeys {
		if !slices.ContainsFunc(c.IssuersAllowed, func(allowed string) bool { return claims.SameIssuer(allowed, k.Issuer) }) {
			r.warn(fmt.Sprintf("issuer_keys[%d].issuer", i+1), "add it there, beside the provider's own", "is not among issuers_allowed, so none of its tokens is accepted")
		}
	}
}

// loopback reports whether a host name is this machine's own.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// checkClients looks at the lists that pair with client_id by index.
func checkClients(c *Config, r *report) {
	n := len(c.ClientID)
	for _, l := range []struct {
		path   string
		length int
	}{
		{"client_secret", len(c.ClientSecret)}, {"client_auth", len(c.ClientAuth)},
		{"client_alg", len(c.ClientAlg)}, {"client_jwk", len(c.ClientJWK)},
	} {
		if n > 0 && l.length > n {
			r.warn(l.path, "give it at most as many elements as client_id", "has %d elements and client_id has %d; the rest is left out", l.length, n)
		}
	}
	for i, auth := range c.ClientAuth {
		path := fmt.Sprintf("client_auth[%d]", i+1)
		switch auth {
		case ClientAuthTLS, ClientAuthSelfSignedTLS:
			if c.TLSClientAuthCertID == "" {
				r.err("tls_client_auth_cert_id", "give the id of a certificate of Kong", "is missing, and %s needs it", path)
			}
		case ClientAuthSecretBasic, ClientAuthSecretPost, ClientAuthSecretJWT:
			if i < max(n, 1) && len(c.ClientSecret) == 0 {
				r.warn("client_secret", "give the secret of the client", "is missing, and %s needs it", path)
			}
		}
		if i >= len(c.ClientAlg) {
			continue
		}
		symmetric := strings.HasPrefix(string(c.ClientAlg[i]), "HS")
		alg := fmt.Sprintf("client_alg[%d]", i+1)
		if auth == ClientAuthPrivateKeyJWT && symmetric {
			r.err(alg, "write an algorithm such as RS256 or ES256", "is symmetric, and %s signs with a private key", path)
		}
		if auth == ClientAuthSecretJWT && !symmetric {
			r.err(alg, "write HS256, HS384 or HS512", "is not symmetric, and %s signs with the client's secret", path)
		}
	}
	for i, k := range c.ClientJWK {
		path := fmt.Sprintf("client_jwk[%d]", i+1)
		if k.KTY == "" {
			r.err(path+".kty", "write RSA, EC, OKP or oct", "is missing, so the key cannot be read")
		} else if k.D.IsZero() && k.K.IsZero() {
			r.err(path, "give d (or k of a symmetric key)", "is not a private key, so nothing can be signed with it")
		}
	}
	for _, e := range []struct {
		path   string
		method ClientAuth
	}{
		{"token_endpoint_auth_method", c.TokenEndpointAuthMethod},
		{"introspection_endpoint_auth_method", c.IntrospectionEndpointAuthMethod},
		{"revocation_endpoint_auth_method", c.RevocationEndpointAuthMethod},
		{"pushed_authorization_request_endpoint_auth_method", c.PushedAuthorizationRequestEndpointAuthMethod},
	} {
		if (e.method == ClientAuthTLS || e.method == ClientAuthSelfSignedTLS) && c.TLSClientAuthCertID == "" {
			r.err("tls_client_auth_cert_id", "give the id of a certificate of Kong", "is missing, and %s needs it", e.path)
		}
	}
}

// checkMissingClient warns where a method cannot work without a client. It is
// no error: bearer tokens and client_credentials need none, and the default
// switches every method on.
func checkMissingClient(c *Config, r *report) {
	if len(c.ClientID) > 0 {
		return
	}
	var need []string
	for _, m := range c.AuthMethods {
		switch m {
		case MethodAuthorizationCode, MethodPassword, MethodRefreshToken, MethodIntrospection:
			need = append(need, string(m))
		}
	}
	if len(need) > 0 {
		r.warn("client_id", "give one, or take these methods out of auth_methods",
			"is missing, and requests that use %s will fail", strings.Join(need, ", "))
	}
}
