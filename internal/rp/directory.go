package rp

import (
	"context"

	"kong-openid-connect/internal/claims"
)

// Directory knows principals: who a caller is beyond one provider (behaviour.md
// 10.5). A deployment that has such a service implements it.
type Directory interface {
	// Entry returns the principal that a query is about; nil where there is
	// none. A directory that could not be asked is an error, never nil.
	Entry(ctx context.Context, q DirectoryQuery) (*DirectoryEntry, error)
}

// DirectoryQuery is what a directory is asked for. No field but one of Issuer
// and By is empty.
type DirectoryQuery struct {
	Directory string // principals.directory
	Issuer    string // Value is a subject of this issuer
	By        string // Value is an identity of this custom kind (principals.principal_by)
	Value     string
}

// DirectoryEntry is a principal.
type DirectoryEntry struct {
	ID       string
	Consumer string   // id of the consumer that is attached; "" for none
	Groups   []string // names of the consumer groups that are attached
}

// PrincipalPolicy governs the lookup of principals.
type PrincipalPolicy struct {
	Directory     Directory // nil: off
	Name          string    // of the directory
	By            string    // kind of a custom identity; "" looks up by issuer
	Claim         claims.Path
	Optional      bool // no principal is no denial
	MatchConsumer bool // the attached consumer goes before consumer_claims
	MatchGroups   bool // the attached groups go before consumer_groups_claim
}

// lookUpPrincipal finds the caller's entry; nil where the lookup is off, or
// where there is none and none is needed.
func (x *Exchange) lookUpPrincipal(ctx context.Context, id *Identity) (*DirectoryEntry, error) {
	p := &x.Policy.Principals
	if p.Directory == nil {
		return nil, nil
	}
	q, ok, err := x.directoryQuery(ctx, id)
	if err != nil {
		return nil, err
	}
	var e *DirectoryEntry
	if ok {
		if e, err = p.Directory.Entry(ctx, q); err != nil {
			return nil, &Error{Description: "principals could not be looked up", Reason: "principal_lookup", Err: err}
		}
	}
	if e == nil && !p.Optional {
		return nil, &Error{Kind: Unauthorized, Description: "no principal fits the caller", Reason: "no_principal"}
	}
	return e, nil
}

// directoryQuery is false where the caller has no claim to look up by. Issuer
// and value come from one source: a subject of one issuer is nobody at another.
func (x *Exchange) directoryQuery(ctx context.Context, id *Identity) (q DirectoryQuery, ok bool, err error) {
	p := &x.Policy.Principals
	v, source, _ := id.find(p.Claim)
	q = DirectoryQuery{Directory: p.Name, By: p.By}
	if q.Value, ok = claims.Text(v); !ok || q.Value == "" || len(q.Value) > DefaultMaxHeader {
		return q, false, nil
	}
	if q.By != "" {
		return q, true, nil
	}
	if q.Issuer, _ = source["iss"].(string); q.Issuer == "" {
		m, err := x.Policy.Provider.Metadata(ctx)
		if err != nil {
			return q, false, err
		}
		q.Issuer = m.Issuer
	}
	return q, q.Issuer != "", nil
}

// attachedConsumer returns the consumer of an entry where that one counts. One
// that Kong does not know is an error: the directory and Kong are apart.
func (x *Exchange) attachedConsumer(ctx context.Context, e *DirectoryEntry) (*Consumer, error) {
	if e == nil || e.Consumer == "" || !x.Policy.Principals.MatchConsumer {
		return nil, nil
	}
	c, err := x.Policy.Consumers.Consumer(ctx, x.Request, ByID, e.Consumer, false)
	if err != nil {
		return nil, &Error{Description: "consumers could not be looked up", Reason: "consumer_lookup", Err: err}
	}
	if c == nil {
		return nil, &Error{Description: "the consumer that is attached to the principal is none of Kong's", Reason: "no_consumer"}
	}
	return c, nil
}
