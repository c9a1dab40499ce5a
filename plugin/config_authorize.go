package plugin

// ClaimsParams say which claims a request needs.
type ClaimsParams struct {
	AudienceClaim    []string `kong:"audience_claim" default:"aud" since:"0.32" doc:"Path to the claim listing audiences (one element per nesting level)."`
	AudienceRequired []string `kong:"audience_required" since:"0.32" doc:"Required audiences: array elements are ORed, space-separated words inside one element are ANDed; failure is 403."`
	ClaimsForbidden  []string `kong:"claims_forbidden" since:"3.8" doc:"Claims whose mere presence in the token payload denies the request (403)."`
	GroupsClaim      []string `kong:"groups_claim" default:"groups" since:"2.1.3" doc:"Path to the claim listing groups (one element per nesting level)."`
	GroupsRequired   []string `kong:"groups_required" since:"2.1.3" doc:"Required groups: array elements are ORed, space-separated words inside one element are ANDed; failure is 403."`
	RolesClaim       []string `kong:"roles_claim" default:"roles" since:"2.1.3" doc:"Path to the claim listing roles (one element per nesting level)."`
	RolesRequired    []string `kong:"roles_required" since:"2.1.3" doc:"Required roles: array elements are ORed, space-separated words inside one element are ANDed; failure is 403."`
	ScopesClaim      []string `kong:"scopes_claim" default:"scope" since:"0.32" doc:"Path to the claim listing scopes (one element per nesting level)."`
	ScopesRequired   []string `kong:"scopes_required" since:"0.32" doc:"Required scopes: array elements are ORed, space-separated words inside one element are ANDed; failure is 403."`
}
