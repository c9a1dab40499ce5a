package redis_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/session"
	"kong-openid-connect/internal/session/redis"
	"kong-openid-connect/internal/session/storetest"
	"kong-openid-connect/internal/testservers"
)

func connect(t testing.TB, o redisconn.Options) *redisconn.Client {
	t.Helper()
	c, err := redisconn.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func at(s *testservers.Redis) redisconn.Address {
	return redisconn.Address{Host: s.Host, Port: s.Port}
}

func nodes(list []testservers.Addr) (out []redisconn.Address) {
	for _, a := range list {
		out = append(out, redisconn.Address{Host: a.Host, Port: a.Port})
	}
	return out
}

// wait lets real time go by.
func wait(d time.Duration) { <-time.After(d) }

// TestSuiteInRealTime holds that Redis itself forgets in time.
func TestSuiteInRealTime(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	c := connect(t, redisconn.Options{Address: at(s), Database: 5})
	var n atomic.Int32
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		t.Parallel()
		return storetest.Backend{Store: redis.New(c, "", nil), Now: time.Now, Pass: wait, Prefix: fmt.Sprintf("run%d-", n.Add(1))}
	}, storetest.Needs{Index: true, Revocations: true})
}

// aging makes everything in a server older by ARGV[1] milliseconds, in place of waiting.
const aging = `for _, k in ipairs(redis.call('keys', '*')) do
  local left = redis.call('pttl', k) - ARGV[1]
  if left <= 0 then redis.call('del', k) else
    redis.call('pexpire', k, left)
    if redis.call('type', k).ok == 'zset' then
      for _, m in ipairs(redis.call('zrange', k, 0, -1)) do redis.call('zincrby', k, -ARGV[1], m) end
    end
  end
end`

// suite runs the suite on servers whose content is made older where time has to pass.
func suite(t *testing.T, o redisconn.Options, servers ...*testservers.Redis) {
	t.Helper()
	c := connect(t, o)
	n := 0
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		n++
		var ahead time.Duration
		now := func() time.Time { return time.Now().Add(ahead) }
		pass := func(d time.Duration) {
			ahead += d
			for _, s := range servers {
				s.MustDo("EVAL", aging, "0", fmt.Sprint(d.Milliseconds()))
			}
		}
		return storetest.Backend{Store: redis.New(c, "", now), Now: now, Pass: pass, Prefix: fmt.Sprintf("run%d-", n)}
	}, storetest.Needs{Index: true, Revocations: true})
}

func TestSuiteSocket(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{Socket: true})
	suite(t, redisconn.Options{Socket: s.Socket}, s)
}

func TestSuiteTLS(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{TLS: true, Password: "secret"})
	suite(t, redisconn.Options{Address: at(s), TLS: true, Roots: s.Roots, Password: "secret"}, s)
}

// TestSuiteACL holds that the documented permissions suffice.
func TestSuiteACL(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{ACL: []string{"user default on nopass ~* +@all", "user kong on >secret ~sessions:* " + redisconn.Permissions}})
	suite(t, redisconn.Options{Address: at(s), Username: "kong", Password: "secret"}, s)
}

func TestSuiteCluster(t *testing.T) {
	c := testservers.StartCluster(t, testservers.RedisOptions{ACL: []string{"user default on nopass ~* +@all", "user kong on >secret ~sessions:* " + redisconn.Permissions}})
	suite(t, redisconn.Options{Cluster: nodes(c.Addrs()), Username: "kong", Password: "secret"}, c.Nodes...)
}

func TestSuiteSentinels(t *testing.T) {
	s := testservers.StartSentinels(t, testservers.SentinelOptions{})
	suite(t, redisconn.Options{Sentinels: nodes(s.Addrs()), SentinelMaster: s.Name}, s.Master)
}

func TestSuiteProxied(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	suite(t, redisconn.Options{Address: at(s), Proxied: true}, s)
}

func TestKeysAndTimes(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	c := connect(t, redisconn.Options{Address: at(s)})
	ctx := t.Context()
	for prefix, key := range map[string]string{"": "sessions:the-id", "app": "app:the-id"} {
		store := redis.New(c, prefix, nil)
		if err := store.Set(ctx, "the-id", []byte("sealed"), 90*time.Second); err != nil {
			t.Fatal(err)
		}
		if ttl := s.MustDo("TTL", key); ttl != "90" && ttl != "89" {
			t.Errorf("%s: ttl %s", key, ttl)
		}
		s.MustDo("DEL", key) // how operators end a session by hand
		if _, err := store.Get(ctx, "the-id"); !errors.Is(err, session.ErrNotFound) {
			t.Error(err)
		}
	}
	store := redis.New(c, "x", nil)
	if err := store.AddSession(ctx, "aud", "alex@example.com", "k", time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := store.Revoke(ctx, "r", time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Split(s.MustDo("KEYS", "*"), "\n") {
		if strings.Contains(key, "alex") || !strings.HasPrefix(key, "x:") {
			t.Errorf("key %q", key)
		}
		if s.MustDo("TTL", key) == "-1" {
			t.Errorf("key %q stays for ever", key)
		}
	}
}

// TestStepsMayBeRepeated: an answer that is lost is asked for again, so each
// script must come to the same end when it is run twice.
func TestStepsMayBeRepeated(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	store := redis.New(again{connect(t, redisconn.Options{Address: at(s)})}, "", nil)
	ctx := t.Context()
	if err := store.Set(ctx, "k", []byte("one"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if ok, err := store.Swap(ctx, "k", []byte("one"), []byte("two"), time.Minute); !ok || err != nil {
		t.Errorf("Swap = %v, %v", ok, err)
	}
	if ok, err := store.Swap(ctx, "k", []byte("one"), []byte("three"), time.Minute); ok || err != nil {
		t.Errorf("Swap of what is gone = %v, %v", ok, err)
	}
	locks := redis.NewLocks(again{connect(t, redisconn.Options{Address: at(s)})}, "", nil)
	for _, want := range []string{"first", "first"} {
		v, err := locks.Once(ctx, "k", time.Minute, time.Minute, func(context.Context) ([]byte, error) { return []byte("first"), nil })
		if err != nil || string(v) != want {
			t.Errorf("Once = %q, %v", v, err)
		}
	}
}

// again runs every script twice.
type again struct{ *redisconn.Client }

func (a again) Run(ctx context.Context, s *redisconn.Script, key string, args ...any) (any, error) {
	if _, err := a.Client.Run(ctx, s, key, args...); err != nil {
		return nil, err
	}
	return a.Client.Run(ctx, s, key, args...)
}

func TestForeignValuesAreFailures(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	store := redis.New(connect(t, redisconn.Options{Address: at(s)}), "", nil)
	s.MustDo("SET", "sessions:other", "{\"json\":1}")
	s.MustDo("RPUSH", "sessions:list", "x")
	s.MustDo("SET", "sessions:long", strings.Repeat("1", redis.MaxValue+10))
	for _, key := range []string{"other", "list", "long"} {
		if _, err := store.Get(t.Context(), key); err == nil || errors.Is(err, session.ErrNotFound) {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, v := range []string{"", "x", "1", "1 x", "-5 9"} {
		s.MustDo("SET", "sessions:revoked:k", v)
		if ok, err := store.Revoked(t.Context(), "a", "k"); v != "" && v != "-5 9" && err == nil {
			t.Errorf("revocation %q: %v, %v", v, ok, err)
		}
	}
	if err := store.Set(t.Context(), "k", make([]byte, redis.MaxValue+1), time.Minute); !errors.Is(err, redisconn.ErrTooLarge) {
		t.Error(err)
	}
	if err := store.Set(t.Context(), "k", nil, 0); err == nil {
		t.Error("a session without time was stored")
	}
}

func TestIndexIsBounded(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	store := redis.New(connect(t, redisconn.Options{Address: at(s)}), "", nil)
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 10 {
		wg.Go(func() {
			for i := range redis.MaxSessions/10 + 1 {
				if err := store.AddSession(ctx, "a", "s", fmt.Sprintf("%d-%d", w, i), time.Hour+time.Duration(i)*time.Second); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	keys, err := store.Sessions(ctx, "a", "s")
	if err != nil || len(keys) != redis.MaxSessions {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		if strings.HasSuffix(key, "-0") {
			t.Fatal("of too many sessions those that end first are dropped")
		}
	}
}

func TestLatestRevocationOfASubject(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	base := time.Unix(1_800_000_000, 0)
	var ahead atomic.Int64
	store := redis.New(connect(t, redisconn.Options{Address: at(s)}), "", func() time.Time { return base.Add(time.Duration(ahead.Load())) })
	ctx := t.Context()
	want := func(after time.Duration, beganAfter time.Duration) {
		t.Helper()
		ahead.Store(int64(after))
		for began, ends := range map[time.Duration]bool{0: beganAfter >= 0, beganAfter: beganAfter >= 0, beganAfter + time.Millisecond: false} {
			if got, err := store.Ended(ctx, base.Add(began), "sub"); got != ends || err != nil {
				t.Errorf("after %v: ends a session that began at %v: %v, %v", after, began, got, err)
			}
		}
		if ok, err := store.Revoked(ctx, "sub"); ok != (beganAfter >= 0) || err != nil {
			t.Errorf("after %v: revoked %v, %v", after, ok, err)
		}
	}
	want(0, -1)
	for _, from := range []time.Duration{10 * time.Second, 5 * time.Second, 60 * time.Second} {
		if err := store.Revoke(ctx, "sub", base.Add(from), base.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Revoke(ctx, "sub", base.Add(10*time.Second), base.Add(time.Minute)); err != nil { // never shortens
		t.Fatal(err)
	}
	want(0, -1)
	want(5*time.Second, 5*time.Second)
	want(59*time.Second, 5*time.Second)
	want(60*time.Second, 60*time.Second)
	if ttl := s.MustDo("TTL", "sessions:revoked:sub"); ttl < "3895" || len(ttl) != 4 {
		t.Errorf("listed for %s s", ttl)
	}
	for _, key := range []string{"", strings.Repeat("x", 513), "\x00", "\xff"} {
		if err := store.Revoke(ctx, key, base, base.Add(time.Hour)); err == nil {
			t.Errorf("key %.8q was taken", key)
		}
		if _, err := store.Revoked(ctx, "a", key); err == nil {
			t.Errorf("key %.8q was looked for", key)
		}
	}
}

// TestCases46And47KilledUnderLoad is cases 46 and 47: while Redis is down every answer is a
// failure, never "no such session", which would send callers to the login; when
// it is back the sessions are, too.
func TestCases46And47KilledUnderLoad(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{Persist: true})
	short := 300 * time.Millisecond
	store := redis.New(connect(t, redisconn.Options{Address: at(s), ConnectTimeout: short, SendTimeout: short, ReadTimeout: short}), "", nil)
	for i := range 16 {
		if err := store.Set(t.Context(), fmt.Sprint(i), []byte(fmt.Sprint(i)), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var good, bad, sinceBack atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			key := fmt.Sprint(i)
			for ctx.Err() == nil {
				began := time.Now()
				v, err := store.Get(t.Context(), key)
				if d := time.Since(began); d > 3*short+500*time.Millisecond {
					t.Errorf("an answer took %v", d)
				}
				var failure *redisconn.Error
				switch {
				case err == nil && string(v) == key:
					good.Add(1)
					sinceBack.Add(1)
				case errors.As(err, &failure) && !errors.Is(err, session.ErrNotFound):
					bad.Add(1)
				default:
					t.Errorf("Get = %q, %v", v, err)
				}
				if ok, err := store.Revoked(t.Context(), "r"+key); ok || err != nil && !errors.As(err, &failure) {
					t.Errorf("Revoked = %v, %v", ok, err)
				}
			}
		})
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); wait(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	for range 2 {
		until("no load", func() bool { return good.Load() > 500 })
		before := bad.Load()
		s.Kill()
		until("no failures while it is down", func() bool { return bad.Load() > before+50 })
		s.Start()
		sinceBack.Store(0)
		until("sessions did not come back", func() bool { return sinceBack.Load() > 500 })
	}
	stop()
	wg.Wait()
	t.Logf("%d good answers, %d failures", good.Load(), bad.Load())
}

func TestHungServer(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	short := 100 * time.Millisecond
	store := redis.New(connect(t, redisconn.Options{Address: at(s), ConnectTimeout: short, SendTimeout: short, ReadTimeout: short}), "", nil)
	if err := store.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
		t.Fatal(err)
	}
	go s.Do("DEBUG", "SLEEP", "2")
	for {
		_, err := store.Get(t.Context(), "k")
		if errors.Is(err, session.ErrNotFound) {
			t.Fatal("a hung server was taken for a missing session")
		}
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
	}
	for {
		if v, err := store.Get(t.Context(), "k"); err == nil && string(v) == "v" {
			return
		} else if errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
	}
}
