package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// adminOnly starts a gateway whose plugin server is only a socket.
func adminOnly(t *testing.T, config string) *Gateway {
	t.Helper()
	if config == "" {
		config = "_format_version: '3.0'"
	}
	return startOptions(t, Options{ConfigData: []byte(config)})
}

// startOptions starts a gateway whose plugin server only accepts connections.
func startOptions(t *testing.T, o Options) *Gateway {
	t.Helper()
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	o.External, o.Socket, o.Prefix, o.Dump = true, filepath.Join(dir, "s"), dir, recordedDump(t)
	g, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestAdminDefaultsAreThoseOfKong(t *testing.T) {
	g := adminOnly(t, "")
	adminCall(t, g, "POST", "/services", `{"name":"svc","url":"https://example.com/base"}`, 201)
	adminCall(t, g, "POST", "/services/svc/routes", `{"name":"plain","paths":["/plain"]}`, 201)
	got := adminCall(t, g, "POST", "/routes/plain/plugins", `{"name":"openid-connect","config":{}}`, 201)
	raw := recordedAdminAnswer(t)
	var want map[string]any
	if err := json.Unmarshal([]byte(raw), &want); err != nil {
		t.Fatal(err)
	}
	if g, w := show(got["config"]), show(want["config"]); g != w {
		t.Errorf("config\n     got %s\nrecorded %s", g, w)
	}
	for k, w := range want {
		if k == "id" || k == "created_at" || k == "updated_at" || k == "route" || k == "config" {
			continue
		}
		if _, there := got[k]; !there || show(got[k]) != show(w) {
			t.Errorf("%s: got %s, recorded %s", k, show(got[k]), show(w))
		}
	}
	svc := adminCall(t, g, "GET", "/services/svc", "", 200)
	if svc["port"] != 443.0 || svc["protocol"] != "https" || svc["host"] != "example.com" || svc["path"] != "/base" || svc["retries"] != 5.0 {
		t.Errorf("url was read as %v", svc)
	}
	route := adminCall(t, g, "GET", "/routes/plain", "", 200)
	if route["strip_path"] != true || show(route["protocols"]) != `["http","https"]` || route["path_handling"] != "v0" {
		t.Errorf("route %v", route)
	}
}

func show(v any) string { b, _ := json.Marshal(v); return string(b) }

// recordedAdminAnswer is Kong's answer in transcript 00.
func recordedAdminAnswer(t *testing.T) string {
	t.Helper()
	for _, f := range readFrames(t, "00-dump") {
		if _, answer, ok := strings.Cut(f.Decoded, "answered: "); ok {
			return answer
		}
	}
	t.Fatal("transcript 00 has no answer")
	return ""
}

func TestAdminErrors(t *testing.T) {
	g := adminOnly(t, `
_format_version: "3.0"
services: [{name: svc, url: "http://h", routes: [{name: r, paths: [/r]}]}]
consumers: [{username: alice, custom_id: c1}]
`)
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"a field":         {"POST", "/plugins", `{"name":"openid-connect","config":{"leeway":"x"}}`, 400, `{"code":2,"fields":{"config":{"leeway":"expected an integer"}},"message":"schema violation (config.leeway: expected an integer)","name":"schema violation"}`},
		"nested":          {"POST", "/plugins", `{"name":"openid-connect","config":{"providers":[{"name":"p"},{"key":"k"}]}}`, 400, `"fields":{"config":{"providers":[null,{"name":"required field missing"}]}}`},
		"several":         {"POST", "/plugins", `{"name":"openid-connect","config":{"leeway":"x","nope":1}}`, 400, `"message":"2 schema violations (config.leeway: expected an integer; config.nope: unknown field)"`},
		"no such plugin":  {"POST", "/plugins", `{"name":"nope"}`, 400, `plugin 'nope' not enabled; add it to the 'plugins' configuration property`},
		"no name":         {"POST", "/plugins", `{}`, 400, `"fields":{"name":"required field missing"}`},
		"consumer":        {"POST", "/consumers/alice/plugins", `{"name":"openid-connect"}`, 400, `"consumer":"value must be null"`},
		"foreign":         {"POST", "/plugins", `{"name":"openid-connect","route":{"id":"00000000-0000-4000-8000-000000000000"}}`, 400, `"name":"foreign key violation"`},
		"unique":          {"POST", "/consumers", `{"username":"alice"}`, 409, `"name":"unique constraint violation"`},
		"neither":         {"POST", "/consumers", `{}`, 400, `at least one of these fields must be non-empty: 'custom_id', 'username'`},
		"empty text":      {"POST", "/consumers", `{"username":""}`, 400, `"username":"length must be at least 1"`},
		"service in use":  {"DELETE", "/services/svc", ``, 400, `an existing 'routes' entity references this 'services' entity`},
		"no JSON":         {"POST", "/plugins", `{`, 400, `Cannot parse JSON body`},
		"unknown path":    {"GET", "/nope", ``, 404, `{"message":"Not found"}`},
		"unknown entity":  {"GET", "/plugins/nope", ``, 404, `{"message":"Not found"}`},
		"method":          {"PATCH", "/plugins", `{}`, 405, `{"message":"Method not allowed"}`},
		"size":            {"GET", "/consumers?size=0", ``, 400, `size must be an integer between 1 and 1000`},
		"schema of none":  {"GET", "/schemas/plugins/nope", ``, 404, `No plugin named 'nope'`},
		"companion":       {"GET", "/openid-connect/jwks", ``, 404, `{"message":"Not found"}`},
		"bad path":        {"POST", "/routes", `{"paths":["nope"]}`, 400, `should start with: / (fixed path) or ~/ (regex path)`},
		"bad regex":       {"POST", "/routes", `{"paths":["~/("]}`, 400, `error parsing regexp`},
		"unknown field":   {"POST", "/consumers", `{"username":"x","nope":1}`, 400, `"nope":"unknown field"`},
		"config refused":  {"POST", "/config", `_format_version: "1"`, 400, `_format_version: expected one of`},
		"delete of none":  {"DELETE", "/plugins/nope", ``, 204, ``},
		"form":            {"POST", "/plugins", `name=openid-connect&config.scopes[]=a&config.scopes[]=b&config.leeway=3&config.verify=false`, 201, `"leeway":3`},
		"form in itself":  {"POST", "/plugins", `name=openid-connect&config.session.idle=x`, 400, `"session":{"idle":"expected an integer"}`},
		"url of nonsense": {"POST", "/services", `{"url":"nope"}`, 400, `"2 schema violations (host: required field missing; path: should start with: /)"`},
	} {
		t.Run(name, func(t *testing.T) {
			req, _ := http.NewRequest(c.method, "http://"+g.AdminAddr()+c.path, strings.NewReader(c.body))
			req.Header.Set("Content-Type", "application/json")
			if strings.HasPrefix(c.body, "name=") {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.status || !strings.Contains(string(b), c.want) {
				t.Errorf("%d %s\nwant %d %s", resp.StatusCode, b, c.status, c.want)
			}
		})
	}
}

func TestAdminLifeOfAPlugin(t *testing.T) {
	g := adminOnly(t, `
_format_version: "3.0"
services: [{name: svc, url: "http://h", routes: [{name: r, paths: [/r]}, {name: r2, paths: [/r2]}]}]
`)
	p := adminCall(t, g, "POST", "/routes/r/plugins", `{"name":"openid-connect","config":{"session":{"name":"s1","idle":5},"scopes":["a","b"]}}`, 201)
	id := p["id"].(string)
	if adminCall(t, g, "POST", "/routes/r/plugins", `{"name":"openid-connect"}`, 409); len(adminCall(t, g, "GET", "/routes/r/plugins", "", 200)["data"].([]any)) != 1 {
		t.Error("a second plugin of the name stands on the route")
	}
	p = adminCall(t, g, "PATCH", "/plugins/"+id, `{"config":{"session":{"idle":6},"scopes":["c"],"mode":"m"}}`, 200)
	c := p["config"].(map[string]any)
	if show(c["scopes"]) != `["c"]` || c["mode"] != "m" || show(c["session"]) != `{"idle":6,"name":"s1","secret":null,"secure":true}` {
		t.Errorf("PATCH made %s", show(c))
	}
	p = adminCall(t, g, "PATCH", "/plugins/"+id, `{"config":{"leeway":"x"}}`, 400)
	if c := adminCall(t, g, "GET", "/plugins/"+id, "", 200)["config"].(map[string]any); c["leeway"] != 0.0 {
		t.Error("a refused PATCH changed something")
	}
	p = adminCall(t, g, "PUT", "/plugins/"+id, `{"name":"openid-connect","route":{"name":"r2"},"config":{"mode":"n"}}`, 200)
	if c := p["config"].(map[string]any); c["mode"] != "n" || show(c["scopes"]) != `["openid"]` || refID(p, "route") != adminCall(t, g, "GET", "/routes/r2", "", 200)["id"] {
		t.Errorf("PUT made %s", show(p))
	}
	adminCall(t, g, "PATCH", "/plugins/"+id, `{"enabled":false}`, 200)
	if st := g.state.Load(); st.plugins[0].pick(refID(p, "route"), "", "") != nil {
		t.Error("a plugin that is switched off applies")
	}
	adminCall(t, g, "DELETE", "/routes/r2", "", 204)
	adminCall(t, g, "GET", "/plugins/"+id, "", 404)
	if len(g.state.Load().plugins) != 0 {
		t.Error("the plugin of a deleted route still runs")
	}
}

func TestAdminPaging(t *testing.T) {
	g := adminOnly(t, "")
	for i := range 5 {
		adminCall(t, g, "PUT", fmt.Sprintf("/consumers/u%d", i), fmt.Sprintf(`{"custom_id":"c%d","tags":["t%d"]}`, i, i%2), 200)
	}
	var names []string
	next := "/consumers?size=2"
	for pages := 0; next != ""; pages++ {
		if pages > 3 {
			t.Fatal("the list has no end")
		}
		page := adminCall(t, g, "GET", next, "", 200)
		for _, e := range page["data"].([]any) {
			names = append(names, e.(map[string]any)["username"].(string))
		}
		next, _ = page["next"].(string)
	}
	if strings.Join(names, " ") != "u0 u1 u2 u3 u4" {
		t.Errorf("pages hold %v", names)
	}
	for path, want := range map[string]int{"/consumers?custom_id=c3": 1, "/consumers?custom_id=none": 0, "/consumers?username=u2": 1, "/consumers?tags=t1": 2} {
		if n := len(adminCall(t, g, "GET", path, "", 200)["data"].([]any)); n != want {
			t.Errorf("%s: %d entities, want %d", path, n, want)
		}
	}
	if e := adminCall(t, g, "GET", "/consumers/u1", "", 200); e["custom_id"] != "c1" {
		t.Errorf("by name: %v", e)
	}
}

func TestAdminInfo(t *testing.T) {
	g := adminOnly(t, "")
	if e := adminCall(t, g, "GET", "/", "", 200); e["version"] != "3.9.3" {
		t.Errorf("%v", e)
	}
	if e := adminCall(t, g, "GET", "/status", "", 200); show(e["database"]) != `{"reachable":true}` {
		t.Errorf("%v", e)
	}
	if e := adminCall(t, g, "GET", "/schemas/plugins/openid-connect", "", 200); e["fields"] == nil {
		t.Errorf("%v", e)
	}
}

// The plugin's own endpoints appear below the Admin API when their socket is there.
func TestAdminCompanion(t *testing.T) {
	g := adminOnly(t, "")
	ln, err := net.Listen("unix", filepath.Join(g.Prefix(), "openid-connect-admin.socket"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"path":%q,"host":%q}`, r.URL.RequestURI(), r.Host)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	e := adminCall(t, g, "GET", "/openid-connect/issuers?size=1", "", 200)
	if e["path"] != "/openid-connect/issuers?size=1" || e["host"] != g.AdminAddr() {
		t.Errorf("%v", e)
	}
}

func TestDeclarativeFile(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"no version":      {`services: []`, "_format_version: expected one of"},
		"unknown kind":    {"_format_version: '3.0'\nroute: []", "route: unknown field"},
		"unknown field":   {"_format_version: '3.0'\nroutes: [{pathes: [/]}]", "routes[1]: schema violation (pathes: unknown field)"},
		"nested place":    {"_format_version: '3.0'\nservices: [{name: s, url: 'http://h', routes: [{}, {paths: [x]}]}]", "services[1].routes[2]: schema violation (paths.1: should start with"},
		"no reference":    {"_format_version: '3.0'\nplugins: [{name: openid-connect, route: nope}]", "does not reference an existing 'routes' entity"},
		"twice":           {"_format_version: '3.0'\nconsumers: [{username: a}, {username: a}]", "uniqueness violation"},
		"no list":         {"_format_version: '3.0'\nconsumers: {username: a}", "consumers: expected an array"},
		"no map":          {"- a", "no YAML map"},
		"two on a route":  {"_format_version: '3.0'\nroutes: [{name: r, paths: [/], plugins: [{name: key-auth}, {name: key-auth, instance_name: x}]}]", `{consumer=null,name="key-auth",route={id=`},
		"plugin unknown":  {"_format_version: '3.0'\nplugins: [{name: nope}]", "plugin 'nope' not enabled"},
		"everything good": {"_format_version: '3.0'\n_transform: true\nplugins: [{name: openid-connect, route: r}, {name: key-auth, service: s}]\nroutes: [{name: r, service: s, paths: [/]}]\nservices: [{name: s, url: 'http://h'}]\nconsumers: [{username: a, acls: [{group: g}], plugins: [{name: request-termination}]}]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := adminOnly(t, "_format_version: '3.0'\nconsumers: [{username: keep}]")
			err := g.st().load([]byte(c.config))
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v lacks %q", err, c.want)
			}
			if g.findConsumer("keep", true) == nil {
				t.Error("a refused file changed something")
			}
		})
	}
}

// The same file makes the same ids, so that a reload keeps them.
func TestDeclarativeIDsStay(t *testing.T) {
	config := "_format_version: '3.0'\nroutes: [{name: r, paths: [/], plugins: [{name: openid-connect}]}]\nplugins: [{name: key-auth}]"
	ids := func() (out []string) {
		for _, kind := range []string{"routes", "plugins"} {
			for _, e := range adminOnly(t, config).st().list(kind, "", "") {
				out = append(out, str(e["id"]))
			}
		}
		return out
	}
	if a, b := show(ids()), show(ids()); a != b {
		t.Errorf("%s, then %s", a, b)
	}
}

func TestAdminTagsEndpointsAndSchemas(t *testing.T) {
	g := adminOnly(t, "")
	service := adminCall(t, g, "POST", "/services", `{"name":"svc","url":"https://example.com","tags":["blue","team"]}`, 201)
	adminCall(t, g, "POST", "/consumers", `{"username":"bob","tags":["blue"]}`, 201)
	if all, _ := adminCall(t, g, "GET", "/tags", "", 200)["data"].([]any); len(all) != 3 {
		t.Errorf("tags: %v", all)
	}
	if blue, _ := adminCall(t, g, "GET", "/tags/blue?size=1", "", 200)["data"].([]any); len(blue) != 1 {
		t.Errorf("a page of blue: %v", blue)
	}
	team, _ := adminCall(t, g, "GET", "/tags/team", "", 200)["data"].([]any)
	if len(team) != 1 || show(team[0]) != show(map[string]any{"entity_name": "services", "entity_id": service["id"], "tag": "team"}) {
		t.Errorf("team: %v", team)
	}
	adminCall(t, g, "DELETE", "/tags", "", 405)
	paths, _ := adminCall(t, g, "GET", "/endpoints", "", 200)["data"].([]any)
	for _, want := range []any{"/services", "/services/{services}/routes", "/plugins/{plugins}", "/tags/{tags}"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%v is not among the endpoints: %v", want, paths)
		}
	}
	if fields, _ := adminCall(t, g, "GET", "/schemas/consumers", "", 200)["fields"].([]any); len(fields) == 0 {
		t.Error("the schema of consumers has no fields")
	}
	adminCall(t, g, "GET", "/schemas/none", "", 404)
}
