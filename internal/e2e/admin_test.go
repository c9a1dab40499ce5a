package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"kong-openid-connect/internal/e2e/harness"
	"kong-openid-connect/internal/sandbox/provider"
)

// api calls the Admin API and returns its answer; a status other than the
// wanted one ends the test.
func api(t *testing.T, method, path string, body any, status int) map[string]any {
	t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	r, err := http.NewRequest(method, env.Admin+path, in)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %s, want %d: %s", method, path, resp.Status, status, text)
	}
	var out map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return out
}

type object = map[string]any

// needsDatabase leaves a test out on a Kong without one: its Admin API refuses
// changes of single entities. The sandbox takes them.
func needsDatabase(t *testing.T) {
	t.Helper()
	if !env.writable {
		t.Skip("left out: without a database Kong's Admin API only reads; run with E2E_DATABASE=postgres")
	}
}

// adminRoute makes a route of the echo service for the time of a test, and
// waits until the gateway serves it. It returns the route's id.
func adminRoute(t *testing.T, name string) string {
	t.Helper()
	id := api(t, "POST", "/services/echo/routes", object{"name": name, "paths": []string{"/" + name}}, 201)["id"].(string)
	t.Cleanup(func() {
		api(t, "DELETE", "/routes/"+id, nil, 204)
		shows(t, "/"+name, "", 404)
	})
	shows(t, "/"+name, "", 200)
	return id
}

// shows waits until a page answers with a status on every worker.
func shows(t *testing.T, page, token string, status int) {
	t.Helper()
	h := http.Header{}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if err := harness.Settled(env.Proxy+page, h, func(r *http.Response, _ string) bool { return r.StatusCode == status }); err != nil {
		t.Fatalf("want status %d: %v", status, err)
	}
}

func TestAdminFillsDefaults(t *testing.T) {
	needsDatabase(t)
	route := adminRoute(t, "admin-defaults")
	p := api(t, "POST", "/plugins", object{"name": "openid-connect", "route": object{"id": route}, "config": object{"issuer": env.Issuer}}, 201)
	if again := api(t, "GET", "/plugins/"+p["id"].(string), nil, 200); !reflect.DeepEqual(p["config"], again["config"]) {
		t.Errorf("read back: %v, answered at first: %v", again["config"], p["config"])
	}
	config := p["config"].(object)
	if config["issuer"] != env.Issuer {
		t.Errorf("issuer %v", config["issuer"])
	}
	compared := 0
	for path, def := range parameterDefaults(t) {
		var want any
		if err := json.Unmarshal([]byte(def), &want); err != nil {
			t.Fatalf("%s: default %q: %v", path, def, err)
		}
		in, name := config, path
		if record, member, below := strings.Cut(path, "."); below {
			sub, ok := config[record].(object)
			if !ok {
				continue // the record itself is not set
			}
			in, name = sub, member
		}
		switch got, there := in[name]; {
		case strings.HasPrefix(name, "session_redis_"):
			// An old spelling has no default: Kong would fill it in over the new one.
			if got != nil {
				t.Errorf("%s is %v, an old spelling has no default", path, got)
			}
		case path == "issuer":
		case !reflect.DeepEqual(got, want):
			t.Errorf("%s is %v, the default is %v", path, got, want)
		case there:
			compared++
		}
	}
	if compared < 290 {
		t.Errorf("only %d parameters stand in the answer", compared)
	}
	// With the defaults alone a browser is sent to the provider, a token passes.
	shows(t, "/admin-defaults", mint(t, provider.TokenRequest{}), 200)
}

// parameterDefaults returns the defaults of the table, as JSON by path below
// config; elements of lists and records of records are left out.
func parameterDefaults(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("../../plugin/testdata/parameters.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	out := map[string]string{}
	s := bufio.NewScanner(file)
	for s.Scan() {
		c := strings.Split(s.Text(), "\t")
		path, ours := strings.CutPrefix(c[0], "config.")
		if ours && c[2] != "" && !strings.Contains(path, "[]") && strings.Count(path, ".") < 2 {
			out[path] = c[2]
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAdminChangesTakeEffect(t *testing.T) {
	needsDatabase(t)
	const page = "/admin-life"
	route := adminRoute(t, "admin-life")
	good := mint(t, provider.TokenRequest{Scopes: []string{"openid", "profile"}})
	p := api(t, "POST", "/routes/admin-life/plugins", object{"name": "openid-connect", "config": object{"issuer": env.Issuer, "auth_methods": []string{"bearer"}}}, 201)
	plugin := "/plugins/" + p["id"].(string)
	shows(t, page, "", 401)
	shows(t, page, good, 200)

	api(t, "PATCH", plugin, object{"config": object{"scopes_required": []string{"admin"}}}, 200)
	shows(t, page, good, 403)
	api(t, "PATCH", plugin, object{"config": object{"scopes_required": nil}}, 200)
	shows(t, page, good, 200)

	refused := api(t, "PATCH", plugin, object{"config": object{"auth_methods": []string{"nope"}}}, 400)
	if _, named := refused["fields"].(object)["config"].(object)["auth_methods"]; !named {
		t.Errorf("the answer names no field: %v", refused)
	}
	if got := api(t, "GET", plugin, nil, 200)["config"].(object)["auth_methods"]; !reflect.DeepEqual(got, []any{"bearer"}) {
		t.Errorf("a refused PATCH left %v", got)
	}
	shows(t, page, good, 200)

	// PUT replaces: what it does not name has its default again.
	put := api(t, "PUT", plugin, object{"name": "openid-connect", "route": object{"id": route}, "config": object{
		"issuer": env.Issuer, "auth_methods": []string{"bearer"}, "audience_required": []string{"https://elsewhere.example.test"}}}, 200)
	if put["id"] != p["id"] {
		t.Errorf("PUT made %v of %v", put["id"], p["id"])
	}
	shows(t, page, good, 403)
	api(t, "PUT", plugin, object{"name": "openid-connect", "route": object{"id": route}, "config": object{"issuer": env.Issuer, "auth_methods": []string{"session"}}}, 200)
	shows(t, page, good, 401)

	api(t, "PATCH", plugin, object{"enabled": false}, 200)
	shows(t, page, "", 200)
	api(t, "PATCH", plugin, object{"enabled": true}, 200)
	shows(t, page, "", 401)
	api(t, "DELETE", plugin, nil, 204)
	shows(t, page, "", 200)
	api(t, "GET", plugin, nil, 404)
}

// Configurations that Kong's schema code refused when it was asked, on its
// own, are refused by the Admin API with the same words for the same fields.
func TestAdminRefusesBadConfigurations(t *testing.T) {
	needsDatabase(t)
	raw, err := os.ReadFile("../../plugin/testdata/kong_verdicts.json")
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Verdicts []struct {
			Name     string
			Config   json.RawMessage
			Accepted bool
			Errors   object
		}
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		t.Fatal(err)
	}
	route := adminRoute(t, "admin-bad")
	refused := 0
	for _, v := range record.Verdicts {
		if v.Accepted {
			continue
		}
		refused++
		t.Run(v.Name, func(t *testing.T) {
			a := api(t, "POST", "/plugins", object{"name": "openid-connect", "route": object{"id": route}, "config": v.Config}, 400)
			if a["code"] != 2.0 || a["name"] != "schema violation" {
				t.Errorf("code %v, name %v", a["code"], a["name"])
			}
			fields, _ := a["fields"].(object)
			if !reflect.DeepEqual(fields, v.Errors) {
				t.Errorf("fields %v\nwant   %v", fields, v.Errors)
			}
			config, _ := v.Errors["config"].(object)
			for field := range config {
				if message, _ := a["message"].(string); !strings.Contains(message, "config."+field) {
					t.Errorf("the message does not name %s: %s", field, message)
				}
			}
		})
	}
	if refused < 30 {
		t.Errorf("only %d bad configurations", refused)
	}
	if left := api(t, "GET", "/routes/admin-bad/plugins", nil, 200)["data"].([]any); len(left) != 0 {
		t.Errorf("%d refused plugins are there", len(left))
	}
}

func TestAdminShowsTheSchema(t *testing.T) {
	out, err := exec.Command(env.binary, "-dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	var dump struct {
		Plugins []struct{ Schema object }
	}
	if err := json.Unmarshal(out, &dump); err != nil || len(dump.Plugins) != 1 {
		t.Fatalf("%v: %.200s", err, out)
	}
	config := func(schema object) object {
		for _, f := range schema["fields"].([]any) {
			if c, ok := f.(object)["config"].(object); ok {
				all := object{}
				for _, f := range c["fields"].([]any) {
					for name, attributes := range f.(object) {
						all[name] = attributes
					}
				}
				return all
			}
		}
		t.Fatal("no config in the schema")
		return nil
	}
	want, got := config(dump.Plugins[0].Schema), config(api(t, "GET", "/schemas/plugins/openid-connect", nil, 200))
	if len(want) < 200 || len(got) != len(want) {
		t.Errorf("%d parameters, the dump has %d", len(got), len(want))
	}
	for name, w := range want {
		g, _ := got[name].(object)
		for _, attribute := range []string{"type", "default", "one_of", "referenceable", "encrypted", "description"} {
			if !reflect.DeepEqual(g[attribute], w.(object)[attribute]) {
				t.Errorf("%s: %s is %v, in the dump %v", name, attribute, g[attribute], w.(object)[attribute])
			}
		}
	}
}

// The Admin API shows what was written, as Kong does for any plugin, and
// nothing beyond: no reference resolved, no secret that was generated.
func TestAdminShowsNoOtherSecret(t *testing.T) {
	newBrowser(t).get("/hs", "Authorization", "Bearer "+mint(t, provider.TokenRequest{Faults: []string{"alg-hs256-with-secret"}})).want(t, 200)
	plugins := api(t, "GET", "/plugins?size=1000", nil, 200)["data"].([]any)
	if len(plugins) < 30 {
		t.Fatalf("%d plugins", len(plugins))
	}
	schema, err := json.Marshal(api(t, "GET", "/schemas/plugins/openid-connect", nil, 200))
	if err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile("../../testdata/e2e/kong.yml")
	if err != nil {
		t.Fatal(err)
	}
	references := 0
	for _, p := range plugins {
		if p.(object)["name"] != "openid-connect" {
			continue
		}
		config := p.(object)["config"].(object)
		for name, v := range config {
			if !bytes.Contains(schema, []byte(`"`+name+`"`)) {
				t.Errorf("%s is no parameter", name)
			}
			if strings.Contains(name, "secret") || strings.Contains(name, "salt") || strings.Contains(name, "password") || strings.Contains(name, "jwk") {
				for _, text := range texts(v) {
					if !bytes.Contains(written, []byte(text)) {
						t.Errorf("%s shows what nobody wrote", name)
					}
				}
			}
		}
		if config["enable_hs_signatures"] == true {
			references++
			if !reflect.DeepEqual(config["client_secret"], []any{"{vault://env/e2e-client-secret}"}) {
				t.Error("a reference to a vault is shown resolved")
			}
		}
	}
	if references == 0 {
		t.Error("no plugin with a reference")
	}
}

// texts returns the texts in a JSON value.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	case object:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	}
	return nil
}
