package plugin

import "kong-openid-connect/internal/param"

// AuthorizationParams shape the authorization request and the cookie of a pending login.
type AuthorizationParams struct {
	Audience                                     []string     `kong:"audience" since:"<=0.31" doc:"audience argument for authorization (and token) requests; does not by itself check the token aud."`
	AuthorizationCookieDomain                    string       `kong:"authorization_cookie_domain" since:"0.34" doc:"Domain attribute of the authorization cookie."`
	AuthorizationCookieHTTPOnly                  bool         `kong:"authorization_cookie_http_only" default:"true" since:"0.34 (renamed 3.2)" doc:"HttpOnly attribute of the authorization cookie."`
	AuthorizationCookieName                      string       `kong:"authorization_cookie_name" default:"authorization" since:"<=0.31" doc:"Name of the temporary cookie that carries code-flow state."`
	AuthorizationCookiePath                      string       `kong:"authorization_cookie_path" default:"/" since:"0.34" doc:"Path attribute of the authorization cookie."`
	AuthorizationCookieSameSite                  SameSite     `kong:"authorization_cookie_same_site" default:"Default" since:"0.34 (renamed 3.2)" doc:"SameSite attribute of the authorization cookie; Default = attribute omitted."`
	AuthorizationCookieSecure                    *bool        `kong:"authorization_cookie_secure" since:"0.34" doc:"Secure attribute of the authorization cookie; unset: set when the client scheme is https."`
	AuthorizationEndpoint                        param.URL    `kong:"authorization_endpoint" since:"0.35" doc:"Overrides the discovered authorization_endpoint."`
	AuthorizationQueryArgsClient                 []string     `kong:"authorization_query_args_client" since:"<=0.31" doc:"Names of arguments copied from the incoming request onto the authorization request."`
	AuthorizationQueryArgsNames                  []string     `kong:"authorization_query_args_names" since:"<=0.31" doc:"Names of fixed extra authorization-request arguments."`
	AuthorizationQueryArgsValues                 []string     `kong:"authorization_query_args_values" since:"<=0.31" doc:"Values for authorization_query_args_names, by index."`
	AuthorizationRollingTimeout                  float64      `kong:"authorization_rolling_timeout" default:"600" since:"0.34 as *_lifetime (renamed 3.2)" doc:"Seconds the authorization cookie remains usable; 0 = no limit."`
	MaxAge                                       *float64     `kong:"max_age" since:"<=0.31" doc:"max_age sent to the IdP and enforced against the id token auth_time."`
	PreserveQueryArgs                            bool         `kong:"preserve_query_args" default:"false" since:"1.5.0.3" doc:"Carry the original query string across the code flow."`
	PushedAuthorizationRequestEndpoint           param.URL    `kong:"pushed_authorization_request_endpoint" since:"3.6" doc:"Overrides the discovered PAR endpoint."`
	PushedAuthorizationRequestEndpointAuthMethod ClientAuth   `kong:"pushed_authorization_request_endpoint_auth_method" since:"3.6" doc:"Client authentication method for the PAR endpoint only."`
	RedirectURI                                  []param.URL  `kong:"redirect_uri" since:"<=0.31 (array 0.35)" doc:"Callback URI per client; unset: the URL of the request being protected, without query."`
	RequireProofKeyForCodeExchange               *bool        `kong:"require_proof_key_for_code_exchange" since:"3.6" doc:"Force PKCE on/off; unset: on when discovery lists code_challenge_methods_supported."`
	RequirePushedAuthorizationRequests           *bool        `kong:"require_pushed_authorization_requests" since:"3.6" doc:"Force PAR on/off; unset: discovery require_pushed_authorization_requests, else off."`
	RequireSignedRequestObject                   *bool        `kong:"require_signed_request_object" since:"3.7" doc:"Force JAR on/off; unset: discovery require_signed_request_object, else off."`
	ResponseMode                                 ResponseMode `kong:"response_mode" default:"query" since:"<=0.31 (JARM values 3.7)" doc:"response_mode sent and therefore where the callback parameters are read; *.jwt / jwt select JARM."`
	ResponseType                                 []string     `kong:"response_type" default:"code" since:"0.35" doc:"response_type sent; elements are alternatives joined per request, code by default."`
	Scopes                                       []string     `kong:"scopes,referenceable,nullable" default:"openid" since:"<=0.31 (vault ref 3.6)" doc:"Scopes requested at authorization and token endpoints; null or empty sends no scope (openid not forced)."`
}
