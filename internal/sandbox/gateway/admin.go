package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const maxAdminBody = 8 << 20

// adminKinds are the collections by their name in a path.
var adminKinds = map[string]string{
	"services": "services", "routes": "routes", "consumers": "consumers", "plugins": "plugins", "certificates": "certificates",
	"ca_certificates": "ca_certificates", "snis": "snis", "key-auths": "keyauth_credentials", "acls": "acls",
	"oauth2": "oauth2_credentials", "oauth2_tokens": "oauth2_tokens",
}

// adminChildren are the collections below an entity by their name in a path.
var adminChildren = map[string]map[string]child{
	"services":     {"routes": {"routes", "service"}, "plugins": {"plugins", "service"}},
	"routes":       {"plugins": {"plugins", "route"}},
	"consumers":    {"plugins": {"plugins", "consumer"}, "key-auth": {"keyauth_credentials", "consumer"}, "acls": {"acls", "consumer"}, "oauth2": {"oauth2_credentials", "consumer"}},
	"certificates": {"snis": {"snis", "certificate"}},
}

func (g *Gateway) listenAdmin() error {
	var err error
	if g.adminLn, err = net.Listen("tcp", g.opts.AdminAddr); err != nil {
		return fmt.Errorf("listen for the Admin API: %w", err)
	}
	g.admin = &http.Server{Handler: g.adminHandler(), ReadHeaderTimeout: 10 * time.Second}
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		_ = g.admin.Serve(g.adminLn)
	}()
	return nil
}

// adminHandler is the Admin API; /openid-connect/ goes to the plugin server's
// own endpoints, as nginx_admin_include does on Kong.
func (g *Gateway) adminHandler() http.Handler {
	companion := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", "localhost"
			p.Out.Host = p.In.Host
		},
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", filepath.Join(g.opts.Prefix, "openid-connect-admin.socket"))
			},
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			adminError(w, 502, "An invalid response was received from the upstream server")
			g.logf("error", "admin: %v", err)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "kong/"+Version)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		path := strings.Trim(r.URL.EscapedPath(), "/")
		if path == "openid-connect" || strings.HasPrefix(path, "openid-connect/") {
			if _, err := os.Stat(filepath.Join(g.opts.Prefix, "openid-connect-admin.socket")); err != nil {
				adminError(w, 404, "Not found")
				return
			}
			w.Header().Del("Access-Control-Allow-Origin")
			companion.ServeHTTP(w, r)
			return
		}
		var parts []string
		for _, p := range strings.Split(path, "/") {
			u, err := url.PathUnescape(p)
			if err != nil {
				adminError(w, 400, "Bad request")
				return
			}
			parts = append(parts, u)
		}
		if err := g.adminRoute(w, r, parts); err != nil {
			writeAdminError(w, err)
		}
	})
}

var errMethod = errors.New("method not allowed")

func (g *Gateway) adminRoute(w http.ResponseWriter, r *http.Request, p []string) error {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case len(p) == 1 && p[0] == "" && get:
		adminJSON(w, 200, g.info())
		return nil
	case len(p) == 1 && p[0] == "status" && get:
		adminJSON(w, 200, map[string]any{
			"database": map[string]any{"reachable": true}, "memory": map[string]any{"workers_lua_vms": []any{}, "lua_shared_dicts": map[string]any{}},
			"server":             map[string]any{"total_requests": g.counters.Requests.Load(), "connections_active": 1, "connections_accepted": 1, "connections_handled": 1, "connections_reading": 0, "connections_writing": 1, "connections_waiting": 0},
			"configuration_hash": strings.Repeat("0", 32),
		})
		return nil
	case len(p) == 2 && p[0] == "plugins" && p[1] == "enabled" && get:
		adminJSON(w, 200, map[string]any{"enabled_plugins": sortedKeys(g.st().plugins)})
		return nil
	case len(p) == 1 && p[0] == "config":
		return g.adminConfig(w, r)
	}
	switch {
	case p[0] == "schemas":
		return g.adminSchema(w, r, p[1:])
	case p[0] == "tags":
		return g.adminTags(w, r, p[1:])
	case len(p) == 1 && p[0] == "endpoints" && get:
		adminJSON(w, 200, map[string]any{"data": endpoints()})
		return nil
	}
	kind, ok := adminKinds[p[0]]
	if !ok || len(p) > 4 {
		return errNotFound
	}
	switch len(p) {
	case 1:
		return g.collection(w, r, kind, "", "")
	case 2:
		return g.single(w, r, kind, p[1], "", "")
	}
	// Below an entity.
	parent := g.st().get(kind, p[1])
	if parent == nil {
		return errNotFound
	}
	if field := map[string]string{"route": "routes", "service": "services", "consumer": "consumers"}[p[2]]; field != "" && len(p) == 3 {
		if id := refID(parent, p[2]); id != "" {
			return g.single(w, r, field, id, "", "")
		}
		return errNotFound
	}
	c, ok := adminChildren[kind][p[2]]
	if !ok {
		return errNotFound
	}
	id := str(parent["id"])
	if len(p) == 3 {
		return g.collection(w, r, c.kind, c.foreign, id)
	}
	if row := g.st().get(c.kind, p[3]); row != nil && refID(row, c.foreign) != id {
		return errNotFound
	}
	return g.single(w, r, c.kind, p[3], c.foreign, id)
}

func (g *Gateway) collection(w http.ResponseWriter, r *http.Request, kind, foreign, id string) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return g.page(w, r, g.st().list(kind, foreign, id), kind)
	case http.MethodOptions:
		return adminOptions(w, "GET, HEAD, OPTIONS, POST")
	case http.MethodPost:
		e, err := g.readEntity(r, kind, nil)
		if err != nil {
			return err
		}
		if foreign != "" {
			e[foreign] = map[string]any{"id": id}
		}
		e, err = g.change(kind, func() (entity, error) { return g.st().put(kind, e, "", false) })
		if err != nil {
			return err
		}
		adminJSON(w, 201, e)
		return nil
	}
	return errMethod
}

func (g *Gateway) single(w http.ResponseWriter, r *http.Request, kind, key, foreign, parent string) error {
	old := g.st().get(kind, key)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if old == nil {
			return errNotFound
		}
		adminJSON(w, 200, old)
		return nil
	case http.MethodOptions:
		return adminOptions(w, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT")
	case http.MethodDelete:
		if old == nil {
			w.WriteHeader(204)
			return nil
		}
		if _, err := g.change(kind, func() (entity, error) { return nil, g.st().delete(kind, key) }); err != nil {
			return err
		}
		w.WriteHeader(204)
		return nil
	case http.MethodPatch, http.MethodPut:
		e, err := g.readEntity(r, kind, old)
		if err != nil {
			return err
		}
		id := ""
		if old != nil {
			id = str(old["id"])
		}
		patch := r.Method == http.MethodPatch
		if patch && old == nil {
			return errNotFound
		}
		if !patch && old == nil {
			e[putKey(kind, key)] = key
		}
		if !patch && old != nil {
			e["id"] = id
			if k := putKey(kind, key); k != "id" {
				e[k] = key
			}
		}
		if foreign != "" {
			e[foreign] = map[string]any{"id": parent}
		}
		e, err = g.change(kind, func() (entity, error) { return g.st().put(kind, e, id, patch) })
		if err != nil {
			return err
		}
		adminJSON(w, 200, e)
		return nil
	}
	return errMethod
}

func adminOptions(w http.ResponseWriter, allow string) error {
	w.Header().Set("Allow", allow)
	w.WriteHeader(204)
	return nil
}

// putKey is the field that the last part of a PUT's path stands for.
func putKey(kind, key string) string {
	if keys := uniqueKeys[kind]; len(keys) > 0 && kind != "plugins" && refKey("", key) != "id" {
		return keys[0]
	}
	return "id"
}

// change runs a change of the store and gives the workers the new state: a
// change of a plugin renumbers all of them.
func (g *Gateway) change(kind string, do func() (entity, error)) (entity, error) {
	g.changes.Lock()
	defer g.changes.Unlock()
	restore := g.st().snapshot()
	e, err := do()
	if err != nil {
		return nil, err
	}
	old := g.state.Load()
	st, err := buildState(g.st(), old, false)
	if err != nil {
		restore()
		return nil, &violation{map[string]any{"paths": err.Error()}}
	}
	if kind == "plugins" || pluginCount(st) != pluginCount(old) {
		if st, err = buildState(g.st(), old, true); err != nil {
			return nil, err
		}
	}
	g.state.Store(st)
	return e, nil
}

func pluginCount(st *state) int {
	n := 0
	for _, ps := range st.plugins {
		n += len(ps.confs)
	}
	return n
}

// adminConfig replaces the whole configuration, as POST /config does without a database.
func (g *Gateway) adminConfig(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return errMethod
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfigFile))
	if err != nil {
		return err
	}
	var wrapped struct{ Config string }
	if json.Unmarshal(data, &wrapped) == nil && wrapped.Config != "" {
		data = []byte(wrapped.Config)
	}
	if _, err := g.change("plugins", func() (entity, error) { return nil, g.st().load(data) }); err != nil {
		adminJSON(w, 400, map[string]any{"code": 14, "name": "invalid declarative configuration", "message": err.Error()})
		return nil
	}
	adminJSON(w, 201, map[string]any{"message": "the configuration is loaded"})
	return nil
}

// page writes a page of a list: ?size (100, at most 1000) and ?offset; consumers also by ?custom_id and ?username, tags by ?tags.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request, rows []entity, kind string) error {
	q := r.URL.Query()
	for _, f := range []string{"custom_id", "username"} {
		if v := q.Get(f); v != "" && kind == "consumers" {
			rows = keep(rows, func(e entity) bool { return e[f] == v })
		}
	}
	if v := q.Get("tags"); v != "" {
		rows = keep(rows, func(e entity) bool {
			for _, t := range strings.FieldsFunc(v, func(c rune) bool { return c == ',' }) {
				if !contains(strs(e["tags"]), t) {
					return false
				}
			}
			return true
		})
	}
	size := 100
	if v := q.Get("size"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			message := "size must be an integer between 1 and 1000"
			if err != nil {
				message = "size must be a number"
			}
			adminJSON(w, 400, map[string]any{"code": 9, "name": "invalid size", "message": message})
			return nil
		}
		size = n
	}
	from := 0
	if v := q.Get("offset"); v != "" {
		b, err := base64.RawURLEncoding.DecodeString(v)
		if from, _ = strconv.Atoi(string(b)); err != nil || from <= 0 {
			problem := "json"
			if err != nil {
				problem = "base64"
			}
			adminJSON(w, 400, map[string]any{"code": 7, "name": "invalid offset", "message": fmt.Sprintf("'%s' is not a valid offset: bad %s encoding", v, problem)})
			return nil
		}
	}
	from = min(from, len(rows))
	to := min(from+size, len(rows))
	out := map[string]any{"data": rows[from:to], "next": nil}
	if to < len(rows) {
		offset := base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to)))
		out["offset"] = offset
		out["next"] = fmt.Sprintf("%s?offset=%s", r.URL.Path, offset)
		if q.Get("size") != "" {
			out["next"] = fmt.Sprintf("%s?offset=%s&size=%d", r.URL.Path, offset, size)
		}
	}
	adminJSON(w, 200, out)
	return nil
}

func keep(rows []entity, want func(entity) bool) []entity {
	out := []entity{}
	for _, e := range rows {
		if want(e) {
			out = append(out, e)
		}
	}
	return out
}
