package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
)

// readEntity reads a JSON or form body. kind and old, which may be nil, tell
// the types of a form's texts.
func (g *Gateway) readEntity(r *http.Request, kind string, old entity) (entity, error) {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxAdminBody))
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	e := entity{}
	switch mt, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mt {
	case "application/x-www-form-urlencoded":
		if e, err = formEntity(string(data)); err != nil {
			return nil, err
		}
		g.st().infer(kind, e, old)
	case "application/json":
		if err := json.Unmarshal(data, &e); err != nil || e == nil {
			return nil, errBadJSON
		}
	default:
		if len(data) > 0 {
			return nil, errMediaType
		}
	}
	return e, nil
}

var (
	errBadJSON   = errors.New("Cannot parse JSON body")
	errMediaType = errors.New("unsupported media type")
)

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
	var ref *referencedError
	var foreign *foreignError
	switch {
	case errors.As(err, &v):
		adminJSON(w, 400, map[string]any{"code": 2, "name": "schema violation", "message": v.Error(), "fields": v.fields})
	case errors.As(err, &u):
		adminJSON(w, 409, map[string]any{"code": 5, "name": "unique constraint violation", "message": "UNIQUE violation detected on '" + luaTable(u.fields) + "'", "fields": u.fields})
	case errors.As(err, &ref):
		adminJSON(w, 400, map[string]any{"code": 4, "name": "foreign key violation", "message": ref.Error(), "fields": map[string]any{"@referenced_by": ref.by}})
	case errors.As(err, &foreign):
		adminJSON(w, 400, map[string]any{"code": 4, "name": "foreign key violation", "message": foreign.Error(), "fields": map[string]any{foreign.field: foreign.ref}})
	case errors.Is(err, errMediaType):
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(415)
		io.WriteString(w, "<html><head><title>415 Unsupported Media Type</title></head></html>\n")
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
