package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"

	"kong-openid-connect/internal/sandbox/gateway/protocol"
)

// bundled are the few of Kong's own plugins that tests with several plugins need.
var bundled = map[string]func(*request, map[string]any){
	"key-auth":            keyAuth,
	"acl":                 acl,
	"request-termination": requestTermination,
	"rate-limiting":       rateLimiting,
	"request-transformer": requestTransformer,
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
	name := "X-Authenticated-Groups"
	given, isList := authenticatedGroups(r.ctx["authenticated_groups"])
	consumer, known := "", r.consumer != nil
	if known {
		consumer = r.consumer.ID
	} else if c := r.credential; c != nil && (c.ConsumerID != "" || c.Decoded) {
		consumer, known = c.ConsumerID, true
	}
	switch {
	case isList && (!known || r.credential == nil || conf["always_use_authenticated_groups"] == true):
		groups = given
	case known && consumer == "":
		r.g.logf("error", "[acl] failed to get from node cache: [off] invalid primary key: '{id=\"expected a valid UUID\"}'")
		r.fail(500, "An unexpected error occurred")
		return
	case known:
		name = "X-Consumer-Groups"
		for _, e := range r.g.st().list("acls", "consumer", consumer) {
			groups = append(groups, str(e["group"]))
		}
	case r.credential != nil:
		r.denyJSON(403, "You cannot consume this service")
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

// limiter counts requests by plugin, identifier and window.
type limiter struct {
	mu   sync.Mutex
	seen map[string]int
}

// windows of rate-limiting, shortest first; a count belongs to a window's beginning.
var windows = []struct{ name, title, layout string }{
	{"second", "Second", "2006-01-02T15:04:05"}, {"minute", "Minute", "2006-01-02T15:04"}, {"hour", "Hour", "2006-01-02T15"},
	{"day", "Day", "2006-01-02"}, {"month", "Month", "2006-01"}, {"year", "Year", "2006"},
}

func rateLimiting(r *request, conf map[string]any) {
	id := ""
	consumer, credential := "", ""
	if r.consumer != nil {
		consumer = r.consumer.ID
	}
	if r.credential != nil {
		credential = r.credential.ID
	}
	switch str(conf["limit_by"]) {
	case "service":
		id = str(r.service["id"])
	case "consumer":
		id = orElse(consumer, credential)
	case "credential":
		id = credential
	case "header":
		id = get(r.headers, str(conf["header_name"]))
	case "path":
		if r.normal == str(conf["path"]) {
			id = r.normal
		}
	}
	id = orElse(id, r.remoteAddr)
	now := r.g.opts.Now().UTC()
	l := &r.g.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	exceeded := false
	var keys []string
	least := -1
	for _, w := range windows {
		limit := num(conf[w.name])
		if limit == 0 {
			continue
		}
		key := strings.Join([]string{r.match.id, id, w.name, now.Format(w.layout)}, " ")
		keys = append(keys, key)
		left := limit - l.seen[key]
		exceeded = exceeded || left <= 0
		left = max(0, left-1)
		if least < 0 || left < least {
			least = left
			r.respHdr = setHeader(r.respHdr, "RateLimit-Limit", strconv.Itoa(limit))
			r.respHdr = setHeader(r.respHdr, "RateLimit-Remaining", strconv.Itoa(left))
		}
		r.respHdr = setHeader(r.respHdr, "X-RateLimit-Limit-"+w.title, strconv.Itoa(limit))
		r.respHdr = setHeader(r.respHdr, "X-RateLimit-Remaining-"+w.title, strconv.Itoa(left))
	}
	if exceeded {
		r.denyJSON(num(conf["error_code"]), str(conf["error_message"]))
		return
	}
	if l.seen == nil {
		l.seen = map[string]int{}
	}
	for _, k := range keys {
		l.seen[k]++
	}
}

// sharedTemplate is the one kind of template that the sandbox knows: an
// element of a list in kong.ctx.shared.
var sharedTemplate = regexp.MustCompile(`\$\(shared\.([a-z_]+)\[(\d+)\]\)`)

// requestTransformer adds headers that the request lacks. A template that
// indexes what is not there ends the request, as in Lua.
func requestTransformer(r *request, conf map[string]any) {
	add, _ := conf["add"].(map[string]any)
	for _, line := range strs(add["headers"]) {
		name, value, _ := strings.Cut(line, ":")
		value = sharedTemplate.ReplaceAllStringFunc(value, func(s string) string {
			m := sharedTemplate.FindStringSubmatch(s)
			list, ok := r.ctx[m[1]].([]any)
			if !ok {
				r.fail(500, "An unexpected error occurred")
			}
			if n, err := strconv.Atoi(m[2]); err == nil && n >= 1 && n <= len(list) {
				return fmt.Sprint(list[n-1])
			}
			return ""
		})
		if value != "" && !hasHeader(r.headers, name) {
			r.headers = setHeader(r.headers, name, value)
		}
	}
}
