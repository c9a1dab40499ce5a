package redisconn_test

import (
	"fmt"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/testservers"
)

// sentinelPassword differs from the servers' own.
const sentinelPassword = password + "-of-sentinels"

func TestSentinels(t *testing.T) {
	s := testservers.StartSentinels(t, testservers.SentinelOptions{Password: password, SentinelPassword: sentinelPassword})
	base := redisconn.Options{Sentinels: nodes(s.Addrs()), SentinelMaster: s.Name, SentinelPassword: sentinelPassword, Password: password, Database: 2}
	with := func(change func(*redisconn.Options)) *redisconn.Client {
		o := base
		change(&o)
		return connect(t, o)
	}
	t.Run("master", func(t *testing.T) {
		works(t, with(func(o *redisconn.Options) {}))
		works(t, with(func(o *redisconn.Options) { o.SentinelRole = redisconn.Any }))
	})
	t.Run("replica reads and says that it cannot write", func(t *testing.T) {
		c := with(func(o *redisconn.Options) { o.SentinelRole = redisconn.Replica })
		s.Master.MustDo("SET", "there", "x") // database 0
		zero := with(func(o *redisconn.Options) { o.SentinelRole, o.Database = redisconn.Replica, 0 })
		eventually(t, func() bool { v, err := zero.Get(t.Context(), "there", 9); return err == nil && string(v) == "x" })
		refused(t, c.Set(t.Context(), "k", []byte("v"), time.Minute), "READONLY", "sentinel_role master")
	})
	t.Run("credentials of sentinels and servers are separate", func(t *testing.T) {
		refused(t, with(func(o *redisconn.Options) { o.SentinelPassword = password }).Check(t.Context()), "sentinel_password")
		refused(t, with(func(o *redisconn.Options) { o.SentinelPassword = "" }).Check(t.Context()), "sentinel_password")
		refused(t, with(func(o *redisconn.Options) { o.Password = sentinelPassword }).Check(t.Context()), "WRONGPASS")
	})
	t.Run("unknown master", func(t *testing.T) {
		refused(t, with(func(o *redisconn.Options) { o.SentinelMaster = "other" }).Check(t.Context()), "does not know sentinel_master")
	})
	t.Run("a dead sentinel is passed over", func(t *testing.T) {
		c := with(func(o *redisconn.Options) {
			o.Sentinels = append([]redisconn.Address{{Port: 1}}, o.Sentinels...)
		})
		works(t, c)
	})
	t.Run("failover", func(t *testing.T) {
		c := with(func(o *redisconn.Options) {})
		for i := range 10 {
			if err := c.Set(t.Context(), fmt.Sprint(i), []byte("before"), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() bool { return s.Master.MustDo("WAIT", "1", "100") == "1" })
		s.Master.Kill()
		var failures int
		eventually(t, func() bool {
			err := c.Set(t.Context(), "after", []byte("v"), time.Minute)
			if err != nil {
				refused(t, err)
				failures++
			}
			return err == nil
		})
		if v, err := c.Get(t.Context(), "7", 10); err != nil || string(v) != "before" {
			t.Errorf("at the new master: %q, %v (%d failures meanwhile)", v, err, failures)
		}
	})
	t.Run("the old master returns as a replica and is left", func(t *testing.T) {
		c := with(func(o *redisconn.Options) {})
		s.Master.Start()
		eventually(t, func() bool { return c.Set(t.Context(), "still", []byte("v"), time.Minute) == nil })
		if v := s.Replica.MustDo("ROLE"); v[:6] != "master" {
			t.Fatalf("role of the promoted one: %q", v)
		}
	})
}

// eventually waits for what other processes bring about.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatal("it did not come about")
}
