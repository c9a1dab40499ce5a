// Package replays remembers DPoP proofs where all nodes look for them (RFC 9449
// section 11.1): by claims in Redis or in Kong's database. In front stands the
// memory of the process, which bounds what one node may write and answers a
// replay at the same node by itself.
//
// What cannot be noted is not accepted: errors are for token.ErrReplays.
//
// Imported by plugin.
package replays

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// skew is added to how long a proof is kept: its end goes by the clock of the
// node that saw it first, and another one may be behind.
const skew = 10 * time.Second

// Shared remembers proofs in this process and among all nodes. It is safe for
// concurrent use.
type Shared struct {
	here   token.Replays
	claims store.Claims
	now    func() time.Time
}

var _ token.Replays = (*Shared)(nil)

// New shares by claims; here is the memory of the process.
func New(here token.Replays, claims store.Claims, now func() time.Time) *Shared {
	return &Shared{here, claims, now}
}

// Remember implements token.Replays. A proof that could not be noted for all
// nodes stays noted in this process: it is never accepted.
func (s *Shared) Remember(ctx context.Context, thumbprint string, id [sha256.Size]byte, until time.Time) (bool, error) {
	fresh, err := s.here.Remember(ctx, thumbprint, id, until)
	if err != nil || !fresh {
		return false, err
	}
	fresh, err = s.claims.Claim(ctx, "dpop-"+base64.RawURLEncoding.EncodeToString(id[:]), max(until.Sub(s.now()), 0)+skew)
	return fresh && err == nil, err
}
