package plugin

import (
	"fmt"
	"slices"
	"strings"

	"kong-openid-connect/internal/param"
)

// pending is a parameter whose feature this version does not have yet.
type pending struct {
	// path of the parameter. A record stands for all of its members.
	path string
	// refuse says that leaving the parameter without effect would let
	// through what it should stop, or store what it should not: then a
	// value other than the default is an error, else a warning.
	refuse bool
	// inert are values, beside the default, at which nothing is missing;
	// written as fmt.Sprint prints them.
	inert string
	// values are those that are missing; empty: every value but inert.
	// Only for texts and lists of texts. The default counts too.
	values string
}

// notYet lists what has no effect in this version. Features take their lines
// out when they land; in the end it is empty.
var notYet = []pending{
	// Methods.
	{path: "auth_methods", values: "introspection kong_oauth2 userinfo refresh_token password client_credentials"},
	{path: "password_param_type"},
	{path: "client_credentials_param_type"},
	{path: "refresh_token_param_name"},
	{path: "refresh_token_param_type"},
	{path: "id_token_param_name"},
	{path: "id_token_param_type"},
	{path: "refresh_tokens", inert: "false"},
	{path: "jwt_session_cookie", refuse: true},
	{path: "jwt_session_claim"},

	// Clients.
	{path: "client_arg"},
	{path: "client_auth", values: "client_secret_jwt private_key_jwt tls_client_auth self_signed_tls_client_auth", refuse: true},
	{path: "client_alg"},
	{path: "client_jwk"},
	{path: "mtls_token_endpoint"},
	{path: "mtls_introspection_endpoint"},
	{path: "mtls_revocation_endpoint"},
	{path: "tls_client_auth_cert_id"},
	{path: "tls_client_auth_ssl_verify", inert: "true"},
	{path: "token_endpoint_auth_method", values: "client_secret_jwt private_key_jwt tls_client_auth self_signed_tls_client_auth", refuse: true},

	// Introspection and userinfo.
	{path: "introspect_jwt_tokens", refuse: true},
	{path: "introspection_accept"},
	{path: "introspection_check_active"},
	{path: "introspection_endpoint"},
	{path: "introspection_endpoint_auth_method"},
	{path: "introspection_headers_client"},
	{path: "introspection_headers_names"},
	{path: "introspection_headers_values"},
	{path: "introspection_hint"},
	{path: "introspection_post_args_client"},
	{path: "introspection_post_args_client_headers"},
	{path: "introspection_post_args_names"},
	{path: "introspection_post_args_values"},
	{path: "introspection_token_param_name"},
	{path: "search_user_info"},
	{path: "userinfo_accept"},
	{path: "userinfo_endpoint"},
	{path: "userinfo_headers_client"},
	{path: "userinfo_headers_names"},
	{path: "userinfo_headers_values"},
	{path: "userinfo_query_args_client"},
	{path: "userinfo_query_args_names"},
	{path: "userinfo_query_args_values"},
	{path: "resolve_distributed_claims"},

	// Token endpoint.
	{path: "token_headers_client"},
	{path: "token_headers_grants"},
	{path: "token_headers_names"},
	{path: "token_headers_prefix"},
	{path: "token_headers_replay"},
	{path: "token_headers_values"},
	{path: "token_post_args_client"},
	{path: "token_post_args_names"},
	{path: "token_post_args_values"},
	{path: "token_exchange", refuse: true},
	{path: "token_exchange_endpoint", refuse: true},

	// Authorization request.
	{path: "pushed_authorization_request_endpoint"},
	{path: "pushed_authorization_request_endpoint_auth_method"},
	{path: "require_pushed_authorization_requests", refuse: true, inert: "false"},
	{path: "require_signed_request_object", refuse: true, inert: "false"},
	{path: "response_mode", values: "query.jwt form_post.jwt fragment.jwt jwt", refuse: true},

	// Verification and proof of possession.
	{path: "proof_of_possession_dpop", refuse: true},
	{path: "proof_of_possession_mtls", refuse: true},
	{path: "proof_of_possession_mtls_from_header", refuse: true},
	{path: "proof_of_possession_auth_methods_validation", inert: "false"},
	{path: "dpop_proof_lifetime"},
	{path: "dpop_use_nonce", refuse: true},

	// Consumers and groups.
	{path: "anonymous"},
	{path: "authenticated_groups_claim", refuse: true},
	{path: "by_username_ignore_case"},
	{path: "consumer_by"},
	{path: "consumer_claims", refuse: true},
	{path: "consumer_groups_claim", refuse: true},
	{path: "consumer_groups_optional"},
	{path: "consumer_optional"},
	{path: "principals.enabled", refuse: true},
	{path: "principals.directory"},
	{path: "principals.error_on_miss", inert: "false"},
	{path: "principals.match_consumer", inert: "false"},
	{path: "principals.match_consumer_groups", inert: "false"},
	{path: "principals.principal_by"},
	{path: "principals.principal_claim"},

	// Headers.
	{path: "hide_credentials", inert: "false"},
	{path: "run_on_preflight"},
	{path: "upstream_introspection_header"},
	{path: "upstream_introspection_jwt_header"},
	{path: "upstream_user_info_header"},
	{path: "upstream_user_info_jwt_header"},
	{path: "downstream_introspection_header"},
	{path: "downstream_introspection_jwt_header"},
	{path: "downstream_user_info_header"},
	{path: "downstream_user_info_jwt_header"},

	// Sessions.
	{path: "session_storage", values: "redis memcached memcache", refuse: true},
	{path: "redis"},
	{path: "session_memcached_host"},
	{path: "session_memcached_port"},
	{path: "session_memcached_prefix"},
	{path: "session_memcached_socket"},
	{path: "session_memcached_ssl"},
	{path: "session_memcached_ssl_verify"},
	{path: "session_remember"},
	{path: "session_remember_absolute_timeout"},
	{path: "session_remember_cookie_name"},
	{path: "session_remember_rolling_timeout"},
	{path: "session_enforce_same_subject", refuse: true},
	{path: "session_hash_storage_key"},
	{path: "session_hash_subject"},
	{path: "session_store_metadata"},

	// Login and logout.
	{path: "login_action", values: "response"},
	{path: "logout_methods"},
	{path: "logout_post_arg", refuse: true},
	{path: "logout_query_arg", refuse: true},
	{path: "logout_uri_suffix", refuse: true},
	{path: "logout_redirect_uri"},
	{path: "logout_revoke"},
	{path: "logout_revoke_access_token"},
	{path: "logout_revoke_refresh_token"},
	{path: "end_session_endpoint"},
	{path: "revocation_endpoint"},
	{path: "revocation_endpoint_auth_method"},
	{path: "revocation_token_param_name"},

	// Caches.
	{path: "cache_introspection"},
	{path: "cache_token_exchange"},
	{path: "cache_tokens"},
	{path: "cache_tokens_salt"},
	{path: "cache_ttl"},
	{path: "cache_ttl_max"},
	{path: "cache_ttl_min"},
	{path: "cache_ttl_neg"},
	{path: "cache_ttl_resurrect"},
	{path: "cache_user_info"},
	{path: "cluster_cache_items"},
	{path: "cluster_cache_redis"},
	{path: "cluster_cache_strategy"},
	{path: "token_cache_key_include_scope"},

	// Connections.
	{path: "http_proxy", refuse: true},
	{path: "http_proxy_authorization"},
	{path: "https_proxy", refuse: true},
	{path: "https_proxy_authorization"},
	{path: "no_proxy"},
	{path: "keepalive"},
}

// NotEffective says which settings of c have no effect in this version:
// warnings, and errors where that would be unsafe. A configuration with
// errors must not serve requests.
func NotEffective(c *Config) (warnings, errors param.Findings) {
	return notEffective(c, notYet)
}

func notEffective(c *Config, list []pending) (warnings, errors param.Findings) {
	for _, p := range list {
		what, missing := p.missing(c)
		if !missing {
			continue
		}
		f := param.Finding{Severity: param.Warning, Path: p.path, Message: what + " is not effective in this version"}
		if p.refuse {
			f.Severity, f.Do = param.Error, "take it out: to go on without it would be unsafe"
			errors = append(errors, f)
		} else {
			warnings = append(warnings, f)
		}
	}
	return warnings, errors
}

// missing reports whether c asks for what is not there, and says what.
func (p pending) missing(c *Config) (what string, missing bool) {
	v, ok := Declaration().Value(c, p.path)
	if !ok {
		return "", false
	}
	if p.values != "" {
		var asked []string
		for w := range strings.FieldsSeq(strings.Trim(fmt.Sprint(v), "[]")) {
			if slices.Contains(strings.Fields(p.values), w) {
				asked = append(asked, w)
			}
		}
		return strings.Join(asked, ", "), len(asked) > 0
	}
	if Declaration().IsDefault(c, p.path) || (p.inert != "" && plain(v) == p.inert) {
		return "", false
	}
	return "it", true
}

// plain prints a value, or what a pointer points to.
func plain(v any) string {
	if b, ok := v.(*bool); ok && b != nil {
		v = *b
	}
	return fmt.Sprint(v)
}

// Status says what a parameter does in this version, for the reference page.
func Status(f *param.Field) string {
	switch {
	case f.Refused != "":
		return "refused"
	case slices.Contains(ignored, f.Path):
		return "ignored"
	case f.Deprecated != "" && f.Group == deprecatedGroup:
		return "accepted"
	}
	for _, p := range notYet {
		if f.Path != p.path && !strings.HasPrefix(f.Path, p.path+".") && !strings.HasPrefix(f.Path, p.path+"[") {
			continue
		}
		switch {
		case p.values != "" && p.refuse:
			return "refused yet: " + strings.Join(strings.Fields(p.values), ", ")
		case p.values != "":
			return "not yet: " + strings.Join(strings.Fields(p.values), ", ")
		case p.refuse:
			return "not yet (refused)"
		}
		return "not yet"
	}
	return "effective"
}
