package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/redisconn"
	"kong-openid-connect/internal/testservers"
)

// password is looked for in every error.
const password = "pass-w0rd-of-redis"

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

var twice = redisconn.NewScript(`redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])`)

// works uses every command once.
func works(t *testing.T, c *redisconn.Client) {
	t.Helper()
	ctx := t.Context()
	if err := c.Check(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 20 { // of a cluster, every node
		key := fmt.Sprint("key", i)
		if err := c.Set(ctx, key, []byte(key), time.Minute); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Get(ctx, key, 100); err != nil || string(v) != key {
			t.Fatalf("Get = %q, %v", v, err)
		}
	}
	if v, err := c.GetAll(ctx, reads(100, "key1", "none", "key2", "key3", "key4")...); err != nil || fmt.Sprintf("%s", v) != "[key1  key2 key3 key4]" || v[1] != nil {
		t.Fatalf("GetAll = %q, %v", v, err)
	}
	if err := c.Delete(ctx, "key1"); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Get(ctx, "key1", 100); v != nil || err != nil {
		t.Fatalf("deleted: %q, %v", v, err)
	}
	if v, err := c.Run(ctx, twice, "key5", "five"); v != "five" || err != nil {
		t.Fatalf("Run = %v, %v", v, err)
	}
}

// refused wants an error that says all of want and no secret.
func refused(t *testing.T, err error, want ...string) {
	t.Helper()
	var e *redisconn.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want a *redisconn.Error", err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), password) {
			t.Fatalf("the error shows a secret: %v", e)
		}
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q lacks %q", err, w)
		}
	}
}

func TestStandalone(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	works(t, connect(t, redisconn.Options{Address: at(s)}))
}

func TestDatabaseIsSelected(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	works(t, connect(t, redisconn.Options{Address: at(s), Database: 7}))
	if got := s.MustDo("INFO", "keyspace"); !strings.Contains(got, "db7:keys=19") || strings.Contains(got, "db0") {
		t.Errorf("keyspace = %q", got)
	}
	refused(t, connect(t, redisconn.Options{Address: at(s), Database: 99}).Check(t.Context()), "DB index is out of range")
}

func TestUnixSocket(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{Socket: true, Password: password})
	works(t, connect(t, redisconn.Options{Address: redisconn.Address{Host: "elsewhere.invalid"}, Socket: s.Socket, Password: password}))
}

func TestPassword(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{Password: password})
	works(t, connect(t, redisconn.Options{Address: at(s), Password: password}))
	refused(t, connect(t, redisconn.Options{Address: at(s), Password: password + "x"}).Check(t.Context()), "WRONGPASS", "password is wrong")
	refused(t, connect(t, redisconn.Options{Address: at(s)}).Check(t.Context()), "NOAUTH")
}

func TestACLUser(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{ACL: []string{
		"user default on nopass ~* +@all",
		"user kong on >" + password + " ~key* ~none +get +set +getrange +del +eval +evalsha +ping",
	}})
	o := redisconn.Options{Address: at(s), Username: "kong", Password: password}
	works(t, connect(t, o))
	refused(t, connect(t, o).Set(t.Context(), "other", []byte(password), time.Minute), "NOPERM", "lacks a permission")
	o.Username = "nobody"
	refused(t, connect(t, o).Check(t.Context()), "WRONGPASS")
}

func TestTLS(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{TLS: true, Password: password})
	base := redisconn.Options{Address: at(s), TLS: true, Password: password}
	cases := map[string]struct {
		change func(*redisconn.Options)
		want   string // in the error; "" means it works
	}{
		"trusted authority and address": {func(o *redisconn.Options) { o.Roots = s.Roots }, ""},
		"server name":                   {func(o *redisconn.Options) { o.Roots, o.ServerName = s.Roots, testservers.ServerName }, ""},
		"another server name":           {func(o *redisconn.Options) { o.Roots, o.ServerName = s.Roots, "other.test" }, "certificate"},
		"unknown authority":             {func(o *redisconn.Options) {}, "certificate"},
		"verification switched off":     {func(o *redisconn.Options) { o.TLSSkipVerify = true }, ""},
		"no TLS to a TLS port":          {func(o *redisconn.Options) { o.TLS = false }, "redis: ping at 127.0.0.1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := base
			c.change(&o)
			client := connect(t, o)
			if c.want == "" {
				works(t, client)
				return
			}
			refused(t, client.Check(t.Context()), c.want)
		})
	}
}

func TestCluster(t *testing.T) {
	cluster := testservers.StartCluster(t, testservers.RedisOptions{Password: password})
	works(t, connect(t, redisconn.Options{Cluster: nodes(cluster.Addrs()), Password: password, Database: 3}))
	t.Run("one node suffices to find the others", func(t *testing.T) {
		works(t, connect(t, redisconn.Options{Cluster: nodes(cluster.Addrs()[1:2]), Password: password}))
	})
	t.Run("one server without cluster_nodes says so", func(t *testing.T) {
		c := connect(t, redisconn.Options{Address: at(cluster.Nodes[0]), Password: password})
		var err error
		for i := 0; err == nil && i < 20; i++ {
			err = c.Set(t.Context(), fmt.Sprint(i), []byte("v"), time.Minute)
		}
		refused(t, err, "MOVED", "cluster_nodes")
	})
	t.Run("slots that move are followed", func(t *testing.T) {
		c := connect(t, redisconn.Options{Cluster: nodes(cluster.Addrs()), Password: password})
		if err := c.Set(t.Context(), "moving", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		slot := cluster.Nodes[0].MustDo("CLUSTER", "KEYSLOT", "moving")
		var from, to *testservers.Redis
		for i, n := range cluster.Nodes {
			if cluster.Nodes[i].MustDo("CLUSTER", "COUNTKEYSINSLOT", slot) == "1" {
				from, to = n, cluster.Nodes[(i+1)%3]
			}
		}
		from.MustDo("DEL", "moving")
		id := to.MustDo("CLUSTER", "MYID")
		for _, n := range []*testservers.Redis{to, from} {
			n.MustDo("CLUSTER", "SETSLOT", slot, "NODE", id)
		}
		if err := c.Set(t.Context(), "moving", []byte("w"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if v := to.MustDo("GET", "moving"); v != "w" {
			t.Errorf("at the new owner: %q", v)
		}
	})
}

func TestClusterTLS(t *testing.T) {
	cluster := testservers.StartCluster(t, testservers.RedisOptions{TLS: true})
	works(t, connect(t, redisconn.Options{Cluster: nodes(cluster.Addrs()), TLS: true, Roots: cluster.Nodes[0].Roots}))
}

// TestCase47PooledConnectionsDie is case 47: the request that meets them succeeds.
func TestCase47PooledConnectionsDie(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			s := testservers.StartRedis(t, testservers.RedisOptions{TLS: tls, Persist: true})
			c := connect(t, redisconn.Options{Address: at(s), TLS: tls, Roots: s.Roots})
			var wg sync.WaitGroup
			for i := range 32 { // fills the pool
				wg.Go(func() {
					for j := range 5 {
						if err := c.Set(t.Context(), fmt.Sprint(i), []byte(fmt.Sprint(j)), time.Minute); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			for range 3 {
				s.Kill()
				s.Start()
				if v, err := c.Get(t.Context(), "7", 10); err != nil || string(v) != "4" {
					t.Fatalf("Get = %q, %v", v, err)
				}
			}
		})
	}
}

func TestNewPerformsNoIO(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	met := make(chan struct{}, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(met)
				return
			}
			c.Close()
			met <- struct{}{}
		}
	}()
	here := redisconn.Address{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	for _, o := range []redisconn.Options{{Address: here}, {Cluster: []redisconn.Address{here}}, {Sentinels: []redisconn.Address{here}, SentinelMaster: "m"}} {
		c := connect(t, o)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		refused(t, c.Check(t.Context()), "closed")
	}
	l.Close()
	for range met {
		t.Error("New connected")
	}
}

func TestDownIsToldInTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	port := silent.Addr().(*net.TCPAddr).Port
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().(*net.TCPAddr).Port
	closed.Close()
	short := 100 * time.Millisecond
	cases := map[string]struct {
		o    redisconn.Options
		want string
	}{
		"nobody listens":          {redisconn.Options{Address: redisconn.Address{Port: nobody}, Password: password}, "refused"},
		"no answer":               {redisconn.Options{Address: redisconn.Address{Port: port}, Password: password}, "no answer in time"},
		"no answer, TLS":          {redisconn.Options{Address: redisconn.Address{Port: port}, TLS: true}, "no answer in time"},
		"cluster, nobody listens": {redisconn.Options{Cluster: []redisconn.Address{{Port: nobody}}, Password: password}, "refused"},
		"cluster, no answer":      {redisconn.Options{Cluster: []redisconn.Address{{Port: port}}, Password: password}, ""},
		"sentinel, nobody":        {redisconn.Options{Sentinels: []redisconn.Address{{Port: nobody}}, SentinelMaster: "m", SentinelPassword: password}, "sentinel 127.0.0.1:"},
		"sentinel, no answer":     {redisconn.Options{Sentinels: []redisconn.Address{{Port: port}}, SentinelMaster: "m", SentinelPassword: password}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.o.ConnectTimeout, c.o.SendTimeout, c.o.ReadTimeout = short, short, short
			client := connect(t, c.o)
			began := time.Now()
			_, err := client.Get(t.Context(), "k", 10)
			refused(t, err, c.want)
			if d := time.Since(began); d > 3*short+500*time.Millisecond {
				t.Errorf("took %v", d)
			}
			ctx, cancel := context.WithTimeout(t.Context(), short/4)
			defer cancel()
			c.o.ConnectTimeout, c.o.SendTimeout, c.o.ReadTimeout = 0, 0, 0 // 2 s each
			began = time.Now()
			_, err = connect(t, c.o).Get(ctx, "k", 10)
			refused(t, err)
			if d := time.Since(began); d > short+400*time.Millisecond {
				t.Errorf("with a deadline of %v it took %v", short/4, d)
			}
		})
	}
}

func TestValuesAreBounded(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	c := connect(t, redisconn.Options{Address: at(s)})
	s.MustDo("SET", "k", strings.Repeat("x", 101))
	_, err := c.Get(t.Context(), "k", 100)
	if refused(t, err); !errors.Is(err, redisconn.ErrTooLarge) {
		t.Error(err)
	}
	if _, err := c.GetAll(t.Context(), reads(100, "a", "k")...); !errors.Is(err, redisconn.ErrTooLarge) {
		t.Error(err)
	}
	if v, err := c.Get(t.Context(), "k", 101); len(v) != 101 || err != nil {
		t.Errorf("%d bytes, %v", len(v), err)
	}
	s.MustDo("RPUSH", "list", "x")
	_, err = c.Get(t.Context(), "list", 100)
	refused(t, err, "WRONGTYPE", "prefix")
}

func TestBacklog(t *testing.T) {
	s := testservers.StartRedis(t, testservers.RedisOptions{})
	backlog := 2
	c := connect(t, redisconn.Options{Address: at(s), PoolSize: 1, Backlog: &backlog, ReadTimeout: 10 * time.Second})
	var mu sync.Mutex
	count := map[string]int{}
	if err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	go s.Do("CLIENT", "PAUSE", "800", "ALL")
	for { // until the pause holds
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := c.Check(ctx)
		cancel()
		if err != nil {
			break
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := c.Check(t.Context())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				count["done"]++
			case errors.Is(err, redisconn.ErrBusy):
				count["busy"]++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if count["done"] != 3 || count["busy"] != 5 {
		t.Errorf("%v, want one running, two waiting, five refused", count)
	}
	if err := c.Check(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	negative := -1
	some := []redisconn.Address{{}}
	for want, o := range map[string]redisconn.Options{
		"timeout":                  {ReadTimeout: -1},
		"keepalive":                {Backlog: &negative},
		"database":                 {Database: -1},
		"belong together":          {Sentinels: some},
		"sentinel_role":            {Sentinels: some, SentinelMaster: "m", SentinelRole: "leader"},
		"port 70000":               {Address: redisconn.Address{Port: 70000}},
		"connection_is_proxied":    {Proxied: true, Cluster: some},
		"absolute":                 {Socket: "redis.sock"},
		"write server_name":        {Socket: "/s", TLS: true},
		"auth_provider":            {Cloud: redisconn.Cloud{Provider: "ibm"}, TLS: true},
		"set ssl":                  {Cloud: redisconn.Cloud{Provider: redisconn.GCP}},
		"aws_cache_name":           {Cloud: redisconn.Cloud{Provider: redisconn.AWS}, TLS: true},
		"aws_secret_access_key":    {Cloud: redisconn.Cloud{Provider: redisconn.AWS, AWSCacheName: "c", AWSAccessKeyID: "x"}, Username: "u", TLS: true},
		"azure_client_id":          {Cloud: redisconn.Cloud{Provider: redisconn.Azure, AzureClientSecret: password}, TLS: true},
		"cluster_max_redirections": {Cluster: some, ClusterMaxRedirections: -1},
	} {
		_, err := redisconn.New(o)
		refused(t, err, want)
	}
}

func TestOptionsPrintNoSecrets(t *testing.T) {
	o := redisconn.Options{Password: password, SentinelPassword: password, Cloud: redisconn.Cloud{AWSSecretAccessKey: password, GCPServiceAccountJSON: password}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if s := fmt.Sprintf(verb, o); strings.Contains(s, password) {
			t.Errorf("%s prints %s", verb, s)
		}
	}
	if b, err := redisconn.Secret(password).MarshalText(); err != nil || strings.Contains(string(b), password) {
		t.Errorf("text %s, %v", b, err)
	}
}

func reads(limit int, keys ...string) (out []redisconn.Read) {
	for _, key := range keys {
		out = append(out, redisconn.Read{Key: key, Limit: limit})
	}
	return out
}
