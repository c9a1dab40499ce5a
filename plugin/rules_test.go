package plugin

import (
	"encoding/json"
	"strings"
	"testing"

	"kong-openid-connect/internal/param"
)

// base is a configuration about which there is nothing to say.
const base = `"issuer":"https://idp.example.com","client_id":["kong"],"client_secret":["0123456789abcdef"]`

// with returns base with other members added or put in place.
func with(t *testing.T, members string) []byte {
	t.Helper()
	var m map[string]any
	for _, text := range []string{base, members} {
		if err := json.Unmarshal([]byte("{"+text+"}"), &m); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Names of claims that have dots for good.
func TestURLsAreNames(t *testing.T) {
	for _, members := range []string{
		`"groups_claim":["https://example.com/claims/groups"],"roles_claim":["resource_access","my-app.v2","roles"]`,
		`"upstream_headers_claims":["https://api.example.com/tenant","cognito:groups"],"upstream_headers_names":["x-t","x-g"]`,
		`"scopes":["openid profile","api://a.b/c.d","a1/.default"]`,
	} {
		if _, d := load(t, string(with(t, members))); len(d.Findings) != 0 {
			t.Errorf("%s: %v", members, d.Findings)
		}
	}
}

func TestBaseIsClean(t *testing.T) {
	if _, d := load(t, "{"+base+"}"); len(d.Findings) != 0 {
		t.Fatal(d.Findings)
	}
}

// badConfigurations are refused, with the parameter named.
var badConfigurations = map[string]struct{ config, path, text string }{
	"no issuer":                    {`"issuer":null`, "issuer", "is required and missing"},
	"issuer with blanks":           {`"issuer":"https://idp.example.com/a b"`, "issuer", "contains a blank"},
	"issuer is a number":           {`"issuer":1`, "issuer", "is a number"},
	"unknown method":               {`"auth_methods":["bearer","basic"]`, "auth_methods[2]", "expected is one of authorization_code"},
	"methods are a text":           {`"auth_methods":"bearer"`, "auth_methods", "expected is a list"},
	"empty client secret":          {`"client_secret":[""]`, "client_secret[1]", "is the empty text"},
	"unknown client auth":          {`"client_auth":["basic"]`, "client_auth[1]", "client_secret_basic"},
	"ignore bearer signature":      {`"ignore_signature":["bearer"]`, "ignore_signature[1]", "expected is one of"},
	"redirect without scheme":      {`"redirect_uri":["app.example.com/cb"]`, "redirect_uri[1]", "does not begin with http"},
	"redirect to javascript":       {`"login_redirect_uri":["javascript:alert(1)"]`, "login_redirect_uri[1]", "does not begin with http"},
	"redirect with backslash":      {`"forbidden_redirect_uri":["https://a\\b"]`, "forbidden_redirect_uri[1]", "not a URL"},
	"keys of an issuer from ftp":   {`"issuer_keys":[{"issuer":"https://b.example.org","jwks_uris":["ftp://x/y"]}]`, "issuer_keys[1].jwks_uris[1]", "does not begin with http"},
	"keys of nobody":               {`"issuer_keys":[{"jwks_uris":["https://x/y"]}]`, "issuer_keys[1].issuer", "missing"},
	"an issuer without keys":       {`"issuer_keys":[{"issuer":"https://b.example.org","jwks_uris":[]}]`, "issuer_keys[1].jwks_uris", "at least"},
	"keys from ftp":                {`"extra_jwks_uris":["ftp://x/y"]`, "extra_jwks_uris[1]", "does not begin with http"},
	"certificate id":               {`"tls_client_auth_cert_id":"mine"`, "tls_client_auth_cert_id", "is not a UUID"},
	"port":                         {`"session_memcached_port":65536`, "session_memcached_port", "out of range"},
	"timeout is a text":            {`"timeout":"10s"`, "timeout", "is a text of 3 characters"},
	"timeout is zero":              {`"timeout":0`, "timeout", "is 0"},
	"negative leeway":              {`"leeway":-1`, "leeway", "is negative"},
	"huge timeout":                 {`"session_idling_timeout":1e+20`, "session_idling_timeout", "is larger than"},
	"ttl bounds":                   {`"cache_ttl_min":10,"cache_ttl_max":5`, "cache_ttl_min", "is larger than cache_ttl_max"},
	"http 1.0":                     {`"http_version":1.0`, "http_version", "does not speak"},
	"http 2":                       {`"http_version":2`, "http_version", "expected is one of 1, 1.1"},
	"same site":                    {`"session_cookie_same_site":"none"`, "session_cookie_same_site", "did you mean None?"},
	"None and insecure":            {`"session_cookie_same_site":"None","session_cookie_secure":false`, "session_cookie_secure", "must be Secure"},
	"None and insecure login":      {`"authorization_cookie_same_site":"None","authorization_cookie_secure":false`, "authorization_cookie_secure", "must be Secure"},
	"cookie name":                  {`"session_cookie_name":"a;b"`, "session_cookie_name", "has a character"},
	"cookie names are equal":       {`"authorization_cookie_name":"session"`, "authorization_cookie_name", "is the same as session_cookie_name"},
	"cookie domain":                {`"session_cookie_domain":"a; Secure"`, "session_cookie_domain", "has a character"},
	"cookie path":                  {`"session_cookie_path":"app"`, "session_cookie_path", "is no path"},
	"__Host- with domain":          {`"session_cookie_name":"__Host-s","session_cookie_domain":"example.com"`, "session_cookie_name", "begins with __Host-"},
	"bearer cookie without name":   {`"bearer_token_param_type":["cookie"]`, "bearer_token_cookie_name", "is missing"},
	"response type without code":   {`"response_type":["id_token"]`, "response_type", "has no code"},
	"back channel without slash":   {`"backchannel_logout_uri_suffix":"bye"`, "backchannel_logout_uri_suffix", "is no end of a path"},
	"front channel with dots":      {`"frontchannel_logout_uri_suffix":"/a/../b"`, "frontchannel_logout_uri_suffix", "is no end of a path"},
	"back channel, no sessions":    {`"auth_methods":["bearer"],"backchannel_logout_uri_suffix":"/bye"`, "backchannel_logout_uri_suffix", "there are no sessions to end"},
	"front channel hidden":         {`"backchannel_logout_uri_suffix":"/bye","frontchannel_logout_uri_suffix":"/x/bye","session_cookie_same_site":"None"`, "frontchannel_logout_uri_suffix", "no request would reach it"},
	"logout hidden":                {`"backchannel_logout_uri_suffix":"/bye","logout_uri_suffix":"/good/bye"`, "logout_uri_suffix", "no request would reach it"},
	"too many previous secrets":    {`"session_previous_secrets":["aaaaaaaaaaaaaaaa","b","c","d","e","f","g","h"]`, "session_previous_secrets", "has 8 elements"},
	"empty previous secret":        {`"session_previous_secrets":[""]`, "session_previous_secrets[1]", "is the empty text"},
	"fragment":                     {`"response_mode":"fragment"`, "response_mode", "no login can finish"},
	"response type unknown":        {`"response_type":["code foo"]`, "response_type[1]", "is no response type"},
	"PoP and every method":         {`"proof_of_possession_mtls":"strict"`, "auth_methods", "cannot prove possession as proof_of_possession_mtls asks"},
	"DPoP and password":            {`"proof_of_possession_dpop":"optional","auth_methods":["bearer","password"]`, "auth_methods", "has password, which cannot"},
	"PoP and session alone":        {`"proof_of_possession_dpop":"strict","auth_methods":["session"]`, "auth_methods", "has session alone"},
	"PoP header without CA":        {`"proof_of_possession_mtls_from_header":{"certificate_header_name":"x"}`, "proof_of_possession_mtls_from_header.ca_certificates", "is required"},
	"exchange without issuers":     {`"token_exchange":{}`, "token_exchange.subject_token_issuers", "is required"},
	"exchange with no issuer":      {`"token_exchange":{"subject_token_issuers":[]}`, "token_exchange.subject_token_issuers", "at least 1"},
	"exchange of own tokens":       {`"token_exchange":{"subject_token_issuers":[{"issuer":"https://idp.example.com/"}]}`, "token_exchange.subject_token_issuers[1].conditions", "is missing"},
	"own tokens, empty conditions": {`"token_exchange":{"subject_token_issuers":[{"issuer":"https://idp.example.com","conditions":{}}]}`, "token_exchange.subject_token_issuers[1].conditions", "is missing"},
	"conditions for another":       {`"token_exchange":{"subject_token_issuers":[{"issuer":"https://other.example.org","conditions":{"has_scopes":["a"]}}]}`, "token_exchange.subject_token_issuers[1].conditions", "is given"},
	"sentinel without nodes":       {`"redis":{"sentinel_master":"m"}`, "redis.sentinel_master", "belong together"},
	"empty cluster":                {`"redis":{"cluster_nodes":[]}`, "redis.cluster_nodes", "at least 1"},
	"relative socket":              {`"redis":{"socket":"redis.sock"}`, "redis.socket", "absolute path"},
	"cloud without TLS":            {`"session_storage":"redis","redis":{"cloud_authentication":{"auth_provider":"gcp","gcp_service_account_json":"x"}}`, "redis.ssl", "must not cross the network in clear"},
	"cloud of another":             {`"session_storage":"redis","redis":{"ssl":true,"cloud_authentication":{"auth_provider":"gcp","azure_client_id":"x"}}`, "redis.cloud_authentication.auth_provider", "settings of azure are given"},
	"storage":                      {`"session_storage":"kong"`, "session_storage", "expected is one of cookie, memcache, memcached, redis"},
	"mTLS without certificate":     {`"client_auth":["tls_client_auth"]`, "tls_client_auth_cert_id", "is missing"},
	"mTLS at one endpoint":         {`"token_endpoint_auth_method":"tls_client_auth"`, "tls_client_auth_cert_id", "token_endpoint_auth_method needs it"},
	"HS256 and private key":        {`"client_auth":["private_key_jwt"],"client_alg":["HS256"]`, "client_alg[1]", "is symmetric"},
	"RS256 and secret":             {`"client_auth":["client_secret_jwt"],"client_alg":["RS256"]`, "client_alg[1]", "is not symmetric"},
	"public client key":            {`"client_jwk":[{"kty":"RSA","n":"x","e":"AQAB"}]`, "client_jwk[1]", "is not a private key"},
	"client key without type":      {`"client_jwk":[{"d":"x"}]`, "client_jwk[1].kty", "is missing"},
	"header name":                  {`"upstream_id_token_header":"x y"`, "upstream_id_token_header", "has a character"},
	"framing header":               {`"upstream_headers":[{"header":"Content_Length","path":["a"]}]`, "upstream_headers[1].header", "carries the message"},
	"header without path":          {`"upstream_headers":[{"header":"a","path":[]}]`, "upstream_headers[1].path", "at least 1"},
	"header without name":          {`"downstream_headers":[{"path":["a"]}]`, "downstream_headers[1].header", "is required"},
	"consumer path":                {`"consumer_claims":[[]]`, "consumer_claims[1]", "is an empty path"},
	"consumer fields":              {`"consumer_claims":[["a"]],"consumer_by":[]`, "consumer_by", "is empty"},
	"consumer groups":              {`"consumer_groups_claim":["tier"]`, "consumer_groups_claim", "open-source Kong does not have"},
	"a record is a text":           {`"redis":"localhost"`, "redis", "expected is a record"},
	"admin parameter":              {`"admin_claim":"x"`, "", `unknown field "admin_claim"`},
	"removed parameter":            {`"session_redis_auth":"x"`, "session_redis_auth", "use redis.password"},
}

func TestBadConfigurations(t *testing.T) {
	for name, c := range badConfigurations {
		t.Run(name, func(t *testing.T) {
			_, d, err := decode(with(t, c.config))
			if err == nil || !says(d.Findings, param.Error, c.path, c.text) {
				t.Fatalf("findings %v, want an error about %q that says %q", d.Findings, c.path, c.text)
			}
			if c.path != "" && !strings.Contains(err.Error(), c.path) {
				t.Errorf("the error does not name the parameter: %v", err)
			}
		})
	}
}

// doubtfulConfigurations are accepted with a warning.
var doubtfulConfigurations = map[string]struct{ config, path, text string }{
	"keys of no allowed issuer":   {`"issuers_allowed":["https://idp.example.com"],"issuer_keys":[{"issuer":"https://b.example.org","jwks_uris":["https://b.example.org/keys"]}]`, "issuer_keys[1].issuer", "is not among issuers_allowed"},
	"bound keys in clear":         {`"issuers_allowed":["https://b.example.org/"],"issuer_keys":[{"issuer":"https://b.example.org","jwks_uris":["http://b.example.org/keys"]}]`, "issuer_keys[1].jwks_uris[1]", "is plain http"},
	"pairs":                       {`"token_post_args_names":["a","b"],"token_post_args_values":["c"]`, "token_post_args_names", "has 2 elements and token_post_args_values has 1"},
	"claims and names":            {`"upstream_headers_names":["a"]`, "upstream_headers_names", "upstream_headers_claims has 0"},
	"signature":                   {`"verify_signature":false`, "verify_signature", "anyone can write a token"},
	"ignored signature":           {`"ignore_signature":["password"]`, "ignore_signature", "are not verified"},
	"nonce":                       {`"verify_nonce":false`, "verify_nonce", "another login"},
	"TLS":                         {`"ssl_verify":false`, "ssl_verify", "pose as the provider"},
	"inactive":                    {`"introspection_check_active":false`, "introspection_check_active", "revoked tokens"},
	"HS without secret":           {`"enable_hs_signatures":true,"client_secret":null`, "enable_hs_signatures", "needs a client secret"},
	"plain http":                  {`"token_endpoint":"http://idp.example.com/token"`, "token_endpoint", "is plain http"},
	"no client":                   {`"client_id":null`, "client_id", "authorization_code, introspection, password, refresh_token will fail"},
	"dotted claim":                {`"groups_claim":["realm_access.roles"]`, "groups_claim", "looked up as one claim"},
	"dotted consumer claim":       {`"consumer_claim":["user.id"]`, "consumer_claims[1]", "looked up as one claim"},
	"dotted header path":          {`"upstream_headers":[{"header":"x-a","path":["a","b.c"]}]`, "upstream_headers[1].path", "looked up as one claim"},
	"dotted header claim":         {`"upstream_headers_claims":["sub","a.b"],"upstream_headers_names":["x-a","x-b"]`, "upstream_headers_claims[2]", "one claim of that name"},
	"scopes in one text":          {`"scopes":["openid,email"]`, "scopes[1]", "has a comma"},
	"refresh token without name":  {`"auth_methods":["refresh_token"]`, "refresh_token_param_name", "is missing"},
	"no methods":                  {`"auth_methods":[]`, "auth_methods", "every request is denied"},
	"code without session":        {`"auth_methods":["authorization_code"]`, "auth_methods", "without session"},
	"short session secret":        {`"session_secret":"short"`, "session_secret", "can be guessed"},
	"timers":                      {`"session_idling_timeout":7200`, "session_idling_timeout", "longer than session_rolling_timeout"},
	"metadata in cookies":         {`"session_store_metadata":true`, "session_store_metadata", "no effect"},
	"hash without metadata":       {`"session_hash_subject":true`, "session_hash_subject", "no effect"},
	"unused redis":                {`"redis":{"host":"r"}`, "session_storage", "is not used"},
	"sentinel and cluster":        {`"session_storage":"redis","redis":{"sentinel_master":"m","sentinel_nodes":[{}],"cluster_nodes":[{}]}`, "redis.cluster_nodes", "the sentinels are used"},
	"redis unverified":            {`"session_storage":"redis","redis":{"ssl":true,"ssl_verify":false}`, "redis.ssl_verify", "pose as Redis"},
	"cluster cache of nothing":    {`"cluster_cache_strategy":"redis","cluster_cache_items":[]`, "cluster_cache_items", "shares nothing"},
	"surplus":                     {`"client_auth":["client_secret_post","client_secret_post"]`, "client_auth", "client_id has 1"},
	"secret missing":              {`"client_auth":["client_secret_post"],"client_secret":null`, "client_secret", "is missing"},
	"header source":               {`"proof_of_possession_mtls_from_header":{"certificate_header_name":"x","ca_certificates":["0f2e4a3c-7a40-4c2f-9a86-0d1c4f4c9a11"],"secure_source":false}`, "proof_of_possession_mtls_from_header.secure_source", "claim any certificate"},
	"PoP skipped":                 {`"proof_of_possession_dpop":"strict","proof_of_possession_auth_methods_validation":false`, "proof_of_possession_auth_methods_validation", "let through without a proof"},
	"logout without trigger":      {`"logout_revoke":true`, "logout_revoke", "nothing triggers"},
	"username case":               {`"by_username_ignore_case":true,"consumer_by":["id"]`, "by_username_ignore_case", "no effect"},
	"issuer is no URL":            {`"issuer":"main"`, "issuer", "nothing can be discovered"},
	"pseudo issuer without keys":  {`"issuer":"main","using_pseudo_issuer":true`, "jwks_endpoint", "is missing"},
	"pseudo issuer without token": {`"issuer":"main","using_pseudo_issuer":true,"auth_methods":["password"]`, "token_endpoint", "is missing"},
}

func TestWarnings(t *testing.T) {
	for name, c := range doubtfulConfigurations {
		t.Run(name, func(t *testing.T) {
			_, d := load(t, string(with(t, c.config)))
			if !says(d.Findings, param.Warning, c.path, c.text) {
				t.Errorf("findings %v, want a warning about %q that says %q", d.Findings, c.path, c.text)
			}
		})
	}
}

// Whatever the rules name must exist, so that nobody looks for it in vain.
func TestFindingsNameParameters(t *testing.T) {
	known := parameters()
	var r rule
	for _, r = range rules {
		for _, check := range r.checks {
			raw, err := json.Marshal(check)
			if err != nil {
				t.Fatal(err)
			}
			for word := range strings.SplitSeq(string(raw), `"`) {
				if path, ok := strings.CutPrefix(word, "config."); ok && known[path] == nil {
					t.Errorf("the check of %q names %s, which is no parameter", r.name, path)
				}
			}
		}
	}
}
