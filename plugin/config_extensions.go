package plugin

import "kong-openid-connect/internal/param"

// ExtensionParams are ours: Kong's own plugin does not have them. All are off
// by default.
type ExtensionParams struct {
	ClientDPoP                     ClientDPoP        `kong:"client_dpop,extension" since:"extension" default:"off" doc:"Send DPoP proofs (RFC 9449) to the provider with token and pushed authorization requests and with userinfo, so that the tokens that the plugin gets are bound to its key, which follows from the session secret: auto where the provider advertises ES256 in dpop_signing_alg_values_supported, required always, and an answer whose token_type is not DPoP is refused. The service sees such a token as the bearer's."`
	IssuerKeys                     []IssuerKeySource `kong:"issuer_keys,extension" since:"extension" doc:"Keys of further issuers, bound to them: tokens of an issuer are verified by its own keys alone, while extra_jwks_uris may sign for every issuer of issuers_allowed that has none here. Each issuer has to stand in issuers_allowed too."`
	UnauthorizedForScripts         bool              `kong:"unauthorized_for_scripts,extension" since:"extension" default:"false" doc:"Answer 401 instead of the redirect to the login when the request is no navigation of a browser: by Sec-Fetch-Mode, else by X-Requested-With, else when Accept does not name text/html."`
	PreserveFragment               bool              `kong:"preserve_fragment,extension" since:"extension" default:"false" doc:"Keep the #fragment of the page over a login, by a small page with one script that the Content-Security-Policy names by its hash. For login_action redirect; the fragment travels in the query argument openid_fragment once."`
	ProtectedResource              param.URL         `kong:"protected_resource,extension" since:"extension" doc:"Resource identifier of this route (RFC 9728), such as https://api.example.com/mcp. The plugin serves its metadata at /.well-known/oauth-protected-resource followed by the path of this URL, which has to be a path of the same route, and names it in resource_metadata of its challenges."`
	ProtectedResourceScopes        []string          `kong:"protected_resource_scopes,extension" since:"extension" doc:"scopes_supported in the metadata of protected_resource."`
	ProtectedResourceName          string            `kong:"protected_resource_name,extension" since:"extension" doc:"resource_name in the metadata of protected_resource."`
	ProtectedResourceDocumentation param.URL         `kong:"protected_resource_documentation,extension" since:"extension" doc:"resource_documentation in the metadata of protected_resource: a page for developers."`
	SessionNoStore                 bool              `kong:"session_no_store,extension" since:"extension" default:"false" doc:"Send Cache-Control: no-store with what a session was used for, so that after a logout the browser's back button asks again instead of showing the page. It stands beside the service's own Cache-Control, and the strictest of both counts."`
	StepUpACRValues                []string          `kong:"step_up_acr_values,extension" since:"extension" doc:"Authentication context classes of which the caller's acr must be one (RFC 9470): else a new login with acr_values in browsers with authorization_code, and 401 insufficient_user_authentication otherwise."`
	StepUpMaxAge                   *float64          `kong:"step_up_max_age,extension" since:"extension" between:"0,31536000" doc:"Seconds since auth_time after which the caller has to authenticate again (RFC 9470): a new login with max_age in browsers with authorization_code, and 401 insufficient_user_authentication otherwise."`
	BackchannelLogoutURISuffix     string            `kong:"backchannel_logout_uri_suffix,extension" since:"extension" doc:"Path suffix at which the provider's logout tokens are taken (OpenID Connect Back-Channel Logout 1.0), by POST on a route of this plugin, such as /backchannel-logout. Register the route's public URL with this suffix as backchannel_logout_uri, with backchannel_logout_session_required."`
	FrontchannelLogoutURISuffix    string            `kong:"frontchannel_logout_uri_suffix,extension" since:"extension" doc:"Path suffix that the provider's page loads in a frame at a logout (OpenID Connect Front-Channel Logout 1.0), by GET on a route of this plugin, such as /frontchannel-logout. Unless provider and route are of one site, browsers send the session's cookie there only with session_cookie_same_site None."`
	LogoutAllSessions              bool              `kong:"logout_all_sessions,extension" since:"extension" default:"false" doc:"A logout ends every session that the subject has at this provider, in all browsers, not only its own."`
	SessionPreviousSecrets         []param.Secret    `kong:"session_previous_secrets,extension" since:"extension" elemmin:"1" doc:"Session secrets from before: cookies made with them are accepted and written anew with session_secret at their next use, and pending logins finish. Take them out when session_absolute_timeout has passed."`
	SessionRevocationStorage       RevocationStorage `kong:"session_revocation_storage,extension" since:"extension" default:"auto" doc:"Where sessions that ended before their time are listed, so that copies of their cookies die too: auto = in Redis with session_storage redis, else in Kong's database, else on the node; redis = in the redis record, whatever session_storage says. Refreshes of one session are kept to one at a time by the same means."`
}

// IssuerKeySource binds sources of keys to an issuer.
type IssuerKeySource struct {
	Issuer   string      `kong:"issuer,required,extension" since:"extension" doc:"iss value of the tokens that these keys verify."`
	JWKSURIs []param.URL `kong:"jwks_uris,required,extension" min:"1" since:"extension" doc:"JWKS URLs of this issuer."`
}
