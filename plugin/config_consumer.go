package plugin

// ConsumerParams map claims to consumers, groups and credentials of Kong.
type ConsumerParams struct {
	Anonymous                string          `kong:"anonymous" since:"<=0.31 (username 3.1)" doc:"Consumer id or username (not custom_id) to fall back to when authentication fails."`
	AuthenticatedGroupsClaim []string        `kong:"authenticated_groups_claim" since:"0.34" doc:"Claim path whose values become authenticated groups (ACL) and X-Authenticated-Groups."`
	ByUsernameIgnoreCase     bool            `kong:"by_username_ignore_case" default:"false" since:"2.6" doc:"Case-insensitive match when matching by username."`
	ConsumerBy               []ConsumerField `kong:"consumer_by" default:"custom_id username" since:"<=0.31" doc:"Consumer fields tried, in the given order, with the claim value."`
	ConsumerClaims           [][]string      `kong:"consumer_claims" since:"3.14" doc:"Claim paths tried in order for consumer mapping; first claim found wins. Setting it makes mapping mandatory unless optional/anonymous."`
	ConsumerGroupsClaim      []string        `kong:"consumer_groups_claim" since:"3.12" doc:"Claim path whose values name consumer groups to attach."`
	ConsumerGroupsOptional   bool            `kong:"consumer_groups_optional" default:"false" since:"3.12" doc:"Do not deny when no consumer group matches."`
	ConsumerOptional         bool            `kong:"consumer_optional" default:"false" since:"0.33" doc:"Do not deny when no consumer matches."`
	CredentialClaim          []string        `kong:"credential_claim" default:"sub" since:"0.32" doc:"Claim path giving the virtual credential id (rate-limit identity) when no consumer is mapped."`
}

// PrincipalParams look the caller up in a directory of principals.
type PrincipalParams struct {
	Principals Principals `kong:"principals" since:"3.15" doc:"Kong Identity principal lookup after token verification."`
}

// Principals is the lookup of principals.
type Principals struct {
	Directory           string   `kong:"directory" default:"default" since:"3.15" doc:"Kong Identity directory to search."`
	Enabled             bool     `kong:"enabled" default:"false" since:"3.15" doc:"Turn the lookup on."`
	ErrorOnMiss         bool     `kong:"error_on_miss" default:"true" since:"3.15" doc:"true: 401 when no principal matches; false: continue without one."`
	MatchConsumer       bool     `kong:"match_consumer" default:"true" since:"3.15" doc:"Use the consumer attached to the principal (overrides consumer_by mapping)."`
	MatchConsumerGroups bool     `kong:"match_consumer_groups" default:"true" since:"3.15" doc:"Use the consumer groups attached to the principal (overrides consumer_groups_claim)."`
	PrincipalBy         string   `kong:"principal_by" min:"1" since:"3.15" doc:"Custom identity name: do a custom-type lookup with the value of principal_claim."`
	PrincipalClaim      []string `kong:"principal_claim" min:"1" elemmin:"1" since:"3.15" doc:"Claim path used for the lookup; without principal_by an OIDC (iss + that claim) lookup."`
}
