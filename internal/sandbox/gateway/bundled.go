package gateway

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// bundled are the few of Kong's own plugins that tests with several plugins need.
var bundled = map[string]func(*request, map[string]any){
	"key-auth":            keyAuth,
	"acl":                 acl,
	"request-termination": requestTermination,
	"correlation-id": func(r *request, conf map[string]any) {
		name := orElse(str(conf["header_name"]), "Kong-Request-ID")
		if get(r.headers, name) == "" {
			r.headers = setHeader(r.headers, name, uuid.NewString())
		}
		if conf["echo_downstream"] == true {
			r.respHdr = setHeader(r.respHdr, name, get(r.headers, name))
		}
	},
}

func keyAuth(r *request, conf map[string]any) {
	if conf["run_on_preflight"] != true && r.method == "OPTIONS" {
		return
	}
	anonymous := str(conf["anonymous"])
	if anonymous != "" && r.credential != nil {
		return // an earlier plugin has authenticated
	}
	deny := func(message string) {
		if anonymous == "" {
			r.denyJSON(401, message, header{"WWW-Authenticate", "Key"})
			return
		}
		c := r.g.findConsumer(anonymous, true)
		if c == nil {
			r.fail(500, "An unexpected error occurred")
			r.g.logf("error", "[key-auth] anonymous consumer %s is unknown or missing", anonymous)
			return
		}
		r.setConsumer(c, nil)
	}
	key := ""
	for _, name := range strs(conf["key_names"]) {
		if v := get(r.headers, name); v != "" && conf["key_in_header"] == true {
			key = v
			if conf["hide_credentials"] == true {
				r.headers = setHeader(r.headers, name)
			}
		}
		if v, ok := queryArgs(r.args, 100)[name].(string); ok && key == "" && conf["key_in_query"] == true {
			key = v
		}
	}
	if key == "" {
		deny("No API key found in request")
		return
	}
	cred := r.g.st().find("keyauth_credentials", "key", key)
	if cred == nil {
		deny("Unauthorized")
		return
	}
	r.setConsumer(r.g.findConsumer(refID(cred, "consumer"), false), &protocol.Credential{ID: str(cred["id"])})
}

// setConsumer does what Kong's own authentication plugins do after they have found the caller.
func (r *request) setConsumer(c *protocol.Consumer, cred *protocol.Credential) {
	r.consumer, r.credential = c, cred
	set := func(name, value string) {
		if value == "" {
			r.headers = setHeader(r.headers, name)
			return
		}
		r.headers = setHeader(r.headers, name, value)
	}
	set("X-Consumer-ID", c.ID)
	set("X-Consumer-Custom-ID", c.CustomID)
	set("X-Consumer-Username", c.Username)
	if cred != nil {
		set("X-Credential-Identifier", cred.ID)
		set("X-Anonymous-Consumer", "")
		return
	}
	set("X-Credential-Identifier", "")
	set("X-Anonymous-Consumer", "true")
}

func acl(r *request, conf map[string]any) {
	var groups []string
	name := "X-Consumer-Groups"
	given, isList := authenticatedGroups(r.ctx["authenticated_groups"])
	switch {
	case isList && (r.consumer == nil && r.credential == nil || conf["always_use_authenticated_groups"] == true):
		groups, name = given, "X-Authenticated-Groups"
	case r.consumer != nil:
		for _, e := range r.g.st().list("acls", "consumer", r.consumer.ID) {
			groups = append(groups, str(e["group"]))
		}
	case r.credential != nil:
		// Kong's plugin looks for the consumer of the credential, which has come
		// over the wire as an empty string.
		r.fail(500, "An unexpected error occurred")
		r.g.logf("error", "[acl] failed to get from node cache: invalid primary key")
		return
	default:
		r.denyJSON(401, "Unauthorized")
		return
	}
	in := func(l []string) bool {
		return slices.ContainsFunc(l, func(g string) bool { return slices.Contains(groups, g) })
	}
	allow, deny := strs(conf["allow"]), strs(conf["deny"])
	if len(allow) > 0 && !in(allow) || in(deny) {
		r.denyJSON(403, "You cannot consume this service")
		return
	}
	if conf["hide_groups_header"] != true && len(groups) > 0 {
		r.headers = setHeader(r.headers, name, strings.Join(groups, ", "))
	}
}

// authenticatedGroups reads the list in the context; an empty one has arrived as an empty table.
func authenticatedGroups(v any) ([]string, bool) {
	switch v := v.(type) {
	case []any:
		return strs(v), true
	case map[string]any:
		return nil, len(v) == 0
	}
	return nil, false
}

func requestTermination(r *request, conf map[string]any) {
	if t := str(conf["trigger"]); t != "" && !hasHeader(r.headers, t) {
		return
	}
	if b := str(conf["body"]); b != "" {
		r.answer = &answer{status: num(conf["status_code"]), body: []byte(b), headers: []header{{"Content-Type", orElse(str(conf["content_type"]), "application/json; charset=utf-8")}}}
		return
	}
	r.denyJSON(num(conf["status_code"]), orElse(str(conf["message"]), reason(num(conf["status_code"]))))
}
