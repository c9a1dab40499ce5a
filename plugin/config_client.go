package plugin

import "kong-openid-connect/internal/param"

// ClientParams say as whom the plugin speaks to the provider.
type ClientParams struct {
	ClientAlg                 []Algorithm    `kong:"client_alg" since:"1.5.0.0 (EdDSA 2.3)" doc:"JWS algorithm of the client assertion per client: HS* for client_secret_jwt (default HS256), others for private_key_jwt (default RS256)."`
	ClientArg                 string         `kong:"client_arg,nullable" default:"client_id" since:"<=0.31" doc:"Request argument that selects which configured client to use (header, then query, then body); value is a client_id or 1-based index."`
	ClientAuth                []ClientAuth   `kong:"client_auth" since:"1.5.0.0 (mTLS values 3.6)" doc:"Client authentication method per client at IdP endpoints; unset: first supported one from discovery, else client_secret_basic."`
	ClientID                  []string       `kong:"client_id,referenceable,encrypted" since:"<=0.31 (array; vault ref 2.8)" doc:"Client ids used at the IdP; element i pairs with client_secret/client_auth/client_alg/client_jwk[i] and the indexed redirect lists."`
	ClientJWK                 []JWK          `kong:"client_jwk" since:"1.5.0.0" doc:"Private JWK per client for private_key_jwt (and signed request objects); unset: auto-generated keys published at /openid-connect/jwks."`
	ClientSecret              []param.Secret `kong:"client_secret" elemmin:"1" since:"<=0.31 (vault ref 2.8)" doc:"Client secrets by index; an empty string is rejected (min length 1); also the HS* key when enable_hs_signatures."`
	MTLSIntrospectionEndpoint param.URL      `kong:"mtls_introspection_endpoint" since:"3.6" doc:"Introspection endpoint to use with mTLS client auth; overrides mtls_endpoint_aliases.introspection_endpoint."`
	MTLSRevocationEndpoint    param.URL      `kong:"mtls_revocation_endpoint" since:"3.6" doc:"Revocation endpoint to use with mTLS client auth; overrides mtls_endpoint_aliases.revocation_endpoint."`
	MTLSTokenEndpoint         param.URL      `kong:"mtls_token_endpoint" since:"3.6" doc:"Token endpoint to use with mTLS client auth; overrides discovery mtls_endpoint_aliases.token_endpoint."`
	TLSClientAuthCertID       param.UUID     `kong:"tls_client_auth_cert_id" since:"3.6" doc:"UUID of the Certificate entity presented to the IdP for tls_client_auth/self_signed_tls_client_auth."`
	TLSClientAuthSSLVerify    bool           `kong:"tls_client_auth_ssl_verify" default:"true" since:"3.6" doc:"Verify the IdP server certificate on mTLS client-auth connections (cannot be false when tls_certificate_verify is on)."`
}

// JWK is a private JSON Web Key (RFC 7517) of a client.
type JWK struct {
	Alg     string       `kong:"alg" since:"1.5.0.0" doc:"Algorithm the key is for."`
	Crv     string       `kong:"crv" since:"1.5.0.0" doc:"EC/OKP curve name."`
	D       param.Secret `kong:"d" since:"1.5.0.0" doc:"Private exponent / private key value."`
	DP      param.Secret `kong:"dp" since:"1.5.0.0" doc:"RSA d mod (p-1)."`
	DQ      param.Secret `kong:"dq" since:"1.5.0.0" doc:"RSA d mod (q-1)."`
	E       string       `kong:"e" since:"1.5.0.0" doc:"RSA public exponent."`
	Issuer  string       `kong:"issuer" since:"1.5.0.0" doc:"Issuer the key belongs to (stored with generated keys)."`
	K       param.Secret `kong:"k" since:"1.5.0.0" doc:"Symmetric key value."`
	KeyOps  []string     `kong:"key_ops" since:"1.5.0.0" doc:"Permitted key operations."`
	KID     string       `kong:"kid" since:"1.5.0.0" doc:"Key id written to the assertion header."`
	KTY     string       `kong:"kty" since:"1.5.0.0" doc:"Key type (RSA, EC, OKP, oct)."`
	N       string       `kong:"n" since:"1.5.0.0" doc:"RSA modulus."`
	Oth     param.Secret `kong:"oth" since:"1.5.0.0" doc:"RSA other-primes info."`
	P       param.Secret `kong:"p" since:"1.5.0.0" doc:"RSA first prime."`
	Q       param.Secret `kong:"q" since:"1.5.0.0" doc:"RSA second prime."`
	QI      param.Secret `kong:"qi" since:"1.5.0.0" doc:"RSA q^-1 mod p."`
	R       param.Secret `kong:"r" since:"1.5.0.0" doc:"RSA other-prime factor."`
	T       param.Secret `kong:"t" since:"1.5.0.0" doc:"RSA other-prime CRT coefficient."`
	Use     string       `kong:"use" since:"1.5.0.0" doc:"Key use, sig or enc."`
	X       string       `kong:"x" since:"1.5.0.0" doc:"EC/OKP x coordinate."`
	X5C     []string     `kong:"x5c" since:"1.5.0.0" doc:"X.509 chain."`
	X5T     string       `kong:"x5t" since:"1.5.0.0" doc:"SHA-1 certificate thumbprint."`
	X5TS256 string       `kong:"x5t#S256" since:"1.5.0.0" doc:"SHA-256 certificate thumbprint."`
	X5U     string       `kong:"x5u" since:"1.5.0.0" doc:"URL of the X.509 chain."`
	Y       string       `kong:"y" since:"1.5.0.0" doc:"EC y coordinate."`
}
