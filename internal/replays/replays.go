// Package replays remembers DPoP proofs where all nodes look for them (RFC 9449
// section 11.1): in Redis, or in the store of Kong's database. In front stands
// the memory of the process, which bounds what one node may write and answers a
// replay at the same node by itself.
//
// What cannot be noted is not accepted: errors are for token.ErrReplays.
//
// Imported by plugin.
package replays

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/token"
)

// skew is added to how long a proof is kept: its end goes by the clock of the
// node that saw it first, and another one may be behind.
const skew = 10 * time.Second

// noter notes an id for keep, once among all nodes.
type noter func(ctx context.Context, id [sha256.Size]byte, keep time.Duration) (fresh bool, err error)

// Shared remembers proofs in this process and among all nodes. It is safe for
// concurrent use.
type Shared struct {
	here token.Replays
	now  func() time.Time
	note noter
}

var _ token.Replays = (*Shared)(nil)

// Remember implements token.Replays. A proof that could not be noted for all
// nodes stays noted in this process: it is never accepted.
func (s *Shared) Remember(ctx context.Context, thumbprint string, id [sha256.Size]byte, until time.Time) (bool, error) {
	fresh, err := s.here.Remember(ctx, thumbprint, id, until)
	if err != nil || !fresh {
		return false, err
	}
	fresh, err = s.note(ctx, id, max(until.Sub(s.now()), 0)+skew)
	return fresh && err == nil, err
}

// InStore shares by a store; here is the memory of the process.
func InStore(here token.Replays, there store.Proofs, now func() time.Time) *Shared {
	return &Shared{here, now, there.RememberProof}
}

// Conn is what this package needs of Redis; *redisconn.Client implements it.
type Conn interface {
	Run(ctx context.Context, s *redisconn.Script, key string, args ...any) (any, error)
}

// remember finds its own mark when it is run again after a lost reply.
var remember = redisconn.NewScript(`
local v = redis.call('get', KEYS[1])
if not v then
  redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
  return 1
end
if v == ARGV[1] then return 1 end
return 0`)

// InRedis shares by Redis, below prefix; here is the memory of the process.
// Redis must not evict keys before their time (maxmemory-policy noeviction).
func InRedis(here token.Replays, conn Conn, prefix string, now func() time.Time) *Shared {
	return &Shared{here, now, func(ctx context.Context, id [sha256.Size]byte, keep time.Duration) (bool, error) {
		key := prefix + ":dpop:" + base64.RawURLEncoding.EncodeToString(id[:])
		v, err := conn.Run(ctx, remember, key, rand.Text(), redisconn.Milliseconds(keep))
		if err != nil {
			return false, err
		}
		n, ok := v.(int64)
		if !ok {
			return false, errors.New("Redis gave an answer of another kind")
		}
		return n == 1, nil
	}}
}
