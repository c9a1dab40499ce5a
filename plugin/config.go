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
// plugin, grouped in Go and flat in JSON. It is read by Decode and not
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
	DeprecatedParams       `group:"deprecated"`
}

// Decode reads the JSON with which Kong starts an instance: it decodes, folds
// old spellings and runs the rules. What is wrong or worth a word is among
// the findings, the parameters that came from a vault among the references.
// The error is not nil when a finding is an error; such a configuration must
// not serve requests. NotEffective is the caller's to ask.
func Decode(data []byte) (*Config, param.Decoded, error) {
	n, err := param.ParseJSON(data)
	if err != nil {
		d := param.Decoded{Findings: param.Findings{{Severity: param.Error, Message: err.Error()}}}
		return new(Config), d, d.Findings.Err()
	}
	return decode(n, param.FromKong)
}

func decode(n *param.Node, mode param.Mode) (*Config, param.Decoded, error) {
	c := new(Config)
	d, _ := Declaration().Decode(n, c, mode) // its error is among the findings
	unresolved := false
	for _, ref := range d.References {
		if mode == param.FromKong && !ref.Resolved {
			unresolved = true
			d.Findings = append(d.Findings, param.Finding{
				Severity: param.Error, Path: ref.Path,
				Message: "the reference " + ref.Text + " did not resolve",
				Do:      "look at the vault, and at Kong's log",
			})
		}
	}
	folded := foldDeprecated(c)
	d.Findings = append(d.Findings, folded...)
	// Rules over values that are wrong or missing would only repeat it.
	if !unresolved && len(d.Findings.Errors()) == 0 {
		d.Findings = append(d.Findings, Validate(c)...)
	}
	return c, d, d.Findings.Err()
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
