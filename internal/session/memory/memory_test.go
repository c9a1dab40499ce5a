package memory_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/memory"
	"kong-openid-connect/internal/session/storetest"
)

func TestSuite(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Backend {
		now := time.Unix(1_700_000_000, 0)
		clock := func() time.Time { return now }
		return storetest.Backend{Store: memory.New(0, clock), Now: clock, Pass: func(d time.Duration) { now = now.Add(d) }}
	}, storetest.Needs{Index: true, Revocations: true})
}

func TestFullStoreRefusesRatherThanForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(10, nil)
		for i := range 10 {
			if err := s.Set(t.Context(), fmt.Sprint(i), nil, time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := s.Revoke(t.Context(), fmt.Sprint(i), time.Now(), time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Set(t.Context(), "more", nil, time.Minute); !errors.Is(err, memory.ErrFull) {
			t.Fatalf("Set = %v, want ErrFull", err)
		}
		if err := s.Revoke(t.Context(), "more", time.Now(), time.Now().Add(time.Minute)); !errors.Is(err, memory.ErrFull) {
			t.Fatalf("Revoke = %v, want ErrFull", err)
		}
		if err := s.Set(t.Context(), "3", []byte("again"), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := s.Set(t.Context(), "more", nil, time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := s.Len(); n != 1 {
			t.Fatalf("%d sessions kept after all but one expired", n)
		}
		if _, err := s.Get(t.Context(), "3"); !errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
	})
}
