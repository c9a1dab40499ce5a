package testservers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Sentinels are a master with one replica, and sentinels that watch them.
type Sentinels struct {
	Name            string // of the master
	Nodes           []*Redis
	Master, Replica *Redis
}

// Addr is the address of a node.
type Addr struct {
	Host string
	Port int
}

// SentinelOptions set passwords.
type SentinelOptions struct {
	Password         string // of the servers
	SentinelPassword string // of the sentinels
}

// StartSentinels starts a master, a replica and three sentinels that know both.
func StartSentinels(t testing.TB, o SentinelOptions) *Sentinels {
	t.Helper()
	s := &Sentinels{Name: "main"}
	auth := RedisOptions{Password: o.Password}
	if o.Password != "" {
		auth.Args = []string{"--masterauth", o.Password}
	}
	s.Master = StartRedis(t, auth)
	auth.Args = append(slices.Clone(auth.Args), "--replicaof", s.Master.Host, strconv.Itoa(s.Master.Port), "--repl-diskless-sync-delay", "0")
	s.Replica = StartRedis(t, auth)
	for range 3 {
		s.Nodes = append(s.Nodes, startSentinel(t, s, o))
	}
	for _, n := range s.Nodes {
		must(t, n, "the sentinels know each other and the replica", func() error {
			state, err := n.Do("SENTINEL", "MASTER", s.Name)
			if err != nil {
				return err
			}
			fields := strings.Split(state, "\n")
			value := func(name string) string { return fields[slices.Index(fields, name)+1] }
			if value("num-slaves") != "1" || value("num-other-sentinels") != "2" || value("flags") != "master" {
				return errors.New("not yet: " + value("num-slaves") + " " + value("num-other-sentinels") + " " + value("flags"))
			}
			replicas, err := n.Do("SENTINEL", "REPLICAS", s.Name)
			if err != nil || strings.Contains(replicas, "disconnected") || !strings.Contains(replicas, "master-link-status\nok") {
				return errors.New("replica is not connected")
			}
			return nil
		})
	}
	return s
}

func startSentinel(t testing.TB, s *Sentinels, o SentinelOptions) *Redis {
	t.Helper()
	n := prepare(t, RedisOptions{Password: o.SentinelPassword})
	dir, err := os.MkdirTemp("", "sentinel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\nsentinel monitor %s %s %d 2\nsentinel down-after-milliseconds %s 500\nsentinel failover-timeout %s 3000\n",
		n.Port, dir, s.Name, s.Master.Host, s.Master.Port, s.Name, s.Name)
	if o.Password != "" {
		conf += fmt.Sprintf("sentinel auth-pass %s %s\n", s.Name, o.Password)
	}
	if o.SentinelPassword != "" {
		conf += fmt.Sprintf("requirepass %s\nsentinel sentinel-pass %s\n", o.SentinelPassword, o.SentinelPassword)
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args = []string{file, "--sentinel"}
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Addrs are the addresses of the sentinels.
func (s *Sentinels) Addrs() []Addr { return addrs(s.Nodes) }

// Cluster is a Redis cluster without replicas.
type Cluster struct{ Nodes []*Redis }

// Addrs are the addresses of the nodes.
func (c *Cluster) Addrs() []Addr { return addrs(c.Nodes) }

func addrs(nodes []*Redis) (out []Addr) {
	for _, n := range nodes {
		out = append(out, Addr{n.Host, n.Port})
	}
	return out
}

const slots = 16384

// StartCluster starts three servers that share the slots.
func StartCluster(t testing.TB, o RedisOptions) *Cluster {
	t.Helper()
	c := &Cluster{}
	if o.TLS {
		o.shared = newPair(t)
	}
	for range 3 {
		node := o
		node.Args = append(slices.Clone(o.Args), "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(port(t)), "--cluster-node-timeout", "2000",
			"--cluster-require-full-coverage", "no")
		if o.TLS {
			node.Args = append(node.Args, "--tls-cluster", "yes")
		}
		c.Nodes = append(c.Nodes, StartRedis(t, node))
	}
	for i, n := range c.Nodes {
		n.MustDo("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/3), strconv.Itoa((i+1)*slots/3-1))
		n.MustDo("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	first := c.Nodes[0]
	for _, n := range c.Nodes[1:] {
		bus := n.args[slices.Index(n.args, "--cluster-port")+1]
		first.MustDo("CLUSTER", "MEET", n.Host, strconv.Itoa(n.Port), bus)
	}
	for _, n := range c.Nodes {
		must(t, n, "the cluster is whole", func() error {
			info, err := n.Do("CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_ok:16384") || !strings.Contains(info, "cluster_known_nodes:3") {
				return errors.New(info)
			}
			return nil
		})
	}
	return c
}

func must(t testing.TB, n *Redis, what string, ready func() error) {
	t.Helper()
	if err := n.p.await(ready); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
