package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/testservers"
	"kong-openid-connect/internal/token"
)

// sample is how many of the sessions send requests once all are there.
const sample = 10_000

// BenchmarkSessionsInRedis shows that neither the cost of a request nor the
// memory of the plugin server grows with the number of sessions: each of them
// is begun by a caller of its own, through the plugin, and kept in a real Redis.
// -short leaves the million out, which takes minutes to begin.
func BenchmarkSessionsInRedis(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if testing.Short() && n > sample {
				b.Skip("left out by -short")
			}
			sessionsInRedis(b, n)
		})
	}
}

func sessionsInRedis(b *testing.B, n int) {
	s := testservers.StartRedis(b, testservers.RedisOptions{})
	bed := newBed(b)
	// So small that no session's tokens are still in them, however few there are.
	bed.env.Openings = session.NewOpenings(session.OpeningsOptions{Bytes: 256 << 10, MaxAge: time.Hour})
	bed.env.Tokens = token.NewCache(token.CacheOptions{Bytes: 256 << 10, MaxAge: time.Hour, Now: time.Now})
	c := InRedis(bed.Login(), s.Host, s.Port)
	c["auth_methods"], c["verify_signature"] = []string{"session", "bearer"}, false // a million signatures are not the matter
	c["session_rolling_timeout"], c["session_idling_timeout"] = 86400, 0            // none is touched or renewed, however long the others take
	i := start(b, bed.Plugin(), c)
	if err := warm(b.Context(), i, bed); err != nil {
		b.Fatal(err)
	}
	empty := heap()
	calls, peak, err := begin(b.Context(), i, bed, n)
	if err != nil {
		b.Fatal(err)
	}
	own, its := ProcessorTime(), redisTime(b, s)
	decide(b, i, 0, nothing, calls...)
	requests := float64(b.N + len(calls)) // each is sent once before the count
	b.ReportMetric(float64((ProcessorTime()-own).Microseconds())/requests, "cpu-us/op")
	b.ReportMetric(float64((redisTime(b, s)-its).Microseconds())/requests, "redis-cpu-us/op")
	kept := heap()
	runtime.KeepAlive(calls)
	calls = nil
	without := heap()
	redis := info(b, s, "memory", "used_memory")
	keys, _ := strconv.Atoi(s.MustDo("DBSIZE"))
	if keys < n {
		b.Fatalf("Redis holds %d keys for %d sessions", keys, n)
	}
	b.ReportMetric(float64(empty)/1e6, "heap-before-MB")
	b.ReportMetric(float64(without)/1e6, "heap-after-MB")
	b.ReportMetric(float64(max(peak, kept))/1e6, "heap-peak-MB")
	b.ReportMetric(redis/1e6, "redis-MB")
}

// warm has the plugin fetch the provider's metadata.
func warm(ctx context.Context, i server.Instance, bed *Bed) error {
	_, _, err := begin(ctx, i, bed, 1)
	return err
}

// begin begins n sessions of n people and returns requests with the cookies of
// some of them, evenly spread, and the largest heap that was seen meanwhile.
func begin(ctx context.Context, i server.Instance, bed *Bed, n int) (calls []*Call, peak uint64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var mu sync.Mutex
	var wg sync.WaitGroup
	every := max(n/sample, 1)
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				k := int(next.Add(1)) - 1
				if k >= n {
					return
				}
				d, err := (&Call{Method: "GET", Target: "/", Header: Headers(unsigned(bed.Provider.URL, k))}).Decide(ctx, i)
				if err == nil && cookies(d) == "" {
					err = fmt.Errorf("caller %d gets no session", k)
				}
				if err != nil {
					cancel(err)
					return
				}
				if k%every == 0 {
					call := &Call{Method: "GET", Target: "/", Header: Headers("")}
					call.Header["cookie"] = []string{cookies(d)}
					mu.Lock()
					calls = append(calls, call)
					mu.Unlock()
				}
				if k%100_000 == 99_999 {
					h := heap()
					mu.Lock()
					peak = max(peak, h)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return calls, peak, context.Cause(ctx)
}

// unsigned is an access token of a person of its own whose signature nobody checks.
func unsigned(issuer string, n int) string {
	encode := func(v any) string {
		raw, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return encode(map[string]string{"alg": "RS256", "typ": "at+jwt", "kid": "bench"}) + "." + encode(map[string]any{
		"iss": issuer, "aud": "kong", "sub": fmt.Sprintf("person-%d", n), "preferred_username": fmt.Sprintf("p%d", n), "jti": fmt.Sprintf("%x", n*7919),
		"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(), "scope": "openid profile email",
	}) + "." + strings.Repeat("QUJD", 86)
}

// heap is how much is reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// info reads a number of Redis's INFO.
func info(b *testing.B, s *testservers.Redis, section, name string) float64 {
	b.Helper()
	for line := range strings.Lines(s.MustDo("INFO", section)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseFloat(v, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("INFO %s tells no %s", section, name)
	return 0
}

// redisTime is the processor time that Redis has used.
func redisTime(b *testing.B, s *testservers.Redis) time.Duration {
	b.Helper()
	return time.Duration((info(b, s, "cpu", "used_cpu_user") + info(b, s, "cpu", "used_cpu_sys")) * float64(time.Second))
}
