package plugin

import (
	"fmt"
	"maps"
	"slices"

	"kong-openid-connect/internal/rp"
)

// checkConsumers looks at the mapping to Kong's consumers.
func checkConsumers(c *Config, r *report) {
	if c.ByUsernameIgnoreCase && !slices.Contains(c.ConsumerBy, ConsumerFieldUsername) {
		r.warn("by_username_ignore_case", "add username to consumer_by", "has no effect while consumer_by has no username")
	}
	if len(c.ConsumerClaims) > 0 && len(c.ConsumerBy) == 0 {
		r.err("consumer_by", "list custom_id, username or id", "is empty, so that no consumer can be found")
	}
	for i, path := range c.ConsumerClaims {
		if len(path) == 0 {
			r.err(fmt.Sprintf("consumer_claims[%d]", i+1), "write one name for each level", "is an empty path")
		}
	}
	if len(c.ConsumerGroupsClaim) > 0 && !c.ConsumerGroupsOptional {
		r.err("consumer_groups_claim", "set consumer_groups_optional, or take it out", "needs consumer groups, which open-source Kong does not have")
	}
}

// framing are headers that carry the message itself; a claim there would
// break it.
var framing = []string{"connection", "content-length", "content-encoding", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

// checkHeaders holds every configured header name to RFC 9110.
func checkHeaders(c *Config, r *report) {
	check := func(path, name string) {
		bare, _ := cutBearer(name)
		switch {
		case name == "":
		case !rp.IsToken(bare):
			r.err(path, "write the name of a header, or name:bearer", "has a character that a header's name may not have")
		case slices.Contains(framing, rp.Canonical(bare)):
			r.err(path, "choose another header", "is a header that carries the message itself")
		}
	}
	for _, h := range []struct{ path, name string }{
		{"upstream_access_token_header", c.UpstreamAccessTokenHeader},
		{"upstream_access_token_jwk_header", c.UpstreamAccessTokenJWKHeader},
		{"upstream_id_token_header", c.UpstreamIDTokenHeader},
		{"upstream_id_token_jwk_header", c.UpstreamIDTokenJWKHeader},
		{"upstream_introspection_header", c.UpstreamIntrospectionHeader},
		{"upstream_introspection_jwt_header", c.UpstreamIntrospectionJWTHeader},
		{"upstream_refresh_token_header", c.UpstreamRefreshTokenHeader},
		{"upstream_session_id_header", c.UpstreamSessionIDHeader},
		{"upstream_user_info_header", c.UpstreamUserInfoHeader},
		{"upstream_user_info_jwt_header", c.UpstreamUserInfoJWTHeader},
		{"downstream_access_token_header", c.DownstreamAccessTokenHeader},
		{"downstream_access_token_jwk_header", c.DownstreamAccessTokenJWKHeader},
		{"downstream_id_token_header", c.DownstreamIDTokenHeader},
		{"downstream_id_token_jwk_header", c.DownstreamIDTokenJWKHeader},
		{"downstream_introspection_header", c.DownstreamIntrospectionHeader},
		{"downstream_introspection_jwt_header", c.DownstreamIntrospectionJWTHeader},
		{"downstream_refresh_token_header", c.DownstreamRefreshTokenHeader},
		{"downstream_session_id_header", c.DownstreamSessionIDHeader},
		{"downstream_user_info_header", c.DownstreamUserInfoHeader},
		{"downstream_user_info_jwt_header", c.DownstreamUserInfoJWTHeader},
		{"bearer_token_header_name", c.BearerTokenHeaderName},
	} {
		check(h.path, h.name)
	}
	lists := map[string][]string{
		"upstream_headers_names": c.UpstreamHeadersNames, "downstream_headers_names": c.DownstreamHeadersNames,
		"discovery_headers_names": c.DiscoveryHeadersNames, "token_headers_names": c.TokenHeadersNames,
		"introspection_headers_names": c.IntrospectionHeadersNames, "userinfo_headers_names": c.UserinfoHeadersNames,
	}
	for _, path := range slices.Sorted(maps.Keys(lists)) {
		for i, name := range lists[path] {
			check(fmt.Sprintf("%s[%d]", path, i+1), name)
		}
	}
	for i, m := range c.UpstreamHeaders {
		check(fmt.Sprintf("upstream_headers[%d].header", i+1), m.Header)
	}
	for i, m := range c.DownstreamHeaders {
		check(fmt.Sprintf("downstream_headers[%d].header", i+1), m.Header)
	}
}
