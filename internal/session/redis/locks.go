package redis

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/store"
)

// A lock's value is its state, the attempt's name and, if any, the result.
const (
	held   = 'h'
	done   = 'r'
	failed = 'f'

	attemptLen = 26
	maxLock    = 1 + attemptLen + store.MaxResult
)

// How often a waiter looks for the result.
const (
	firstLook = 10 * time.Millisecond
	longLook  = 150 * time.Millisecond
)

// failureKept is how long those who wait can learn that an attempt failed.
const failureKept = 10 * time.Second

// finishTimeout is how long a caller that has its result waits until the others have it too.
const finishTimeout = 2 * time.Second

// Locks implements store.Locks: one caller among all nodes does a piece of
// work, the others get its result. The lock ends with its lease, so a node
// that dies holds nobody up for longer.
type Locks struct {
	conn   Conn
	prefix string
	log    *slog.Logger
}

var (
	_ store.Locks  = (*Locks)(nil)
	_ store.Claims = (*Locks)(nil)
)

// NewLocks returns the locks of a prefix ("" means DefaultPrefix). log may be nil.
func NewLocks(conn Conn, prefix string, log *slog.Logger) *Locks {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Locks{conn: conn, prefix: prefix + ":lock:", log: log}
}

// take returns the lock's value when somebody else holds it. Run again after a
// lost reply it finds the caller's own name and is content.
var take = redisconn.NewScript(`
local v = redis.call('get', KEYS[1])
if not v or string.sub(v, 1, 1) == 'f' then
  redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
  return ''
end
if v == ARGV[1] then return '' end
return v`)

// finish ends the caller's own attempt; one that has lost its lease changes nothing.
var finish = redisconn.NewScript(`
local v = redis.call('get', KEYS[1])
if v ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
return 1`)

// Once implements store.Locks.
func (l *Locks) Once(ctx context.Context, key string, lease, keep time.Duration, do func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := store.CheckName(key); err != nil {
		return nil, err
	}
	attempt := rand.Text()
	// The context of the work ends before the lease, which begins when Redis has it.
	work, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	v, err := l.conn.Run(ctx, take, l.prefix+key, string(held)+attempt, redisconn.Milliseconds(lease))
	if err != nil {
		return nil, &store.Unavailable{Op: "take lock", Err: err}
	}
	value, ok := v.(string)
	if !ok {
		return nil, &store.Unavailable{Op: "take lock", Err: errors.New("Redis gave an answer of another kind")}
	}
	if value != "" {
		return l.await(ctx, key, []byte(value))
	}
	finished := false
	defer func() {
		if !finished { // do panicked
			l.finish(ctx, key, attempt, failed, nil, failureKept)
		}
	}()
	result, err := do(work)
	if err == nil && len(result) > store.MaxResult {
		err = fmt.Errorf("result of %d bytes: %w", len(result), store.ErrTooLarge)
	}
	finished = true
	if err != nil {
		l.finish(ctx, key, attempt, failed, nil, failureKept)
		return nil, err
	}
	l.finish(ctx, key, attempt, done, result, keep)
	return result, nil
}

// Claim implements store.Claims: a lock whose work is done.
func (l *Locks) Claim(ctx context.Context, key string, keep time.Duration) (bool, error) {
	if err := store.CheckName(key); err != nil {
		return false, err
	}
	v, err := l.conn.Run(ctx, take, l.prefix+key, string(done)+rand.Text(), redisconn.Milliseconds(keep))
	if err != nil {
		return false, &store.Unavailable{Op: "claim", Err: err}
	}
	value, ok := v.(string)
	if !ok {
		return false, &store.Unavailable{Op: "claim", Err: errors.New("Redis gave an answer of another kind")}
	}
	return value == "", nil
}

// await waits for what the attempt that a value names comes to.
func (l *Locks) await(ctx context.Context, key string, value []byte) ([]byte, error) {
	var attempt []byte
	pause := firstLook
	for {
		if len(value) < 1+attemptLen || attempt != nil && !bytes.Equal(attempt, value[1:1+attemptLen]) {
			return nil, store.ErrLost // the lease ended, or somebody else is at it by now
		}
		attempt = value[1 : 1+attemptLen]
		switch value[0] {
		case held:
		case done:
			return value[1+attemptLen:], nil
		default:
			return nil, store.ErrLost
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, &store.Unavailable{Op: "wait for another node's result", Err: ctx.Err()}
		}
		pause = min(pause*3/2, longLook)
		next, err := l.conn.Get(ctx, l.prefix+key, maxLock)
		if err != nil {
			return nil, &store.Unavailable{Op: "wait for another node's result", Err: err}
		}
		value = next
	}
}

// finish says what an attempt came to. Should that fail, those who wait learn
// it from the end of the lease; the caller has its result all the same.
func (l *Locks) finish(ctx context.Context, key, attempt string, state rune, result []byte, keep time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	value := append([]byte(string(state)+attempt), result...)
	for range 2 {
		if _, err := l.conn.Run(ctx, finish, l.prefix+key, string(held)+attempt, value, redisconn.Milliseconds(keep)); err == nil {
			return
		}
	}
	l.log.Warn("openid-connect: the result of a lock could not be kept in Redis; waiting nodes give up when its lease ends")
}
