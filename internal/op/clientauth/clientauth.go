// Package clientauth proves to a provider which client calls (RFC 6749 section
// 2.3, RFC 7521, RFC 7523, OpenID Connect Core section 9). Imported by op and
// plugin; imports token.
package clientauth

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"kong-openid-connect/internal/token"
)

// Method is a way of client authentication, by its registered name.
type Method string

// The methods (IANA OAuth Token Endpoint Authentication Methods).
const (
	SecretBasic   Method = "client_secret_basic"
	SecretPost    Method = "client_secret_post"
	SecretJWT     Method = "client_secret_jwt"
	PrivateKeyJWT Method = "private_key_jwt"
	TLS           Method = "tls_client_auth"
	SelfSignedTLS Method = "self_signed_tls_client_auth"
	None          Method = "none"
)

const (
	assertionType     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLifetime = 60 * time.Second
)

// UsesCertificate reports whether the client proves itself by the certificate
// of its connection (RFC 8705 section 2).
func (m Method) UsesCertificate() bool { return m == TLS || m == SelfSignedTLS }

// UsesAssertion reports whether the client proves itself by a signed JWT (RFC 7523 section 2.2).
func (m Method) UsesAssertion() bool { return m == SecretJWT || m == PrivateKeyJWT }

// Options describe a client.
type Options struct {
	ID     string
	Secret token.Opaque
	// Method is `client_auth`; "" leaves the choice to the provider's metadata.
	Method Method
	// Algorithm is `client_alg`; "" for the default of the method.
	Algorithm string
	// JWK is the private key of `client_jwk`; nil for none.
	JWK []byte
	// Own returns a signer with the plugin's own published key for an algorithm;
	// nil where there are none.
	Own func(algorithm string) (*token.Signer, error)
	// Certificate says that connections carry the client's certificate.
	Certificate bool
}

// Client authenticates one OAuth client. It is immutable and never prints what
// it holds.
type Client struct {
	id          string
	secret      token.Opaque
	method      Method
	algorithm   string
	certificate bool
	secretJWT   *token.Signer
	keyJWT      *token.Signer
	jwk         []byte
	own         func(algorithm string) (*token.Signer, error)
}

// New returns a client. The error says what of its options does not fit.
func New(o Options) (*Client, error) {
	c := &Client{id: o.ID, secret: o.Secret, method: o.Method, algorithm: o.Algorithm, certificate: o.Certificate, own: o.Own, jwk: o.JWK}
	secret := o.Algorithm == "" || slices.Contains(symmetric, o.Algorithm)
	var err error
	if o.Secret != "" && secret {
		c.secretJWT, err = token.NewSecretSigner(o.Secret, o.Algorithm)
		if err != nil && o.Method == SecretJWT {
			return nil, fmt.Errorf("client_auth client_secret_jwt: %w", err)
		}
	}
	if o.JWK != nil && token.IsEncryptionKey(o.JWK) {
		c.jwk = nil // it opens what is encrypted for the client; own signs
	} else if o.JWK != nil && (o.Algorithm == "" || !secret) {
		c.keyJWT, err = token.NewKeySigner(o.JWK, o.Algorithm)
		if err != nil {
			return nil, fmt.Errorf("client_jwk: %w", err)
		}
	}
	return c, nil
}

// ID returns the client_id, "" for no client.
func (c *Client) ID() string {
	if c == nil {
		return ""
	}
	return c.id
}

// Secret returns the client secret.
func (c *Client) Secret() token.Opaque { return c.secret }

// String names the client.
func (c *Client) String() string { return "client " + c.id }

// GoString keeps %#v from printing secrets.
func (c *Client) GoString() string { return c.String() }

// Choose returns the method for an endpoint: the endpoint's own setting, else
// the client's, else the first that the provider advertises and the client has
// the means for, else client_secret_basic.
func (c *Client) Choose(endpoint Method, advertised []string) Method {
	if endpoint != "" {
		return endpoint
	}
	if c == nil {
		return SecretBasic
	}
	if c.method != "" {
		return c.method
	}
	for _, m := range advertised {
		if c.can(Method(m)) {
			return Method(m)
		}
	}
	return SecretBasic
}

// NeedsChoice reports whether Choose depends on what a provider advertises.
func (c *Client) NeedsChoice(endpoint Method) bool {
	return c != nil && endpoint == "" && c.method == ""
}

// can reports whether the client has what a method takes. `none` is never
// chosen for a client that could prove itself.
func (c *Client) can(m Method) bool {
	switch m {
	case SecretBasic, SecretPost:
		return c.secret != ""
	case SecretJWT:
		return c.secretJWT != nil
	case PrivateKeyJWT:
		return c.keyJWT != nil
	case TLS, SelfSignedTLS:
		return c.certificate
	case None:
		return c.secret == "" && c.keyJWT == nil && !c.certificate
	}
	return false
}

// Call is a request that is to carry the client's proof.
type Call struct {
	Endpoint string // URL that is called: the audience of an assertion
	Form     url.Values
	Header   http.Header
	Now      time.Time
}

// ErrNoClient says that no client is configured.
var ErrNoClient = errors.New("no client_id is configured")

// Authenticate adds the proof of method m to the call. The error says what is
// missing of the configuration.
func (c *Client) Authenticate(m Method, k Call) error {
	if c == nil || c.id == "" {
		return ErrNoClient
	}
	switch m {
	case SecretBasic:
		if c.secret == "" {
			return missing(m, "client_secret")
		}
		// Not form-encoded, unlike RFC 6749 section 2.3.1: configurations hold
		// secrets in the encoding that their provider takes.
		k.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.id+":"+c.secret.Reveal())))
		return nil
	case SecretPost:
		if c.secret == "" {
			return missing(m, "client_secret")
		}
		k.Form.Set("client_id", c.id)
		k.Form.Set("client_secret", c.secret.Reveal())
		return nil
	case SecretJWT:
		if c.secretJWT == nil {
			return missing(m, "client_secret, or client_alg is no HS algorithm")
		}
		return c.assert(c.secretJWT, k)
	case PrivateKeyJWT:
		signer, err := c.privateSigner()
		if err != nil {
			return err
		}
		return c.assert(signer, k)
	case TLS, SelfSignedTLS:
		if !c.certificate {
			return missing(m, "tls_client_auth_cert_id")
		}
		k.Form.Set("client_id", c.id)
		return nil
	case None:
		k.Form.Set("client_id", c.id)
		return nil
	}
	return fmt.Errorf("client authentication %q is not supported", m)
}

func missing(m Method, what string) error {
	return fmt.Errorf("client authentication %s lacks %s", m, what)
}

func (c *Client) privateSigner() (*token.Signer, error) {
	if c.keyJWT != nil {
		return c.keyJWT, nil
	}
	if c.own == nil {
		return nil, missing(PrivateKeyJWT, "client_jwk")
	}
	alg := c.algorithm
	if alg == "" {
		alg = "RS256"
	}
	return c.own(alg)
}

// assert adds a client assertion (RFC 7523 section 3). client_id is not sent
// beside it.
func (c *Client) assert(s *token.Signer, k Call) error {
	now := k.Now.Unix()
	assertion, err := s.Sign(map[string]any{
		"iss": c.id, "sub": c.id, "aud": k.Endpoint,
		"jti": rand.Text(),
		"iat": now, "exp": now + int64(assertionLifetime/time.Second),
	})
	if err != nil {
		return fmt.Errorf("client assertion: %w", err)
	}
	k.Form.Set("client_assertion_type", assertionType)
	k.Form.Set("client_assertion", assertion.Reveal())
	return nil
}
