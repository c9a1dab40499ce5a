package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"kong-openid-connect/internal/param"
)

// decode reads and judges a configuration as Kong sends it.
func decode(data []byte) (*Config, param.Decoded, error) { return validated(Read(data)) }

// parameters are all that is declared, by path.
func parameters() map[string]*param.Field {
	all := map[string]*param.Field{}
	for _, f := range Declaration().All() {
		all[f.Path] = f
	}
	return all
}

// load decodes a configuration as Kong sends it, without errors.
func load(t testing.TB, text string) (*Config, param.Decoded) {
	t.Helper()
	c, d, err := decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c, d
}

// says reports whether a finding of this severity about path has this text.
func says(found []param.Finding, s param.Severity, path, text string) bool {
	for _, f := range found {
		if f.Severity == s && f.Path == path && strings.Contains(f.Message+"; "+f.Do, text) {
			return true
		}
	}
	return false
}

func TestDecodeDefaults(t *testing.T) {
	c, d := load(t, `{"issuer":"https://idp.example.com","client_id":["a"],"__seq__":9,"__plugin_id":"p"}`)
	if len(c.AuthMethods) != 9 || !c.VerifySignature || c.Timeout != 10000 || c.SessionCookieName != "session" ||
		c.Redis.Port != 6379 || c.TokenExchange != nil || !c.Principals.ErrorOnMiss || c.HTTPVersion != 1.1 {
		t.Errorf("defaults are missing: %+v", c)
	}
	if d.Meta.PluginID != "p" || len(d.Findings) != 0 {
		t.Errorf("meta %+v, findings %v", d.Meta, d.Findings)
	}
	other, _ := load(t, `{"client_id":["a"],"issuer":"https://idp.example.com","__seq__":10,"timeout":10000.0}`)
	if c.Digest() != other.Digest() {
		t.Error("equal configurations have different digests")
	}
}

func TestTokensSalt(t *testing.T) {
	a, _ := load(t, `{"issuer":"https://idp.example.com","client_id":["a"],"__plugin_id":"1"}`)
	b, _ := load(t, `{"issuer":"https://idp.example.com","client_id":["a"],"__plugin_id":"2"}`)
	other, _ := load(t, `{"issuer":"https://idp.example.com","client_id":["b"]}`)
	given, _ := load(t, `{"issuer":"https://idp.example.com","client_id":["a"],"cache_tokens_salt":"pepper"}`)
	if a.TokensSalt() != b.TokensSalt() || len(a.TokensSalt()) < 32 {
		t.Error("equal configurations have different salts, or short ones")
	}
	if a.TokensSalt() == other.TokensSalt() {
		t.Error("another configuration has the same salt")
	}
	if given.TokensSalt() != "pepper" {
		t.Error("the salt that was given is not used")
	}
}

// Kong leaves null out, so that an absent upstream_access_token_header means
// that somebody switched it off.
func TestNullSwitchesOff(t *testing.T) {
	c, _ := load(t, `{"issuer":"https://idp.example.com","client_id":["a"]}`)
	if c.UpstreamAccessTokenHeader != "" || c.Scopes != nil || c.LoginTokens != nil {
		t.Errorf("null came back as a default: %q, %v, %v", c.UpstreamAccessTokenHeader, c.Scopes, c.LoginTokens)
	}
	found := Check(strings.NewReader("issuer: https://idp.example.com\nclient_id: [a]\n"), "x.yml")
	if err := param.Findings(found).Err(); err != nil {
		t.Fatal(err)
	}
}

// oldConfigurations use spellings of older versions of Kong.
var oldConfigurations = map[string]struct {
	config  string
	get     func(*Config) any
	want    any
	path    string
	warning string
}{
	"claim":            {`"consumer_claim":["a","b"]`, func(c *Config) any { return c.ConsumerClaims }, [][]string{{"a", "b"}}, "consumer_claim", "write consumer_claims"},
	"false survives":   {`"authorization_cookie_httponly":false,"authorization_cookie_http_only":true`, func(c *Config) any { return c.AuthorizationCookieHTTPOnly }, false, "authorization_cookie_httponly", "write authorization_cookie_http_only"},
	"off is Default":   {`"session_cookie_samesite":"off","session_cookie_same_site":"Lax"`, func(c *Config) any { return c.SessionCookieSameSite }, SameSiteDefault, "session_cookie_samesite", "write session_cookie_same_site"},
	"samesite":         {`"session_cookie_samesite":"Strict"`, func(c *Config) any { return c.SessionCookieSameSite }, SameSiteStrict, "session_cookie_samesite", "old spelling"},
	"lifetime":         {`"session_cookie_lifetime":60,"session_rolling_timeout":3600,"session_cookie_idletime":30`, func(c *Config) any { return c.SessionRollingTimeout }, 60.0, "session_cookie_lifetime", "old spelling"},
	"new wins":         {`"session_cookie_lifetime":60,"session_rolling_timeout":7200`, func(c *Config) any { return c.SessionRollingTimeout }, 7200.0, "session_cookie_lifetime", "is ignored, because session_rolling_timeout"},
	"redis host":       {`"session_redis_host":"r","redis":{"host":"127.0.0.1"}`, func(c *Config) any { return c.Redis.Host }, "r", "session_redis_host", "write redis.host"},
	"redis password":   {`"session_redis_password":"pw"`, func(c *Config) any { return c.Redis.Password.Reveal() }, "pw", "session_redis_password", "write redis.password"},
	"redis unverified": {`"session_redis_ssl_verify":false`, func(c *Config) any { return c.Redis.SSLVerify }, false, "session_redis_ssl_verify", "write redis.ssl_verify"},
	"redis nodes":      {`"session_redis_cluster_nodes":[{"ip":"x"}]`, func(c *Config) any { return c.Redis.ClusterNodes }, []ClusterNode{{IP: "x", Port: 6379}}, "session_redis_cluster_nodes", "write redis.cluster_nodes"},
	"redis redirects":  {`"session_redis_cluster_maxredirections":9`, func(c *Config) any { return c.Redis.ClusterMaxRedirections }, 9, "session_redis_cluster_maxredirections", "old spelling"},
	"memcache":         {`"session_memcache_port":1,"session_storage":"memcache"`, func(c *Config) any { return []any{c.SessionMemcachedPort, c.SessionStorage} }, []any{param.Port(1), SessionStorageMemcached}, "session_memcache_port", "write session_memcached_port"},
	"renew is ignored": {`"session_cookie_renew":5`, func(c *Config) any { return c.SessionCookieRenew == nil }, true, "session_cookie_renew", "no effect"},
	"strategy ignored": {`"session_strategy":"x"`, func(c *Config) any { return c.SessionStrategy }, "", "session_strategy", "no effect"},
	"redis addresses":  {`"redis":{"cluster_addresses":["a:1","[::1]:2"]}`, func(c *Config) any { return c.Redis.ClusterNodes }, []ClusterNode{{"a", 1}, {"::1", 2}}, "redis.cluster_addresses", "write redis.cluster_nodes"},
	"sentinels":        {`"cluster_cache_redis":{"sentinel_addresses":["a:1"],"sentinel_master":"m"}`, func(c *Config) any { return c.ClusterCacheRedis.SentinelNodes }, []SentinelNode{{"a", 1}}, "cluster_cache_redis.sentinel_addresses", "write cluster_cache_redis.sentinel_nodes"},
	"redis timeout":    {`"redis":{"timeout":50,"connect_timeout":2000,"read_timeout":2000,"send_timeout":2000}`, timeouts, [3]int{50, 50, 50}, "redis.timeout", "write connect_timeout, read_timeout and send_timeout"},
	"new timeout wins": {`"redis":{"timeout":50,"connect_timeout":2000,"read_timeout":60,"send_timeout":2000}`, timeouts, [3]int{2000, 60, 2000}, "redis.timeout", "is ignored, because redis.read_timeout"},
}

func timeouts(c *Config) any {
	return [3]int{c.Redis.ConnectTimeout, c.Redis.ReadTimeout, c.Redis.SendTimeout}
}

// What Kong's Admin API shows of a configuration has old and new spellings
// beside each other, and defaults of its own time. It is accepted without a
// word, and what it says stays.
func TestDumpsAreSilent(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want func(*Config) bool
	}{
		"twins": {`"session_redis_host":"r","redis":{"host":"r"},"session_storage":"redis"`,
			func(c *Config) bool { return c.Redis.Host == "r" }},
		"defaults": {`"session_redis_host":"127.0.0.1","session_redis_ssl_verify":false,"session_redis_cluster_nodes":null,
			"redis":{"host":"127.0.0.1","ssl_verify":false,"timeout":2000,"connect_timeout":2000,"cluster_addresses":null,"sentinel_addresses":[]},
			"cluster_cache_redis":{"ssl_verify":false,"timeout":2000,"connect_timeout":2000},
			"session_compressor":"none","session_cookie_maxsize":4000,"session_cookie_renew":600,"session_strategy":"default"`,
			func(c *Config) bool { return !c.Redis.SSLVerify && c.Redis.Timeout == nil }},
		"a timeout of its own": {`"session_storage":"redis","redis":{"timeout":700,"connect_timeout":700,"read_timeout":2000,"send_timeout":2000}`,
			func(c *Config) bool { return timeouts(c) == [3]int{700, 2000, 2000} }},
		"nodes": {`"session_storage":"redis","redis":{"cluster_nodes":[{"ip":"a","port":1}],"cluster_addresses":["a:1"]},"session_redis_cluster_nodes":[{"ip":"a","port":1}]`,
			func(c *Config) bool { return len(c.Redis.ClusterNodes) == 1 && c.Redis.ClusterAddresses == nil }},
		"methods in Kong's order": {`"auth_methods":["password","client_credentials","authorization_code","bearer","introspection","userinfo","kong_oauth2","refresh_token","session"]`,
			func(c *Config) bool { return len(c.AuthMethods) == 9 }},
		"claims": {`"consumer_claim":["a","b"],"consumer_claims":[["a","b"]]`,
			func(c *Config) bool { return len(c.ConsumerClaims) == 1 && c.ConsumerClaim == nil }},
	} {
		config, d := load(t, string(with(t, c.text)))
		if len(d.Findings) != 0 || !c.want(config) {
			t.Errorf("%s: findings %v, redis %+v", name, d.Findings, config.Redis.Redis)
		}
		if found := Check(strings.NewReader(string(with(t, c.text))), ""); len(found) != 0 {
			t.Errorf("%s: check says %v", name, found)
		}
	}
}

func TestOldSpellings(t *testing.T) {
	for name, c := range oldConfigurations {
		t.Run(name, func(t *testing.T) {
			config, d := load(t, string(with(t, c.config)))
			if got := c.get(config); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !says(d.Findings, param.Warning, c.path, c.warning) {
				t.Errorf("findings %v, want a warning about %s that says %q", d.Findings, c.path, c.warning)
			}
		})
	}
	_, _, err := decode(with(t, `"session_redis_auth":"hunter2"`))
	if err == nil || !strings.Contains(err.Error(), "use redis.password") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("session_redis_auth: %v", err)
	}
	// Every old spelling is either folded, ignored or refused.
	handled := map[string]bool{"session_redis_auth": true, "redis.timeout": true, "cluster_cache_redis.timeout": true}
	for _, s := range spellings {
		handled[s.old] = true
	}
	for _, i := range ignored {
		handled[i.name] = true
	}
	for _, f := range Declaration().All() {
		if f.Group == deprecatedGroup && !strings.Contains(f.Path, "[]") && !handled[f.Path] {
			t.Errorf("nobody looks at %s", f.Path)
		}
	}
}

func TestUnresolvedReference(t *testing.T) {
	_, d, err := decode([]byte(`{"issuer":"https://idp.example.com","client_id":["a"],"client_secret":["x",""],
		"$refs":{"client_secret":[null,"{vault://env/gone}"]}}`))
	if err == nil || !says(d.Findings, param.Error, "client_secret[2]", "{vault://env/gone} to a vault did not resolve") {
		t.Errorf("findings %v, error %v", d.Findings, err)
	}
	_, d = load(t, `{"issuer":"https://idp.example.com","client_id":["a"],"client_secret":["x"],"$refs":{"client_secret":["{vault://env/there}"]}}`)
	if len(d.References) != 1 || !d.References[0].Resolved {
		t.Errorf("references %v", d.References)
	}
}

// filled is a configuration in which every text is set, secrets to this one.
const filled = "v3ry-s3cret"

func fill(v reflect.Value) int {
	switch {
	case v.Type() == reflect.TypeFor[param.Secret]():
		v.Set(reflect.ValueOf(param.NewSecret(filled)))
		return 1
	case v.Kind() == reflect.Struct:
		n := 0
		for i := range v.NumField() {
			n += fill(v.Field(i))
		}
		return n
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		return fill(v.Index(0)) + fill(v.Index(1))
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem())
	}
	return 0
}

func TestSecretsAreRedacted(t *testing.T) {
	var c Config
	if n := fill(reflect.ValueOf(&c).Elem()); n < 60 {
		t.Fatalf("only %d secrets were filled in", n)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb, c)
		fmt.Fprintf(&out, verb, &c)
	}
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("config", "config", c, "pointer", &c, "secret", c.SessionSecret)
	slog.New(slog.NewTextHandler(&out, nil)).Info("config", "config", c, "pointer", &c, "secret", c.SessionSecret)
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(c)
	}()
	func() {
		defer func() { fmt.Fprint(&out, recover()) }()
		panic(fmt.Errorf("with %+v", &c))
	}()
	for _, f := range Validate(&c) {
		fmt.Fprintln(&out, f)
	}
	if strings.Contains(out.String(), filled) {
		t.Error("a secret is printed")
	}
	if !strings.Contains(out.String(), param.Redacted) {
		t.Error("nothing was printed at all")
	}
}

// What Kong encrypts at rest, and what plainly holds a secret, is a Secret.
func TestSecretTypes(t *testing.T) {
	plain := map[string]bool{"client_id": true} // stands in every authorization URL
	for _, f := range Declaration().All() {
		inner := f
		for inner.Elem != nil {
			inner = inner.Elem
		}
		if inner.Encrypted && !inner.Secret && !plain[f.Path] {
			t.Errorf("%s is encrypted, but not a Secret", f.Path)
		}
		if regexp.MustCompile(`(secret|password|_salt)$`).MatchString(f.Path) && f.Type == param.String && !inner.Secret {
			t.Errorf("%s is not a Secret", f.Path)
		}
	}
}

var startInstance = regexp.MustCompile(`CmdStartInstance\{(?:name: "[^"]*", )?config: ("(?:[^"\\]|\\.)*")`)

// The configurations that a real Kong sent, of another plugin: what is beside
// the parameters must be understood, and the parameters must be unknown.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			var frame struct{ Decoded any }
			if err := json.Unmarshal(line, &frame); err != nil {
				t.Fatal(err)
			}
			text, _ := frame.Decoded.(string)
			m := startInstance.FindStringSubmatch(text)
			if m == nil {
				continue
			}
			seen++
			var config string
			if err := json.Unmarshal([]byte(m[1]), &config); err != nil {
				t.Fatal(err)
			}
			checkTranscript(t, config)
		}
	}
	if seen < 20 {
		t.Errorf("only %d configurations in the transcripts", seen)
	}
}

// checkTranscript takes a recorded configuration as it is, then taken down to
// what our schema has too.
func checkTranscript(t *testing.T, text string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	_, d, _ := decode([]byte(text))
	if d.Meta.PluginID == "" || d.Meta.WorkspaceID == "" || d.Meta.Key == "" || d.Meta.Seq == "" {
		t.Errorf("meta %+v of %s", d.Meta, text)
	}
	for _, f := range d.Findings {
		if strings.Contains(f.Message, `"__`) || strings.Contains(f.Message, "_id\"") || strings.Contains(f.Message, "$refs") {
			t.Errorf("a key of Kong's own was not understood: %v", f)
		}
	}
	if fields["issuer"] == nil && !says(d.Findings, param.Error, "issuer", "is required and missing") {
		t.Errorf("findings %v, want one about the missing issuer", d.Findings)
	}
	for _, name := range []string{
		"mode", "hide", "methods", "old_secrets", "session", "limits", "providers", "claims", "extra",
		"count", "ratio", "big", "verify", "strict",
	} {
		delete(fields, name)
	}
	if secret, ok := fields["client_secret"]; ok {
		fields["client_secret"] = []any{secret} // a list with us
	}
	if fields["issuer"] == nil {
		fields["issuer"] = "https://idp.example.com"
	}
	fields["leeway"] = 5
	refs, _ := fields["$refs"].(map[string]any)
	if ref, ok := refs["client_secret"]; ok {
		refs["client_secret"] = []any{ref}
	}
	raw, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	_, d, err = decode(raw)
	unresolved := refs != nil && strings.Contains(fmt.Sprint(refs), "not-there")
	if (err != nil) != unresolved {
		t.Errorf("%s: %v, want an error: %v", raw, err, unresolved)
	}
	if unresolved && !says(d.Findings, param.Error, "client_secret[1]", "did not resolve") {
		t.Errorf("findings %v", d.Findings)
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://idp.example.com","session_redis_cluster_nodes":[{}],"consumer_claim":["a"]}`,
		`{"issuer":"x","token_exchange":{"subject_token_issuers":[{"issuer":"x","conditions":{}}]},"$refs":{"issuer":"{vault://a/b}"}}`,
		`{"issuer":"x","proof_of_possession_mtls_from_header":{"ca_certificates":[],"certificate_header_name":"a b"},"client_jwk":[{"d":"x"}]}`,
		`{"issuer":"x","response_type":[],"auth_methods":["authorization_code"],"client_auth":["tls_client_auth"],"client_alg":["HS256"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, d, err := decode(data)
		if (err != nil) != (len(d.Findings.Errors()) > 0) {
			t.Fatalf("error %v, findings %v", err, d.Findings)
		}
		c.Digest()
		Check(bytes.NewReader(data), "fuzz")
	})
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(`{"issuer":"https://idp.example.com","client_id":["a"],"client_secret":["b"],"auth_methods":["bearer"],"redis":{"host":"x"},"__seq__":7}`)
	for b.Loop() {
		c, _, err := decode(text)
		if err != nil {
			b.Fatal(err)
		}
		c.Digest()
	}
}
