package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"

	"kong-openid-connect/internal/redisconn"
)

// MaxSessions bounds the list of one subject; of more sessions those that end
// first are not listed.
const MaxSessions = 10_000

// indexKey hashes audience and subject, so that no subject stands in a key.
// The length of the first keeps the two apart.
func (s *Store) indexKey(audience, subject string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(audience)))
	sum := sha256.Sum256(append(append(b, audience...), subject...))
	return s.prefix + "index:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// The index is a sorted set of session keys by the millisecond of their end, on the server's clock.
var (
	indexAdd = redisconn.NewScript(`
local t = redis.call('time')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('zremrangebyscore', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('zadd', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('zremrangebyrank', KEYS[1], 0, -1 - ARGV[3])
local last = redis.call('zrange', KEYS[1], -1, -1, 'withscores')
redis.call('pexpireat', KEYS[1], string.format('%.0f', last[2]))
return 1`)
	indexRemove = redisconn.NewScript(`return redis.call('zrem', KEYS[1], ARGV[1])`)
	indexList   = redisconn.NewScript(`
local t = redis.call('time')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('zrangebyscore', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'limit', 0, ARGV[1])`)
)

// AddSession implements session.Index.
func (s *Store) AddSession(ctx context.Context, audience, subject, key string, ttl time.Duration) error {
	if ttl <= 0 {
		return errors.New("redis: a session whose time is over cannot be listed")
	}
	_, err := s.conn.Run(ctx, indexAdd, s.indexKey(audience, subject), key, redisconn.Milliseconds(ttl), MaxSessions)
	return err
}

// RemoveSession implements session.Index.
func (s *Store) RemoveSession(ctx context.Context, audience, subject, key string) error {
	_, err := s.conn.Run(ctx, indexRemove, s.indexKey(audience, subject), key)
	return err
}

// Sessions implements session.Index.
func (s *Store) Sessions(ctx context.Context, audience, subject string) ([]string, error) {
	v, err := s.conn.Run(ctx, indexList, s.indexKey(audience, subject), MaxSessions)
	if err != nil {
		return nil, err
	}
	items, _ := v.([]any)
	keys := make([]string, 0, len(items))
	for _, item := range items {
		if key, ok := item.(string); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
