package jwks

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"kong-openid-connect/internal/fault"
)

// Pace says how often a provider is asked again.
type Pace struct {
	// Floor is the least time between the start of two attempts that are made
	// because something is missing (rediscovery_lifetime); 0 for no limit.
	Floor time.Duration
	// Pause is that time after an attempt that failed. It is not more than Floor.
	Pause time.Duration
	// MaxAge is the age at which the next use triggers a renewal in the
	// background (cache_ttl); 0 for never. Nothing is dropped by age.
	MaxAge time.Duration
	// Budget bounds one attempt, which belongs to no single request; 0 for no bound.
	Budget time.Duration
	// Now is the clock.
	Now func() time.Time
}

// FailurePause is the pause after a failed attempt.
const FailurePause = 5 * time.Second

// Load asks the provider. prev is the value that is kept, nil at first. It may
// return a value and an error: the value is kept, the error counts as a
// failure. With a nil value what is kept stays.
type Load[T any] func(ctx context.Context, prev *T) (*T, error)

// Kept is a value that is loaded from afar when it is first needed, kept for
// good, and loaded anew when it is old or something in it is missing. At most
// one attempt is under way at a time; whoever needs it waits for that one. The
// value survives every failure.
type Kept[T any] struct {
	pace Pace
	load Load[T]

	value atomic.Pointer[T] // written under mu

	mu      sync.Mutex
	err     error     // of the last attempt
	started time.Time // of the last attempt; zero before the first
	loaded  time.Time // when value was last confirmed
	flight  *flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
}

// NewKept returns a Kept that has asked nothing yet.
func NewKept[T any](p Pace, load Load[T]) *Kept[T] {
	if p.Pause > p.Floor {
		p.Pause = p.Floor
	}
	return &Kept[T]{pace: p, load: load}
}

// ErrPaused says that nothing is known and that the last attempt to learn it
// is too recent for another one.
var ErrPaused = errors.New("the last attempt failed moments ago")

// Get returns the value that is kept, and asks for it only when there is none.
// An old value is renewed in the background.
func (k *Kept[T]) Get(ctx context.Context) (*T, error) {
	k.mu.Lock()
	if v := k.value.Load(); v != nil {
		now := k.pace.Now()
		old := k.pace.MaxAge > 0 && now.Sub(k.loaded) >= k.pace.MaxAge
		// What is not urgent keeps the pause even where there is no floor.
		if old && k.flight == nil && k.due(now) && now.Sub(k.started) >= FailurePause {
			k.begin(ctx, now)
		}
		k.mu.Unlock()
		return v, nil
	}
	k.mu.Unlock()
	return k.Refresh(ctx)
}

// Peek returns what is kept, nil if nothing is. It never asks.
func (k *Kept[T]) Peek() *T { return k.value.Load() }

// Refresh asks anew, because what is kept does not suffice, and returns the
// outcome. Too soon after the last attempt it returns what is kept; where that
// is nothing, the error of the last attempt. A caller whose context ends stops
// waiting, the attempt goes on.
func (k *Kept[T]) Refresh(ctx context.Context) (*T, error) {
	k.mu.Lock()
	f := k.flight
	if f == nil {
		now := k.pace.Now()
		if !k.due(now) {
			defer k.mu.Unlock()
			if v := k.value.Load(); v != nil {
				return v, nil
			}
			return nil, errors.Join(ErrPaused, k.err)
		}
		f = k.begin(ctx, now)
	}
	k.mu.Unlock()
	select {
	case <-f.done:
		if f.value == nil {
			return nil, f.err
		}
		return f.value, nil
	case <-ctx.Done():
		if v := k.Peek(); v != nil {
			return v, nil
		}
		return nil, ctx.Err()
	}
}

// Forget drops what is kept, so that the next use asks again at once.
func (k *Kept[T]) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value.Store(nil)
	k.err, k.started, k.loaded = nil, time.Time{}, time.Time{}
	// An attempt that is under way answers those who wait for it; it is not kept.
	k.flight = nil
}

// Put keeps a value that came by another way, such as from another node, and
// was confirmed at the given time. It does not count as an attempt.
func (k *Kept[T]) Put(v *T, confirmed time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value.Store(v)
	k.err, k.loaded = nil, confirmed
}

// due reports whether another attempt may begin.
func (k *Kept[T]) due(now time.Time) bool {
	if k.started.IsZero() {
		return true
	}
	wait := k.pace.Floor
	if k.err != nil {
		wait = k.pace.Pause
	}
	return now.Sub(k.started) >= wait
}

// begin starts an attempt of its own, free of the request that caused it.
func (k *Kept[T]) begin(ctx context.Context, now time.Time) *flight[T] {
	f := &flight[T]{done: make(chan struct{})}
	k.flight, k.started = f, now
	prev := k.value.Load()
	ctx = context.WithoutCancel(ctx)
	go k.run(ctx, f, prev)
	return f
}

func (k *Kept[T]) run(ctx context.Context, f *flight[T], prev *T) {
	if k.pace.Budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.pace.Budget)
		defer cancel()
	}
	var v *T
	var err error
	// No request stands behind this goroutine that could recover for it.
	defer func() { k.end(f, v, err) }()
	defer fault.Recover(&err)
	v, err = k.load(ctx, prev)
}

func (k *Kept[T]) end(f *flight[T], v *T, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(f.done)
	if k.flight != f { // forgotten meanwhile
		f.value, f.err = v, err
		return
	}
	k.flight, k.err = nil, err
	if v != nil {
		k.value.Store(v)
	}
	if err == nil {
		k.loaded = k.pace.Now()
	}
	f.value, f.err = k.value.Load(), err
}
