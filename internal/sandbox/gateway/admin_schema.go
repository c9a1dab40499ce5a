package gateway

import (
	"fmt"
	"net/http"
)

// adminSchema answers below /schemas: GET shows the schema of an entity or a
// plugin, POST to .../validate checks an entity and stores nothing.
func (g *Gateway) adminSchema(w http.ResponseWriter, r *http.Request, p []string) error {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case len(p) == 2 && p[1] == "validate" && r.Method == http.MethodPost:
		kind, known := adminKinds[p[0]]
		if !known {
			adminError(w, 404, fmt.Sprintf("No entity named '%s'", p[0]))
			return nil
		}
		e, err := g.readEntity(r, kind, nil)
		if err != nil {
			return err
		}
		if err := g.st().try(kind, e); err != nil {
			return err
		}
		adminError(w, 200, "schema validation successful")
		return nil
	case len(p) == 2 && p[0] == "plugins" && get:
		k := g.st().plugins[p[1]]
		if k == nil {
			adminError(w, 404, fmt.Sprintf("No plugin named '%s'", p[1]))
			return nil
		}
		adminJSON(w, 200, k.raw)
		return nil
	case len(p) == 1 && get:
		raw := g.st().raw[p[0]]
		if raw == nil {
			adminError(w, 404, fmt.Sprintf("No entity named '%s'", p[0]))
			return nil
		}
		adminJSON(w, 200, raw)
		return nil
	}
	return errNotFound
}

// try validates an entity by its schema, not what it refers to.
func (s *store) try(kind string, e entity) error {
	e = clean(e).(entity)
	sc, err := s.schemaFor(kind, e)
	if err != nil {
		return err
	}
	e = sc.Fill(e)
	if errs := sc.Validate(e); errs != nil {
		return &violation{errs}
	}
	if kind == "routes" {
		return checkMatchers(e)
	}
	return nil
}
