package plugin

import (
	"fmt"
	"slices"

	"kong-openid-connect/internal/param"
)

// A rule is something that must hold between parameters. Its checks are what
// of it Kong's schema language can express; they make Kong refuse the
// configuration before it reaches anyone. Its run always runs.
type rule struct {
	name   string
	checks []param.Check
	run    func(*Config, *report)
}

// rules are looked at in this order.
var rules = []rule{
	{name: "bounds", run: checkBounds},
	{name: "pairs", run: checkPairs},
	{name: "http version", run: checkHTTPVersion, checks: []param.Check{
		conditional("config.http_version", equals(1.0), "config.http_version", equals(1.1),
			"HTTP/1.0 is not spoken by this plugin: leave http_version out or write 1.1"),
	}},
	{name: "issuer", run: checkIssuer},
	{name: "plain http", run: checkPlainHTTP},
	{name: "issuer keys", run: checkIssuerKeys},
	{name: "clients", run: checkClients, checks: []param.Check{
		conditional("config.client_auth", listWith(ClientAuthTLS), "config.tls_client_auth_cert_id", needed, ""),
		conditional("config.client_auth", listWith(ClientAuthSelfSignedTLS), "config.tls_client_auth_cert_id", needed, ""),
	}},
	{name: "missing client", run: checkMissingClient},
	{name: "credentials", run: checkCredentials, checks: []param.Check{
		conditional("config.bearer_token_param_type", listWith(TokenPlaceCookie),
			"config.bearer_token_cookie_name", needed, ""),
	}},
	{name: "authorization", run: checkAuthorization},
	{name: "cookies", run: checkCookies, checks: []param.Check{
		conditional("config.session_cookie_same_site", equals("None"), "config.session_cookie_secure", param.Check{"ne": false},
			"a cookie with SameSite None must be Secure: leave session_cookie_secure out or write true"),
		conditional("config.authorization_cookie_same_site", equals("None"), "config.authorization_cookie_secure", param.Check{"ne": false},
			"a cookie with SameSite None must be Secure: leave authorization_cookie_secure out or write true"),
	}},
	{name: "session", run: checkSession},
	{name: "storage", run: checkStorage},
	{name: "verification", run: checkVerification},
	{name: "proof of possession", run: checkPossession},
	{name: "token exchange", run: checkTokenExchange},
	{name: "consumers", run: checkConsumers},
	{name: "claims", run: checkClaims},
	{name: "headers", run: checkHeaders},
	{name: "logout", run: checkLogout},
	{name: "logout by the provider", run: checkProviderLogout},
}

// needed matches a field that is given.
var needed = param.Check{"required": true}

// listWith matches a list that has v. Without "required" Kong takes null for
// a match.
func listWith(v any) param.Check { return param.Check{"contains": v, "required": true} }

func equals(v any) param.Check { return param.Check{"eq": v} }

// conditional is Kong's check of one field that depends on another.
func conditional(ifField string, ifMatch param.Check, thenField string, thenMatch param.Check, text string) param.Check {
	c := param.Check{"if_field": ifField, "if_match": ifMatch, "then_field": thenField, "then_match": thenMatch}
	if text != "" {
		c["then_err"] = text
	}
	return param.Check{"conditional": c}
}

// report collects what rules find.
type report struct{ found param.Findings }

func (r *report) err(path, do, format string, args ...any) {
	r.add(param.Error, path, do, format, args...)
}

func (r *report) warn(path, do, format string, args ...any) {
	r.add(param.Warning, path, do, format, args...)
}

func (r *report) add(s param.Severity, path, do, format string, args ...any) {
	r.found = append(r.found, param.Finding{Severity: s, Path: path, Message: fmt.Sprintf(format, args...), Do: do})
}

// Validate runs the rules between parameters over a decoded configuration.
// A parameter whose value is a reference to a vault, as in a kong.yml, is
// taken to be right.
func Validate(c *Config) param.Findings {
	var r report
	for _, rule := range rules {
		rule.run(c, &r)
	}
	return r.found
}

// mostUnits bounds numbers of seconds and milliseconds: what is larger is a slip.
const mostUnits = 1e9

// checkBounds refuses negative numbers where a duration, a size or a count is
// meant, and a request deadline of zero.
func checkBounds(c *Config, r *report) {
	for _, n := range []struct {
		path  string
		value *float64
	}{
		{"authorization_rolling_timeout", &c.AuthorizationRollingTimeout},
		{"cache_ttl", &c.CacheTTL}, {"cache_ttl_max", c.CacheTTLMax}, {"cache_ttl_min", c.CacheTTLMin},
		{"cache_ttl_neg", c.CacheTTLNeg}, {"cache_ttl_resurrect", c.CacheTTLResurrect},
		{"dpop_proof_lifetime", &c.DPoPProofLifetime},
		{"leeway", &c.Leeway}, {"max_age", c.MaxAge},
		{"rediscovery_lifetime", &c.RediscoveryLifetime},
		{"session_absolute_timeout", &c.SessionAbsoluteTimeout}, {"session_idling_timeout", &c.SessionIdlingTimeout},
		{"session_rolling_timeout", &c.SessionRollingTimeout},
		{"session_remember_absolute_timeout", &c.SessionRememberAbsoluteTimeout},
		{"session_remember_rolling_timeout", &c.SessionRememberRollingTimeout},
		{"timeout", &c.Timeout},
	} {
		if n.value != nil && *n.value < 0 {
			r.err(n.path, "write a number from 0 up", "is negative")
		}
		if n.value != nil && *n.value > mostUnits {
			r.err(n.path, "write a smaller number", "is larger than %.0f", mostUnits)
		}
	}
	if c.Timeout == 0 {
		r.err("timeout", "write milliseconds, 10000 is the default", "is 0, so that no call could succeed")
	}
	if c.CacheTTLMin != nil && c.CacheTTLMax != nil && *c.CacheTTLMin > *c.CacheTTLMax {
		r.err("cache_ttl_min", "swap the two", "is larger than cache_ttl_max")
	}
}

// checkPairs warns of lists that pair by index and differ in length
// (behaviour.md U1).
func checkPairs(c *Config, r *report) {
	for _, p := range []struct {
		prefix, values string
		n, m           int
	}{
		{"discovery_headers", "values", len(c.DiscoveryHeadersNames), len(c.DiscoveryHeadersValues)},
		{"authorization_query_args", "values", len(c.AuthorizationQueryArgsNames), len(c.AuthorizationQueryArgsValues)},
		{"token_headers", "values", len(c.TokenHeadersNames), len(c.TokenHeadersValues)},
		{"token_post_args", "values", len(c.TokenPostArgsNames), len(c.TokenPostArgsValues)},
		{"introspection_headers", "values", len(c.IntrospectionHeadersNames), len(c.IntrospectionHeadersValues)},
		{"introspection_post_args", "values", len(c.IntrospectionPostArgsNames), len(c.IntrospectionPostArgsValues)},
		{"userinfo_headers", "values", len(c.UserinfoHeadersNames), len(c.UserinfoHeadersValues)},
		{"userinfo_query_args", "values", len(c.UserinfoQueryArgsNames), len(c.UserinfoQueryArgsValues)},
		{"upstream_headers", "claims", len(c.UpstreamHeadersNames), len(c.UpstreamHeadersClaims)},
		{"downstream_headers", "claims", len(c.DownstreamHeadersNames), len(c.DownstreamHeadersClaims)},
	} {
		if p.n != p.m {
			r.warn(p.prefix+"_names", "give both lists the same length",
				"has %d elements and %s_%s has %d; those without a partner are left out", p.n, p.prefix, p.values, p.m)
		}
	}
}

func checkHTTPVersion(c *Config, r *report) {
	if c.HTTPVersion != 1.1 {
		r.err("http_version", "leave it out or write 1.1", "is 1.0, which this plugin does not speak")
	}
}

// uses reports whether one of these methods is switched on.
func (c *Config) uses(methods ...Method) bool {
	return slices.ContainsFunc(c.AuthMethods, func(m Method) bool { return slices.Contains(methods, m) })
}

// allMethods reports whether auth_methods has all nine, as by default and as
// dumps write it, in whatever order.
func (c *Config) allMethods() bool {
	for _, m := range Method("").OneOf() {
		if !c.uses(Method(m)) {
			return false
		}
	}
	return true
}

// IsZero reports whether no list is given; such a record counts as absent
// (behaviour.md 1.2.6).
func (e *ExchangeConditions) IsZero() bool {
	return e == nil || len(e.HasAudience)+len(e.HasScopes)+len(e.MissingAudience)+len(e.MissingScopes) == 0
}
