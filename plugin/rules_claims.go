package plugin

import (
	"fmt"
	"regexp"
	"strings"
)

// dotted is a name that looks like a path of nested claims, as other plugins
// write it. URLs as names (https://example.com/roles) do not.
var dotted = regexp.MustCompile(`^\w+(\.\w+)+$`)

// checkClaims looks for two spellings that are no errors, yet mean something
// else than most people who write them think.
func checkClaims(c *Config, r *report) {
	path := func(at string, names []string) {
		for _, name := range names {
			if dotted.MatchString(name) {
				r.warn(at, "for nested claims write one name for each level: ["+strings.ReplaceAll(name, ".", ", ")+"]",
					"has a name with a dot, which is looked up as one claim of that name")
				return
			}
		}
	}
	path("audience_claim", c.AudienceClaim)
	path("authenticated_groups_claim", c.AuthenticatedGroupsClaim)
	path("consumer_groups_claim", c.ConsumerGroupsClaim)
	path("credential_claim", c.CredentialClaim)
	path("groups_claim", c.GroupsClaim)
	path("roles_claim", c.RolesClaim)
	path("scopes_claim", c.ScopesClaim)
	for i, names := range c.ConsumerClaims {
		path(fmt.Sprintf("consumer_claims[%d]", i+1), names)
	}
	for i, h := range c.UpstreamHeaders {
		path(fmt.Sprintf("upstream_headers[%d].path", i+1), h.Path)
	}
	for i, h := range c.DownstreamHeaders {
		path(fmt.Sprintf("downstream_headers[%d].path", i+1), h.Path)
	}
	top := func(at, instead string, names []string) {
		for i, name := range names {
			if dotted.MatchString(name) {
				r.warn(fmt.Sprintf("%s[%d]", at, i+1), "for nested claims write "+instead+", with header and path",
					"is looked up as one claim of that name")
			}
		}
	}
	top("upstream_headers_claims", "upstream_headers", c.UpstreamHeadersClaims)
	top("downstream_headers_claims", "downstream_headers", c.DownstreamHeadersClaims)
	for i, scope := range c.Scopes {
		if strings.Contains(scope, ",") {
			r.warn(fmt.Sprintf("scopes[%d]", i+1), "write each scope for itself", "has a comma and is one scope: Kong does not split it")
		}
	}
}
