package op

import (
	"net/url"
	"strings"
)

// The locations of metadata (OpenID Connect Discovery 1.0 section 4, RFC 8414
// section 3).
const (
	oidcSuffix  = "/.well-known/openid-configuration"
	oauthSuffix = "/.well-known/oauth-authorization-server"
)

// NormaliseIssuer returns the identity of an issuer: without the well-known
// part of a metadata URL and without a trailing slash.
func NormaliseIssuer(issuer string) string {
	base, query, _ := strings.Cut(issuer, "?")
	base = strings.TrimSuffix(base, "/")
	if s, ok := strings.CutSuffix(base, oidcSuffix); ok {
		base = s
	} else if s, ok := strings.CutSuffix(base, oauthSuffix); ok {
		base = s
	} else if before, after, ok := strings.Cut(base, oauthSuffix+"/"); ok {
		base = before + "/" + after
	}
	base = strings.TrimSuffix(base, "/")
	if query != "" {
		// Some providers tell their tenants apart by a query.
		return base + "?" + query
	}
	return base
}

// metadataURLs returns where the metadata of issuer may be, in the order in
// which to look. An address that names its metadata is used as it is.
func metadataURLs(issuer string) []string {
	base, query, hasQuery := strings.Cut(issuer, "?")
	if hasQuery {
		query = "?" + query
	}
	if strings.HasSuffix(base, oidcSuffix) || strings.HasSuffix(base, oauthSuffix) || strings.Contains(base, oauthSuffix+"/") {
		return []string{issuer}
	}
	base = strings.TrimSuffix(base, "/")
	urls := []string{base + oidcSuffix + query}
	if u, err := url.Parse(base); err == nil && u.Host != "" {
		inserted := u.Scheme + "://" + u.Host + oauthSuffix + u.EscapedPath() + query
		urls = append(urls, inserted)
		if appended := base + oauthSuffix + query; appended != inserted {
			urls = append(urls, appended)
		}
	}
	return urls
}
