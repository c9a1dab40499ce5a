package plugin

import "kong-openid-connect/internal/param"

// ExtensionParams are ours: Kong's own plugin does not have them. All are off
// by default.
type ExtensionParams struct {
	UnauthorizedForScripts         bool      `kong:"unauthorized_for_scripts,extension" since:"extension" default:"false" doc:"Answer 401 instead of the redirect to the login when the request is no navigation of a browser: by Sec-Fetch-Mode, else by X-Requested-With, else when Accept does not name text/html."`
	PreserveFragment               bool      `kong:"preserve_fragment,extension" since:"extension" default:"false" doc:"Keep the #fragment of the page over a login, by a small page with one script that the Content-Security-Policy names by its hash. For login_action redirect; the fragment travels in the query argument openid_fragment once."`
	ProtectedResource              param.URL `kong:"protected_resource,extension" since:"extension" doc:"Resource identifier of this route (RFC 9728), such as https://api.example.com/mcp. The plugin serves its metadata at /.well-known/oauth-protected-resource followed by the path of this URL, which has to be a path of the same route, and names it in resource_metadata of its challenges."`
	ProtectedResourceScopes        []string  `kong:"protected_resource_scopes,extension" since:"extension" doc:"scopes_supported in the metadata of protected_resource."`
	ProtectedResourceName          string    `kong:"protected_resource_name,extension" since:"extension" doc:"resource_name in the metadata of protected_resource."`
	ProtectedResourceDocumentation param.URL `kong:"protected_resource_documentation,extension" since:"extension" doc:"resource_documentation in the metadata of protected_resource: a page for developers."`
	SessionNoStore                 bool      `kong:"session_no_store,extension" since:"extension" default:"false" doc:"Send Cache-Control: no-store with what a session was used for, so that after a logout the browser's back button asks again instead of showing the page. It stands beside the service's own Cache-Control, and the strictest of both counts."`
	StepUpACRValues                []string  `kong:"step_up_acr_values,extension" since:"extension" doc:"Authentication context classes of which the caller's acr must be one (RFC 9470): else a new login with acr_values in browsers with authorization_code, and 401 insufficient_user_authentication otherwise."`
	StepUpMaxAge                   *float64  `kong:"step_up_max_age,extension" since:"extension" between:"0,31536000" doc:"Seconds since auth_time after which the caller has to authenticate again (RFC 9470): a new login with max_age in browsers with authorization_code, and 401 insufficient_user_authentication otherwise."`
}
