package storetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"context"

	"kong-openid-connect/internal/store"
)

// slots renders keys as alg:kid, the previous ones in brackets.
func slots(keys []store.OwnKey) string {
	var out []string
	for _, k := range keys {
		s := k.Algorithm + ":" + k.KID
		if k.Slot == store.Previous {
			s = "(" + s + ")"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func ownKeyOnce(t *testing.T, n Nodes) {
	var mu sync.Mutex
	kids := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 10 {
		s := n.A
		if i%2 == 1 {
			s = n.B
		}
		wg.Go(func() {
			k, err := s.AddOwnKey(background(), ownKey(string(rune('a'+i)), "RS256"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if string(k.Private.Reveal()) != string(ownKey(k.KID, "RS256").Private.Reveal()) {
				t.Errorf("key %s has another one's private part", k.KID)
			}
			kids[k.KID] = true
		})
	}
	wg.Wait()
	if len(kids) != 1 {
		t.Errorf("kids = %v", kids)
	}
	if _, err := n.A.AddOwnKey(t.Context(), ownKey("z", "ES256")); err != nil {
		t.Fatal(err)
	}
	n.Eventually(t, "both keys on the other node", func() bool { return len(ownKeys(t, n.B)) == 2 })
	if k := ownKeys(t, n.B)[0]; k.CreatedAt.Unix() != 1_700_000_000 || k.Private.IsZero() {
		t.Errorf("key = %+v", k)
	}
}

func ownKeyRotation(t *testing.T, n Nodes) {
	rotate := func(s store.Store, keys ...store.OwnKey) {
		t.Helper()
		if err := s.RotateOwnKeys(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
	}
	rotate(n.A, ownKey("a", "RS256"), ownKey("b", "ES256"))
	if got := slots(ownKeys(t, n.A)); got != "ES256:b RS256:a" {
		t.Fatalf("first: %s", got)
	}
	rotate(n.A, ownKey("c", "RS256"))
	if got := slots(ownKeys(t, n.A)); got != "(ES256:b) (RS256:a) RS256:c" {
		t.Errorf("second: %s", got)
	}
	if keys := ownKeys(t, n.A); keys[0].KID != "c" {
		t.Errorf("first key is %s, want the current one", keys[0].KID)
	}
	rotate(n.B, ownKey("d", "RS256"))
	if got := slots(ownKeys(t, n.B)); got != "(RS256:c) RS256:d" {
		t.Errorf("third: %s", got)
	}
	n.Eventually(t, "the other node sees the rotation", func() bool { return slots(ownKeys(t, n.A)) == "(RS256:c) RS256:d" })
}

func ownKeyDeleted(t *testing.T, n Nodes) {
	for _, k := range []store.OwnKey{ownKey("a", "RS256"), ownKey("b", "ES256")} {
		if _, err := n.A.AddOwnKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.A.DeleteOwnKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := n.A.DeleteOwnKey(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if got := slots(ownKeys(t, n.A)); got != "ES256:b" {
		t.Errorf("left: %s", got)
	}
	if k, err := n.A.AddOwnKey(t.Context(), ownKey("c", "RS256")); err != nil || k.KID != "c" {
		t.Errorf("new key: %v, %v", k, err)
	}
}

func revoked(t *testing.T, s store.Store, keys ...string) bool {
	t.Helper()
	ok, err := s.Revoked(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// epoch is a time that every clock in these tests has passed, future one that none reaches.
var (
	epoch  = time.Unix(1_600_000_000, 0)
	future = time.Unix(4_000_000_000, 0)
)

func revoke(t *testing.T, n Nodes) {
	if revoked(t, n.A, "a", "b") || revoked(t, n.B, "a") {
		t.Fatal("revoked without a revocation")
	}
	if err := n.A.Revoke(t.Context(), "a", epoch, future); err != nil {
		t.Fatal(err)
	}
	if !revoked(t, n.A, "a") || !revoked(t, n.A, "b", "a") || revoked(t, n.A, "b") || revoked(t, n.A) {
		t.Error("the node itself does not honour it")
	}
	n.Eventually(t, "the other node honours it", func() bool { return revoked(t, n.B, "a") })
	if revoked(t, n.B, "b") {
		t.Error("another key is revoked")
	}
	for _, key := range []string{"", strings.Repeat("x", store.MaxKey+1), "\x00", "\xff"} {
		if err := n.A.Revoke(t.Context(), key, epoch, future); err == nil {
			t.Errorf("key %.8q was taken", key)
		}
	}
	if err := n.A.Revoke(t.Context(), "c", future, epoch); err == nil {
		t.Error("a span that ends before it begins was taken")
	}
}

func revokeSpan(t *testing.T, n Nodes) {
	must := func(key string, from, until time.Time) {
		t.Helper()
		if err := n.A.Revoke(t.Context(), key, from, until); err != nil {
			t.Fatal(err)
		}
	}
	must("later", future, future.Add(time.Hour))
	must("past", epoch, epoch.Add(time.Second))
	must("both", future, future.Add(time.Hour))
	must("both", epoch, future) // the wider span holds
	n.Eventually(t, "the other node has them", func() bool { return revoked(t, n.B, "both") })
	for _, s := range []store.Store{n.A, n.B} {
		if revoked(t, s, "later") || revoked(t, s, "past") || !revoked(t, s, "both") {
			t.Errorf("later %t, past %t, both %t", revoked(t, s, "later"), revoked(t, s, "past"), revoked(t, s, "both"))
		}
	}
}

func revokeSubject(t *testing.T, n Nodes) {
	ended := func(s store.Store, subject string, began time.Time) bool {
		t.Helper()
		ok, err := s.Ended(t.Context(), began, subject)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if ended(n.A, "sub", time.UnixMilli(0)) {
		t.Fatal("revoked without a revocation")
	}
	for _, from := range []time.Time{epoch.Add(time.Hour), epoch, future} {
		if err := n.A.Revoke(t.Context(), "sub", from, future.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	// A revocation that is still to come does not hide those that hold: the
	// earlier time is the one that is sure.
	if !ended(n.A, "sub", epoch) || ended(n.A, "sub", epoch.Add(time.Hour+time.Millisecond)) {
		t.Error("the revocations that hold do not count, or one that is still to come does")
	}
	if err := n.A.Revoke(t.Context(), "sub2", epoch, future); err != nil {
		t.Fatal(err)
	}
	if err := n.A.Revoke(t.Context(), "sub2", epoch.Add(time.Hour), future); err != nil {
		t.Fatal(err)
	}
	n.Eventually(t, "the other node knows the time", func() bool { return ended(n.B, "sub2", epoch.Add(time.Hour)) })
	for _, s := range []store.Store{n.A, n.B} {
		for _, c := range []struct {
			began   time.Time
			subject string
			key     string
			want    bool
		}{
			{epoch, "sub2", "x", true},
			{epoch.Add(time.Hour), "sub2", "x", true},
			{epoch.Add(time.Hour + time.Millisecond), "sub2", "x", false},
			{epoch.Add(2 * time.Hour), "sub2", "sub2", true}, // as a key it is revoked whatever began when
			{epoch, "sub3", "x", false},
		} {
			if got, err := s.Ended(t.Context(), c.began, c.subject, c.key); got != c.want || err != nil {
				t.Errorf("Ended(%v, %s, %s) = %t, %v", c.began, c.subject, c.key, got, err)
			}
		}
	}
}

func onceMany(t *testing.T, n Nodes) {
	var runs atomic.Int32
	begun := make(chan struct{})
	release := make(chan struct{})
	do := func(context.Context) ([]byte, error) {
		if runs.Add(1) == 1 {
			close(begun)
		}
		<-release
		return []byte("result"), nil
	}
	var wg sync.WaitGroup
	call := func(s store.Store) {
		wg.Go(func() {
			v, err := s.Once(background(), "k", time.Minute, time.Minute, do)
			if err != nil || string(v) != "result" {
				t.Errorf("%q, %v", v, err)
			}
		})
	}
	call(n.A)
	<-begun
	for range 5 {
		call(n.A)
		call(n.B)
	}
	// Another key does not wait.
	if v, err := n.B.Once(t.Context(), "other", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("o"), nil }); err != nil || string(v) != "o" {
		t.Errorf("other key: %q, %v", v, err)
	}
	close(release)
	wg.Wait()
	call(n.B) // within keep
	wg.Wait()
	if runs.Load() != 1 {
		t.Errorf("ran %d times", runs.Load())
	}
}

func onceFailure(t *testing.T, n Nodes) {
	mine := errors.New("mine")
	begun := make(chan struct{})
	release := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := n.A.Once(background(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) {
			close(begun)
			<-release
			return nil, mine
		})
		if !errors.Is(err, mine) {
			t.Errorf("own caller: %v", err)
		}
	})
	<-begun
	// Whoever waits gives up with its context, and runs nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := n.A.Once(ctx, "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) {
		t.Error("a second one ran")
		return nil, nil
	})
	var u *store.Unavailable
	if !errors.As(err, &u) {
		t.Errorf("waiting caller: %v, want Unavailable", err)
	}
	close(release)
	wg.Wait()
	v, err := n.A.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("next"), nil })
	if err != nil || string(v) != "next" {
		t.Errorf("next caller: %q, %v", v, err)
	}
}

func onceForgotten(t *testing.T, n Nodes) {
	call := func(s store.Store, text string) string {
		v, err := s.Once(t.Context(), "k", time.Minute, 300*time.Millisecond, func(context.Context) ([]byte, error) { return []byte(text), nil })
		if err != nil {
			t.Fatal(err)
		}
		return string(v)
	}
	if got := call(n.A, "one") + call(n.A, "two"); got != "oneone" {
		t.Errorf("within its time: %s", got)
	}
	n.Eventually(t, "the result is forgotten", func() bool { return call(n.A, "three") == "three" })
}

func oncePanic(t *testing.T, n Nodes) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was hidden")
			}
		}()
		_, _ = n.A.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { panic("x") })
	}()
	v, err := n.B.Once(t.Context(), "k2", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	if err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	v, err = n.A.Once(t.Context(), "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("v"), nil })
	if err != nil || string(v) != "v" {
		t.Errorf("after the panic: %q, %v", v, err)
	}
}

func watch(t *testing.T, n Nodes) {
	var mu sync.Mutex
	told := map[store.Change]int{}
	stop := n.A.Watch(func(c store.Change) {
		mu.Lock()
		defer mu.Unlock()
		told[c]++
	})
	has := func(c store.Change) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return told[c] > 0
		}
	}
	put(t, n.A, object(keyX, `{}`))
	n.Eventually(t, "the put is told", has(store.Change{Kind: store.ObjectPut, Key: keyX}))
	if err := n.A.DeleteObject(t.Context(), get(t, n.A, keyX).ID); err != nil {
		t.Fatal(err)
	}
	n.Eventually(t, "the deletion is told", has(store.Change{Kind: store.ObjectDeleted, Key: keyX}))
	if _, err := n.A.AddOwnKey(t.Context(), ownKey("a", "RS256")); err != nil {
		t.Fatal(err)
	}
	n.Eventually(t, "the key is told", has(store.Change{Kind: store.KeysChanged}))
	stop()
	mu.Lock()
	clear(told)
	mu.Unlock()
	put(t, n.A, object(keyZ, `{}`))
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 0 {
		t.Errorf("told after stop: %v", told)
	}
}
