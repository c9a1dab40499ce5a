package gateway

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"kong-openid-connect/internal/sandbox/gateway/schema"
)

//go:embed coreschemas.json
var coreSchemas []byte

//go:embed bundledschemas.json
var bundledSchemas []byte

// An entity is a row as the Admin API shows it; an unset field is nil.
type entity = map[string]any

// child is a kind of entity that hangs below another.
type child struct{ kind, foreign string }

// children by parent kind and by the key that nests them in a declarative file.
var children = map[string]map[string]child{
	"services":           {"routes": {"routes", "service"}, "plugins": {"plugins", "service"}},
	"routes":             {"plugins": {"plugins", "route"}},
	"consumers":          {"plugins": {"plugins", "consumer"}, "keyauth_credentials": {"keyauth_credentials", "consumer"}, "acls": {"acls", "consumer"}, "oauth2_credentials": {"oauth2_credentials", "consumer"}},
	"certificates":       {"snis": {"snis", "certificate"}},
	"oauth2_credentials": {"oauth2_tokens": {"oauth2_tokens", "credential"}},
}

// uniqueKeys by kind; the first is the key by which an endpoint also finds the entity.
var uniqueKeys = map[string][]string{
	"services": {"name"}, "routes": {"name"}, "consumers": {"username", "custom_id"}, "plugins": {"instance_name"},
	"snis": {"name"}, "keyauth_credentials": {"key"}, "oauth2_credentials": {"client_id"}, "oauth2_tokens": {"access_token"},
}

// pluginKind is a plugin that may be configured.
type pluginKind struct {
	name     string
	priority int
	external bool
	schema   *schema.Schema // of the whole entity
	raw      json.RawMessage
}

// store holds all entities.
type store struct {
	mu      sync.RWMutex
	schemas map[string]*schema.Schema
	raw     map[string]json.RawMessage // schemas as they are shown
	plugins map[string]*pluginKind
	rows    map[string]map[string]entity
	order   map[string][]string
	now     func() time.Time
}

func newStore(now func() time.Time, external []*pluginKind) (*store, error) {
	s := &store{schemas: map[string]*schema.Schema{}, plugins: map[string]*pluginKind{}, now: now}
	s.clear()
	var core map[string]json.RawMessage
	if err := json.Unmarshal(coreSchemas, &core); err != nil {
		return nil, err
	}
	s.raw = core
	for kind, raw := range core {
		sc, err := schema.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", kind, err)
		}
		s.schemas[kind] = sc
	}
	var bundled map[string]struct {
		Priority int
		Schema   json.RawMessage
	}
	if err := json.Unmarshal(bundledSchemas, &bundled); err != nil {
		return nil, err
	}
	for name, b := range bundled {
		k, err := newPluginKind(name, b.Priority, b.Schema, core["plugins"])
		if err != nil {
			return nil, err
		}
		s.plugins[name] = k
	}
	for _, k := range external {
		e, err := newPluginKind(k.name, k.priority, k.raw, core["plugins"])
		if err != nil {
			return nil, err
		}
		e.external = true
		s.plugins[k.name] = e
	}
	return s, nil
}

// newPluginKind lays a plugin's own schema over the fields that all plugins have.
func newPluginKind(name string, priority int, raw, base json.RawMessage) (*pluginKind, error) {
	own, err := schema.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("schema of plugin %q is refused: %w", name, err)
	}
	var merged, ownMap map[string]any
	if json.Unmarshal(base, &merged) != nil || json.Unmarshal(raw, &ownMap) != nil {
		return nil, fmt.Errorf("schema of plugin %q is not an object", name)
	}
	if own.Field("config") == nil {
		return nil, fmt.Errorf("schema of plugin %q is refused: schema violation (fields: no field 'config')", name)
	}
	merged["entity_checks"] = ownMap["entity_checks"]
	fields := merged["fields"].([]any)
	for _, f := range ownMap["fields"].([]any) {
		for fname := range f.(map[string]any) {
			i := slices.IndexFunc(fields, func(x any) bool { return x.(map[string]any)[fname] != nil })
			if i < 0 {
				fields = append(fields, f)
			} else {
				fields[i] = f
			}
		}
	}
	merged["fields"] = fields
	b, err := json.Marshal(merged)
	if err != nil {
		return nil, err
	}
	sc, err := schema.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("schema of plugin %q is refused: %w", name, err)
	}
	return &pluginKind{name: name, priority: priority, schema: sc, raw: raw}, nil
}

func (s *store) clear() {
	s.rows, s.order = map[string]map[string]entity{}, map[string][]string{}
}

// snapshot returns a function that takes every change since back.
func (s *store) snapshot() (restore func()) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows, order := map[string]map[string]entity{}, map[string][]string{}
	for kind := range s.rows {
		rows[kind], order[kind] = maps.Clone(s.rows[kind]), slices.Clone(s.order[kind])
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rows, s.order = rows, order
	}
}

func (s *store) schemaFor(kind string, e entity) (*schema.Schema, error) {
	if kind != "plugins" {
		sc := s.schemas[kind]
		if sc == nil {
			return nil, errNotFound
		}
		return sc, nil
	}
	name, ok := e["name"].(string)
	if !ok || name == "" {
		return nil, &violation{map[string]any{"name": "required field missing"}}
	}
	k := s.plugins[name]
	if k == nil {
		return nil, &violation{map[string]any{"name": fmt.Sprintf("plugin '%s' not enabled; add it to the 'plugins' configuration property", name)}}
	}
	return k.schema, nil
}

// put validates e and stores it. With patch, fields that e lacks stay.
func (s *store) put(kind string, e entity, id string, patch bool) (entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.putLocked(kind, e, id, patch)
}

func (s *store) putLocked(kind string, e entity, id string, patch bool) (entity, error) {
	old := s.rows[kind][id]
	e = clean(e).(entity)
	if patch && old == nil {
		return nil, errNotFound
	}
	if patch {
		e = mergePatch(old, e)
	}
	if kind == "services" {
		if err := expandURL(e); err != nil {
			return nil, err
		}
	}
	sc, err := s.schemaFor(kind, e)
	if err != nil {
		return nil, err
	}
	e = sc.Fill(e)
	now := float64(s.now().Unix())
	if e["id"] == nil {
		e["id"] = id
		if id == "" {
			e["id"] = uuid.NewString()
		}
	}
	if old != nil {
		e["created_at"], e["id"] = old["created_at"], old["id"]
	} else if e["created_at"] == nil {
		e["created_at"] = now
	}
	if sc.Field("updated_at") != nil && (old != nil || e["updated_at"] == nil) {
		e["updated_at"] = now
	}
	s.autoFields(kind, e)
	if errs := sc.Validate(e); errs != nil {
		return nil, &violation{errs}
	}
	if kind == "routes" {
		if err := checkMatchers(e); err != nil {
			return nil, err
		}
	}
	if err := s.checkReferences(kind, sc, e); err != nil {
		return nil, err
	}
	for _, k := range uniqueKeys[kind] {
		if e[k] == nil {
			continue
		}
		for _, row := range s.rows[kind] {
			if row[k] == e[k] && row["id"] != e["id"] {
				return nil, &uniqueError{map[string]any{k: e[k]}}
			}
		}
	}
	eid := e["id"].(string)
	if s.rows[kind] == nil {
		s.rows[kind] = map[string]entity{}
	}
	if s.rows[kind][eid] == nil {
		s.order[kind] = append(s.order[kind], eid)
	}
	s.rows[kind][eid] = e
	return e, nil
}

func (s *store) autoFields(kind string, e entity) {
	random := func(field string) {
		if e[field] == nil {
			e[field] = strings.ReplaceAll(uuid.NewString(), "-", "")
		}
	}
	switch kind {
	case "keyauth_credentials":
		random("key")
	case "oauth2_credentials":
		random("client_id")
		random("client_secret")
	case "oauth2_tokens":
		random("access_token")
	}
}

// checkReferences resolves foreign fields, which may be given by id or by name, to {"id": ...}.
func (s *store) checkReferences(kind string, sc *schema.Schema, e entity) error {
	for _, f := range sc.Fields {
		m, ok := e[f.Name].(map[string]any)
		if f.Type != "foreign" || !ok {
			continue
		}
		ref, _ := f.Attr("reference").(string)
		row := s.findRef(ref, m)
		if row == nil {
			return &foreignError{f.Name, ref, m}
		}
		e[f.Name] = map[string]any{"id": row["id"]}
	}
	if kind == "plugins" {
		for _, row := range s.rows["plugins"] {
			if row["id"] != e["id"] && row["name"] == e["name"] && refID(row, "route") == refID(e, "route") &&
				refID(row, "service") == refID(e, "service") && refID(row, "consumer") == refID(e, "consumer") {
				return &uniqueError{map[string]any{"name": e["name"], "route": e["route"], "service": e["service"], "consumer": e["consumer"]}}
			}
		}
	}
	if kind == "acls" {
		for _, row := range s.rows["acls"] {
			if row["id"] != e["id"] && row["group"] == e["group"] && refID(row, "consumer") == refID(e, "consumer") {
				return &uniqueError{map[string]any{"consumer": e["consumer"], "group": e["group"]}}
			}
		}
	}
	return nil
}

func (s *store) findRef(kind string, m map[string]any) entity {
	for k, v := range m {
		for _, row := range s.rows[kind] {
			if (k == "id" || slices.Contains(uniqueKeys[kind], k)) && row[k] == v {
				return row
			}
		}
	}
	return nil
}

// refID is the id that a foreign field holds, or "".
func refID(e entity, field string) string {
	m, _ := e[field].(map[string]any)
	id, _ := m["id"].(string)
	return id
}

// get finds an entity by id or by its endpoint key.
func (s *store) get(kind, idOrName string) entity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.getLocked(kind, idOrName)
}

func (s *store) getLocked(kind, idOrName string) entity {
	if e := s.rows[kind][idOrName]; e != nil {
		return e
	}
	if keys := uniqueKeys[kind]; len(keys) > 0 && idOrName != "" {
		return s.by(kind, keys[0], idOrName)
	}
	return nil
}

func (s *store) by(kind, field string, value any) entity {
	for _, e := range s.rows[kind] {
		if e[field] == value {
			return e
		}
	}
	return nil
}

// find is by, for callers that do not hold the lock.
func (s *store) find(kind, field string, value any) entity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.by(kind, field, value)
}

// list returns the entities of a kind in the order of their making, those whose foreign field is id where field is set.
func (s *store) list(kind, foreign, id string) []entity {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := []entity{}
	for _, eid := range s.order[kind] {
		if e := s.rows[kind][eid]; foreign == "" || refID(e, foreign) == id {
			out = append(out, e)
		}
	}
	return out
}

// delete removes an entity and what hangs below it; a service with routes is refused.
func (s *store) delete(kind, idOrName string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.getLocked(kind, idOrName)
	if e == nil {
		return errNotFound
	}
	id := e["id"].(string)
	if kind == "services" {
		for _, r := range s.rows["routes"] {
			if refID(r, "service") == id {
				return &referencedError{"services", "routes"}
			}
		}
	}
	s.deleteLocked(kind, id)
	return nil
}

func (s *store) deleteLocked(kind, id string) {
	for _, c := range children[kind] {
		for _, row := range slices.Collect(maps.Values(s.rows[c.kind])) {
			if refID(row, c.foreign) == id {
				s.deleteLocked(c.kind, row["id"].(string))
			}
		}
	}
	delete(s.rows[kind], id)
	s.order[kind] = slices.DeleteFunc(s.order[kind], func(x string) bool { return x == id })
}
