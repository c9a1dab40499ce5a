// Package pgtest runs a throwaway PostgreSQL from the system's binaries, for
// tests. Imported by tests only.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Required names the environment variable that makes the absence of
// PostgreSQL's binaries a failure instead of a skipped test.
const Required = "REQUIRE_POSTGRES"

// User and Password may log in by TCP; by the Unix socket no password is asked for.
const (
	User     = "kong"
	Password = `pg#pass 'word\`
)

// Server is a running cluster. It listens on 127.0.0.1 and on a Unix socket.
type Server struct {
	Dir  string // of the data, the socket and the log
	Port int

	bin       string
	cred      *syscall.Credential
	cmd       *exec.Cmd
	done      chan struct{}
	databases atomic.Int32
}

// errAbsent says that there are no binaries.
var errAbsent = errors.New("no PostgreSQL binaries in /usr/lib/postgresql/*/bin nor on PATH: install Debian's package postgresql")

// Main runs the tests of a package with a server that they share, for
// TestMain: os.Exit(pgtest.Main(m, &server)). Without binaries *s stays nil.
func Main(m *testing.M, s **Server) int {
	if slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") }) {
		return m.Run() // fuzzing needs none, and its workers are killed without a word
	}
	server, err := start()
	if err != nil && (!errors.Is(err, errAbsent) || os.Getenv(Required) == "1") {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	if server != nil {
		defer server.remove()
	}
	*s = server
	return m.Run()
}

// New starts a server beside other ones that a test's set-up runs; Close ends
// it. The error says what to install where there are no binaries.
func New() (*Server, error) { return start() }

// Close ends the server and removes its data.
func (s *Server) Close() { s.remove() }

// Need skips a test where there is no server and none is required.
func Need(t testing.TB, s *Server) *Server {
	t.Helper()
	if s == nil {
		t.Skipf("%v (%s=1 makes this a failure)", errAbsent, Required)
	}
	return s
}

func binaries() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Sort(dirs)
	slices.Reverse(dirs)
	if p, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "initdb")); err == nil {
			if _, err := os.Stat(filepath.Join(d, "postgres")); err == nil {
				return d, nil
			}
		}
	}
	return "", errAbsent
}

// credential returns whom to run as: postgres refuses to run as root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
			}
		}
	}
	return nil, errors.New("neither user postgres nor nobody exists to run PostgreSQL as")
}

func start() (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/tmp", "pgtest-") // short: a socket path has 107 bytes
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, bin: bin, cred: cred}
	if err := s.create(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) create() error {
	if s.cred != nil {
		if err := os.Chown(s.Dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return err
		}
	}
	pw := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(pw, []byte(Password+"\n"), 0o644); err != nil {
		return err
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", User, "-E", "UTF8", "--locale=C", "--no-sync",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+pw).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	return s.Start()
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(s.bin, name), args...)
	c.Dir = s.Dir
	c.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	return c
}

// Start starts the server and waits until it answers.
func (s *Server) Start() error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.Port), "-k", s.Dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "full_page_writes=off",
		"-c", "max_connections=300", "-c", "shared_buffers=16MB", "-c", "logging_collector=off")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() {
		_ = s.cmd.Wait()
		close(s.done)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		if _, err := s.SQL("postgres", "SELECT 1"); err == nil {
			return nil
		}
		select {
		case <-s.done:
			b, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			return fmt.Errorf("postgres ended: %s", b)
		case <-ctx.Done():
			return errors.New("postgres does not answer")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Stop ends the server at once, as a crash would.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.done
	s.cmd = nil
}

// Freeze stops all of the server's processes where they are; connections stay
// open and nothing answers. thaw lets them go on.
func (s *Server) Freeze() (thaw func()) {
	var stopped []int
	pids := append(children(s.cmd.Process.Pid), s.cmd.Process.Pid)
	for _, pid := range pids {
		if syscall.Kill(pid, syscall.SIGSTOP) == nil {
			stopped = append(stopped, pid)
		}
	}
	return func() {
		for _, pid := range stopped {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

func children(pid int) []int {
	var all []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			if child, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

func (s *Server) remove() {
	s.Stop()
	_ = os.RemoveAll(s.Dir)
}

// Database makes an empty database and returns its name.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if out, err := s.SQL("postgres", "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v: %s", err, out)
	}
	return name
}

// SQL runs statements by psql and returns what it prints, unaligned.
func (s *Server) SQL(database, sql string) (string, error) {
	c := s.command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", s.Dir, "-p", strconv.Itoa(s.Port), "-U", User, "-d", database)
	c.Stdin = strings.NewReader(sql)
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Kong returns the settings of a database as Kong has them, by TCP.
func (s *Server) Kong(database string) map[string]string {
	return map[string]string{
		"database": "postgres", "pg_host": "127.0.0.1", "pg_port": strconv.Itoa(s.Port),
		"pg_user": User, "pg_password": Password, "pg_database": database,
	}
}

// ChownLike gives a file to the owner of another one, so that the server can read it.
func ChownLike(t testing.TB, path string, like os.FileInfo) {
	t.Helper()
	if st, ok := like.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}
