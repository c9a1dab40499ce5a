package server

import (
	"testing"
	"time"

	"kong-openid-connect/internal/rp"
)

type counted struct {
	broken
	volatile bool
	closed   int
}

func (c *counted) Close()          { c.closed++ }
func (c *counted) Volatile() bool  { return c.volatile }
func (c *counted) Needs() rp.Needs { return 0 }

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func table() *instances {
	return newInstances(retention{volatileAge: time.Minute, idleAge: 24 * time.Hour, max: 3})
}

func TestIDsOfProcessLivesDiffer(t *testing.T) {
	seen := map[int32]bool{}
	now := start
	for life := range 200 {
		lived := table()
		for range 1 + life%50 {
			h := lived.add(&counted{}, now)
			if h.id <= 0 || seen[h.id] {
				t.Fatalf("life %d gave out the id %d again", life, h.id)
			}
			seen[h.id] = true
			now = now.Add(time.Duration(life%3) * 30 * time.Microsecond)
		}
		// The quickest respawn.
		now = now.Add(time.Second)
	}
}

func TestIDsWrapAndClockSteps(t *testing.T) {
	t.Run("wrap", func(t *testing.T) {
		ids := table()
		ids.last = 0x7fffffff - 1
		// The same tick again: the ids run ahead of the clock and wrap.
		at := time.UnixMicro(int64(0x7fffffff-1) * 100)
		var got []int32
		for range 3 {
			got = append(got, ids.add(&counted{}, at).id)
		}
		if got[0] != 0x7fffffff || got[1] != 1 || got[2] != 2 {
			t.Errorf("ids %v", got)
		}
	})
	t.Run("clock set back", func(t *testing.T) {
		ids := table()
		a := ids.add(&counted{}, start)
		b := ids.add(&counted{}, start.Add(-time.Hour))
		if b.id != a.id+1 {
			t.Errorf("%d after %d", b.id, a.id)
		}
	})
}

func TestInstanceIsClosedAfterItsLastEvent(t *testing.T) {
	ids, c := table(), &counted{}
	h := ids.add(c, start)
	event := ids.acquire(h.id, start)
	if _, ok := ids.remove(h.id); !ok {
		t.Fatal("the instance is not there")
	}
	if ids.acquire(h.id, start) != nil {
		t.Error("a removed instance was given out")
	}
	if c.closed != 0 {
		t.Error("closed under an event")
	}
	event.release()
	if c.closed != 1 {
		t.Errorf("closed %d times", c.closed)
	}
}

func TestVolatileInstancesAreForgottenOneAMinute(t *testing.T) {
	ids, c := table(), &counted{volatile: true}
	a, b := ids.add(c, start), ids.add(&counted{volatile: true}, start)
	lasting := ids.add(&counted{}, start)
	at := func(d time.Duration, h *held) bool {
		got := ids.acquire(h.id, start.Add(d))
		if got != nil {
			got.release()
		}
		return got != nil
	}
	if !at(59*time.Second, a) {
		t.Error("forgotten before its time")
	}
	if at(60*time.Second, a) || c.closed != 1 {
		t.Errorf("not forgotten in time, or closed %d times", c.closed)
	}
	if !at(61*time.Second, b) || !at(119*time.Second, b) {
		t.Error("a second one was forgotten within the minute")
	}
	if at(120*time.Second, b) {
		t.Error("the second one was not forgotten a minute later")
	}
	if !at(time.Hour, lasting) {
		t.Error("an instance without vault references was forgotten")
	}
}

func TestUnusedInstancesAreBounded(t *testing.T) {
	t.Run("age", func(t *testing.T) {
		ids, c := table(), &counted{}
		old, used := ids.add(c, start), ids.add(&counted{}, start)
		ids.acquire(used.id, start.Add(12*time.Hour)).release()
		ids.add(&counted{}, start.Add(24*time.Hour))
		if _, ok := ids.get(old.id); ok || c.closed != 1 {
			t.Error("an instance that nobody used for a day is still there")
		}
		if _, ok := ids.get(used.id); !ok {
			t.Error("a used instance is gone")
		}
	})
	t.Run("number in use", func(t *testing.T) {
		ids := table()
		for i := range 10 {
			h := ids.add(&counted{}, start.Add(time.Duration(i)*30*time.Second))
			for id := range ids.byID {
				ids.acquire(id, h.started).release()
			}
		}
		if ids.len() != 10 {
			t.Errorf("%d instances are left: one in use was evicted", ids.len())
		}
	})
	t.Run("number", func(t *testing.T) {
		ids := table()
		var all []*held
		for i := range 10 {
			all = append(all, ids.add(&counted{}, start.Add(time.Duration(i)*time.Second)))
		}
		if ids.len() != 10 {
			t.Fatalf("%d instances: one in use was evicted", ids.len())
		}
		now := start.Add(10 * time.Minute)
		ids.acquire(all[0].id, now).release()
		ids.add(&counted{}, now)
		if _, ok := ids.get(all[0].id); !ok || ids.len() != 3 {
			t.Errorf("%d instances are left, want 3 with the used one", ids.len())
		}
	})
}
