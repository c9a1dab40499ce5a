package e2e

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

var record = flag.Bool("record", false, "write what the Admin API answers to testdata/e2e/admin_answers.json; run on a real Kong with PostgreSQL")

const answersFile = "../../testdata/e2e/admin_answers.json"

// adminStep is a call of the Admin API; the id of the plugin that the step
// named "plugin" made stands for {plugin}.
type adminStep struct{ name, method, path, kind, body string }

const (
	asJSON = "application/json"
	asForm = "application/x-www-form-urlencoded"
)

// adminSteps are run in turn. They leave nothing behind.
var adminSteps = []adminStep{
	{"service", "POST", "/services", asJSON, `{"name":"rec","url":"http://127.0.0.1:1/x"}`},
	{"service twice", "POST", "/services", asJSON, `{"name":"rec","url":"http://127.0.0.1:1/x"}`},
	{"service without host", "POST", "/services", asJSON, `{"url":"nope"}`},
	{"service by PUT", "PUT", "/services/rec-put", asJSON, `{"url":"https://example.com/p"}`},
	{"route", "POST", "/services/rec/routes", asJSON, `{"name":"rec1","paths":["/rec1"]}`},
	{"second route", "POST", "/services/rec/routes", asJSON, `{"name":"rec2","paths":["/rec2"]}`},
	{"route with a bad path", "POST", "/services/rec/routes", asJSON, `{"paths":["nope"]}`},
	{"route without a matcher", "POST", "/services/rec/routes", asJSON, `{"name":"rec3"}`},
	{"route of http without a matcher", "POST", "/services/rec/routes", asJSON, `{"name":"rec3","protocols":["http"]}`},
	{"route of grpcs without a matcher", "POST", "/services/rec/routes", asJSON, `{"name":"rec3","protocols":["grpcs"]}`},
	{"service in use", "DELETE", "/services/rec", "", ""},
	{"plugin", "POST", "/routes/rec1/plugins", asJSON, `{"name":"key-auth","config":{"key_names":["k"]}}`},
	{"plugin twice", "POST", "/routes/rec1/plugins", asJSON, `{"name":"key-auth"}`},
	{"plugin below another route", "GET", "/routes/rec2/plugins/{plugin}", "", ""},
	{"plugins of a route", "GET", "/routes/rec1/plugins", "", ""},
	{"patch", "PATCH", "/plugins/{plugin}", asJSON, `{"config":{"hide_credentials":true},"instance_name":"rec-instance"}`},
	{"patch of an unknown plugin", "PATCH", "/plugins/00000000-0000-4000-8000-000000000000", asJSON, `{"enabled":false}`},
	{"patch to an unknown name", "PATCH", "/plugins/{plugin}", asJSON, `{"name":"nope"}`},
	{"patch with an empty body", "PATCH", "/plugins/{plugin}", asJSON, ``},
	{"plugin by instance name", "GET", "/plugins/rec-instance", "", ""},
	{"put of nothing", "PUT", "/plugins/00000000-0000-4000-8000-000000000002", asJSON, `{}`},
	{"no name", "POST", "/plugins", asJSON, `{}`},
	{"unknown plugin", "POST", "/plugins", asJSON, `{"name":"nope"}`},
	{"unknown route", "POST", "/plugins", asJSON, `{"name":"acl","route":{"id":"00000000-0000-4000-8000-000000000000"},"config":{"allow":["a"]}}`},
	{"form", "POST", "/routes/rec2/plugins", asForm, `name=acl&config.allow=a&config.hide_groups_header=true`},
	{"form with a list", "PATCH", "/plugins/rec-instance", asForm, `config.key_names[1]=a&config.key_names[2]=b`},
	{"form, several violations", "POST", "/routes/rec2/plugins", asForm, `name=openid-connect&config.issuer=1&config.leeway=x&config.timeout=y`},
	{"no content type", "POST", "/routes/rec2/plugins", "", `{"name":"acl"}`},
	{"plain text", "POST", "/routes/rec2/plugins", "text/plain", `{"name":"acl"}`},
	{"bad JSON", "POST", "/plugins", asJSON, `{`},
	{"method of a collection", "PATCH", "/plugins", asJSON, `{}`},
	{"method of an entity", "POST", "/plugins/{plugin}", asJSON, `{}`},
	{"options of a collection", "OPTIONS", "/plugins", "", ""},
	{"options of an entity", "OPTIONS", "/plugins/{plugin}", "", ""},
	{"unknown path", "GET", "/nope", "", ""},
	{"no size", "GET", "/plugins?size=0", "", ""},
	{"too large a size", "GET", "/plugins?size=1001", "", ""},
	{"size is no number", "GET", "/plugins?size=x", "", ""},
	{"offset that is no base64", "GET", "/consumers?offset=!!", "", ""},
	{"offset of something else", "GET", "/consumers?offset=abcd", "", ""},
	{"consumer", "POST", "/consumers", asJSON, `{"username":"rec-user","custom_id":"rec-id","tags":["a b","c"]}`},
	{"consumer twice", "POST", "/consumers", asJSON, `{"username":"rec-user"}`},
	{"custom id twice", "POST", "/consumers", asJSON, `{"username":"rec-other","custom_id":"rec-id"}`},
	{"consumer without anything", "POST", "/consumers", asJSON, `{}`},
	{"consumer with an empty name", "POST", "/consumers", asJSON, `{"username":""}`},
	{"consumer with an unknown field", "POST", "/consumers", asJSON, `{"username":"rec-x","nope":1}`},
	{"consumer by PUT", "PUT", "/consumers/rec-put", asJSON, `{"custom_id":"rec-put-id"}`},
	{"consumer by custom id", "GET", "/consumers?custom_id=rec-id", "", ""},
	{"consumer by an unknown custom id", "GET", "/consumers?custom_id=none", "", ""},
	{"plugin of a consumer", "POST", "/consumers/rec-user/plugins", asJSON, `{"name":"openid-connect","config":{"issuer":"http://x"}}`},
	{"key", "POST", "/consumers/rec-user/key-auth", asJSON, `{"key":"rec-key"}`},
	{"key twice", "POST", "/consumers/rec-user/key-auth", asJSON, `{"key":"rec-key"}`},
	{"consumer of a key", "GET", "/key-auths/rec-key/consumer", "", ""},
	{"group", "POST", "/consumers/rec-user/acls", asJSON, `{"group":"g"}`},
	{"group twice", "POST", "/consumers/rec-user/acls", asJSON, `{"group":"g"}`},
	{"route of a plugin", "GET", "/plugins/{plugin}/route", "", ""},
	{"service of a route", "GET", "/routes/rec1/service", "", ""},
	{"schema of no plugin", "GET", "/schemas/plugins/nope", "", ""},
	{"schema of no entity", "GET", "/schemas/nope", "", ""},
	{"validate", "POST", "/schemas/plugins/validate", asJSON, `{"name":"openid-connect","config":{"issuer":"http://x"}}`},
	{"validate a bad one", "POST", "/schemas/plugins/validate", asJSON, `{"name":"openid-connect","config":{"issuer":1}}`},
	{"validate an unknown plugin", "POST", "/schemas/plugins/validate", asJSON, `{"name":"nope"}`},
	{"validate nothing", "POST", "/schemas/plugins/validate", asJSON, `{}`},
	{"validate a route", "POST", "/schemas/routes/validate", asJSON, `{"paths":["/x"]}`},
	{"validate a bad route", "POST", "/schemas/routes/validate", asJSON, `{"paths":["x"]}`},
	{"delete the consumer", "DELETE", "/consumers/rec-user", "", ""},
	{"delete the other consumer", "DELETE", "/consumers/rec-put", "", ""},
	{"delete a route", "DELETE", "/routes/rec1", "", ""},
	{"its plugin is gone", "GET", "/plugins/{plugin}", "", ""},
	{"delete the second route", "DELETE", "/routes/rec2", "", ""},
	{"delete the service", "DELETE", "/services/rec", "", ""},
	{"delete the other service", "DELETE", "/services/rec-put", "", ""},
	{"delete it again", "DELETE", "/services/rec-put", "", ""},
}

var (
	anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`"(created_at|updated_at)":[0-9]+`)
)

// adminAnswer is what a step came to, ids and times apart.
type adminAnswer struct {
	Name   string          `json:"name"`
	Status int             `json:"status"`
	Type   string          `json:"type,omitempty"`
	Allow  string          `json:"allow,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// The sandbox's Admin API answers as a real Kong answered when it was
// recorded, and a real Kong still does.
func TestAdminAnswersAsRecorded(t *testing.T) {
	needsDatabase(t)
	var got []adminAnswer
	plugin := ""
	for _, s := range adminSteps {
		r, err := http.NewRequest(s.method, env.Admin+strings.ReplaceAll(s.path, "{plugin}", plugin), strings.NewReader(s.body))
		if err != nil {
			t.Fatal(err)
		}
		if s.kind != "" {
			r.Header.Set("Content-Type", s.kind)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		a := adminAnswer{Name: s.name, Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Allow: resp.Header.Get("Allow")}
		if strings.HasPrefix(a.Type, asJSON) {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatalf("%s: %v: %s", s.name, err, raw)
			}
			if s.name == "plugin" {
				plugin, _ = v.(object)["id"].(string)
			}
			sorted, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			a.Body = anyTime.ReplaceAll(anyUUID.ReplaceAll(sorted, []byte("UUID")), []byte(`"$1":0`))
		}
		got = append(got, a)
	}
	if *record {
		var b strings.Builder
		b.WriteString("[\n")
		for i, a := range got {
			line, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(line)
			if i < len(got)-1 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteString("]\n")
		if err := os.WriteFile(answersFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(answersFile)
	if err != nil {
		t.Fatal(err)
	}
	var want []adminAnswer
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if len(want) != len(got) {
		t.Fatalf("%d steps, %d recorded: record again", len(got), len(want))
	}
	for i, w := range want {
		g := got[i]
		if g.Name != w.Name || g.Status != w.Status || g.Type != w.Type || g.Allow != w.Allow || string(g.Body) != string(w.Body) {
			t.Errorf("%s: %d %s %s %s\nrecorded: %d %s %s %s", g.Name, g.Status, g.Type, g.Allow, g.Body, w.Status, w.Type, w.Allow, w.Body)
		}
	}
}
