package plugin

// Advice implements param.AdvisedRecord: what to write for parameters of other
// plugins (kong-oidc, lua-resty-openidc, APISIX, oauth2-proxy) and of Kong
// Manager's own login, which people bring along.
func (*Config) Advice() map[string]string {
	const manager = "it belongs to Kong Manager's own login (admin_gui_auth_conf); take it out"
	return map[string]string{
		"access_token_header_name":              "write upstream_access_token_header",
		"admin_auto_create":                     manager,
		"admin_auto_create_rbac_token_disabled": manager,
		"admin_by":                              manager,
		"admin_claim":                           manager,
		"allowed_audiences":                     "write audience_required",
		"authenticated_groups_delimiter":        manager,
		"authorized_groups_claim":               "write authenticated_groups_claim",
		"bearer_jwt_auth_allowed_auds":          "write audience_required",
		"bearer_jwt_auth_enable":                "write auth_methods, with bearer",
		"bearer_only":                           "write auth_methods: [bearer]",
		"cookie_name":                           "write session_cookie_name",
		"cookie_secret":                         "write session_secret",
		"discovery":                             "write issuer",
		"discovery_url":                         "write issuer",
		"id_token_header_name":                  "write upstream_id_token_header",
		"introspection_cache_ignore":            "write cache_introspection: false",
		"jwks_uri":                              "write jwks_endpoint",
		"logout_path":                           "write logout_uri_suffix, and GET in logout_methods",
		"pkce":                                  "S256 is sent as it is; write require_proof_key_for_code_exchange: true to insist on it",
		"pkce_method":                           "S256 is sent as it is; take it out",
		"post_logout_redirect_uri":              "write logout_redirect_uri, a list",
		"realm":                                 "the realm is a part of issuer; take it out",
		"redirect_after_logout_uri":             "write logout_redirect_uri, a list",
		"redirect_uri_path":                     "write redirect_uri, a list of URLs",
		"request_object_signing_algorithm":      "write client_alg, a list",
		"required_scopes":                       "write scopes_required",
		"revoke_tokens_on_logout":               "write logout_revoke",
		"scope":                                 "write scopes, a list",
		"session_lifetime":                      "write session_rolling_timeout",
		"session_name":                          "write session_cookie_name",
		"session_timeout":                       "write session_idling_timeout",
		"unauth_action":                         "write auth_methods: authorization_code among them starts logins, without it the answer is 401",
		"use_jwks":                              "keys are always taken from discovery, or from jwks_endpoint; take it out",
		"use_pkce":                              "S256 is sent as it is; write require_proof_key_for_code_exchange: true to insist on it",
		"userinfo_header_name":                  "write upstream_user_info_header",
		"validate_scope":                        "write scopes_required",
	}
}
