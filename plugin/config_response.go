package plugin

import "kong-openid-connect/internal/param"

// LoginParams say what follows a login.
type LoginParams struct {
	LoginAction       LoginAction       `kong:"login_action" default:"upstream" since:"<=0.31" doc:"After a login by one of login_methods: proxy on (upstream), answer with tokens (response), or redirect."`
	LoginMethods      []Method          `kong:"login_methods" default:"authorization_code" since:"<=0.31" doc:"Methods to which login_action applies; others are always proxied."`
	LoginRedirectMode LoginRedirectMode `kong:"login_redirect_mode" default:"fragment" since:"<=0.31" doc:"Put login_tokens in URL fragment or query."`
	LoginRedirectURI  []param.URL       `kong:"login_redirect_uri,referenceable" since:"<=0.31 (vault ref 3.6)" doc:"Post-login redirect target per client; unset: the originally requested URL."`
	LoginTokens       []LoginToken      `kong:"login_tokens,nullable" default:"id_token" since:"<=0.31 (introspection/tokens later)" doc:"What the response body / redirect URL contains; null or [] = nothing."`
}

// LogoutParams say what logs out and what follows.
type LogoutParams struct {
	EndSessionEndpoint           param.URL      `kong:"end_session_endpoint" since:"<=0.31" doc:"Overrides the discovered end_session endpoint (RP-initiated logout)."`
	LogoutMethods                []LogoutMethod `kong:"logout_methods" default:"DELETE POST" since:"<=0.31" doc:"HTTP methods on which logout triggers are honoured."`
	LogoutPostArg                string         `kong:"logout_post_arg" since:"<=0.31" doc:"Presence of this body argument triggers logout."`
	LogoutQueryArg               string         `kong:"logout_query_arg" since:"<=0.31" doc:"Presence of this query argument triggers logout."`
	LogoutRedirectURI            []param.URL    `kong:"logout_redirect_uri,referenceable" since:"<=0.31 (vault ref 3.6)" doc:"Where the client goes after logout, per client (post_logout_redirect_uri at the IdP)."`
	LogoutRevoke                 bool           `kong:"logout_revoke" default:"false" since:"<=0.31" doc:"Revoke tokens at the IdP during logout."`
	LogoutRevokeAccessToken      bool           `kong:"logout_revoke_access_token" default:"true" since:"0.34-1" doc:"With logout_revoke: revoke the access token."`
	LogoutRevokeRefreshToken     bool           `kong:"logout_revoke_refresh_token" default:"true" since:"0.34-1" doc:"With logout_revoke: revoke the refresh token."`
	LogoutURISuffix              string         `kong:"logout_uri_suffix" since:"<=0.31" doc:"Request path ending with this suffix triggers logout (normalised path, query ignored)."`
	RevocationEndpoint           param.URL      `kong:"revocation_endpoint" since:"<=0.31" doc:"Overrides the discovered revocation endpoint."`
	RevocationEndpointAuthMethod ClientAuth     `kong:"revocation_endpoint_auth_method" since:"1.5.0.0" doc:"Client authentication method for revocation only."`
	RevocationTokenParamName     string         `kong:"revocation_token_param_name" default:"token" since:"3.5" doc:"Form argument that carries the token to the revocation endpoint."`
}

// ErrorParams shape denials.
type ErrorParams struct {
	DisplayErrors              bool        `kong:"display_errors" default:"false" since:"1.5.0.0" doc:"Include the failure reason in the error body."`
	ExposeErrorCode            bool        `kong:"expose_error_code" default:"true" since:"3.4.0.0" doc:"Send the RFC 6750 error code in WWW-Authenticate on failures."`
	ForbiddenDestroySession    bool        `kong:"forbidden_destroy_session" default:"true" since:"0.32" doc:"Destroy the session on 403."`
	ForbiddenErrorMessage      string      `kong:"forbidden_error_message" default:"Forbidden" since:"0.34" doc:"message text of 403 answers."`
	ForbiddenRedirectURI       []param.URL `kong:"forbidden_redirect_uri" since:"0.32" doc:"Redirect (302) instead of 403, per client."`
	UnauthorizedDestroySession bool        `kong:"unauthorized_destroy_session" default:"true" since:"3.5 (3.4.1.0, 2.8.4.5)" doc:"Destroy the session on 401."`
	UnauthorizedErrorMessage   string      `kong:"unauthorized_error_message" default:"Unauthorized" since:"0.34" doc:"message text of 401 answers."`
	UnauthorizedRedirectURI    []param.URL `kong:"unauthorized_redirect_uri" since:"0.32" doc:"Redirect (302) instead of 401, per client."`
	UnexpectedRedirectURI      []param.URL `kong:"unexpected_redirect_uri" since:"0.32" doc:"Redirect (302) instead of 500, per client."`
}

// RequestParams choose the requests that are looked at.
type RequestParams struct {
	RunOnPreflight bool `kong:"run_on_preflight" default:"true" since:"0.32" doc:"false: let CORS preflight OPTIONS requests through unauthenticated."`
}
