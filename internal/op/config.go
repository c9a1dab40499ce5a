package op

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/http"
	"slices"
	"time"

	"kong-openid-connect/internal/token"
)

// Field is a header field or a form argument.
type Field struct {
	Name  string
	Value token.Opaque
}

// Endpoints are the addresses of a provider's services; "" where unknown.
type Endpoints struct {
	Authorization       string
	Token               string
	Introspection       string
	Userinfo            string
	Revocation          string
	EndSession          string
	PushedAuthorization string
	MTLSToken           string
	MTLSIntrospection   string
	MTLSRevocation      string
	// MTLSPushedAuthorization is discovered only; there is no parameter for it.
	MTLSPushedAuthorization string
}

// Config says which provider to speak with and how. Two equal configurations
// share one Provider.
type Config struct {
	// Issuer is `issuer`: an issuer identifier or the URL of its metadata.
	Issuer string
	// PseudoIssuer is `using_pseudo_issuer`: nothing is ever discovered.
	PseudoIssuer bool
	// Endpoints override what is discovered (`*_endpoint`).
	Endpoints Endpoints
	// JWKSURI is `jwks_endpoint`: the primary source of keys.
	JWKSURI string
	// ExtraJWKSURIs is `extra_jwks_uris`.
	ExtraJWKSURIs []string
	// IssuerKeys binds further sources of keys to issuers (our own extension).
	IssuerKeys []IssuerKeys
	// DiscoveryHeaders go with discovery and with the primary set of keys.
	DiscoveryHeaders []Field
	// VerifyParameters is `verify_parameters`; Parameters is what it compares.
	VerifyParameters bool
	Parameters       Parameters
	// RediscoveryLifetime is the least time between two attempts; 0 for none.
	RediscoveryLifetime time.Duration
	// CacheTTL is the age at which metadata and keys are renewed in the
	// background; 0 for never.
	CacheTTL time.Duration
	HTTP     HTTP
}

// IssuerKeys binds the keys at some URIs to one issuer.
type IssuerKeys struct {
	Issuer string
	URIs   []string
}

// Parameters are settings that a provider's metadata can be held against.
type Parameters struct {
	ResponseType string
	ResponseMode string
	Scopes       []string
	AuthMethods  []string // at the token endpoint
}

// HTTP says how connections to the provider are made.
type HTTP struct {
	// Timeout bounds connecting, waiting for an answer, and half of the whole
	// exchange; 0 for DefaultTimeout.
	Timeout time.Duration
	// InsecureSkipVerify is ssl_verify=false.
	InsecureSkipVerify bool
	// DisableKeepAlive is keepalive=false.
	DisableKeepAlive bool
	// HTTPProxy and HTTPSProxy are the proxies for URLs of each scheme, with the
	// Proxy-Authorization to send them.
	HTTPProxy               string
	HTTPProxyAuthorization  token.Opaque
	HTTPSProxy              string
	HTTPSProxyAuthorization token.Opaque
	// NoProxy is a comma-separated list of hosts that are reached directly.
	NoProxy string
	// Certificate is the client's for mTLS client authentication. Only calls that
	// authenticate by it carry it, over connections of their own.
	Certificate ClientCertificate
}

// DefaultTimeout is the default of `timeout`.
const DefaultTimeout = 10 * time.Second

func (h HTTP) timeout() time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return DefaultTimeout
}

// key identifies the configuration. Fields are written with their length, so
// that no two configurations run together.
func (c *Config) key() [sha256.Size]byte {
	w := digest{sha256.New()}
	w.text(c.Issuer, c.JWKSURI)
	w.flag(c.PseudoIssuer, c.VerifyParameters, c.HTTP.InsecureSkipVerify, c.HTTP.DisableKeepAlive)
	e := &c.Endpoints
	w.text(e.Authorization, e.Token, e.Introspection, e.Userinfo, e.Revocation, e.EndSession,
		e.PushedAuthorization, e.MTLSToken, e.MTLSIntrospection, e.MTLSRevocation, e.MTLSPushedAuthorization)
	w.list(c.ExtraJWKSURIs)
	w.number(int64(len(c.IssuerKeys)))
	for _, k := range c.IssuerKeys {
		w.text(k.Issuer)
		w.list(k.URIs)
	}
	w.number(int64(len(c.DiscoveryHeaders)))
	for _, f := range c.DiscoveryHeaders {
		w.text(f.Name, f.Value.Reveal())
	}
	w.text(c.Parameters.ResponseType, c.Parameters.ResponseMode)
	w.list(c.Parameters.Scopes)
	w.list(c.Parameters.AuthMethods)
	w.number(int64(c.RediscoveryLifetime), int64(c.CacheTTL), int64(c.HTTP.Timeout))
	w.text(c.HTTP.HTTPProxy, c.HTTP.HTTPProxyAuthorization.Reveal(), c.HTTP.HTTPSProxy,
		c.HTTP.HTTPSProxyAuthorization.Reveal(), c.HTTP.NoProxy, c.HTTP.Certificate.ID)
	w.flag(c.HTTP.Certificate.InsecureSkipVerify, c.HTTP.Certificate.Load != nil)
	var k [sha256.Size]byte
	w.h.Sum(k[:0])
	return k
}

// Scope identifies what a stored document's trust rests on: how it was
// fetched, not what else is configured. With the normalised issuer it is the
// key of the discovery object that a provider of this configuration has.
func (c *Config) Scope() string {
	t := Config{
		PseudoIssuer: c.PseudoIssuer, DiscoveryHeaders: c.DiscoveryHeaders,
		HTTP: c.HTTP,
	}
	t.HTTP.Timeout, t.HTTP.DisableKeepAlive = 0, false
	t.HTTP.Certificate = ClientCertificate{} // metadata and keys are fetched without it
	k := t.key()
	return hex.EncodeToString(k[:8])
}

// clone detaches the configuration from its caller's slices.
func (c Config) clone() Config {
	c.ExtraJWKSURIs = slices.Clone(c.ExtraJWKSURIs)
	c.IssuerKeys = slices.Clone(c.IssuerKeys)
	for i := range c.IssuerKeys {
		c.IssuerKeys[i].URIs = slices.Clone(c.IssuerKeys[i].URIs)
	}
	c.DiscoveryHeaders = slices.Clone(c.DiscoveryHeaders)
	c.Parameters.Scopes = slices.Clone(c.Parameters.Scopes)
	c.Parameters.AuthMethods = slices.Clone(c.Parameters.AuthMethods)
	return c
}

type digest struct{ h hash.Hash }

func (d digest) number(ns ...int64) {
	for _, n := range ns {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(n))
		d.h.Write(b[:])
	}
}

func (d digest) text(ss ...string) {
	for _, s := range ss {
		d.number(int64(len(s)))
		d.h.Write([]byte(s))
	}
}

func (d digest) list(ss []string) {
	d.number(int64(len(ss)))
	d.text(ss...)
}

func (d digest) flag(bs ...bool) {
	for _, b := range bs {
		if b {
			d.h.Write([]byte{1})
		} else {
			d.h.Write([]byte{0})
		}
	}
}

// setHeaders adds fields to h.
func setHeaders(h http.Header, fields []Field) {
	for _, f := range fields {
		h.Set(f.Name, f.Value.Reveal())
	}
}
