package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// readEntity reads a JSON or form body.
func readEntity(r *http.Request) (entity, error) {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAdminBody))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mt == "application/x-www-form-urlencoded" {
		return formEntity(string(data))
	}
	e := entity{}
	if len(data) == 0 {
		return e, nil
	}
	if err := json.Unmarshal(data, &e); err != nil || e == nil {
		return nil, errBadJSON
	}
	return e, nil
}

var errBadJSON = errors.New("Cannot parse JSON body")

// formEntity reads "config.a=1&config.list[]=x": dots nest, "[]" and repetition make lists, numbers and booleans are recognized.
func formEntity(data string) (entity, error) {
	values, err := url.ParseQuery(data)
	if err != nil {
		return nil, errBadJSON
	}
	e := entity{}
	for _, k := range sortedKeys(values) {
		path := strings.Split(strings.TrimSuffix(k, "[]"), ".")
		var list []any
		for _, v := range values[k] {
			list = append(list, formValue(v))
		}
		var v any = list
		if len(list) == 1 && !strings.HasSuffix(k, "[]") {
			v = list[0]
		}
		m := e
		for _, p := range path[:len(path)-1] {
			sub, ok := m[p].(map[string]any)
			if !ok {
				sub = map[string]any{}
				m[p] = sub
			}
			m = sub
		}
		m[path[len(path)-1]] = v
	}
	return e, nil
}

func formValue(v string) any {
	switch v {
	case "true":
		return true
	case "false":
		return false
	case "":
		return nil
	}
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return f
	}
	return v
}

func adminJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

func adminError(w http.ResponseWriter, status int, message string) {
	adminJSON(w, status, map[string]any{"message": message})
}

func writeAdminError(w http.ResponseWriter, err error) {
	var v *violation
	var u *uniqueError
	switch {
	case errors.As(err, &v):
		adminJSON(w, 400, map[string]any{"code": 2, "name": "schema violation", "message": v.Error(), "fields": v.fields})
	case errors.As(err, &u):
		adminJSON(w, 409, map[string]any{"code": 5, "name": "unique constraint violation", "message": fmt.Sprintf("UNIQUE violation detected on '{%s=%q}'", u.field, fmt.Sprint(u.value)), "fields": map[string]any{u.field: u.value}})
	case errors.Is(err, errForeign):
		adminJSON(w, 400, map[string]any{"code": 4, "name": "foreign key violation", "message": strings.TrimPrefix(err.Error(), errForeign.Error()+": ")})
	case errors.Is(err, errNotFound):
		adminError(w, 404, "Not found")
	case errors.Is(err, errMethod):
		adminError(w, 405, "Method not allowed")
	case errors.Is(err, errBadJSON):
		adminError(w, 400, err.Error())
	default:
		adminError(w, 500, "An unexpected error occurred")
	}
}

// info is what GET / answers.
func (g *Gateway) info() map[string]any {
	available := map[string]any{}
	for name, k := range g.st().plugins {
		available[name] = map[string]any{"priority": k.priority, "version": Version}
	}
	enabled := []string{}
	for _, ps := range g.state.Load().plugins {
		enabled = append(enabled, ps.kind.name)
	}
	host, _ := os.Hostname()
	return map[string]any{
		"version": Version, "tagline": "Welcome to kong", "edition": "community", "hostname": host, "node_id": g.nodeID, "lua_version": "LuaJIT 2.1",
		"plugins":       map[string]any{"available_on_server": available, "enabled_in_cluster": enabled, "disabled_on_server": map[string]any{}},
		"configuration": map[string]any{"database": orElse(g.opts.KongEnv["database"], "off"), "prefix": g.opts.Prefix, "pluginserver_names": []string{"openid-connect"}},
		"pids":          map[string]any{"master": os.Getpid()},
		"timers":        map[string]any{"pending": 0, "running": 0},
	}
}
