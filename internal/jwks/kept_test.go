package jwks

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/fault"
)

// source counts how often it is asked, and answers with its count.
type source struct {
	asked atomic.Int64
	fail  atomic.Bool
	slow  time.Duration
}

var errDown = errors.New("down")

func (s *source) load(ctx context.Context, prev *int64) (*int64, error) {
	n := s.asked.Add(1)
	if s.slow > 0 {
		select {
		case <-time.After(s.slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.fail.Load() {
		return nil, errDown
	}
	return &n, nil
}

func pace() Pace {
	return Pace{Floor: 30 * time.Second, Pause: FailurePause, MaxAge: time.Hour, Budget: 20 * time.Second, Now: time.Now}
}

func TestKeptIsLoadedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{slow: time.Second}
		k := NewKept(pace(), s.load)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if v, err := k.Get(t.Context()); err != nil || *v != 1 {
					t.Errorf("got %v, %v", v, err)
				}
			})
		}
		wg.Wait()
		for range 10 {
			if v, _ := k.Get(t.Context()); *v != 1 {
				t.Error("asked again")
			}
		}
	})
}

// Case 57: a flood makes one attempt a floor, to the second.
func TestCase57Floor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		k := NewKept(pace(), s.load)
		flood := func() {
			t.Helper()
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if _, err := k.Refresh(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		for _, step := range []struct {
			wait time.Duration
			want int64
		}{{0, 1}, {30*time.Second - 1, 1}, {1, 2}, {0, 2}, {29 * time.Second, 2}, {time.Second, 3}} {
			time.Sleep(step.wait)
			flood()
			if n := s.asked.Load(); n != step.want {
				t.Fatalf("asked %d times, want %d", n, step.want)
			}
		}
	})
}

func TestNoFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		p := pace()
		p.Floor = 0
		k := NewKept(p, s.load)
		for range 3 {
			if _, err := k.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
		s.fail.Store(true)
		for range 2 {
			if _, err := k.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if n := s.asked.Load(); n != 5 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Case 60: down at boot, back later; the pause after a failure is 5 s.
func TestCase60DownAtBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		s.fail.Store(true)
		k := NewKept(pace(), s.load)
		if _, err := k.Get(t.Context()); !errors.Is(err, errDown) {
			t.Fatal(err)
		}
		s.fail.Store(false)
		time.Sleep(5*time.Second - 1)
		if _, err := k.Get(t.Context()); !errors.Is(err, ErrPaused) || !errors.Is(err, errDown) {
			t.Fatalf("within the pause: %v", err)
		}
		time.Sleep(1)
		if v, err := k.Get(t.Context()); err != nil || *v != 2 {
			t.Fatalf("after the pause: %v, %v", v, err)
		}
	})
}

// Case 40: what is known outlives every failure.
func TestCase40StaleButUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		k := NewKept(pace(), s.load)
		if _, err := k.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.fail.Store(true)
		for range 100 {
			time.Sleep(time.Hour)
			if v, err := k.Get(t.Context()); err != nil || *v != 1 {
				t.Fatalf("got %v, %v", v, err)
			}
			if v, err := k.Refresh(t.Context()); err != nil || *v != 1 {
				t.Fatalf("got %v, %v", v, err)
			}
		}
	})
}

func TestRenewalInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{slow: time.Second}
		k := NewKept(pace(), s.load)
		get := func(want int64) {
			t.Helper()
			start := time.Now()
			if v, err := k.Get(t.Context()); err != nil || *v != want {
				t.Fatalf("got %v, %v", *v, err)
			}
			if want > 1 && time.Since(start) > 0 {
				t.Error("a request waited")
			}
		}
		get(1)
		time.Sleep(time.Hour - 1)
		get(1)
		synctest.Wait()
		time.Sleep(1)
		get(1) // old: served, and renewed behind
		time.Sleep(2 * time.Second)
		get(2)
		if n := s.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestCallerMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{slow: 10 * time.Second}
		k := NewKept(pace(), s.load)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Get(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if v, err := k.Get(t.Context()); err != nil || *v != 1 {
			t.Fatalf("the attempt did not go on: %v, %v", v, err)
		}
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{slow: time.Hour}
		k := NewKept(pace(), s.load)
		start := time.Now()
		if _, err := k.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestForgetAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{slow: time.Second}
		k := NewKept(pace(), s.load)
		go func() { _, _ = k.Get(t.Context()) }()
		time.Sleep(time.Second / 2)
		k.Forget() // an attempt is under way: its outcome is not kept
		if v, err := k.Get(t.Context()); err != nil || *v != 2 {
			t.Errorf("got %v, %v", v, err)
		}
		time.Sleep(time.Minute)
		if v := k.Peek(); *v != 2 {
			t.Errorf("kept %d", *v)
		}
	})
}

func TestPartialValueIsKeptAndCountsAsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n int64
		k := NewKept(pace(), func(context.Context, *int64) (*int64, error) { n++; v := n; return &v, errDown })
		if v, err := k.Get(t.Context()); err != nil || *v != 1 {
			t.Fatalf("got %v, %v", v, err)
		}
		time.Sleep(5 * time.Second)
		if v, err := k.Refresh(t.Context()); err != nil || *v != 2 {
			t.Fatalf("got %v, %v", v, err)
		}
	})
}

// Case 65: a fault while loading ends that attempt, not the process.
func TestCase65PanicWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		k := NewKept(pace(), func(context.Context, *int64) (*int64, error) {
			if broken {
				panic("boom")
			}
			return new(int64), nil
		})
		if _, err := k.Get(t.Context()); !errors.Is(err, fault.ErrPanicked) {
			t.Fatal(err)
		}
		broken = false
		time.Sleep(5 * time.Second)
		if _, err := k.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		k := NewKept(pace(), s.load)
		seven := int64(7)
		k.Put(&seven, time.Now().Add(-2*time.Hour))
		if v, err := k.Get(t.Context()); err != nil || *v != 7 {
			t.Fatalf("got %v, %v", v, err)
		}
		synctest.Wait()
		if v, _ := k.Get(t.Context()); *v != 1 {
			t.Error("an old value was not renewed")
		}
	})
}
