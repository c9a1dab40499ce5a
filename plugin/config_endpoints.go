package plugin

import "kong-openid-connect/internal/param"

// IntrospectionParams shape calls to the introspection endpoint.
type IntrospectionParams struct {
	IntrospectJWTTokens                bool                `kong:"introspect_jwt_tokens" default:"false" since:"0.32" doc:"Also introspect JWT access tokens in the bearer method, e.g. to notice revocation."`
	IntrospectionAccept                IntrospectionAccept `kong:"introspection_accept" default:"application/json" since:"2.6" doc:"Accept header for introspection; JWT types make the response a signed/encrypted JWT."`
	IntrospectionCheckActive           bool                `kong:"introspection_check_active" default:"true" since:"2.6" doc:"Require active == true in the introspection answer."`
	IntrospectionEndpoint              param.URL           `kong:"introspection_endpoint,referenceable" since:"<=0.31 (vault ref 3.14)" doc:"Overrides the discovered introspection endpoint."`
	IntrospectionEndpointAuthMethod    ClientAuth          `kong:"introspection_endpoint_auth_method" since:"1.5.0.0" doc:"Client authentication method for introspection only."`
	IntrospectionHeadersClient         []string            `kong:"introspection_headers_client" since:"1.5.0.3" doc:"Names of client request headers copied onto introspection requests."`
	IntrospectionHeadersNames          []string            `kong:"introspection_headers_names" since:"0.32" doc:"Names of fixed extra headers on introspection requests."`
	IntrospectionHeadersValues         []param.Secret      `kong:"introspection_headers_values" since:"0.32 (encrypted+vault 3.6)" doc:"Values for introspection_headers_names, by index."`
	IntrospectionHint                  string              `kong:"introspection_hint,nullable" default:"access_token" since:"0.32" doc:"token_type_hint value sent with introspection."`
	IntrospectionPostArgsClient        []string            `kong:"introspection_post_args_client" since:"0.35" doc:"Names of client request arguments (query/body) copied into the introspection form."`
	IntrospectionPostArgsClientHeaders []string            `kong:"introspection_post_args_client_headers" since:"3.9" doc:"Names of client request headers whose values become introspection form arguments."`
	IntrospectionPostArgsNames         []string            `kong:"introspection_post_args_names" since:"0.35" doc:"Names of fixed extra form arguments on introspection requests."`
	IntrospectionPostArgsValues        []param.Secret      `kong:"introspection_post_args_values,-encrypted,-referenceable" since:"0.35" doc:"Values for introspection_post_args_names, by index."`
	IntrospectionTokenParamName        string              `kong:"introspection_token_param_name" default:"token" since:"3.5" doc:"Form argument that carries the token to the introspection endpoint."`
}

// UserinfoParams shape calls to the userinfo endpoint.
type UserinfoParams struct {
	SearchUserInfo          bool           `kong:"search_user_info" default:"false" since:"~0.32" doc:"Call userinfo and consult it when consumer, credential, groups or header claims are looked up."`
	UserinfoAccept          UserinfoAccept `kong:"userinfo_accept" default:"application/json" since:"2.6" doc:"Accept header for userinfo; application/jwt expects a JWT answer."`
	UserinfoEndpoint        param.URL      `kong:"userinfo_endpoint" since:"2.2.0.0" doc:"Overrides the discovered userinfo endpoint."`
	UserinfoHeadersClient   []string       `kong:"userinfo_headers_client" since:"2.6" doc:"Names of client request headers copied onto userinfo requests."`
	UserinfoHeadersNames    []string       `kong:"userinfo_headers_names" since:"2.6" doc:"Names of fixed extra headers on userinfo requests."`
	UserinfoHeadersValues   []param.Secret `kong:"userinfo_headers_values,-encrypted,-referenceable" since:"2.6" doc:"Values for userinfo_headers_names, by index."`
	UserinfoQueryArgsClient []string       `kong:"userinfo_query_args_client" since:"2.6" doc:"Names of client request arguments copied onto the userinfo query."`
	UserinfoQueryArgsNames  []string       `kong:"userinfo_query_args_names" since:"2.6" doc:"Names of fixed extra query arguments on userinfo requests."`
	UserinfoQueryArgsValues []param.Secret `kong:"userinfo_query_args_values,-encrypted,-referenceable" since:"2.6" doc:"Values for userinfo_query_args_names, by index."`
}

// TokenRequestParams shape calls to the token endpoint.
type TokenRequestParams struct {
	TokenEndpoint           param.URL      `kong:"token_endpoint" since:"0.35" doc:"Overrides the discovered token_endpoint."`
	TokenEndpointAuthMethod ClientAuth     `kong:"token_endpoint_auth_method" since:"0.33" doc:"Client authentication method for the token endpoint only (all clients)."`
	TokenHeadersClient      []string       `kong:"token_headers_client" since:"<=0.31" doc:"Names of client request headers copied onto token requests."`
	TokenHeadersGrants      []TokenGrant   `kong:"token_headers_grants" since:"<=0.31" doc:"Grants for which the replay happens; unset = all grants."`
	TokenHeadersNames       []string       `kong:"token_headers_names" since:"0.35" doc:"Names of fixed extra headers on token requests."`
	TokenHeadersPrefix      string         `kong:"token_headers_prefix" since:"<=0.31" doc:"Prefix added to replayed token-endpoint response header names."`
	TokenHeadersReplay      []string       `kong:"token_headers_replay" since:"<=0.31" doc:"Names of token-endpoint response headers returned to the client."`
	TokenHeadersValues      []param.Secret `kong:"token_headers_values,-encrypted,-referenceable" since:"0.35" doc:"Values for token_headers_names, by index."`
	TokenPostArgsClient     []string       `kong:"token_post_args_client" since:"0.35 (headers 3.6)" doc:"Names of arguments copied from the client query, body or headers into the token request (e.g. scope)."`
	TokenPostArgsNames      []string       `kong:"token_post_args_names" since:"<=0.31" doc:"Names of fixed extra form arguments on token requests."`
	TokenPostArgsValues     []param.Secret `kong:"token_post_args_values,-encrypted,-referenceable" since:"<=0.31" doc:"Values for token_post_args_names, by index."`
}

// TokenExchangeParams exchange tokens of others for the provider's own.
type TokenExchangeParams struct {
	TokenExchange         *TokenExchange `kong:"token_exchange" since:"3.14" doc:"RFC 8693 exchange of incoming bearer tokens; absent = no exchange."`
	TokenExchangeEndpoint param.URL      `kong:"token_exchange_endpoint" since:"0.32" doc:"Legacy exchange: endpoint that gets the token as Bearer and answers with a raw replacement token."`
}

// TokenExchange is the exchange of tokens by RFC 8693.
type TokenExchange struct {
	Cache               TokenExchangeCache   `kong:"cache" since:"3.14" doc:"Cache of exchanged tokens."`
	Request             TokenExchangeRequest `kong:"request" since:"3.14" doc:"What to ask for in the exchange."`
	SubjectTokenIssuers []SubjectIssuer      `kong:"subject_token_issuers,required" min:"1" since:"3.14" doc:"Trusted issuers whose tokens may be exchanged."`
}

// TokenExchangeCache is the cache of exchanged tokens.
type TokenExchangeCache struct {
	Enabled bool `kong:"enabled" default:"true" since:"3.14" doc:"Cache exchanged tokens."`
	TTL     *int `kong:"ttl" since:"3.14" doc:"Seconds to cache; overrides cache_ttl; token expiry wins when shorter."`
}

// TokenExchangeRequest is what an exchange asks for.
type TokenExchangeRequest struct {
	Audience      []string `kong:"audience" since:"3.14" doc:"Audiences requested, replacing config.audience."`
	EmptyAudience bool     `kong:"empty_audience" default:"false" since:"3.14" doc:"Send no audience even if config.audience is set."`
	EmptyScopes   bool     `kong:"empty_scopes" default:"false" since:"3.14" doc:"Send no scope even if config.scopes is set."`
	Scopes        []string `kong:"scopes" since:"3.14" doc:"Scopes requested, replacing config.scopes."`
}

// SubjectIssuer is an issuer whose tokens may be exchanged.
type SubjectIssuer struct {
	Conditions      *ExchangeConditions `kong:"conditions" since:"3.14" doc:"When to exchange a token of the target issuer itself (required then); must be unset for foreign issuers."`
	Issuer          string              `kong:"issuer,required" since:"3.14" doc:"iss value this entry applies to."`
	JWKSURI         param.URL           `kong:"jwks_uri" since:"3.15" doc:"Key URL for verify_signature instead of discovery; leave unset for the target issuer itself."`
	VerifySignature bool                `kong:"verify_signature" default:"false" since:"3.15" doc:"Verify the subject token signature before exchanging; leave false for the target issuer itself."`
}

// ExchangeConditions say when a token of the target issuer is exchanged.
type ExchangeConditions struct {
	HasAudience     []string `kong:"has_audience" since:"3.14" doc:"All of these must be in the token audience."`
	HasScopes       []string `kong:"has_scopes" since:"3.14" doc:"All of these must be in the token scopes."`
	MissingAudience []string `kong:"missing_audience" since:"3.14" doc:"All of these must be absent from the token audience."`
	MissingScopes   []string `kong:"missing_scopes" since:"3.14" doc:"All of these must be absent from the token scopes."`
}
