package plugin

import (
	"crypto/sha256"
	"encoding/base64"

	"kong-openid-connect/internal/param"
)

//go:generate go test . -run ^TestReferenceIsCurrent$ -update

// deprecatedGroup is the group of the old spellings.
const deprecatedGroup = "deprecated"

// Config is the configuration of one plugin entity: every parameter of the
// plugin, grouped in Go and flat in JSON. It is read by Read and not
// changed after that. Texts and lists that are absent are empty; where an
// absent number or boolean means something else than its default it is a
// pointer.
type Config struct {
	ProviderParams         `group:"issuer/discovery"`
	ClientParams           `group:"client"`
	FlowParams             `group:"flows"`
	CredentialParams       `group:"credentials-location"`
	AuthorizationParams    `group:"authorization-request"`
	SessionParams          `group:"session"`
	SessionStorageParams   `group:"session-storage"`
	IntrospectionParams    `group:"introspection"`
	UserinfoParams         `group:"userinfo"`
	TokenRequestParams     `group:"token-request"`
	TokenExchangeParams    `group:"token-exchange"`
	VerifyParams           `group:"verification"`
	PossessionParams       `group:"pop"`
	ClaimsParams           `group:"claims-authz"`
	ConsumerParams         `group:"consumer-mapping"`
	PrincipalParams        `group:"kong-identity"`
	UpstreamHeaderParams   `group:"headers-upstream"`
	DownstreamHeaderParams `group:"headers-downstream"`
	CacheParams            `group:"cache"`
	LoginParams            `group:"login"`
	LogoutParams           `group:"logout"`
	ErrorParams            `group:"errors-redirects"`
	RequestParams          `group:"misc"`
	HTTPParams             `group:"http"`
	ExtensionParams        `group:"extensions"`
	DeprecatedParams       `group:"deprecated"`
}

// Read reads the JSON with which Kong starts an instance: it decodes and folds
// old spellings. What is wrong or worth a word is among the findings, a
// reference to a vault that did not resolve too; the parameters that came from
// a vault are among the references. The error is not nil when a finding is an
// error. Validate is the caller's to ask, once for each configuration that is
// new.
func Read(data []byte) (*Config, param.Decoded, error) {
	n, err := param.ParseJSON(data)
	if err != nil {
		d := param.Decoded{Findings: param.Findings{{Severity: param.Error, Message: err.Error()}}}
		return new(Config), d, d.Findings.Err()
	}
	return read(n, param.FromKong)
}

func read(n *param.Node, mode param.Mode) (*Config, param.Decoded, error) {
	c := new(Config)
	d, _ := Declaration().Decode(n, c, mode) // its error is among the findings
	for _, ref := range d.References {
		if mode == param.FromKong && !ref.Resolved {
			d.Findings = append(d.Findings, param.Finding{
				Severity: param.Error, Path: ref.Path,
				Message: "the reference " + ref.Text + " to a vault did not resolve",
				Do:      "make the value available to Kong's vault; Kong's log says why it is not",
			})
		}
	}
	d.Findings = append(d.Findings, foldDeprecated(c, n.Has)...)
	return c, d, d.Findings.Err()
}

// validated adds what Validate finds, which only looks at a configuration that
// could be read: otherwise its rules would repeat what is known.
func validated(c *Config, d param.Decoded, err error) (*Config, param.Decoded, error) {
	if err == nil {
		d.Findings = append(d.Findings, Validate(c)...)
		err = d.Findings.Err()
	}
	return c, d, err
}

// Digest returns a hash of the configuration's values. Equal configurations
// have equal digests, whatever Kong adds beside them. It depends on secrets,
// so it stays inside the process.
func (c *Config) Digest() [32]byte { return Declaration().Digest(c) }

// TokensSalt returns the salt of the token cache: cache_tokens_salt, or one
// that is derived from the configuration. Kong could fill a random one in
// (attribute auto), but then no two plugin entities would have equal
// configurations, and without a database each node would have its own.
func (c *Config) TokensSalt() string {
	if !c.CacheTokensSalt.IsZero() {
		return c.CacheTokensSalt.Reveal()
	}
	digest := c.Digest()
	sum := sha256.Sum256(append([]byte("openid-connect token cache\n"), digest[:]...))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
