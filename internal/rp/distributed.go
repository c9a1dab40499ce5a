package rp

import (
	"context"
	"slices"
	"time"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// ClaimsSource is where claims of a token or of userinfo are kept (OpenID
// Connect Core 5.6.2): in a JWT beside it, or at an endpoint.
type ClaimsSource struct {
	Names       []string // the claims that are wanted of it
	JWT         token.Opaque
	Endpoint    string
	AccessToken token.Opaque // for the endpoint; "" where the source names none
	Current     token.Opaque // the caller's own, for endpoints of the provider
	Client      int
	Expiry      time.Time // until when the answer may be kept; zero: unknown
}

// Bounds of what is followed for one request.
const (
	maxSources      = 4
	maxSourceClaims = 16
	sourcesBudget   = 5 * time.Second
)

// protocolClaims say who issued a token to whom. No source may supply them.
var protocolClaims = []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "acr", "amr", "auth_time", "at_hash", "c_hash", "s_hash", "sid", "cnf", "act", "may_act", "client_id", "scope", "_claim_names", "_claim_sources"}

// collect resolves the claims that the ID token and userinfo point to
// (behaviour.md 17, resolve_distributed_claims). What cannot be had is absent.
func (x *Exchange) collect(ctx context.Context, id *Identity) {
	if !x.Policy.DistributedClaims {
		return
	}
	id.followed = true
	ctx, cancel := context.WithTimeout(ctx, sourcesBudget)
	defer cancel()
	left := maxSources
	if id.ID != nil {
		id.idExtra = x.resolve(ctx, id, id.ID.Claims, &left)
	}
	if id.UserInfo != nil {
		id.userInfoExtra = x.resolve(ctx, id, id.UserInfo, &left)
	}
}

// resolve returns the claims that o points to and does not hold itself.
func (x *Exchange) resolve(ctx context.Context, id *Identity, o claims.Object, left *int) claims.Object {
	sources := sourcesOf(o)
	if len(sources) == 0 {
		return nil
	}
	out := claims.Object{}
	for _, s := range sources {
		if *left--; *left < 0 {
			x.Policy.warn(ctx, "there are more claims sources than are followed", "limit", maxSources)
			break
		}
		s.Current, s.Client, s.Expiry = id.AccessToken, id.Client, id.Expiry
		got, err := x.Policy.Provider.DistributedClaims(ctx, s)
		if err != nil {
			x.Policy.warn(ctx, "claims of another source could not be had; the request goes on without them", "claims", s.Names, "error", err)
			continue
		}
		for _, n := range s.Names {
			if v, ok := got[n]; ok {
				out[n] = v
			}
		}
	}
	return out
}

// sourcesOf reads `_claim_names` and `_claim_sources`, in the order of the
// sources' names. What is malformed is left out.
func sourcesOf(o claims.Object) []ClaimsSource {
	names, _ := o["_claim_names"].(map[string]any)
	sources, _ := o["_claim_sources"].(map[string]any)
	if len(names) == 0 || len(sources) == 0 || len(names) > maxSourceClaims {
		return nil
	}
	by := map[string]*ClaimsSource{}
	var keys []string
	for name, key := range names {
		k, _ := key.(string)
		src, _ := sources[k].(map[string]any)
		if _, own := o[name]; own || src == nil || slices.Contains(protocolClaims, name) {
			continue
		}
		if by[k] == nil {
			text := func(member string) string { s, _ := src[member].(string); return s }
			s := &ClaimsSource{JWT: token.Opaque(text("JWT")), Endpoint: text("endpoint"), AccessToken: token.Opaque(text("access_token"))}
			if s.JWT == "" && s.Endpoint == "" {
				continue
			}
			by[k] = s
			keys = append(keys, k)
		}
		by[k].Names = append(by[k].Names, name)
	}
	slices.Sort(keys)
	out := make([]ClaimsSource, 0, len(keys))
	for _, k := range keys {
		slices.Sort(by[k].Names)
		out = append(out, *by[k])
	}
	return out
}
