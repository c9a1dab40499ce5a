package rp

import (
	"context"
	"encoding/json"
	"strings"
)

// ResourcePolicy describes a route as a protected resource (RFC 9728).
type ResourcePolicy struct {
	Resource      string // its identifier; "" = off
	MetadataURL   string // where the document is, for challenges
	MetadataPath  string // the path of that URL, percent-encoded
	Scopes        []string
	Name          string
	Documentation string
	Issuer        string // where the provider's own metadata is not known
}

// resourceMetadata answers a request for the metadata of the route; nil where
// the request is for something else. The document is public.
func (x *Exchange) resourceMetadata(ctx context.Context) *Decision {
	p, m := x.Policy, &x.Policy.Resource
	if m.Resource == "" || x.Request.Path != m.MetadataPath {
		return nil
	}
	d := &Decision{Reason: "resource_metadata"}
	d.Downstream.Set = []Field{{"Access-Control-Allow-Origin", "*"}}
	switch x.Request.Method {
	case "OPTIONS":
		d.Respond = &Response{Status: 204}
		d.Downstream.Set = append(d.Downstream.Set, Field{"Access-Control-Allow-Methods", "GET, HEAD"}, Field{"Access-Control-Allow-Headers", "*"})
		return d
	case "GET", "HEAD":
	default:
		d.Respond = &Response{Status: 405, Body: errorBody(contentJSON, "Method not allowed", "")}
		d.Downstream.Set = append(d.Downstream.Set, Field{"Content-Type", contentJSON}, Field{"Allow", "GET, HEAD, OPTIONS"})
		return d
	}
	issuer := m.Issuer
	if md, err := p.Provider.Metadata(ctx); err == nil && md.Issuer != "" && !strings.Contains(md.Issuer, "{") {
		issuer = md.Issuer
	}
	doc := struct {
		Resource      string   `json:"resource"`
		Servers       []string `json:"authorization_servers,omitempty"`
		Scopes        []string `json:"scopes_supported,omitempty"`
		Bearer        []string `json:"bearer_methods_supported"`
		Name          string   `json:"resource_name,omitempty"`
		Documentation string   `json:"resource_documentation,omitempty"`
	}{Resource: m.Resource, Scopes: m.Scopes, Bearer: p.Bearer.Places.names(), Name: m.Name, Documentation: m.Documentation}
	if issuer != "" {
		doc.Servers = []string{issuer}
	}
	body, _ := json.Marshal(doc)
	d.Respond = &Response{Status: 200, Body: body}
	d.Downstream.Set = append(d.Downstream.Set, Field{"Content-Type", contentJSON}, Field{"Cache-Control", "public, max-age=300"})
	return d
}

// names are the bearer_methods_supported of RFC 9728 2.
func (p Places) names() []string {
	out := []string{}
	for _, m := range []struct {
		on   bool
		name string
	}{{p.Header, "header"}, {p.Body, "body"}, {p.Query, "query"}} {
		if m.on {
			out = append(out, m.name)
		}
	}
	return out
}
