package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/admin"
	"kong-openid-connect/internal/kong/server"
	"kong-openid-connect/internal/store/postgres/pgtest"
)

var database *pgtest.Server

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m, &database)) }

// log is what a process writes while it runs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startProcess runs the plugin server in a prefix until stop is called.
func startProcess(t *testing.T, prefix string, args ...string) (l *log, stop func()) {
	t.Helper()
	l, stop = beginProcess(t, prefix, args...)
	within(t, "serving", func() bool { return strings.Contains(l.String(), serving) })
	return l, stop
}

const serving = "openid-connect: serving"

// beginProcess is startProcess, without waiting until it serves.
func beginProcess(t *testing.T, prefix string, args ...string) (l *log, stop func()) {
	t.Helper()
	l = new(log)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	args = append([]string{"-kong-prefix", prefix}, args...)
	go func() { done <- run(ctx, args, strings.NewReader(""), l, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d:\n%s", code, l)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// within waits for what has to happen soon.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 30 s: " + what)
		}
	}
}

// shortDir is a directory whose sockets' paths are short enough.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "oidc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestSocketsGoWithTheirProcess(t *testing.T) {
	prefix := shortDir(t)
	socket := filepath.Join(prefix, admin.Socket)
	_, stop := startProcess(t, prefix, "-kong-setting", "database=off")
	if fi, err := os.Lstat(socket); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("admin socket: %v, %v", fi, err)
	}
	stop()
	for _, name := range []string{admin.Socket, "openid-connect.socket"} {
		if _, err := os.Lstat(filepath.Join(prefix, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", name, err)
		}
	}
}

func TestAdminSocketOfASuccessorStays(t *testing.T) {
	prefix := shortDir(t)
	socket := filepath.Join(prefix, admin.Socket)
	_, stop := startProcess(t, prefix, "-kong-setting", "database=off")
	successor, err := server.Listen(socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	stop()
	if c, err := net.Dial("unix", socket); err != nil {
		t.Errorf("the successor's socket: %v", err)
	} else {
		c.Close()
	}
}

// At a reload the new process starts while the old one has the address still,
// and a process that Kong lost keeps it for ever: requests must be served.
func TestAdminAddressOfAPredecessor(t *testing.T) {
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	address := old.Addr().String()
	l, _ := startProcess(t, shortDir(t), "-kong-setting", "database=off", "-admin-listen", address)
	if !strings.Contains(l.String(), "another process has the admin address") {
		t.Errorf("it is not said:\n%s", l)
	}
	old.Close()
	within(t, "admin endpoints", func() bool {
		r, err := http.Get("http://" + address + "/openid-connect/health")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func TestSecretFileThatCannotBeRead(t *testing.T) {
	if _, err := secretFile("-f", t.TempDir()); err == nil || strings.Contains(err.Error(), "empty") {
		t.Errorf("a directory: %v", err)
	}
}

// Ten nodes that start at once make the tables once.
func TestTenServersOnOneDatabase(t *testing.T) {
	s := pgtest.Need(t, database)
	name := s.Database(t)
	var args []string
	for k, v := range s.Kong(name) {
		args = append(args, "-kong-setting", k+"="+v)
	}
	var logs []*log
	for range 10 {
		l, _ := beginProcess(t, shortDir(t), args...)
		logs = append(logs, l)
	}
	made := 0
	for _, l := range logs {
		within(t, "serving", func() bool { return strings.Contains(l.String(), serving) })
		made += strings.Count(l.String(), "tables in Kong's database were made")
		if strings.Contains(l.String(), "migration ") || strings.Contains(l.String(), pgtest.Password) {
			t.Errorf("the log of a node:\n%s", l)
		}
	}
	out, err := s.SQL(name, "SELECT count(*) = max(version) FROM oidc_migrations")
	if made > 1 || out != "t" || err != nil {
		t.Errorf("%d nodes made the tables; each step once: %s, %v", made, out, err)
	}
}
