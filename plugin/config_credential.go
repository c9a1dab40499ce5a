package plugin

// FlowParams choose the ways to authenticate.
type FlowParams struct {
	AuthMethods   []Method `kong:"auth_methods" default:"authorization_code bearer client_credentials introspection kong_oauth2 password refresh_token session userinfo" since:"<=0.31 (userinfo 2.6)" doc:"Enabled credential types/grants; all nine when left at default. List order does not change the fixed search order."`
	RefreshTokens bool     `kong:"refresh_tokens" default:"true" since:"0.34-1" doc:"Use a held refresh token to replace access tokens that are expired or about to expire (leeway applies)."`
}

// CredentialParams say where credentials stand in a request.
type CredentialParams struct {
	BearerTokenCookieName      string       `kong:"bearer_token_cookie_name" since:"1.5.0.0" doc:"Cookie holding the bearer token; consulted only when cookie is in bearer_token_param_type."`
	BearerTokenHeaderName      string       `kong:"bearer_token_header_name" min:"1" since:"3.15" doc:"Single header to read the bearer token from instead of the three built-in ones."`
	BearerTokenParamType       []TokenPlace `kong:"bearer_token_param_type" default:"body header query" since:"0.32 (cookie 1.5)" doc:"Places searched for the bearer token; header means Authorization, Access-Token and X-Access-Token; query/body argument is access_token."`
	ClientCredentialsParamType []Place      `kong:"client_credentials_param_type" default:"body header query" since:"0.32" doc:"Places searched for client_id/client_secret (or a JWT-bearer assertion) for the client_credentials method."`
	HideCredentials            bool         `kong:"hide_credentials" default:"true" since:"0.32 (default true since 3.14)" doc:"Strip the credential that authenticated this request before proxying; injected upstream headers are unaffected."`
	IDTokenParamName           string       `kong:"id_token_param_name" since:"<=0.31" doc:"Header/argument name of the accompanying id token; unset = not looked for."`
	IDTokenParamType           []Place      `kong:"id_token_param_type" default:"body header query" since:"<=0.31 (array 0.32)" doc:"Places searched for an id token accompanying the access token."`
	PasswordParamType          []Place      `kong:"password_param_type" default:"body header query" since:"0.32" doc:"Places searched for username/password for the password method (header = Basic)."`
	RefreshTokenParamName      string       `kong:"refresh_token_param_name" since:"0.34-1" doc:"Header/argument name of the refresh token; without it the refresh_token method never matches."`
	RefreshTokenParamType      []Place      `kong:"refresh_token_param_type" default:"body header query" since:"0.34-1" doc:"Places searched for the refresh token."`
}
