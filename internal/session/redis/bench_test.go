package redis_test

import (
	"fmt"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/session/redis"
	"kong-openid-connect/internal/testservers"
)

// BenchmarkStore shows that a request's cost does not grow with the number of sessions.
func BenchmarkStore(b *testing.B) {
	value := make([]byte, 4096)
	for _, sessions := range []int{10_000, 1_000_000} {
		s := testservers.StartRedis(b, testservers.RedisOptions{})
		s.MustDo("DEBUG", "POPULATE", fmt.Sprint(sessions), "sessions:filler", "100")
		c, err := redisconn.New(redisconn.Options{Address: redisconn.Address{Host: s.Host, Port: s.Port}})
		if err != nil {
			b.Fatal(err)
		}
		store := redis.New(c, "", nil)
		if err := store.Set(b.Context(), "id", value, time.Hour); err != nil {
			b.Fatal(err)
		}
		for name, op := range map[string]func() error{
			"Get":     func() error { _, err := store.Get(b.Context(), "id"); return err },
			"Set":     func() error { return store.Set(b.Context(), "id", value, time.Hour) },
			"Swap":    func() error { _, err := store.Swap(b.Context(), "id", value, value, time.Hour); return err },
			"Revoked": func() error { _, err := store.Revoked(b.Context(), "id"); return err },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, sessions), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := op(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		_ = c.Close()
		s.Kill()
	}
}
