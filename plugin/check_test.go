package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kong-openid-connect/internal/param"
)

// exceptions are examples that open-source Kong cannot run as documented,
// with the parameter that is refused for good.
var exceptions = map[string]string{
	"12-consumer-group-auth.yml":         "plugins[1].config.consumer_groups_claim", // Kong OSS has no consumer groups
	"10-client-credentials-identity.yml": "plugins[1].config.principals.enabled",    // there is no directory of principals outside of Konnect
}

// The documented examples load without a word, but for what is refused for good.
func TestDocumentedExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/examples/*.yml")
	if err != nil || len(files) != 31 {
		t.Fatalf("%d examples, %v; want 31", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for _, f := range Check(file, path) {
				if name := exceptions[filepath.Base(path)]; name != "" && strings.HasSuffix(f.Path, strings.TrimPrefix(name, "plugins[1].")) {
					continue
				}
				t.Errorf("%v", f)
			}
		})
	}
}

func TestCheckFindsLines(t *testing.T) {
	const text = `_format_version: "3.0"
plugins:
- name: key-auth
  config: {whatever: 1}
- name: openid-connect
  consumer: alice
  protocols: [http, ftp]
  config:
    issuer: https://idp.example.com
    client_id: [kong]
    leway: 5
services:
- name: s
  url: http://127.0.0.1
  plugins:
  - name: openid-connect
    config:
      issuer: https://idp.example.com
      client_id: [kong]
      cluster_cache_strategy: off
  routes:
  - name: r
    plugins:
    - name: openid-connect
      config:
        issuer: https://idp.example.com
        client_id: [kong]
        session_cookie_same_site: None
        session_cookie_secure: false
        redis:
          port: 70000
consumers:
- username: bob
  plugins:
  - name: openid-connect
    config:
      issuer: https://idp.example.com
      client_id: [kong]
`
	var got []string
	for _, f := range Check(strings.NewReader(text), "kong.yml") {
		if f.Severity == param.Error {
			got = append(got, f.String())
		}
	}
	want := []string{
		`kong.yml:6: error: plugins[2].consumer: openid-connect cannot be limited to consumers; take it out`,
		`kong.yml:7: error: plugins[2].protocols[2]: is none of grpc, grpcs, http, https, ws, wss`,
		`kong.yml:11: error: plugins[2].config: unknown field "leway"; did you mean leeway?`,
		`kong.yml:20: error: services[1].plugins[1].config.cluster_cache_strategy: is a boolean, expected is one of off, redis; write it in quotes: a bare off is a boolean for Kong`,
		`kong.yml:31: error: services[1].routes[1].plugins[1].config.redis.port: is out of range, expected is an integer between 0 and 65535`,
		`kong.yml:35: error: consumers[1].plugins[1]: openid-connect cannot be limited to consumers; put it on a service or a route`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	fixed := strings.Replace(text, "port: 70000", "port: 6379", 1)
	found := Check(strings.NewReader(fixed), "kong.yml")
	for _, f := range found {
		if f.Path == "services[1].routes[1].plugins[1].config.session_cookie_secure" && f.Line == 29 {
			return
		}
	}
	t.Errorf("the rule about SameSite has no line: %v", found)
}

func TestCheckWarnsOfTemplates(t *testing.T) {
	const text = "issuer: https://idp.example.com\nclient_id: [kong]\nclient_secret: ['${{ env \"DECK_SECRET\" }}']\n"
	found := Check(strings.NewReader(text), "x")
	if len(found) == 0 || !slices.ContainsFunc(found, func(f param.Finding) bool {
		return f.Line == 3 && f.Severity == param.Warning && strings.Contains(f.Message, "templates of decK")
	}) {
		t.Errorf("findings %v", found)
	}
}

func TestCheckTakesMoreThanKongYML(t *testing.T) {
	const good = "issuer: https://idp.example.com\nclient_id: [kong]\n"
	indented := "  " + strings.ReplaceAll(strings.TrimSpace(good), "\n", "\n  ") + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"bare config":             {good, ""},
		"bare JSON":               {`{"issuer":"https://idp.example.com","client_id":["kong"]}`, ""},
		"plugin entity":           {`{"name":"openid-connect","config":{"issuer":"https://idp.example.com","client_id":["kong"]}}`, ""},
		"JSON with lines":         {"{\n\"issuer\":\"https://idp.example.com\",\n\"client_id\":1}", "x:3: error: client_id: is a number, expected is a list"},
		"Kubernetes":              {"apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: x}\nplugin: openid-connect\nconfig:\n" + indented, ""},
		"Kubernetes, wrong":       {"apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nplugin: openid-connect\nconfig:\n  issuer: 5\n", "x:5: error: config.issuer: is a number, expected is a text"},
		"several documents":       {"kind: Service\napiVersion: v1\n---\napiVersion: configuration.konghq.com/v1\nkind: KongClusterPlugin\nplugin: openid-connect\nconfig:\n" + indented, ""},
		"decK's shared config":    {"_format_version: '3.0'\n_plugin_configs:\n  oidc:\n" + strings.ReplaceAll(indented, "  ", "    ") + "plugins:\n- name: openid-connect\n  _config: oidc\n", ""},
		"no config":               {"plugins:\n- name: openid-connect\n", "config.issuer: is required and missing"},
		"another plugin":          {"plugins:\n- name: jwt\n", "there is no configuration of openid-connect here"},
		"nothing":                 {"", "there is no configuration of openid-connect here"},
		"no YAML":                 {"a: [", "this is not YAML"},
		"no record":               {"- 1\n", "a record is expected at the top"},
		"vault references":        {"issuer: '{vault://env/issuer}'\nclient_id: ['{vault://env/id}']\nclient_secret: ['{vault://hcv/secret/x}']\nsession_secret: '{vault://env/s}'\n", ""},
		"reference in a number":   {good + "redis: {port: '{vault://env/port}'}\n", "Kong resolves references to a vault in texts only"},
		"reference where refused": {good + "session_cookie_name: '{vault://env/x}'\n", "is a reference to a vault, which this parameter does not take"},
	} {
		t.Run(name, func(t *testing.T) {
			var errors []string
			for _, f := range Check(strings.NewReader(c.text), "x") {
				if f.Severity == param.Error {
					errors = append(errors, f.String())
				}
			}
			all := strings.Join(errors, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("errors %q, want %q", all, c.want)
			}
		})
	}
}

// What people bring along from elsewhere is refused as Kong refuses it, with a
// word on what to write.
func TestCheckAdvises(t *testing.T) {
	for line, want := range map[string]string{
		"client_id: kong":                         "is a text of 4 characters, expected is a list; put it in brackets",
		"client_secret: '{vault://env/x}'":        "expected is a list; put it in brackets",
		"response_mode: [query]":                  "take the brackets off",
		"cache_ttl: '3600'":                       "expected is a number; take the quotes off",
		"ssl_verify: 'false'":                     "expected is true or false; take the quotes off",
		"http_version: '1.1'":                     "take the quotes off",
		"redis: {port: '{vault://env/x}'}":        "Kong resolves references to a vault in texts only",
		"auth_methods: ['bearer,session']":        "write each value for itself",
		"redis: {cluster_addresses: [localhost]}": "redis.cluster_addresses[1]: is not host:port",
		"bearer_only: 'yes'":                      `unknown field "bearer_only"; write auth_methods: [bearer]`,
		"jwks_uri: https://a.test":                `unknown field "jwks_uri"; write jwks_endpoint`,
		"scopess: [a]":                            "did you mean scopes?",
		"whatever_else: 1":                        "take it out",
	} {
		found := Check(strings.NewReader("issuer: https://idp.example.com\n"+line+"\n"), "x")
		if !slices.ContainsFunc(found, func(f param.Finding) bool { return f.Severity == param.Error && strings.Contains(f.String(), want) }) {
			t.Errorf("%s: %v, want %q", line, found, want)
		}
	}
}

// Advice names parameters that exist, for names that do not.
func TestAdviceIsTrue(t *testing.T) {
	known := map[string]bool{"admin_gui_auth_conf": true}
	for _, f := range Declaration().All() {
		known[f.Path] = true
		for _, v := range f.OneOf {
			known[fmt.Sprint(v)] = true
		}
	}
	for _, m := range Method("").OneOf() {
		known[m] = true
	}
	for name, do := range new(Config).Advice() {
		if known[name] {
			t.Errorf("%s is a parameter", name)
		}
		for _, word := range regexp.MustCompile(`\b[a-z]+(_[a-z]+)+\b`).FindAllString(do, -1) {
			if !known[word] {
				t.Errorf("%s: there is no %s", name, word)
			}
		}
	}
}

// Fields of entities and vaults that only Kong Enterprise has.
func TestCheckKnowsEnterprise(t *testing.T) {
	const config = "config: {issuer: 'https://idp.example.com', client_id: [a], client_secret: ['{vault://VAULT/x}']}"
	for name, c := range map[string]struct{ text, want string }{
		"a dump's own fields": {"plugins:\n- name: openid-connect\n  instance_name: i\n  id: 1\n  enabled: true\n  tags: [a]\n  ordering: null\n  _comment: x\n  CONFIG\n", ""},
		"ordering":            {"plugins:\n- name: openid-connect\n  ordering: {before: {access: [acl]}}\n  CONFIG\n", "x:3: error: plugins[1].ordering: is a field of Kong Enterprise"},
		"partials":            {"plugins:\n- name: openid-connect\n  partials: [{name: r, path: config.redis}]\n  CONFIG\n", "x:3: error: plugins[1].partials: is a field of Kong Enterprise, which open-source Kong refuses; write the partial's members into the record"},
		"condition":           {"plugins:\n- name: openid-connect\n  condition: x\n  CONFIG\n", "plugins[1].condition: is a field of Kong Enterprise"},
		"run_on":              {"plugins:\n- name: openid-connect\n  run_on: first\n  CONFIG\n", "plugins[1].run_on: is no field of a plugin"},
		"Kubernetes":          {"apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nplugin: openid-connect\nordering: {before: {access: [acl]}}\nCONFIG\n", "x:4: error: ordering: is a field of Kong Enterprise"},
		"its vault":           {"plugins:\n- name: openid-connect\n  HCV\n", "x:3: warning: plugins[1].config.client_secret[1]: is in a vault hcv, which open-source Kong does not bring"},
		"its vault, renamed":  {"vaults:\n- {name: aws, prefix: mine}\nplugins:\n- name: openid-connect\n  MINE\n", "client_secret[1]: is in a vault aws"},
		"env under its name":  {"vaults:\n- {name: env, prefix: hcv}\nplugins:\n- name: openid-connect\n  HCV\n", ""},
	} {
		text := strings.NewReplacer("CONFIG", strings.Replace(config, "VAULT", "env", 1),
			"HCV", strings.Replace(config, "VAULT", "hcv", 1), "MINE", strings.Replace(config, "VAULT", "mine", 1)).Replace(c.text)
		var got []string
		for _, f := range Check(strings.NewReader(text), "x") {
			got = append(got, f.String())
		}
		if all := strings.Join(got, "\n"); c.want == "" && all != "" || !strings.Contains(all, c.want) || c.want != "" && len(got) != 1 {
			t.Errorf("%s: %q, want %q", name, all, c.want)
		}
	}
}
