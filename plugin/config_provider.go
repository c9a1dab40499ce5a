package plugin

import "kong-openid-connect/internal/param"

// ProviderParams say who issues tokens and where its metadata and keys are.
type ProviderParams struct {
	DiscoveryHeadersNames  []string       `kong:"discovery_headers_names" since:"0.32" doc:"Names of extra headers sent on discovery (and JWKS) requests; pairs by index with discovery_headers_values."`
	DiscoveryHeadersValues []param.Secret `kong:"discovery_headers_values,-encrypted,-referenceable" since:"0.32" doc:"Values for discovery_headers_names, by index."`
	ExtraJWKSURIs          []param.URL    `kong:"extra_jwks_uris,referenceable" since:"0.32 (vault ref 3.14)" doc:"More JWKS URLs whose keys are trusted after the primary set; a change needs the discovery cache cleared."`
	Issuer                 string         `kong:"issuer,required,referenceable" since:"<=0.31 (vault ref 3.14)" doc:"Discovery URL or bare issuer identifier; also the discovery-cache key. Need not equal the token iss (see issuers_allowed)."`
	JWKSEndpoint           param.URL      `kong:"jwks_endpoint" since:"3.14" doc:"Replaces the discovered jwks_uri as the primary key source (works with using_pseudo_issuer)."`
	RediscoveryLifetime    float64        `kong:"rediscovery_lifetime" default:"30" since:"0.34 (default 300 -> 30 at 2.1.3)" doc:"Minimum seconds between two discovery attempts for one issuer (5 s after a failed attempt since 3.8); 0 = no throttle."`
	UsingPseudoIssuer      bool           `kong:"using_pseudo_issuer" default:"false" since:"3.5 (2.8.4.5, 3.4.1.0)" doc:"true: never fetch discovery; issuer is then only a label and the expected iss, so endpoints/keys must be configured explicitly."`
	VerifyParameters       bool           `kong:"verify_parameters" default:"false" since:"<=0.31" doc:"Check configured response_type/mode, scopes, auth methods and algorithms against what discovery advertises."`
}
