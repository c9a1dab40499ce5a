package jwks

import (
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"kong-openid-connect/internal/claims"
)

// Source is a key set at a URI and the issuer that it was fetched for. Key sets
// are kept by both, so that keys which one issuer publishes never verify
// another's tokens.
type Source struct {
	Issuer string // normalised; "" binds the set to no issuer (extra_jwks_uris)
	URI    string
}

// Fetched is what became of a source: the last set that was read from it, and
// the error of the last attempt.
type Fetched struct {
	Source
	Set *Set  // nil when none was ever read
	Err error // nil when the last attempt succeeded
}

// Ring is all the key sets that one configuration trusts. It is immutable.
type Ring struct {
	// Names are the issuers that the primary set speaks for beside its own, as
	// the discovery document has it.
	Names []string
	// Primary is the set at jwks_endpoint or jwks_uri.
	Primary Fetched
	// Bound are further sets that are bound to an issuer each.
	Bound []Fetched
	// Loose are the sets of extra_jwks_uris, bound to no issuer.
	Loose []Fetched
}

// Keys returns the keys that tokens of issuer may be signed with. allowed is
// issuers_allowed.
//
//   - An issuer with sets of its own is verified by those alone.
//   - One without, that is allowed by name, is verified by the loose sets; where
//     there are none, the name is another one of the provider's.
//   - Any other is verified by the primary set: its name is then refused by the
//     claim rules, unless those are switched off.
//
// An error says that there are sets for this issuer and none was ever read.
// loose reports that loose sets were used, which deserves a warning.
func (r *Ring) Keys(issuer string, allowed []string) (keys []jose.JSONWebKey, loose bool, err error) {
	sets, loose := r.sets(issuer, allowed)
	var failed error
	read := false
	for i := range sets {
		if sets[i].Set == nil {
			failed = sets[i].Err
			continue
		}
		read = true
		if keys == nil {
			keys = sets[i].Set.keys[:len(sets[i].Set.keys):len(sets[i].Set.keys)]
		} else {
			keys = append(keys, sets[i].Set.keys...)
		}
	}
	if !read {
		if failed == nil {
			failed = ErrNoKeys
		}
		return nil, loose, failed
	}
	return keys, loose, nil
}

// ErrNoKeys says that a configuration has no source of keys for an issuer.
var ErrNoKeys = fmt.Errorf("no source of keys is known: neither jwks_endpoint is configured nor does the provider publish a jwks_uri")

func (r *Ring) sets(issuer string, allowed []string) (sets []Fetched, loose bool) {
	for _, f := range r.Bound {
		if same(f.Issuer, issuer) {
			sets = append(sets, f)
		}
	}
	switch {
	case issuer == "" || same(r.Primary.Issuer, issuer):
		// A token that names no issuer can only be the provider's.
		return append([]Fetched{r.Primary}, sets...), false
	case len(sets) > 0:
		// A binding that is configured outweighs what a document claims to be.
		return sets, false
	case contains(r.Names, issuer):
		return []Fetched{r.Primary}, false
	}
	if len(r.Loose) > 0 && contains(allowed, issuer) {
		for _, f := range r.Loose {
			// The provider's own set is bound, however it is listed.
			if f.URI != r.Primary.URI {
				sets = append(sets, f)
			}
		}
		if len(sets) > 0 {
			return sets, true
		}
	}
	return []Fetched{r.Primary}, false
}

func contains(names []string, issuer string) bool {
	for _, n := range names {
		if same(n, issuer) {
			return true
		}
	}
	return false
}

// same compares a trusted name with an issuer. A name with {tenantid} stands
// for every tenant of its provider.
func same(name, issuer string) bool {
	name, issuer = claims.BareIssuer(name), claims.BareIssuer(issuer)
	before, after, template := strings.Cut(name, "{tenantid}")
	if !template {
		return name != "" && name == issuer
	}
	rest, ok := strings.CutPrefix(issuer, before)
	if !ok {
		return false
	}
	tenant, ok := strings.CutSuffix(rest, after)
	return ok && tenant != "" && !strings.ContainsAny(tenant, "/?#")
}

// Equal reports whether both rings trust the same keys for the same issuers.
func (r *Ring) Equal(o *Ring) bool {
	if len(r.Names) != len(o.Names) || len(r.Bound) != len(o.Bound) || len(r.Loose) != len(o.Loose) || !r.Primary.equal(o.Primary) {
		return false
	}
	for i := range r.Names {
		if r.Names[i] != o.Names[i] {
			return false
		}
	}
	for i := range r.Bound {
		if !r.Bound[i].equal(o.Bound[i]) {
			return false
		}
	}
	for i := range r.Loose {
		if !r.Loose[i].equal(o.Loose[i]) {
			return false
		}
	}
	return true
}

func (f Fetched) equal(o Fetched) bool { return f.Source == o.Source && f.Set.Equal(o.Set) }
