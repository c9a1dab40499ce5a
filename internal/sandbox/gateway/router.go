package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// router finds the route of a request: the one with most kinds of criteria
// first, then plain hosts before wildcards, regexes by priority, and the
// longest path.
type router struct{ routes []*route }

type route struct {
	id        string
	e         entity
	service   entity
	protocols []string
	methods   []string
	hosts     []string
	headers   map[string][]string
	paths     []routePath
	regexPrio int
	created   int
	stripPath bool
	preserve  bool
	criteria  int
}

type routePath struct {
	prefix string
	re     *regexp.Regexp
}

// match is a route with what of the request matched it.
type match struct {
	*route
	prefix   string // the matched part of the path
	regex    bool
	unnamed  []string
	named    map[string]string
	upstream string // path for the service, not yet escaped
}

func newRouter(rows []entity, services map[string]entity) (*router, error) {
	r := &router{}
	for i, e := range rows {
		rt := &route{
			id: str(e["id"]), e: e, service: services[refID(e, "service")], protocols: strs(e["protocols"]), methods: strs(e["methods"]),
			headers: map[string][]string{}, regexPrio: num(e["regex_priority"]), created: i,
			stripPath: e["strip_path"] == true, preserve: e["preserve_host"] == true,
		}
		for _, h := range strs(e["hosts"]) {
			rt.hosts = append(rt.hosts, lower(h))
		}
		for _, p := range strs(e["paths"]) {
			if re, ok := strings.CutPrefix(p, "~"); ok {
				c, err := regexp.Compile("^(?:" + re + ")")
				if err != nil {
					return nil, fmt.Errorf("route %v: path %q: %w", e["name"], p, err)
				}
				rt.paths = append(rt.paths, routePath{re: c})
				continue
			}
			rt.paths = append(rt.paths, routePath{prefix: normalizePath(p)})
		}
		if m, ok := e["headers"].(map[string]any); ok {
			for k, v := range m {
				rt.headers[lower(k)] = strs(v)
			}
		}
		for _, has := range []bool{len(rt.methods) > 0, len(rt.hosts) > 0, len(rt.paths) > 0, len(rt.headers) > 0} {
			if has {
				rt.criteria++
			}
		}
		r.routes = append(r.routes, rt)
	}
	return r, nil
}

// routeKey is what of a request a route looks at.
type routeKey struct {
	scheme, method, host, path string // host lower-cased, without port
	port                       int
	header                     func(name string) []string
}

func (r *router) find(k routeKey) *match {
	type candidate struct {
		m    *match
		rank [6]int
	}
	var found []candidate
	for _, rt := range r.routes {
		plain, ok := rt.matchFixed(k)
		if !ok {
			continue
		}
		for _, m := range rt.matchPaths(k.path) {
			regex, prio := 0, 0
			if m.regex {
				regex, prio = 1, rt.regexPrio
			}
			found = append(found, candidate{m, [6]int{rt.criteria, plain, len(rt.headers), regex, prio, len(m.prefix)}})
		}
	}
	if len(found) == 0 {
		return nil
	}
	sort.SliceStable(found, func(i, j int) bool {
		for n := range found[i].rank {
			if a, b := found[i].rank[n], found[j].rank[n]; a != b {
				return a > b
			}
		}
		return found[i].m.created < found[j].m.created
	})
	m := found[0].m
	m.upstream = m.upstreamPath(k.path)
	return m
}

func (rt *route) matchFixed(k routeKey) (plainHost int, ok bool) {
	protocol := k.scheme
	if !contains(rt.protocols, protocol, map[string]string{"http": "ws", "https": "wss"}[protocol], "grpc", "grpcs") {
		// A route for https only is still found by an http request, which Kong then answers with 426.
		if protocol != "http" || !slices.Contains(rt.protocols, "https") {
			return 0, false
		}
	}
	if len(rt.methods) > 0 && !slices.Contains(rt.methods, k.method) {
		return 0, false
	}
	for name, values := range rt.headers {
		if !slices.ContainsFunc(k.header(name), func(v string) bool {
			return slices.ContainsFunc(values, func(w string) bool { return strings.EqualFold(v, w) })
		}) {
			return 0, false
		}
	}
	if len(rt.hosts) == 0 {
		return 0, true
	}
	for _, h := range rt.hosts {
		if h == k.host || h == fmt.Sprintf("%s:%d", k.host, k.port) {
			return 2, true
		}
		if suffix, ok := strings.CutPrefix(h, "*"); ok && strings.HasSuffix(k.host, suffix) {
			plainHost, ok = 1, true
		}
		if prefix, ok := strings.CutSuffix(h, "*"); ok && strings.HasPrefix(k.host, prefix) {
			plainHost, ok = 1, true
		}
	}
	return plainHost, plainHost > 0
}

func (rt *route) matchPaths(path string) []*match {
	if len(rt.paths) == 0 {
		return []*match{{route: rt}}
	}
	var out []*match
	for _, p := range rt.paths {
		if p.re == nil {
			if strings.HasPrefix(path, p.prefix) {
				out = append(out, &match{route: rt, prefix: p.prefix})
			}
			continue
		}
		loc := p.re.FindStringSubmatch(path)
		if loc == nil {
			continue
		}
		m := &match{route: rt, prefix: loc[0], regex: true, named: map[string]string{}}
		for i, name := range p.re.SubexpNames()[1:] {
			if name != "" {
				m.named[name] = loc[i+1]
			}
			m.unnamed = append(m.unnamed, loc[i+1])
		}
		out = append(out, m)
	}
	return out
}

// upstreamPath joins the service's path and what is left of the request's (path_handling v0).
func (m *match) upstreamPath(path string) string {
	base := "/"
	if m.service != nil && str(m.service["path"]) != "" {
		base = str(m.service["path"])
	}
	rest := path
	if m.stripPath && len(m.paths) > 0 {
		rest = strings.TrimPrefix(path, m.prefix)
	}
	switch {
	case strings.HasSuffix(base, "/"):
		return base + strings.TrimPrefix(rest, "/")
	case rest == "":
		if path != "/" && strings.HasSuffix(path, "/") {
			return base + "/"
		}
		return base
	case rest[0] == '/':
		if rest == "/" && path == "/" {
			return base
		}
		return base + rest
	}
	return base + "/" + rest
}
