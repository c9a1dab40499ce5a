// Package op is every call to an OpenID Provider: discovery, keys, the
// authorization URL, the token endpoint, introspection, userinfo, revocation.
// A Provider is shared by all policies that configure it alike. It owns go-oidc
// and x/oauth2. Imported by plugin and admin; imports token, jwks, claims, fault.
package op
