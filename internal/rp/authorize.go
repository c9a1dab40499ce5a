package rp

import (
	"fmt"
	"strings"

	"kong-openid-connect/internal/claims"
)

// authorize is claims authorization (behaviour.md 9): every pair must pass,
// and no forbidden claim may be there.
func (c *ClaimsPolicy) authorize(id *Identity) error {
	for i := range c.Require {
		r := &c.Require[i]
		if have := id.have(r); !r.Required.Match(have) {
			verb := "are"
			if r.Name == requireAudience {
				verb = "is"
			}
			return &Error{Kind: Forbidden, Code: "insufficient_scope", Description: "the required " + r.Name + " " + verb + " missing",
				Reason: Reason("missing_" + r.Name), Err: r.wanted(have)}
		}
	}
	for _, name := range c.Forbidden {
		if id.carries(name) {
			return &Error{Kind: Forbidden, Description: "a forbidden claim is present", Reason: "claims_forbidden", Final: true}
		}
	}
	return nil
}

// What a requirement may be about.
const (
	requireScopes   = "scopes"
	requireAudience = "audience"
)

// maxShown bounds the values of a claim in a log line.
const maxShown = 20

// wanted says for the log what was looked for, and what was found. Groups and
// roles are about a person, so they are only counted.
func (r *Requirement) wanted(have []string) error {
	found := fmt.Sprintf("has %d other values", len(have))
	switch {
	case len(have) == 0:
		found = "is absent or empty"
	case r.Name == requireScopes || r.Name == requireAudience:
		shown := make([]string, min(len(have), maxShown))
		for i := range shown {
			shown[i] = strings.ToValidUTF8(have[i][:min(len(have[i]), 100)], "")
		}
		found = fmt.Sprintf("has %q", shown)
		if len(have) > maxShown {
			found += fmt.Sprintf(" and %d more", len(have)-maxShown)
		}
	case len(have) == 1:
		found = "has another value"
	}
	return fmt.Errorf("the claim %s %s, one of %q is expected", r.Path, found, r.Required.Texts())
}

// have returns what the caller has of a requirement's kind (behaviour.md 9,
// U59): the access token's claim, else the introspection's, else userinfo's for
// that method. Where the access token is opaque and was not introspected, the
// token endpoint's scope and the ID token stand in.
func (id *Identity) have(r *Requirement) []string {
	if id.Access != nil {
		if v, ok := claims.Lookup(id.Access.Claims, r.Path); ok {
			return claims.Words(v)
		}
	}
	if id.Introspection != nil {
		if v, ok := claims.Lookup(id.Introspection, r.Path); ok {
			return claims.Words(v)
		}
	}
	if id.Origin == MethodUserInfo && id.UserInfo != nil {
		if v, ok := claims.Lookup(id.UserInfo, r.Path); ok {
			return claims.Words(v)
		}
		if v, ok := claims.Lookup(id.userInfoExtra, r.Path); ok {
			return claims.Words(v)
		}
	}
	if id.Access == nil && id.Introspection == nil {
		if r.Name == "scopes" && id.Scope != "" {
			return claims.Words(id.Scope)
		}
		if id.ID != nil {
			if v, ok := claims.Lookup(id.ID.Claims, r.Path); ok {
				return claims.Words(v)
			}
			if v, ok := claims.Lookup(id.idExtra, r.Path); ok {
				return claims.Words(v)
			}
		}
	}
	return nil
}

// pointsTo reports whether o says that another source has a claim. What that
// source answers, if it does, makes no difference.
func pointsTo(o claims.Object, name string) bool {
	names, _ := o["_claim_names"].(map[string]any)
	_, ok := names[name]
	return ok
}

// carries reports whether a top-level claim is there at all, null included (U60).
func (id *Identity) carries(name string) bool {
	if id.Access != nil {
		if _, ok := id.Access.Claims[name]; ok {
			return true
		}
	}
	if _, ok := id.Introspection[name]; ok {
		return true
	}
	if id.Access == nil && id.Introspection == nil {
		if id.ID != nil {
			if _, ok := id.ID.Claims[name]; ok {
				return true
			}
			if id.followed && pointsTo(id.ID.Claims, name) {
				return true
			}
		}
		if _, ok := id.UserInfo[name]; ok {
			return true
		}
		if id.followed && pointsTo(id.UserInfo, name) {
			return true
		}
	}
	return false
}
