package plugin

import "kong-openid-connect/internal/param"

// HTTPParams shape the connections to the provider.
type HTTPParams struct {
	HTTPProxy               param.URL    `kong:"http_proxy" since:"0.34" doc:"Proxy for http IdP URLs."`
	HTTPProxyAuthorization  param.Secret `kong:"http_proxy_authorization,-encrypted" since:"0.34-1 (vault ref 3.9)" doc:"Proxy-Authorization value for http_proxy."`
	HTTPVersion             HTTPVersion  `kong:"http_version" default:"1.1" since:"<=0.31" doc:"HTTP version for IdP calls, 1.0 or 1.1."`
	HTTPSProxy              param.URL    `kong:"https_proxy" since:"0.34" doc:"Proxy for https IdP URLs."`
	HTTPSProxyAuthorization param.Secret `kong:"https_proxy_authorization,-encrypted" since:"0.34-1 (vault ref 3.9)" doc:"Proxy-Authorization value for https_proxy."`
	Keepalive               bool         `kong:"keepalive" default:"true" since:"0.34" doc:"Keep IdP connections open for reuse."`
	NoProxy                 string       `kong:"no_proxy" since:"0.34-1" doc:"Comma-separated hosts that bypass the proxies."`
	SSLVerify               bool         `kong:"ssl_verify" default:"true" since:"<=0.31 (default true since 3.14)" doc:"Verify IdP server certificates against lua_ssl_trusted_certificate."`
	Timeout                 float64      `kong:"timeout" default:"10000" since:"<=0.31" doc:"Connect/read/write timeout in ms for IdP calls."`
}
