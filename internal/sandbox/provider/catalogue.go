package provider

import (
	"maps"
	"slices"
)

// Groups of faults: what they act on.
const (
	groupWire          = "wire"  // any endpoint's answer
	groupToken         = "token" // any JWT that is made
	groupDiscovery     = EndpointDiscovery
	groupJWKS          = EndpointJWKS
	groupAuthorization = EndpointAuthorization
	groupTokenAnswer   = "token-answer"
	groupUserinfo      = EndpointUserinfo
	groupIntrospection = EndpointIntrospection
	groupDPoP          = "dpop" // any endpoint that takes proofs
)

type faultKind struct {
	group    string
	endpoint string // the only one that it acts on, or ""
	doc      string
}

// FaultNames lists every fault, sorted.
func FaultNames() []string { return slices.Sorted(maps.Keys(catalogue)) }

// catalogue is never written to.
var catalogue = func() map[string]faultKind {
	c := map[string]faultKind{}
	add := func(group, endpoint string, docs map[string]string) {
		for name, doc := range docs {
			c[name] = faultKind{group, endpoint, doc}
		}
	}
	add(groupWire, "", map[string]string{
		"status":             "answers status (500) and, with value, an OAuth error of that code",
		"body":               "answers status (200) with value as the JSON body",
		"slow":               "answers after delay (5s)",
		"hang":               "never answers; ends when the caller goes away",
		"drip":               "sends the true answer a byte every delay (1s)",
		"huge-body":          "answers a JSON object of size bytes (100 MB)",
		"huge-header":        "answers a header of size bytes (1 MB)",
		"redirect-elsewhere": "redirects with status (302) to value, or to this provider by another host name",
		"redirect-loop":      "redirects to the same URL for ever",
		"not-json":           "answers 200 with a text that is not JSON, as application/json",
		"html":               "answers 200 with an HTML page",
		"empty":              "answers 200 without a body",
		"truncated":          "announces a longer body than it sends, and closes",
		"gzip-bomb":          "answers a gzip body that unpacks to size bytes (100 MB)",
		"connection-reset":   "resets the connection instead of an answer",
	})
	add(groupDPoP, "", map[string]string{
		"dpop-nonce": "refuses DPoP proofs without the nonce value (sandbox-nonce), which the refusal tells",
	})
	add(groupToken, "", map[string]string{
		"wrong-iss":                 "iss is value, or another URL",
		"missing-iss":               "no iss",
		"missing-sub":               "no sub",
		"empty-sub":                 "sub is the empty string",
		"wrong-sub":                 "sub is value, or another user's",
		"missing-iat":               "no iat",
		"missing-exp":               "no exp",
		"missing-aud":               "no aud",
		"wrong-aud":                 "aud is value, or another client",
		"multiple-aud-no-azp":       "two audiences, no azp",
		"multiple-aud":              "two audiences, azp is the client",
		"bad-azp":                   "two audiences, azp is the other one",
		"expired":                   "iat, nbf and exp lie an hour back",
		"nbf-future":                "nbf is in an hour",
		"iat-future":                "iat is in an hour",
		"exp-string":                "exp is a string that is no number",
		"exp-numeric-string":        "exp is a string of digits",
		"exp-float":                 "exp has a fraction",
		"exp-huge":                  "exp is 1e300",
		"exp-negative":              "exp is -1",
		"exp-object":                "exp is an object",
		"bad-signature":             "the signature has one bit turned",
		"missing-signature":         "the signature is empty",
		"foreign-key":               "signed by an unpublished key under the published kid",
		"alg-none":                  "alg is none, no signature; value gives another spelling",
		"alg-missing":               "no alg",
		"alg-hs256-with-public-key": "HS256 with the PEM of the published RSA key",
		"alg-hs256-with-secret":     "HS256 with the client's secret",
		"alg-hs256-with-empty-key":  "HS256 with an empty key",
		"alg-mismatch":              "signed by the ES256 key, the header says RS256 and the ES256 kid",
		"alg-es256":                 "correctly signed with ES256",
		"alg-ps256":                 "correctly signed with PS256",
		"alg-eddsa":                 "correctly signed with EdDSA",
		"kid-absent":                "no kid",
		"unknown-kid":               "a kid that was never published; value, or a new one each time",
		"header-jwk":                "signed by a key that only the header carries",
		"header-jku":                "as header-jwk, jku points to value or to a set with that key",
		"header-x5u":                "as header-jku, by x5u",
		"header-x5c":                "as header-jwk, by x5c",
		"crit":                      "an unknown critical header",
		"typ":                       "typ is value, or dpop+jwt",
		"huge":                      "a claim of size bytes (1 MB)",
		"jwe-empty-key":             "an encrypted token (RSA-OAEP-256) whose encrypted key is empty",
		"jwe-zip":                   "an encrypted token (dir) that says zip: DEF",
		"not-jwt":                   "a random string with two dots",
		"wrong-nonce":               "nonce is another one",
		"missing-nonce":             "no nonce",
		"bad-at-hash":               "at_hash of another token",
		"missing-at-hash":           "no at_hash",
		"bad-c-hash":                "c_hash of another code",
		"missing-c-hash":            "no c_hash",
		"missing-auth-time":         "no auth_time",
		"old-auth-time":             "auth_time lies a day back",
		"missing-jti":               "no jti",
		"same-jti":                  "jti is always the same",
		"claims":                    "lays claims over the token's",
		"header":                    "lays header over the token's",
	})
	add(groupDiscovery, EndpointDiscovery, map[string]string{
		"discovery-other-issuer":       "issuer is value, or another URL",
		"discovery-no-issuer":          "no issuer",
		"discovery-silent-about-pkce":  "no code_challenge_methods_supported",
		"discovery-without":            "leaves out the member that value names",
		"discovery-array":              "the document is an array",
		"discovery-endpoint-elsewhere": "every endpoint is on another host name of this machine",
	})
	add(groupJWKS, EndpointJWKS, map[string]string{
		"jwks-empty":         "no keys",
		"jwks-no-keys":       "an object without keys",
		"jwks-array":         "an array",
		"jwks-unknown-kty":   "keys of unknown type and broken keys stand before the true ones",
		"jwks-duplicate-kid": "before every key stands one of another type with its kid",
		"jwks-no-kid":        "keys have no kid",
		"jwks-single":        "only the RS256 key",
		"jwks-enc":           "keys say use: enc",
		"jwks-wrong-alg":     "keys say an algorithm that they are not used with",
		"jwks-many":          "size (1,000) foreign keys stand before the true ones",
	})
	add(groupAuthorization, EndpointAuthorization, map[string]string{
		"authorization-iss-wrong":     "iss is value, or another URL",
		"authorization-iss-missing":   "no iss",
		"authorization-state-wrong":   "state is another one",
		"authorization-state-missing": "no state",
		"authorization-code-wrong":    "code is value, or one never issued",
		"authorization-code-missing":  "no code",
		"authorization-code-twice":    "code stands twice, the second one never issued",
		"authorization-error":         "error is value, or access_denied",
	})
	add(groupTokenAnswer, EndpointToken, map[string]string{
		"token-without-expires-in":    "no expires_in",
		"expires-in-zero":             "expires_in is 0",
		"expires-in-negative":         "expires_in is -1",
		"expires-in-string":           "expires_in is a string of digits",
		"token-type-lowercase":        "token_type is bearer",
		"token-type-uppercase":        "token_type is BEARER",
		"token-type-unknown":          "token_type is value, or mac",
		"token-without-id-token":      "no id_token",
		"token-without-access-token":  "no access_token",
		"token-without-refresh-token": "no refresh_token",
		"token-without-token-type":    "no token_type",
		"token-array":                 "the answer is an array",
		"rotate-just-before-signing":  "every key is replaced, the old ones withdrawn, then the tokens are signed",
	})
	add(groupUserinfo, EndpointUserinfo, map[string]string{
		"userinfo-other-sub":     "sub is value, or another user's",
		"userinfo-no-sub":        "no sub",
		"userinfo-array":         "the answer is an array",
		"userinfo-bad-signature": "the answer is a JWT whose signature has one bit turned",
	})
	add(groupIntrospection, EndpointIntrospection, map[string]string{
		"introspection-no-active":     "no active",
		"introspection-active-string": "active is the string \"true\", or value",
		"introspection-active-number": "active is 1",
		"introspection-inactive":      "active is false",
		"introspection-array":         "the answer is an array",
		"introspection-wrong-iss":     "iss is value, or another URL",
		"introspection-expired":       "active is true, exp lies an hour back",
	})
	return c
}()
