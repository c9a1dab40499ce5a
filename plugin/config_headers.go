package plugin

// UpstreamHeaderParams say what the service is told.
type UpstreamHeaderParams struct {
	UpstreamAccessTokenHeader      string          `kong:"upstream_access_token_header,nullable" default:"authorization:bearer" since:"<=0.31" doc:"Header on the upstream request that receives the access token (default sends Authorization: Bearer <token>); null disables."`
	UpstreamAccessTokenJWKHeader   string          `kong:"upstream_access_token_jwk_header" since:"<=0.31" doc:"Header on the upstream request that receives the JWK that verified the access token (base64 JSON)."`
	UpstreamHeaders                []HeaderMapping `kong:"upstream_headers" since:"3.14" doc:"Claim-path to header mappings for the upstream request."`
	UpstreamHeadersClaims          []string        `kong:"upstream_headers_claims" deprecated:"use upstream_headers instead" since:"~0.32 (deprecated 3.14)" doc:"Top-level claims copied to upstream_headers_names by index."`
	UpstreamHeadersNames           []string        `kong:"upstream_headers_names" deprecated:"use upstream_headers instead" since:"~0.32 (deprecated 3.14)" doc:"Header names for upstream_headers_claims, by index."`
	UpstreamIDTokenHeader          string          `kong:"upstream_id_token_header" since:"<=0.31" doc:"Header on the upstream request that receives the id token; name:bearer form adds the Bearer prefix."`
	UpstreamIDTokenJWKHeader       string          `kong:"upstream_id_token_jwk_header" since:"<=0.31" doc:"Header on the upstream request that receives the JWK that verified the id token (base64 JSON)."`
	UpstreamIntrospectionHeader    string          `kong:"upstream_introspection_header" since:"<=0.31" doc:"Header on the upstream request that receives the introspection result (base64 JSON)."`
	UpstreamIntrospectionJWTHeader string          `kong:"upstream_introspection_jwt_header" since:"2.6" doc:"Header on the upstream request that receives the raw introspection JWT."`
	UpstreamRefreshTokenHeader     string          `kong:"upstream_refresh_token_header" since:"<=0.31" doc:"Header on the upstream request that receives the refresh token; name:bearer form adds the Bearer prefix."`
	UpstreamSessionIDHeader        string          `kong:"upstream_session_id_header" since:"0.35" doc:"Header on the upstream request that receives the session id."`
	UpstreamUserInfoHeader         string          `kong:"upstream_user_info_header" since:"<=0.31" doc:"Header on the upstream request that receives the userinfo result (base64 JSON)."`
	UpstreamUserInfoJWTHeader      string          `kong:"upstream_user_info_jwt_header" since:"2.6" doc:"Header on the upstream request that receives the raw userinfo JWT."`
}

// HeaderMapping maps a claim to a header.
type HeaderMapping struct {
	Header string   `kong:"header,required" since:"3.14" doc:"Header name."`
	Path   []string `kong:"path,required" min:"1" since:"3.14" doc:"Claim path, one element per nesting level."`
}

// DownstreamHeaderParams say what the client is told.
type DownstreamHeaderParams struct {
	DownstreamAccessTokenHeader      string          `kong:"downstream_access_token_header" since:"<=0.31" doc:"Header on the client response that receives the access token; name:bearer form adds the Bearer prefix."`
	DownstreamAccessTokenJWKHeader   string          `kong:"downstream_access_token_jwk_header" since:"<=0.31" doc:"Header on the client response that receives the JWK that verified the access token (base64 JSON)."`
	DownstreamHeaders                []HeaderMapping `kong:"downstream_headers" since:"3.14" doc:"Claim-path to header mappings for the client response."`
	DownstreamHeadersClaims          []string        `kong:"downstream_headers_claims" deprecated:"use downstream_headers instead" since:"~0.32 (deprecated 3.14)" doc:"Top-level claims copied to downstream_headers_names by index."`
	DownstreamHeadersNames           []string        `kong:"downstream_headers_names" deprecated:"use downstream_headers instead" since:"~0.32 (deprecated 3.14)" doc:"Header names for downstream_headers_claims, by index."`
	DownstreamIDTokenHeader          string          `kong:"downstream_id_token_header" since:"<=0.31" doc:"Header on the client response that receives the id token; name:bearer form adds the Bearer prefix."`
	DownstreamIDTokenJWKHeader       string          `kong:"downstream_id_token_jwk_header" since:"<=0.31" doc:"Header on the client response that receives the JWK that verified the id token (base64 JSON)."`
	DownstreamIntrospectionHeader    string          `kong:"downstream_introspection_header" since:"<=0.31" doc:"Header on the client response that receives the introspection result (base64 JSON)."`
	DownstreamIntrospectionJWTHeader string          `kong:"downstream_introspection_jwt_header" since:"2.6" doc:"Header on the client response that receives the raw introspection JWT."`
	DownstreamRefreshTokenHeader     string          `kong:"downstream_refresh_token_header" since:"<=0.31" doc:"Header on the client response that receives the refresh token; name:bearer form adds the Bearer prefix."`
	DownstreamSessionIDHeader        string          `kong:"downstream_session_id_header" since:"0.35" doc:"Header on the client response that receives the session id."`
	DownstreamUserInfoHeader         string          `kong:"downstream_user_info_header" since:"<=0.31" doc:"Header on the client response that receives the userinfo result (base64 JSON)."`
	DownstreamUserInfoJWTHeader      string          `kong:"downstream_user_info_jwt_header" since:"2.6" doc:"Header on the client response that receives the raw userinfo JWT."`
}
