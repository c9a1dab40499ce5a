package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/store"
)

// clockSlack is added to the life of a revocation, because Redis counts it and
// the sessions that it ends go by the nodes' clocks.
const clockSlack = 5 * time.Minute

const (
	maxRevocation = 64 // bytes of a value
	maxKeys       = 64 // keys that are asked for at once
	maxFuture     = 10 * 365 * 24 * time.Hour
)

// A revocation is two moments in milliseconds: the earliest and the latest
// beginning. Of two revocations of a key both count, and the later end.
var revoke = redisconn.NewScript(`
local first, last, life = ARGV[1], ARGV[1], tonumber(ARGV[2])
local v = redis.call('get', KEYS[1])
if v then
  local a, b = string.match(v, '^(%d+) (%d+)$')
  if a and tonumber(a) < tonumber(first) then first = a end
  if b and tonumber(b) > tonumber(last) then last = b end
  local left = redis.call('pttl', KEYS[1])
  if left > life then life = left end
end
redis.call('set', KEYS[1], first .. ' ' .. last, 'px', string.format('%.0f', life))
return 1`)

func (s *Store) revokedKey(key string) (string, error) {
	if err := store.CheckName(key); err != nil {
		return "", fmt.Errorf("redis: revocation: %w", err)
	}
	return s.prefix + "revoked:" + key, nil
}

// Revoke implements session.Revocations. It is listed a little longer than
// until; a span that is empty or over already is not listed at all.
func (s *Store) Revoke(ctx context.Context, key string, from, until time.Time) error {
	name, err := s.revokedKey(key)
	if err != nil {
		return err
	}
	if from.UnixMilli() < 0 {
		return errors.New("redis: a revocation that begins before 1970")
	}
	life := until.Sub(s.now())
	if life <= 0 || !until.After(from) {
		return nil
	}
	_, err = s.conn.Run(ctx, revoke, name, strconv.FormatInt(from.UnixMilli(), 10), redisconn.Milliseconds(min(life, maxFuture)+clockSlack))
	return err
}

// Revoked implements session.Revocations.
func (s *Store) Revoked(ctx context.Context, keys ...string) (bool, error) {
	spans, err := s.spans(ctx, keys)
	if err != nil {
		return false, err
	}
	now := s.now()
	for _, span := range spans {
		if !span.first.IsZero() && !now.Before(span.first) {
			return true, nil
		}
	}
	return false, nil
}

// Ended implements session.Revocations, in one round trip.
func (s *Store) Ended(ctx context.Context, began time.Time, subject string, keys ...string) (bool, error) {
	spans, err := s.spans(ctx, append([]string{subject}, keys...))
	if err != nil {
		return false, err
	}
	return s.ended(began, spans), nil
}

// ended judges by the span of a subject, and behind it those of other keys.
func (s *Store) ended(began time.Time, spans []span) bool {
	now := s.now()
	for _, span := range spans[1:] {
		if !span.first.IsZero() && !now.Before(span.first) {
			return true
		}
	}
	at := spans[0].latest(now)
	return !at.IsZero() && at.UnixMilli() >= began.UnixMilli()
}

// GetEnded implements session.Joint: the session first, so that an ending that
// came before it was read is seen.
func (s *Store) GetEnded(ctx context.Context, key string, began time.Time, subject string, keys ...string) ([]byte, bool, error) {
	reads := append(make([]redisconn.Read, 0, 2+len(keys)), redisconn.Read{Key: s.prefix + key, Limit: MaxValue + len(mark)})
	reads, err := s.revocations(reads, subject)
	if err == nil {
		reads, err = s.revocations(reads, keys...)
	}
	if err != nil {
		return nil, false, err
	}
	values, err := s.conn.GetAll(ctx, reads...)
	if err != nil {
		return nil, false, err
	}
	value, err := unmarked(values[0])
	if err != nil {
		return nil, false, err
	}
	spans, err := parseSpans(values[1:])
	if err != nil {
		return nil, false, err
	}
	return value, s.ended(began, spans), nil
}

type span struct{ first, last time.Time } // zero where nothing is listed

// latest is the beginning of the latest revocation that has begun. One that is
// still to come does not hide those that hold.
func (p span) latest(now time.Time) time.Time {
	switch {
	case p.first.IsZero() || now.Before(p.first):
		return time.Time{}
	case now.Before(p.last):
		return p.first
	}
	return p.last
}

func (s *Store) spans(ctx context.Context, keys []string) ([]span, error) {
	if len(keys) == 0 {
		return nil, ctx.Err()
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("redis: %d keys of revocations at once, at most %d", len(keys), maxKeys)
	}
	reads, err := s.revocations(make([]redisconn.Read, 0, len(keys)), keys...)
	if err != nil {
		return nil, err
	}
	values, err := s.conn.GetAll(ctx, reads...)
	if err != nil {
		return nil, err
	}
	return parseSpans(values)
}

// revocations appends to reads those of the keys' revocations.
func (s *Store) revocations(reads []redisconn.Read, keys ...string) ([]redisconn.Read, error) {
	for _, key := range keys {
		name, err := s.revokedKey(key)
		if err != nil {
			return nil, err
		}
		reads = append(reads, redisconn.Read{Key: name, Limit: maxRevocation})
	}
	return reads, nil
}

func parseSpans(values [][]byte) ([]span, error) {
	spans := make([]span, len(values))
	for i, v := range values {
		if v == nil {
			continue
		}
		var err error
		if spans[i], err = parseSpan(string(v)); err != nil {
			return nil, err
		}
	}
	return spans, nil
}

// parseSpan reads a value. One that cannot be read is an error: it might have ended a session.
func parseSpan(v string) (span, error) {
	a, b, ok := strings.Cut(v, " ")
	first, err1 := strconv.ParseInt(a, 10, 64)
	last, err2 := strconv.ParseInt(b, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return span{}, errors.New("redis: a revocation is not of this program's making: set redis.prefix to one of your own")
	}
	return span{time.UnixMilli(first), time.UnixMilli(last)}, nil
}
