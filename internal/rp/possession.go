package rp

import (
	"context"

	"kong-openid-connect/internal/claims"
	"kong-openid-connect/internal/token"
)

// Possession checks that whoever sends a token holds the key that it is bound
// to (RFC 9449, RFC 8705; behaviour.md 8.7).
type Possession interface {
	// Prove checks one token with one request. It returns fields for the client's
	// answer, such as a fresh DPoP-Nonce.
	Prove(ctx context.Context, r *Request, p Proof) ([]Field, error)
	// Algorithms are those of DPoP proofs, for challenges; "" where DPoP is off.
	Algorithms() string
	// Required reports whether every token must be bound to a DPoP key.
	Required() bool
}

// Proof is a token that its sender must have the key of.
type Proof struct {
	Claims      claims.Object // of the token or of its introspection
	Introspect  bool          // Claims are an introspection result
	AccessToken token.Opaque
	URL         string // of the request, as its client sees it
	Scheme      bool   // the token came with the DPoP scheme
	Session     bool   // the token comes from a session
}

// prove applies proof of possession to the methods that it covers: bearer,
// introspection, and the sessions that these made.
func (x *Exchange) prove(ctx context.Context, id *Identity) error {
	p := x.Policy
	if p.Possession == nil || id.Origin != MethodBearer && id.Origin != MethodIntrospection {
		return nil
	}
	if err := x.Request.Need(ctx, NeedMethod|NeedExternal); err != nil {
		return unread(err)
	}
	url, err := x.url(ctx)
	if err != nil {
		return err
	}
	q := Proof{AccessToken: id.AccessToken, URL: url, Session: id.Method == MethodSession}
	if id.Origin == MethodBearer && id.Access != nil {
		q.Claims = id.Access.Claims
	} else {
		q.Claims, q.Introspect = id.Introspection, true
	}
	if x.bearer != nil {
		q.Scheme = x.bearer.dpop
		if x.exchanged {
			// The proof is about the token that was sent; what it was exchanged for is bound to nobody.
			sent, err := p.Provider.Decode(x.bearer.Token)
			if err != nil {
				return &Error{Kind: Unauthorized, Code: "invalid_token", Description: "the token cannot be read", Reason: "malformed", Final: true, Err: err}
			}
			q.Claims, q.Introspect, q.AccessToken = sent.Claims, false, x.bearer.Token
		}
	}
	fields, err := p.Possession.Prove(ctx, x.Request, q)
	if err != nil {
		return err
	}
	id.replay = append(id.replay[:len(id.replay):len(id.replay)], fields...) // kept answers share theirs
	return nil
}

// downgrade is what the service sees of a DPoP request: no proof, and the
// token as the bearer's.
func (x *Exchange) downgrade(d *Decision) {
	if x.Policy.Possession == nil || x.Policy.Possession.Algorithms() == "" {
		return
	}
	x.clearHeader(d, "dpop")
	if c := x.used; c != nil && c.dpop && c.Name == "authorization" {
		for _, f := range d.Upstream.Set {
			if Canonical(f.Name) == "authorization" {
				return
			}
		}
		if !x.Policy.HideCredentials {
			d.Upstream.Set = append(d.Upstream.Set, Field{"Authorization", "Bearer " + c.Token.Reveal()})
		}
	}
}
