package op

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kong-openid-connect/internal/claims"
)

// Metadata is what a provider says of itself (OpenID Connect Discovery 1.0,
// RFC 8414), with the configuration's overrides applied. It is immutable.
type Metadata struct {
	// Issuer is the expected `iss`: the document's value, else the configured one.
	Issuer    string
	Endpoints Endpoints
	JWKSURI   string

	TokenAuthMethods         []string
	IntrospectionAuthMethods []string
	RevocationAuthMethods    []string
	// PKCEMethods is nil where the provider is silent.
	PKCEMethods []string
	// ResponseISS is authorization_response_iss_parameter_supported (RFC 9207).
	ResponseISS          bool
	RequirePAR           bool
	RequireRequestObject bool
	RequestObjectAlgs    []string
	// DPoPAlgorithms is dpop_signing_alg_values_supported (RFC 9449 section
	// 5.1); nil where the provider is silent.
	DPoPAlgorithms []string

	// Document is the whole as it was read; nil when nothing was discovered. It
	// must not be changed.
	Document claims.Object
}

// readMetadata reads a discovery document. Members of a wrong type count as
// absent, and so do endpoints that are no http or https URLs.
func readMetadata(doc claims.Object) *Metadata {
	aliases, _ := doc["mtls_endpoint_aliases"].(map[string]any)
	m := &Metadata{
		Issuer:  stringOf(doc, "issuer"),
		JWKSURI: endpointOf(doc, "jwks_uri"),
		Endpoints: Endpoints{
			Authorization:       endpointOf(doc, "authorization_endpoint"),
			Token:               endpointOf(doc, "token_endpoint"),
			Introspection:       endpointOf(doc, "introspection_endpoint", "token_introspection_endpoint", "introspect_endpoint"),
			Userinfo:            endpointOf(doc, "userinfo_endpoint"),
			Revocation:          endpointOf(doc, "revocation_endpoint"),
			EndSession:          endpointOf(doc, "end_session_endpoint"),
			PushedAuthorization: endpointOf(doc, "pushed_authorization_request_endpoint"),
			MTLSToken:           endpointOf(aliases, "token_endpoint"),
			MTLSIntrospection:   endpointOf(aliases, "introspection_endpoint"),
			MTLSRevocation:      endpointOf(aliases, "revocation_endpoint"),

			MTLSPushedAuthorization: endpointOf(aliases, "pushed_authorization_request_endpoint"),
		},
		TokenAuthMethods:         listOf(doc, "token_endpoint_auth_methods_supported"),
		IntrospectionAuthMethods: listOf(doc, "introspection_endpoint_auth_methods_supported"),
		RevocationAuthMethods:    listOf(doc, "revocation_endpoint_auth_methods_supported"),
		PKCEMethods:              listOf(doc, "code_challenge_methods_supported"),
		RequestObjectAlgs:        listOf(doc, "request_object_signing_alg_values_supported"),
		DPoPAlgorithms:           listOf(doc, "dpop_signing_alg_values_supported"),
		Document:                 doc,
	}
	m.ResponseISS, _ = doc["authorization_response_iss_parameter_supported"].(bool)
	m.RequirePAR, _ = doc["require_pushed_authorization_requests"].(bool)
	m.RequireRequestObject, _ = doc["require_signed_request_object"].(bool)
	return m
}

func stringOf(o map[string]any, name string) string {
	s, _ := o[name].(string)
	return s
}

// endpointOf returns the first of the named members that is a usable URL.
func endpointOf(o map[string]any, names ...string) string {
	for _, n := range names {
		if s := stringOf(o, n); s != "" {
			if _, err := parseEndpoint(s); err == nil {
				return s
			}
		}
	}
	return ""
}

// listOf returns an array of strings; nil when it is absent.
func listOf(o map[string]any, name string) []string {
	a, ok := o[name].([]any)
	if !ok {
		return nil
	}
	list := make([]string, 0, len(a))
	for _, v := range a {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// override applies what is configured.
func (m Metadata) override(c *Config) *Metadata {
	o, e := &c.Endpoints, &m.Endpoints
	for _, p := range []struct {
		to   *string
		from string
	}{
		{&e.Authorization, o.Authorization}, {&e.Token, o.Token}, {&e.Introspection, o.Introspection},
		{&e.Userinfo, o.Userinfo}, {&e.Revocation, o.Revocation}, {&e.EndSession, o.EndSession},
		{&e.PushedAuthorization, o.PushedAuthorization}, {&e.MTLSToken, o.MTLSToken},
		{&e.MTLSIntrospection, o.MTLSIntrospection}, {&e.MTLSRevocation, o.MTLSRevocation},
		{&m.JWKSURI, c.JWKSURI},
	} {
		if p.from != "" {
			*p.to = p.from
		}
	}
	if m.Issuer == "" {
		m.Issuer = NormaliseIssuer(c.Issuer)
	}
	return &m
}

// sameIssuer reports whether a document's issuer is the configured one. The
// template of a multi-tenant provider stands for every tenant.
func sameIssuer(document, configured string) bool {
	return claims.SameIssuer(document, NormaliseIssuer(configured)) || strings.Contains(document, "{tenantid}")
}

// verifyParameters holds the configuration against the document
// (verify_parameters). What the document does not list is not judged.
func (c *Config) verifyParameters(m *Metadata) error {
	if m.Issuer != "" && !sameIssuer(m.Issuer, c.Issuer) {
		return fmt.Errorf("its metadata is of issuer %.200q, configured is %.200q", m.Issuer, NormaliseIssuer(c.Issuer))
	}
	p := &c.Parameters
	var errs []error
	check := func(parameter, member string, equal func(a, b string) bool, values ...string) {
		list := listOf(m.Document, member)
		for _, v := range values {
			if v != "" && list != nil && !slices.ContainsFunc(list, func(s string) bool { return equal(s, v) }) {
				errs = append(errs, fmt.Errorf("%s %q is not among its %s", parameter, v, member))
			}
		}
	}
	same := func(a, b string) bool { return a == b }
	check("response_type", "response_types_supported", sameWords, p.ResponseType)
	check("response_mode", "response_modes_supported", same, p.ResponseMode)
	check("scopes", "scopes_supported", same, p.Scopes...)
	check("client_auth", "token_endpoint_auth_methods_supported", same, p.AuthMethods...)
	return errors.Join(errs...)
}

// sameWords compares response types, whose order means nothing.
func sameWords(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
