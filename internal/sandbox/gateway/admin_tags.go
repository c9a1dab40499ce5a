package gateway

import (
	"net/http"
	"slices"
)

// adminTags answers /tags and /tags/{tag}: which entities have tags.
func (g *Gateway) adminTags(w http.ResponseWriter, r *http.Request, p []string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return errMethod
	}
	if len(p) > 1 {
		return errNotFound
	}
	rows := []entity{}
	for _, kind := range sortedKeys(g.st().schemas) {
		for _, e := range g.st().list(kind, "", "") {
			for _, tag := range strs(e["tags"]) {
				if len(p) == 0 || p[0] == tag {
					rows = append(rows, entity{"entity_name": kind, "entity_id": e["id"], "tag": tag})
				}
			}
		}
	}
	return g.page(w, r, rows, "tags")
}

// endpoints are the paths of the Admin API, as /endpoints lists them.
func endpoints() []string {
	all := []string{"/", "/config", "/endpoints", "/plugins/enabled", "/schemas/plugins/{name}", "/schemas/{db_entity_name}/validate", "/schemas/{name}", "/status", "/tags", "/tags/{tags}"}
	for name, kind := range adminKinds {
		all = append(all, "/"+name, "/"+name+"/{"+kind+"}")
		for below, c := range adminChildren[kind] {
			path := "/" + name + "/{" + kind + "}/" + below
			all = append(all, path, path+"/{"+c.kind+"}")
		}
	}
	slices.Sort(all)
	return all
}
