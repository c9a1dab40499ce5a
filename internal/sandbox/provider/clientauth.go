package provider

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// assertionType is that of RFC 7523 section 2.2.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// claimed is how a request says that it is authenticated; nothing is verified.
type claimed struct {
	id, secret string
	method     string
	// several ways at once are refused (RFC 6749 section 2.3)
	several bool
}

func (p *Provider) claimedBy(x *exchange) claimed {
	var out claimed
	found := 0
	switch x.endpoint {
	case EndpointUserinfo:
		p.mu.Lock()
		defer p.mu.Unlock()
		if t := p.state.access[bearer(x)]; t != nil {
			out.id = t.grant.client.ID
		}
		return out
	case EndpointAuthorization, EndpointEndSession:
		return claimed{id: x.form.Get("client_id")}
	case EndpointLogin:
		p.mu.Lock()
		defer p.mu.Unlock()
		if page := p.state.pending[x.body.Get("login")]; page != nil {
			out.id = page.request.client.ID
		}
		return out
	}
	if id, secret, ok := basic(x.r); ok {
		out.id, out.secret, out.method = id, secret, AuthBasic
		found++
	}
	if x.body.Has("client_secret") {
		out.id, out.secret, out.method = x.body.Get("client_id"), x.body.Get("client_secret"), AuthPost
		found++
	}
	if x.body.Has("client_assertion") {
		id, alg := peekAssertion(x.body.Get("client_assertion"))
		out.id, out.method = id, AuthPrivateKeyJWT
		if strings.HasPrefix(alg, "HS") {
			out.method = AuthSecretJWT
		}
		found++
	}
	if found == 0 && x.body.Has("client_id") {
		out.id, out.method = x.body.Get("client_id"), AuthNone
	}
	out.several = found > 1
	return out
}

// basic reads the Basic scheme. RFC 6749 section 2.3.1 form-encodes both parts,
// many clients do not: what is compared later is the text as it came first, then
// decoded.
func basic(r *http.Request) (id, secret string, ok bool) {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(raw), ":")
}

// authenticate verifies the client. Every failure is invalid_client.
func (p *Provider) authenticate(x *exchange) (*Client, *oauthError) {
	bad := func(description string) (*Client, *oauthError) {
		return nil, &oauthError{http.StatusUnauthorized, "invalid_client", description}
	}
	got := x.claimed
	if got.several {
		e := refuse("invalid_request", "more than one client authentication method")
		return nil, &e
	}
	c := p.client(got.id)
	if c == nil && got.method == AuthBasic {
		if id, err := url.QueryUnescape(got.id); err == nil {
			c = p.client(id)
		}
	}
	if c == nil || got.method == "" {
		return bad("unknown client, or no client authentication")
	}
	if !slices.Contains(c.AuthMethods, got.method) {
		return bad("the client may not use " + got.method)
	}
	switch got.method {
	case AuthNone:
		return c, nil
	case AuthBasic, AuthPost:
		if same(c.Secret, got.secret) {
			return c, nil
		}
		if decoded, err := url.QueryUnescape(got.secret); err == nil && got.method == AuthBasic && same(c.Secret, decoded) {
			return c, nil
		}
		return bad("wrong client secret")
	}
	if err := p.verifyAssertion(x, c, got.method); err != nil {
		return bad(err.Error())
	}
	return c, nil
}

func same(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

var secretAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}

var keyAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

func peekAssertion(s string) (sub, alg string) {
	jws, err := jose.ParseSignedCompact(s, slices.Concat(secretAlgorithms, keyAlgorithms))
	if err != nil {
		return "", ""
	}
	var c struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &c) != nil {
		return "", ""
	}
	return c.Subject, jws.Signatures[0].Header.Algorithm
}

// verifyAssertion checks a client assertion (RFC 7523 section 3, OpenID Connect
// Core section 9).
func (p *Provider) verifyAssertion(x *exchange, c *Client, method string) error {
	if x.body.Get("client_assertion_type") != assertionType {
		return fmt.Errorf("client_assertion_type is not %s", assertionType)
	}
	if id := x.body.Get("client_id"); id != "" && id != c.ID {
		return fmt.Errorf("client_id differs from the assertion's subject")
	}
	payload, err := p.openAssertion(x.r.Context(), x.body.Get("client_assertion"), c, method)
	if err != nil {
		return err
	}
	var claims struct {
		Issuer   string      `json:"iss"`
		Subject  string      `json:"sub"`
		Audience audience    `json:"aud"`
		Expires  json.Number `json:"exp"`
		NotBefor json.Number `json:"nbf"`
		ID       string      `json:"jti"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return fmt.Errorf("the assertion's claims cannot be read")
	}
	now := p.now()
	exp, err := claims.Expires.Int64()
	switch {
	case claims.Issuer != c.ID || claims.Subject != c.ID:
		return fmt.Errorf("iss and sub of the assertion are not the client id")
	case !p.assertionAudience(claims.Audience, x):
		return fmt.Errorf("aud of the assertion is neither the issuer nor an endpoint")
	case err != nil || !now.Before(time.Unix(exp, 0)):
		return fmt.Errorf("the assertion has expired or has no exp")
	case time.Unix(exp, 0).After(now.Add(time.Hour)):
		return fmt.Errorf("the assertion lives for more than an hour")
	case claims.ID == "":
		return fmt.Errorf("the assertion has no jti")
	}
	if nbf, err := claims.NotBefor.Int64(); err == nil && now.Before(time.Unix(nbf, 0)) {
		return fmt.Errorf("the assertion is not valid yet")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.drop(now)
	jti := c.ID + "\x00" + claims.ID
	if _, seen := p.state.jtis[jti]; seen {
		return fmt.Errorf("the assertion has been used before")
	}
	p.state.jtis[jti] = time.Unix(exp, 0)
	return nil
}

func (p *Provider) assertionAudience(aud audience, x *exchange) bool {
	issuer := p.Issuer()
	path := map[string]string{EndpointToken: "/token", EndpointIntrospection: "/introspect", EndpointRevocation: "/revoke"}[x.endpoint]
	return slices.ContainsFunc(aud, func(a string) bool {
		return a == issuer || a == issuer+"/" || a == issuer+"/token" || a == issuer+path
	})
}

func (p *Provider) openAssertion(ctx context.Context, s string, c *Client, method string) ([]byte, error) {
	if method == AuthSecretJWT {
		jws, err := jose.ParseSignedCompact(s, secretAlgorithms)
		if err != nil || c.Secret == "" {
			return nil, fmt.Errorf("the assertion cannot be read")
		}
		payload, err := jws.Verify([]byte(c.Secret))
		if err != nil {
			return nil, fmt.Errorf("the assertion's signature is wrong")
		}
		return payload, nil
	}
	jws, err := jose.ParseSignedCompact(s, keyAlgorithms)
	if err != nil {
		return nil, fmt.Errorf("the assertion cannot be read")
	}
	set, err := p.clientKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	h := jws.Signatures[0].Header
	for _, k := range set.Keys {
		if h.KeyID != "" && k.KeyID != h.KeyID || k.Algorithm != "" && k.Algorithm != h.Algorithm || k.Use == "enc" {
			continue
		}
		if payload, err := jws.Verify(k.Public()); err == nil {
			return payload, nil
		}
	}
	return nil, fmt.Errorf("no key of the client verifies the assertion")
}

// clientKeys fetches each time: rotation of the client's keys is then seen at once.
func (p *Provider) clientKeys(ctx context.Context, c *Client) (*jose.JSONWebKeySet, error) {
	if c.JWKSURI == "" {
		if c.JWKS == nil {
			return nil, fmt.Errorf("the client has no keys")
		}
		return c.JWKS, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.JWKSURI, nil)
	if err != nil {
		return nil, fmt.Errorf("the client's jwks_uri is no URL")
	}
	res, err := p.fetcher.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the client's keys from its jwks_uri failed")
	}
	defer res.Body.Close()
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxForm)).Decode(&raw); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the client's jwks_uri did not answer a key set")
	}
	set := &jose.JSONWebKeySet{}
	for _, m := range raw.Keys {
		var k jose.JSONWebKey
		// A key of a type that go-jose does not know is no reason to refuse the others.
		if k.UnmarshalJSON(m) == nil {
			set.Keys = append(set.Keys, k)
		}
	}
	return set, nil
}

// audience is a string or a list of them.
type audience []string

// UnmarshalJSON accepts both forms (RFC 7519 section 4.1.3).
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}
