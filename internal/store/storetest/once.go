package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
)

// FirstOfMany makes n calls at once and wants exactly one of them to be the first.
func FirstOfMany(t *testing.T, n int, call func(i int) (first bool, err error)) {
	t.Helper()
	var first atomic.Int32
	together(n, func(i int) {
		ok, err := call(i)
		if err != nil {
			t.Error(err)
		}
		if ok {
			first.Add(1)
		}
	})
	if first.Load() != 1 {
		t.Fatalf("%d of %d calls were the first", first.Load(), n)
	}
}

// OneRun has n callers ask the nodes in turn for the work of one key at once,
// and wants it done once, with its result for all. hold, unless nil, is called
// while the work is done.
func OneRun(t *testing.T, n int, key string, hold func(), nodes ...store.Locks) {
	t.Helper()
	var runs atomic.Int32
	together(n, func(i int) {
		v, err := nodes[i%len(nodes)].Once(background(), key, 20*time.Second, 10*time.Second, func(context.Context) ([]byte, error) {
			runs.Add(1)
			if hold != nil {
				hold()
			}
			return []byte(key), nil
		})
		if err != nil || string(v) != key {
			t.Errorf("%s: %q, %v", key, v, err)
		}
	})
	if runs.Load() != 1 {
		t.Fatalf("%s ran %d times", key, runs.Load())
	}
}

func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
