package plugin

import (
	"net/url"

	"kong-openid-connect/internal/op"
	"kong-openid-connect/internal/rp"
)

// wellKnownResource stands between host and path of a resource identifier in
// the URL of its metadata (RFC 9728 3.1).
const wellKnownResource = "/.well-known/oauth-protected-resource"

func resourcePolicy(c *Config) rp.ResourcePolicy {
	u, err := url.Parse(string(c.ProtectedResource))
	if err != nil || u.Host == "" {
		return rp.ResourcePolicy{}
	}
	path := u.EscapedPath()
	if path == "/" {
		path = ""
	}
	document := wellKnownResource + path
	location := u.Scheme + "://" + u.Host + document
	if u.RawQuery != "" {
		location += "?" + u.RawQuery
	}
	return rp.ResourcePolicy{
		Resource: string(c.ProtectedResource), MetadataURL: location, MetadataPath: document,
		Scopes: c.ProtectedResourceScopes, Name: c.ProtectedResourceName, Documentation: string(c.ProtectedResourceDocumentation),
		Issuer: op.NormaliseIssuer(c.Issuer),
	}
}

func stepUpPolicy(c *Config) rp.StepUpPolicy {
	return rp.StepUpPolicy{ACR: c.StepUpACRValues, MaxAge: optionalSeconds(c.StepUpMaxAge)}
}
