package plugin

import "kong-openid-connect/internal/param"

// VerifyParams say how tokens are verified.
type VerifyParams struct {
	Domains                  []string          `kong:"domains" since:"<=0.31" doc:"Allowed id token hd values."`
	EnableHSSignatures       bool              `kong:"enable_hs_signatures" default:"false" since:"2.2.0.0" doc:"Accept HS256/384/512 tokens, verified with client_secret."`
	IgnoreSignature          []UnverifiedGrant `kong:"ignore_signature" default:"[]" since:"0.35 (logs a warning 3.12.0.11)" doc:"Skip signature verification for tokens obtained through the listed grants; bearer cannot be listed."`
	IssuersAllowed           []string          `kong:"issuers_allowed,referenceable" since:"2.2.0.0 (vault ref 3.14)" doc:"iss values that are accepted; replaces the default expectation (discovered/configured issuer)."`
	JWTSessionClaim          string            `kong:"jwt_session_claim" default:"sid" since:"<=0.31" doc:"Claim compared with jwt_session_cookie."`
	JWTSessionCookie         string            `kong:"jwt_session_cookie" since:"<=0.31" doc:"Cookie whose value must equal the jwt_session_claim of the JWT access token (bearer method)."`
	Leeway                   float64           `kong:"leeway" default:"0" since:"<=0.31" doc:"Clock-skew seconds for auth_time, exp, iat, nbf and the expiry test used for refreshing."`
	ResolveDistributedClaims bool              `kong:"resolve_distributed_claims" default:"false" since:"2.8" doc:"Fetch _claim_names/_claim_sources references and merge the results."`
	Reverify                 bool              `kong:"reverify" default:"false" since:"<=0.31" doc:"Re-run token verification on every session-authenticated request."`
	VerifyClaims             bool              `kong:"verify_claims" default:"true" since:"<=0.31" doc:"Master switch for standard-claim checks; *_required, claims_forbidden and issuers_allowed stay active when false."`
	VerifyNonce              bool              `kong:"verify_nonce" default:"true" since:"<=0.31" doc:"Compare id token nonce with the one stored for the code flow."`
	VerifySignature          bool              `kong:"verify_signature" default:"true" since:"<=0.31" doc:"Master switch for JWS signature verification (debug use when false)."`
}

// PossessionParams bind tokens to a key of the client (RFC 9449, RFC 8705).
type PossessionParams struct {
	DPoPProofLifetime                      float64            `kong:"dpop_proof_lifetime" default:"300" since:"3.7" doc:"Maximum age in seconds of a DPoP proof (by nonce creation if nonces are used, else iat)."`
	DPoPUseNonce                           bool               `kong:"dpop_use_nonce" default:"false" since:"3.7" doc:"Challenge clients with a server nonce for DPoP."`
	ProofOfPossessionAuthMethodsValidation bool               `kong:"proof_of_possession_auth_methods_validation" default:"true" since:"3.5" doc:"Reject configs that enable auth methods unable to do PoP; false: PoP is silently skipped for them."`
	ProofOfPossessionDPoP                  PossessionMode     `kong:"proof_of_possession_dpop" default:"off" since:"3.7" doc:"DPoP proofs: off, optional (check only bound tokens), strict (require binding)."`
	ProofOfPossessionMTLS                  PossessionMode     `kong:"proof_of_possession_mtls" default:"off" since:"3.5" doc:"mTLS-bound tokens: off, optional (check only bound tokens), strict (require binding)."`
	ProofOfPossessionMTLSFromHeader        *CertificateHeader `kong:"proof_of_possession_mtls_from_header" since:"3.15" doc:"Read the client certificate for mTLS PoP from a header set by a TLS-terminating proxy."`
}

// CertificateHeader says where a proxy in front leaves the client certificate, and how it is verified.
type CertificateHeader struct {
	AllowPartialChain       bool              `kong:"allow_partial_chain" default:"false" since:"3.15" doc:"Accept a chain that ends at a configured intermediate."`
	CACertificates          []param.UUID      `kong:"ca_certificates,required" min:"1" since:"3.15" doc:"UUIDs of CA Certificate entities that must anchor the client certificate (at least one)."`
	CertCacheTTL            float64           `kong:"cert_cache_ttl" default:"60000" since:"3.15" doc:"Milliseconds a revocation result is cached per certificate."`
	CertificateHeaderFormat CertificateFormat `kong:"certificate_header_format" default:"url_encoded" since:"3.15" doc:"url_encoded = percent-encoded PEM; base64_encoded = base64 of DER without delimiters."`
	CertificateHeaderName   string            `kong:"certificate_header_name,required" since:"3.15" doc:"Header that carries the client certificate."`
	HTTPProxyHost           string            `kong:"http_proxy_host" since:"3.15" doc:"HTTP proxy host for OCSP/CRL."`
	HTTPProxyPort           *param.Port       `kong:"http_proxy_port" since:"3.15" doc:"HTTP proxy port for OCSP/CRL."`
	HTTPTimeout             float64           `kong:"http_timeout" default:"30000" since:"3.15" doc:"Milliseconds for OCSP/CRL calls."`
	HTTPSProxyHost          string            `kong:"https_proxy_host" since:"3.15" doc:"HTTPS proxy host for OCSP/CRL."`
	HTTPSProxyPort          *param.Port       `kong:"https_proxy_port" since:"3.15" doc:"HTTPS proxy port for OCSP/CRL."`
	RevocationCheckMode     RevocationMode    `kong:"revocation_check_mode" default:"IGNORE_CA_ERROR" since:"3.15" doc:"SKIP none; IGNORE_CA_ERROR fail only on a definite revocation; STRICT require a successful check."`
	SecureSource            bool              `kong:"secure_source" default:"true" since:"3.15" doc:"Honour the header only from addresses in trusted_ips."`
	SSLVerify               bool              `kong:"ssl_verify" default:"true" since:"3.15" doc:"Verify TLS of the OCSP/CRL server."`
}
