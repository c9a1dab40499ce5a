package matrix

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"kong-openid-connect/internal/sandbox/provider"
	"kong-openid-connect/internal/testproviders"
)

// Endpoints by the names that the sandbox's provider has for them.
const (
	token         = provider.EndpointToken
	introspection = provider.EndpointIntrospection
	userinfo      = provider.EndpointUserinfo
	revocation    = provider.EndpointRevocation
	pushed        = "pushed_authorization_request"
)

// idp is a provider of the matrix. Clients and users have the same names and
// secrets at all of them.
type idp struct {
	name    string
	issuer  string
	issuerB string // Keycloak's second realm
	// tlsIssuer is the issuer of clients that authenticate by certificate; ""
	// where the provider knows none.
	tlsIssuer    string
	certificates []any             // Kong's certificate entities
	certificate  map[string]string // their ids
	authority    []byte            // PEM
	authorityID  string            // Kong's CA certificate entity
	clients      map[string]testproviders.Client
	// live is the client whose access tokens the provider can withdraw, and
	// answer introspection and userinfo for.
	live      string
	endpoints map[string]string // URLs by endpoint
	expired   map[string]spent  // access tokens by client, of two seconds

	count   func(endpoint string) int
	reset   func()
	setDown func(bool)
	shorten func(client string, seconds any) error // the life of access tokens; nil where the client short's will do
	stop    func()
	own     *provider.Server        // the sandbox's
	real    *testproviders.Provider // nil for the sandbox's
}

type spent struct {
	token string
	until time.Time
}

// overHTTP describes a provider of package testproviders.
func overHTTP(t *testing.T, r *testproviders.Provider) *idp {
	p := &idp{
		name: r.Name, issuer: r.Issuer, issuerB: r.IssuerB, tlsIssuer: r.Issuer, clients: r.Clients, live: "kong", setDown: r.SetDown, real: r,
		authority: r.CAPEM, authorityID: uuid.NewString(), certificate: map[string]string{},
	}
	for _, name := range slices.Sorted(maps.Keys(r.Certificates)) {
		cert, key := r.CertificatePEM(name)
		id := uuid.NewString()
		p.certificate[name] = id
		p.certificates = append(p.certificates, map[string]any{"id": id, "cert": string(cert), "key": string(key)})
	}
	if r.Name == "keycloak" {
		p.tlsIssuer = r.TLSIssuer
	}
	p.count = func(endpoint string) int {
		u, err := url.Parse(p.endpoints[endpoint])
		if err != nil {
			return -1
		}
		return r.Count(u.Path)
	}
	p.reset = func() { _ = r.ResetCounts() }
	if r.Name == "oidc-provider" {
		// Its JWT access tokens cannot be withdrawn or introspected.
		p.live = "opaque"
		p.shorten = func(client string, seconds any) error {
			return r.UpdateClient(context.Background(), client, map[string]any{"access_token_seconds": seconds})
		}
	}
	return p
}

// startSandboxProvider starts the sandbox's provider with the clients of the
// real ones.
func startSandboxProvider() (*idp, error) {
	clients, err := sandboxClients()
	if err != nil {
		return nil, err
	}
	s, err := provider.Start("127.0.0.1:0", provider.Options{Clients: clients})
	if err != nil {
		return nil, err
	}
	p := &idp{name: "sandbox", issuer: s.URL, clients: map[string]testproviders.Client{}, live: "kong", own: s}
	for _, c := range clients {
		p.clients[c.ID] = testproviders.Client{ID: c.ID, Secret: c.Secret, Auth: c.AuthMethods[0]}
	}
	p.count, p.reset, p.stop = s.Count, s.ResetRecords, func() { s.Close() }
	p.setDown = func(down bool) {
		s.Faults().Clear()
		if down {
			if err := s.Faults().Set(provider.Fault{Name: "connection-reset"}); err != nil {
				panic(err) // the name is a constant
			}
		}
	}
	return p, nil
}

func sandboxClients() ([]provider.Client, error) {
	raw, err := testproviders.ClientKeys()
	if err != nil {
		return nil, err
	}
	var all, public jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, err
	}
	for _, k := range all.Keys {
		if k.Use == "sig" {
			public.Keys = append(public.Keys, k.Public())
		}
	}
	secret := func(id, auth string) provider.Client {
		return provider.Client{ID: id, Secret: id + "-secret-0123456789abcdef0123456789abcdef", AuthMethods: []string{auth}}
	}
	list := []provider.Client{
		secret("kong", provider.AuthBasic), secret("second", provider.AuthBasic), secret("short", provider.AuthBasic),
		secret("post", provider.AuthPost), secret("secret-jwt", provider.AuthSecretJWT),
		{ID: "key-jwt", AuthMethods: []string{provider.AuthPrivateKeyJWT}, JWKS: &public},
		{ID: "public", AuthMethods: []string{provider.AuthNone}},
	}
	for i := range list {
		c := &list[i]
		c.LoopbackRedirects, c.DefaultScopes, c.Audience = true, []string{"email", "profile"}, []string{testproviders.API}
		switch c.ID {
		case "kong":
			c.Claims = map[string]any{"tier": "gold"}
		case "second":
			c.Claims = map[string]any{"tier": "silver"}
		case "short":
			c.AccessTokenSeconds = 2
		}
	}
	return list, nil
}

// prepare reads the discovery document and takes the tokens that have to
// expire.
func (p *idp) prepare() error {
	var doc map[string]any
	if err := fetch(p.issuer+"/.well-known/openid-configuration", &doc); err != nil {
		return err
	}
	p.endpoints = map[string]string{}
	for _, name := range []string{token, introspection, userinfo, revocation, "end_session"} {
		u, ok := doc[name+"_endpoint"].(string)
		if !ok {
			return fmt.Errorf("discovery has no %s_endpoint", name)
		}
		p.endpoints[name] = u
	}
	p.endpoints["jwks"], _ = doc["jwks_uri"].(string)
	p.endpoints[pushed], _ = doc[pushed+"_endpoint"].(string)
	p.expired = map[string]spent{}
	spend := func(client string) error {
		answer, err := p.ask(token, client, passwordForm("alex", "doe"))
		if err != nil {
			return err
		}
		p.expired[client] = spent{answer.AccessToken, time.Now().Add(2 * time.Second)}
		return nil
	}
	if err := spend("short"); err != nil {
		return err
	}
	if p.shorten == nil {
		p.expired[p.live] = p.expired["short"]
		return nil
	}
	if err := p.shorten(p.live, 2); err != nil {
		return err
	}
	if err := spend(p.live); err != nil {
		return err
	}
	return p.shorten(p.live, nil)
}

// spentToken returns an access token of a client that has expired.
func (p *idp) spentToken(client string) string {
	s := p.expired[client]
	// Real providers have real clocks. The gateway's start takes longer than this.
	time.Sleep(time.Until(s.until.Add(time.Second)))
	return s.token
}

func fetch(from string, into any) error {
	resp, err := http.Get(from)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s answers %d", from, resp.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}

// tokens is a token endpoint's answer, as far as the tests look at it.
type tokens struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
}

func passwordForm(user, password string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}, "scope": {"openid profile email"}}
}

// ask posts a form to an endpoint as a client that uses client_secret_basic.
func (p *idp) ask(endpoint, client string, form url.Values) (*tokens, error) {
	return p.askAt(p.endpoints[endpoint], client, form)
}

func (p *idp) askAt(to, client string, form url.Values) (*tokens, error) {
	return p.askBy(http.DefaultClient, to, client, form, "")
}

// askBy is askAt over connections of the caller's, with a DPoP proof unless that is "".
func (p *idp) askBy(over *http.Client, to, client string, form url.Values, proof string) (*tokens, error) {
	c := p.clients[client]
	r, err := http.NewRequest("POST", to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(c.ID, c.Secret)
	resp, err := over.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 200 {
		return nil, fmt.Errorf("%s answers %d: %s", to, resp.StatusCode, raw)
	}
	answer := &tokens{}
	if len(raw) > 0 {
		err = json.Unmarshal(raw, answer)
	}
	return answer, err
}

// login returns new tokens of alex, straight from the provider.
func (p *idp) login(t *testing.T, client string) *tokens {
	t.Helper()
	answer, err := p.ask(token, client, passwordForm("alex", "doe"))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// revoked returns tokens of alex of which one is withdrawn.
func (p *idp) revoked(t *testing.T, client, kind string) *tokens {
	t.Helper()
	answer := p.login(t, client)
	value := answer.AccessToken
	if kind == "refresh_token" {
		value = answer.RefreshToken
	}
	if _, err := p.ask(revocation, client, url.Values{"token": {value}, "token_type_hint": {kind}}); err != nil {
		t.Fatal(err)
	}
	return answer
}

// down makes the provider unreachable for the time of a function.
func (p *idp) down(f func()) {
	p.setDown(true)
	defer p.setDown(false)
	f()
}

// claimsOf returns what a JWT says, unverified.
func claimsOf(t *testing.T, jwt string) map[string]any {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// damaged returns a JWT with another signature.
func damaged(jwt string) string {
	i := strings.LastIndexByte(jwt, '.') + 10
	c := byte('A')
	if i < len(jwt) && jwt[i] == 'A' {
		c = 'B'
	}
	return jwt[:i] + string(c) + jwt[i+1:]
}
