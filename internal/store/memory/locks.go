package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kong-openid-connect/internal/store"
)

// locks implements store.Locks within the process.
type locks struct {
	now   func() time.Time
	state sync.Mutex // one writer of the state at a time, without a directory

	mu    sync.Mutex
	held  map[string]*held
	taken int
}

// sweepEvery is how many locks are taken between two sweeps of what has expired.
const sweepEvery = 256

type held struct {
	done   chan struct{}
	result []byte
	err    error
	until  time.Time // of the lease, then of the result
}

// Once implements store.Locks.
func (s *Store) Once(ctx context.Context, key string, lease, keep time.Duration, do func(context.Context) ([]byte, error)) ([]byte, error) {
	if err := store.CheckName(key); err != nil {
		return nil, err
	}
	h, left := s.locks.take(key, lease)
	if left > 0 {
		return h.wait(ctx, left)
	}
	finished := false
	defer func() {
		if !finished { // do panicked: whoever waits is answered
			s.locks.finish(key, h, nil, store.ErrLost, 0)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, lease)
	defer cancel()
	result, err := do(ctx)
	if err == nil && len(result) > store.MaxResult {
		err = fmt.Errorf("result of %d bytes: %w", len(result), store.ErrTooLarge)
	}
	finished = true
	s.locks.finish(key, h, result, err, keep)
	if err != nil {
		return nil, err
	}
	return result, nil
}

// take gets the lock of a key. left is how long somebody else has it, 0 when
// it is the caller's.
func (l *locks) take(key string, lease time.Duration) (h *held, left time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if h, ok := l.held[key]; ok && now.Before(h.until) {
		return h, h.until.Sub(now)
	}
	if l.held == nil {
		l.held = map[string]*held{}
	}
	if l.taken++; l.taken%sweepEvery == 0 {
		for k, h := range l.held {
			if !now.Before(h.until) {
				delete(l.held, k)
			}
		}
	}
	h = &held{done: make(chan struct{}), until: now.Add(lease)}
	l.held[key] = h
	return h, 0
}

func (l *locks) finish(key string, h *held, result []byte, err error, keep time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		h.err = store.ErrLost
		if l.held[key] == h {
			delete(l.held, key)
		}
	} else {
		h.result, h.until = result, l.now().Add(keep)
	}
	close(h.done)
}

// wait returns the result of whoever has the lock.
func (h *held) wait(ctx context.Context, lease time.Duration) ([]byte, error) {
	t := time.NewTimer(lease)
	defer t.Stop()
	select {
	case <-h.done:
		return h.result, h.err
	case <-t.C:
		return nil, store.ErrLost
	case <-ctx.Done():
		return nil, &store.Unavailable{Op: "wait for a result", Err: ctx.Err()}
	}
}
