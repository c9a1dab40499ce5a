package provider

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// discovery serves the metadata (OpenID Connect Discovery section 4.2, RFC 8414).
func (p *Provider) discovery(w http.ResponseWriter, _ *exchange) {
	issuer := p.Issuer()
	algs := []string{RS256, PS256, ES256, EdDSA}
	auth := []string{AuthBasic, AuthPost, AuthSecretJWT, AuthPrivateKeyJWT, AuthNone}
	doc := map[string]any{
		"issuer":                                issuer,
		"authorization_endpoint":                issuer + "/authorize",
		"token_endpoint":                        issuer + "/token",
		"introspection_endpoint":                issuer + "/introspect",
		"revocation_endpoint":                   issuer + "/revoke",
		"userinfo_endpoint":                     issuer + "/userinfo",
		"end_session_endpoint":                  issuer + "/logout",
		"jwks_uri":                              issuer + "/jwks",
		"scopes_supported":                      []string{"openid", "profile", "email", "groups", "roles", "offline_access"},
		"response_types_supported":              []string{"code", "code id_token", "code token", "code id_token token"},
		"response_modes_supported":              []string{"query", "fragment", "form_post", "query.jwt", "fragment.jwt", "form_post.jwt", "jwt"},
		"pushed_authorization_request_endpoint": issuer + "/par",
		"dpop_signing_alg_values_supported":     []string{ES256, EdDSA, RS256, PS256},
		"grant_types_supported":                 []string{GrantCode, GrantPassword, GrantCredentials, GrantRefresh, GrantExchange},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": append([]string{HS256}, algs...),
		"userinfo_signing_alg_values_supported": algs,
		"token_endpoint_auth_methods_supported": auth,
		"token_endpoint_auth_signing_alg_values_supported": append([]string{HS256, "HS384", "HS512", "RS384", "RS512",
			"PS384", "PS512", "ES384", "ES512"}, algs...),
		"introspection_endpoint_auth_methods_supported":  auth,
		"revocation_endpoint_auth_methods_supported":     auth,
		"code_challenge_methods_supported":               []string{"S256", "plain"},
		"authorization_response_iss_parameter_supported": true,
		"backchannel_logout_supported":                   true,
		"backchannel_logout_session_supported":           true,
		"frontchannel_logout_supported":                  true,
		"frontchannel_logout_session_supported":          true,
		"claims_supported": []string{"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "sid", "name",
			"preferred_username", "email", "email_verified", "groups", "roles"},
	}
	overlay(doc, p.metadata)
	if f, ok := p.faults.one(EndpointDiscovery, "", "discovery-other-issuer"); ok {
		doc["issuer"] = f.valueOr(otherIssuer)
	}
	if p.faults.has(EndpointDiscovery, "", "discovery-no-issuer") {
		delete(doc, "issuer")
	}
	if p.faults.has(EndpointDiscovery, "", "discovery-silent-about-pkce") {
		delete(doc, "code_challenge_methods_supported")
	}
	if f, ok := p.faults.one(EndpointDiscovery, "", "discovery-without"); ok {
		delete(doc, f.Value)
	}
	if p.faults.has(EndpointDiscovery, "", "discovery-endpoint-elsewhere") {
		for name, value := range doc {
			if s, ok := value.(string); ok && (strings.HasSuffix(name, "_endpoint") || name == "jwks_uri") {
				doc[name] = p.otherHost(strings.TrimPrefix(s, issuer))
			}
		}
	}
	if p.faults.has(EndpointDiscovery, "", "discovery-array") {
		writeJSON(w, http.StatusOK, []any{doc})
		return
	}
	writeJSON(w, http.StatusOK, doc)
}

// jwks serves the public keys (RFC 7517 section 5).
func (p *Provider) jwks(w http.ResponseWriter, _ *exchange) {
	keys := p.keys.published()
	if p.faults.has(EndpointJWKS, "", "jwks-single") {
		keys = []*key{p.keys.get(RS256)}
	}
	list := []any{}
	for _, k := range keys {
		m, err := members(k.jwk())
		if err != nil {
			http.Error(w, "provider: encoding the keys failed", http.StatusInternalServerError)
			return
		}
		list = append(list, m)
	}
	list, err := p.distortKeys(list, keys)
	if err != nil {
		http.Error(w, "provider: making a fault's key failed", http.StatusInternalServerError)
		return
	}
	switch {
	case p.faults.has(EndpointJWKS, "", "jwks-empty"):
		writeJSON(w, http.StatusOK, map[string]any{"keys": []any{}})
	case p.faults.has(EndpointJWKS, "", "jwks-no-keys"):
		writeJSON(w, http.StatusOK, map[string]any{})
	case p.faults.has(EndpointJWKS, "", "jwks-array"):
		writeJSON(w, http.StatusOK, list)
	default:
		writeJSON(w, http.StatusOK, map[string]any{"keys": list})
	}
}

func (p *Provider) distortKeys(list []any, keys []*key) ([]any, error) {
	set := func(name string, value any) {
		for _, k := range list {
			overlay(k.(map[string]any), map[string]any{name: value})
		}
	}
	if p.faults.has(EndpointJWKS, "", "jwks-no-kid") {
		set("kid", nil)
	}
	if p.faults.has(EndpointJWKS, "", "jwks-enc") {
		set("use", "enc")
	}
	if p.faults.has(EndpointJWKS, "", "jwks-wrong-alg") {
		for i, k := range keys {
			wrong := map[string]string{RS256: "RS512", PS256: "RSA-OAEP-256", ES256: "ES512", EdDSA: "ES256"}
			list[i].(map[string]any)["alg"] = wrong[k.alg]
		}
	}
	if p.faults.has(EndpointJWKS, "", "jwks-duplicate-kid") {
		var doubled []any
		for i, k := range keys {
			decoy, err := decoyFor(k)
			if err != nil {
				return nil, err
			}
			doubled = append(doubled, decoy, list[i])
		}
		list = doubled
	}
	if f, ok := p.faults.one(EndpointJWKS, "", "jwks-many"); ok {
		var foreign []any
		for range sizeOr(f.Size, 1000) {
			k, err := newKey(EdDSA)
			if err != nil {
				return nil, err
			}
			foreign = append(foreign, k.jwk())
		}
		list = append(foreign, list...)
	}
	if p.faults.has(EndpointJWKS, "", "jwks-unknown-kty") {
		list = append([]any{
			map[string]any{"kty": "LATTICE", "kid": "future", "x": "AAAA"},
			map[string]any{"kty": "RSA", "kid": "broken-rsa", "n": "!", "e": "AQAB"},
			map[string]any{"kty": "EC", "kid": "off-curve", "crv": "P-256", "x": "AQ", "y": "AQ"},
			map[string]any{"kid": "no-type"},
			"not a key", nil, 7,
		}, list...)
	}
	return list, nil
}

// decoyFor makes a key of another type under the same kid, without alg, so that
// only the type tells them apart.
func decoyFor(k *key) (any, error) {
	if k.alg == ES256 {
		pub, _, err := ed25519.GenerateKey(rand.Reader)
		return jose.JSONWebKey{Key: pub, KeyID: k.kid, Use: "sig"}, err
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return jose.JSONWebKey{Key: priv.Public(), KeyID: k.kid, Use: "sig"}, nil
}

func members(k jose.JSONWebKey) (map[string]any, error) {
	b, err := k.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, json.Unmarshal(b, &m)
}
