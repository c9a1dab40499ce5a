package plugin

import (
	"fmt"
	urlpath "path"
	"slices"
	"strings"

	"kong-openid-connect/internal/param"
	"kong-openid-connect/internal/rp"
)

func checkCredentials(c *Config, r *report) {
	if slices.Contains(c.BearerTokenParamType, TokenPlaceCookie) && c.BearerTokenCookieName == "" {
		r.err("bearer_token_cookie_name", "name the cookie, or take cookie out of bearer_token_param_type",
			"is missing, and bearer_token_param_type has cookie")
	}
	if !c.allMethods() && c.uses(MethodRefreshToken) && c.RefreshTokenParamName == "" {
		r.warn("refresh_token_param_name", "name the header or argument", "is missing, so the method refresh_token never finds one")
	}
	if len(c.AuthMethods) == 0 {
		r.warn("auth_methods", "list at least one", "is empty, so every request is denied")
	}
}

// checkAuthorization looks at response types and modes that the code flow of
// a gateway can use.
func checkAuthorization(c *Config, r *report) {
	if !c.uses(MethodAuthorizationCode) {
		return
	}
	words := map[string]bool{}
	for i, element := range c.ResponseType {
		for w := range strings.FieldsSeq(element) {
			words[w] = true
			if w != "code" && w != "id_token" && w != "token" && w != "none" {
				r.err(fmt.Sprintf("response_type[%d]", i+1), "write code", "is no response type that is known")
			}
		}
	}
	if !words["code"] {
		r.err("response_type", "write code", "has no code, and without one there is nothing to exchange for tokens")
	}
	if c.ResponseMode == ResponseModeFragment || c.ResponseMode == ResponseModeFragmentJWT {
		r.err("response_mode", "write query or form_post", "is a fragment, which browsers do not send, so no login can finish")
	}
	if !c.allMethods() && !c.uses(MethodSession) {
		r.warn("auth_methods", "add session", "has authorization_code without session, so every request starts a login")
	}
}

// checkCookies holds cookie names and attributes to RFC 6265 and its
// successor's rules for SameSite and name prefixes.
func checkCookies(c *Config, r *report) {
	cookies := []struct {
		prefix, name, nameAt string
		domain, path         string
		sameSite             SameSite
		secure               *bool
	}{
		{"session_cookie", c.SessionCookieName, "session_cookie_name", c.SessionCookieDomain, c.SessionCookiePath, c.SessionCookieSameSite, c.SessionCookieSecure},
		{"authorization_cookie", c.AuthorizationCookieName, "authorization_cookie_name", c.AuthorizationCookieDomain, c.AuthorizationCookiePath, c.AuthorizationCookieSameSite, c.AuthorizationCookieSecure},
		{"session_cookie", c.SessionRememberCookieName, "session_remember_cookie_name", c.SessionCookieDomain, c.SessionCookiePath, c.SessionCookieSameSite, c.SessionCookieSecure},
	}
	names := map[string]string{}
	for _, k := range cookies {
		if !rp.IsToken(k.name) {
			r.err(k.nameAt, "use letters, digits, - and _", "has a character that a cookie's name may not have")
		}
		if other := names[k.name]; other != "" {
			r.err(k.nameAt, "give each cookie a name of its own", "is the same as %s", other)
		}
		names[k.name] = k.nameAt
		if k.nameAt == "session_remember_cookie_name" {
			continue // its attributes are the session cookie's, which were looked at
		}
		insecure := k.secure != nil && !*k.secure
		if k.sameSite == SameSiteNone && insecure {
			r.err(k.prefix+"_secure", "leave it out or write true", "is false, and a cookie with SameSite None must be Secure")
		}
		if badAttribute(k.domain) {
			r.err(k.prefix+"_domain", "write a host name", "has a character that a cookie's attribute may not have")
		}
		if badAttribute(k.path) || !strings.HasPrefix(k.path, "/") {
			r.err(k.prefix+"_path", "write a path that begins with /", "is no path for a cookie")
		}
		if strings.HasPrefix(k.name, "__Host-") && (k.domain != "" || k.path != "/" || insecure) {
			r.err(k.nameAt, "leave the domain out, write / for the path, and keep it Secure",
				"begins with __Host-, so browsers would drop the cookie")
		}
		if strings.HasPrefix(k.name, "__Secure-") && insecure {
			r.err(k.nameAt, "keep it Secure", "begins with __Secure-, so browsers would drop the cookie")
		}
	}
	if n := c.BearerTokenCookieName; n != "" && !rp.IsToken(n) {
		r.err("bearer_token_cookie_name", "use letters, digits, - and _", "has a character that a cookie's name may not have")
	}
	if n := c.JWTSessionCookie; n != "" && !rp.IsToken(n) {
		r.err("jwt_session_cookie", "use letters, digits, - and _", "has a character that a cookie's name may not have")
	}
}

func badAttribute(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c >= 0x7f || c == ';' || c == ',' })
}

// shortSecret is the length, in bytes, below which a secret is warned of.
const shortSecret = 16

// maxPreviousSecrets is how many secrets from before are tried for a cookie.
const maxPreviousSecrets = 7

// checkSession looks at secrets and timers.
func checkSession(c *Config, r *report) {
	secret := c.SessionSecret.Reveal()
	if secret != "" && len(secret) < shortSecret && !param.IsReference(secret) {
		r.warn("session_secret", "take 32 random bytes", "is shorter than %d bytes, so it can be guessed", shortSecret)
	}
	if n := len(c.SessionPreviousSecrets); n > maxPreviousSecrets {
		r.err("session_previous_secrets", fmt.Sprintf("keep the last %d", maxPreviousSecrets), "has %d elements", n)
	}
	for i, s := range c.SessionPreviousSecrets {
		if old := s.Reveal(); len(old) < shortSecret && !param.IsReference(old) {
			r.warn(fmt.Sprintf("session_previous_secrets[%d]", i+1), "take it out as soon as session_absolute_timeout has passed", "is shorter than %d bytes, so it can be guessed", shortSecret)
		}
	}
	timers := []struct {
		path  string
		value float64
	}{
		{"session_idling_timeout", c.SessionIdlingTimeout},
		{"session_rolling_timeout", c.SessionRollingTimeout},
		{"session_absolute_timeout", c.SessionAbsoluteTimeout},
	}
	for i := 1; i < len(timers); i++ {
		a, b := timers[i-1], timers[i]
		if b.value > 0 && a.value > b.value {
			r.warn(a.path, "make it the smaller one", "is longer than %s, so it never ends a session", b.path)
		}
	}
	if c.SessionHashSubject && !c.SessionStoreMetadata {
		r.warn("session_hash_subject", "set session_store_metadata, or take it out", "has no effect without session_store_metadata")
	}
	if c.SessionStoreMetadata && c.SessionStorage == SessionStorageCookie {
		r.warn("session_store_metadata", "choose redis or memcached for session_storage", "has no effect while sessions are kept in cookies")
	}
}

// checkLogout looks at what would log nobody out.
func checkLogout(c *Config, r *report) {
	trigger := c.LogoutURISuffix + c.LogoutQueryArg + c.LogoutPostArg
	if trigger == "" {
		for _, p := range []string{"logout_revoke", "logout_redirect_uri", "logout_all_sessions"} {
			if !Declaration().IsDefault(c, p) {
				r.warn(p, "set logout_uri_suffix, logout_query_arg or logout_post_arg", "has no effect, because nothing triggers a logout")
			}
		}
	}
	if trigger != "" && len(c.LogoutMethods) == 0 {
		r.warn("logout_methods", "list POST", "is empty, so nothing triggers a logout")
	}
}

// checkProviderLogout looks at the paths on which a provider ends sessions.
func checkProviderLogout(c *Config, r *report) {
	// In the order in which a request is held against them.
	paths := []struct{ param, suffix string }{
		{"backchannel_logout_uri_suffix", c.BackchannelLogoutURISuffix},
		{"frontchannel_logout_uri_suffix", c.FrontchannelLogoutURISuffix},
		{"logout_uri_suffix", c.LogoutURISuffix},
	}
	for i, p := range paths[:2] {
		if p.suffix == "" {
			continue
		}
		if len(p.suffix) < 2 || p.suffix[0] != '/' || urlpath.Clean(p.suffix) != p.suffix || strings.ContainsFunc(p.suffix, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("?#%\\;", c) }) {
			r.err(p.param, "write the end of a path, such as /backchannel-logout", "is no end of a path")
		}
		if !c.uses(MethodSession) {
			r.err(p.param, "add session to auth_methods, or take it out", "is set, but there are no sessions to end")
		}
		for _, later := range paths[i+1:] {
			if strings.HasSuffix(later.suffix, p.suffix) {
				r.err(later.param, "give it another end", "ends in %s, so that no request would reach it", p.param)
			}
		}
	}
	if c.FrontchannelLogoutURISuffix != "" && c.SessionCookieSameSite != SameSiteNone {
		r.warn("session_cookie_same_site", "write None unless the provider is of the same site", "is %s, so browsers keep the session's cookie from frames of other sites, and frontchannel_logout_uri_suffix ends nothing there", c.SessionCookieSameSite)
	}
}
