package gateway

import (
	"fmt"
	"sort"
	"strings"
)

// workspace is the id that Kong gives the default workspace without a database.
const workspace = "0dc6f45b-8f8d-40d2-a504-473544ee190b"

// state is what the workers see of the configuration: immutable, replaced as
// a whole when something changes.
type state struct {
	router   *router
	services map[string]entity
	plugins  []*pluginSet // by priority, highest first
	seq      int
}

// pluginSet is all configurations of one plugin.
type pluginSet struct {
	kind  *pluginKind
	confs []*pluginConf
}

// pluginConf is one configuration of a plugin.
type pluginConf struct {
	id, key                  string
	route, service, consumer string
	seq                      int // __seq__
	enabled                  bool
	protocols                map[string]bool
	config                   map[string]any
}

// buildState compiles the store. renumber gives every plugin a new __seq__,
// which is what any change of any plugin does on Kong.
func buildState(rows *store, old *state, renumber bool) (*state, error) {
	st := &state{services: map[string]entity{}}
	if old != nil {
		st.seq = old.seq
	}
	for _, s := range rows.list("services", "", "") {
		st.services[s["id"].(string)] = s
	}
	r, err := newRouter(rows.list("routes", "", ""), st.services)
	if err != nil {
		return nil, err
	}
	st.router = r
	seqs := map[string]int{}
	if old != nil {
		for _, ps := range old.plugins {
			for _, c := range ps.confs {
				seqs[c.id] = c.seq
			}
		}
	}
	sets := map[string]*pluginSet{}
	for _, p := range rows.list("plugins", "", "") {
		name := p["name"].(string)
		c := &pluginConf{
			id: p["id"].(string), route: refID(p, "route"), service: refID(p, "service"), consumer: refID(p, "consumer"),
			enabled: p["enabled"] == true, protocols: map[string]bool{},
		}
		c.key = fmt.Sprintf("plugins:%s:%s:%s:%s::%s", name, c.route, c.service, c.consumer, workspace)
		c.config, _ = p["config"].(map[string]any)
		if l, ok := p["protocols"].([]any); ok {
			for _, x := range l {
				c.protocols[x.(string)] = true
			}
		}
		if c.seq = seqs[c.id]; renumber || c.seq == 0 {
			st.seq++
			c.seq = st.seq
		}
		if sets[name] == nil {
			sets[name] = &pluginSet{kind: rows.plugins[name]}
		}
		sets[name].confs = append(sets[name].confs, c)
	}
	for _, s := range sets {
		st.plugins = append(st.plugins, s)
	}
	sort.Slice(st.plugins, func(i, j int) bool {
		a, b := st.plugins[i].kind, st.plugins[j].kind
		if a.priority != b.priority {
			return a.priority > b.priority
		}
		return a.name < b.name
	})
	return st, nil
}

// pick chooses the configuration that applies: the most specific one, in Kong's order.
func (s *pluginSet) pick(route, service, consumer string) *pluginConf {
	order := [][3]bool{{true, true, true}, {true, false, true}, {false, true, true}, {true, true, false}, {false, false, true}, {true, false, false}, {false, true, false}, {false, false, false}}
	for _, o := range order {
		want := [3]string{}
		for i, id := range []string{route, service, consumer} {
			if o[i] {
				if want[i] = id; id == "" {
					want[i] = "-"
				}
			}
		}
		for _, c := range s.confs {
			if c.enabled && c.route == want[0] && c.service == want[1] && c.consumer == want[2] {
				return c
			}
		}
	}
	return nil
}

// instanceConfig is the JSON that StartInstance carries.
func (g *Gateway) instanceConfig(k *pluginKind, c *pluginConf) []byte {
	conf := resolveVault(k.schema.Field("config").Record, c.config, g.opts.Getenv, func(s string) { g.logf("warn", "%s", s) })
	conf["__seq__"] = c.seq
	conf["__key__"] = c.key
	conf["__ws_id"] = workspace
	conf["__plugin_id"] = c.id
	if c.route != "" {
		conf["route_id"] = c.route
	}
	if c.service != "" {
		conf["service_id"] = c.service
	}
	if c.consumer != "" {
		conf["consumer_id"] = c.consumer
	}
	return []byte(cjson(conf))
}

func str(v any) string { s, _ := v.(string); return s }

func num(v any) int { n, _ := v.(float64); return int(n) }

func strs(v any) []string {
	l, _ := v.([]any)
	out := make([]string, 0, len(l))
	for _, x := range l {
		out = append(out, str(x))
	}
	return out
}

func lower(s string) string { return strings.ToLower(s) }
