package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"
)

const maxConfigFile = 16 << 20

// idSpace is the name space of the ids that a declarative file does not give:
// the same file makes the same ids.
var idSpace = uuid.MustParse("fd02801f-0957-4a15-a53a-c8d9606f30b5")

// load replaces the store's content by a declarative configuration.
// Unknown entities and fields are errors, all of them reported at once.
func (s *store) load(data []byte) error {
	if len(data) > maxConfigFile {
		return fmt.Errorf("declarative configuration: more than %d bytes", maxConfigFile)
	}
	var doc map[string]any
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("declarative configuration is no YAML map: %w", err)
	}
	version, _ := doc["_format_version"].(string)
	if !slices.Contains([]string{"1.1", "2.1", "3.0"}, version) {
		return fmt.Errorf("declarative configuration: _format_version: expected one of: 1.1, 2.1, 3.0, got %v", doc["_format_version"])
	}
	l := &loader{}
	for _, key := range sortedKeys(doc) {
		switch {
		case slices.Contains([]string{"_format_version", "_transform", "_comment", "_info", "_ignore", "_workspace"}, key):
		case s.schemas[key] != nil:
			l.walk(key, key, doc[key], "", "", "")
		default:
			l.fail(key, "unknown field")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, order := s.rows, s.order
	s.clear()
	// Parents before children, plugins last: references then find what they name.
	for _, kind := range []string{"certificates", "ca_certificates", "snis", "services", "routes", "consumers", "keyauth_credentials", "acls", "oauth2_credentials", "oauth2_tokens", "plugins"} {
		for _, it := range l.items {
			if it.kind != kind {
				continue
			}
			if s.rows[kind][it.id] != nil {
				l.fail(it.path, "uniqueness violation: an equal entity is already declared")
				continue
			}
			if _, err := s.putLocked(kind, it.e, it.id, false); err != nil {
				l.fail(it.path, err.Error())
			}
		}
	}
	if len(l.errs) > 0 {
		s.rows, s.order = rows, order
		sort.Strings(l.errs)
		return fmt.Errorf("declarative configuration is refused:\n  %s", strings.Join(l.errs, "\n  "))
	}
	return nil
}

func (s *store) loadFile(path string, rewrite func([]byte) []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("declarative configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return fmt.Errorf("declarative configuration: read %s: %w", path, err)
	}
	if rewrite != nil {
		data = rewrite(data)
	}
	if err := s.load(data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

type loadItem struct {
	kind, id, path string
	e              entity
}

// loader flattens nested entities into one list.
type loader struct {
	items []loadItem
	errs  []string
}

func (l *loader) fail(path, text string) { l.errs = append(l.errs, path+": "+text) }

func (l *loader) walk(kind, path string, v any, foreign, parentID, parentName string) {
	list, ok := v.([]any)
	if v != nil && !ok {
		l.fail(path, "expected an array")
		return
	}
	for i, x := range list {
		at := fmt.Sprintf("%s[%d]", path, i+1)
		m, ok := clean(x).(map[string]any)
		if !ok {
			l.fail(at, "expected a record")
			continue
		}
		for k, ref := range m { // a foreign entity may be named by a plain string
			if s, ok := ref.(string); ok && slices.Contains([]string{"service", "route", "consumer", "credential", "certificate", "client_certificate"}, k) {
				m[k] = map[string]any{refKey(k, s): s}
			}
		}
		if foreign != "" {
			m[foreign] = map[string]any{"id": parentID}
		}
		name := parentName + "/" + kind + ":" + naturalName(kind, m, i)
		id, _ := m["id"].(string)
		if id == "" {
			id = uuid.NewSHA1(idSpace, []byte(name)).String()
		}
		for key, c := range children[kind] {
			if sub, ok := m[key]; ok {
				delete(m, key)
				l.walk(c.kind, at+"."+key, sub, c.foreign, id, name)
			}
		}
		m["id"] = id
		l.items = append(l.items, loadItem{kind, id, at, m})
	}
}

func refKey(field, value string) string {
	if _, err := uuid.Parse(value); err == nil {
		return "id"
	}
	if field == "consumer" {
		return "username"
	}
	return "name"
}

func naturalName(kind string, m map[string]any, i int) string {
	for _, k := range append([]string{"instance_name"}, append(uniqueKeys[kind], "name", "group", "username")...) {
		if s, ok := m[k].(string); ok && s != "" {
			if kind == "plugins" && k == "name" {
				return s + fmt.Sprint(m["route"], m["service"], m["consumer"])
			}
			return s
		}
	}
	return fmt.Sprint(i)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
