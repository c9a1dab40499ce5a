package postgres

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/store"
	"kong-openid-connect/internal/store/postgres/pgtest"
	"kong-openid-connect/internal/store/storetest"
)

// pooler starts PgBouncer, which lends a connection for one transaction only,
// before the test's server. REQUIRE_PGBOUNCER=1 makes its absence a failure.
func pooler(t *testing.T, s *pgtest.Server) (port int) {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bin = "/usr/sbin/pgbouncer"; !executable(bin) {
			if os.Getenv("REQUIRE_PGBOUNCER") == "1" {
				t.Fatal("no pgbouncer: install Debian's package pgbouncer")
			}
			t.Skip("no pgbouncer (REQUIRE_PGBOUNCER=1 makes this a failure)")
		}
	}
	dir, err := os.MkdirTemp(s.Dir, "pooler-")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 200
`, s.Dir, s.Port, pgtest.User, port)
	path := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(s.Dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	pgtest.ChownLike(t, dir, fi)
	pgtest.ChownLike(t, path, fi)
	cmd := exec.Command(bin, "-q", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: st.Uid, Gid: st.Gid}
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	within(t, 10*time.Second, "the pooler answers", func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return port
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0
}

func TestBehindAPooler(t *testing.T) {
	s := pgtest.Need(t, server)
	port := pooler(t, s)
	kongOf := func(t *testing.T) map[string]string {
		kong := s.Kong(s.Database(t))
		kong["pg_port"] = strconv.Itoa(port)
		return kong
	}
	looking := Options{Poll: 50 * time.Millisecond} // what is tested is that they look, not how often
	t.Run("changes are found by looking", func(t *testing.T) {
		kong := kongOf(t)
		a, b := openStore(t, kong, looking), openStore(t, kong, looking)
		ready(t, a, b)
		for i := range 10 {
			key := strconv.Itoa(i)
			if err := a.Revoke(t.Context(), key, time.Now(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "revocation "+key+" is seen", func() bool {
				ok, err := b.Revoked(t.Context(), key)
				return ok && err == nil
			})
		}
		if err := a.PutObject(t.Context(), object(`{}`)); err != nil {
			t.Fatal(err)
		}
		told := make(chan store.Change, 10)
		defer b.Watch(func(c store.Change) {
			if c.Kind == store.ObjectDeleted {
				told <- c
			}
		})()
		eventually(t, "the object is seen", func() bool { _, err := b.Object(t.Context(), issuer); return err == nil })
		if err := a.DeleteObjects(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-told:
		case <-time.After(time.Second):
			t.Error("the deletion is not told within a second")
		}
	})
	storetest.Run(t, func(t *testing.T) storetest.Nodes {
		kong := kongOf(t)
		a, b := openStore(t, kong, looking), openStore(t, kong, looking)
		ready(t, a, b)
		return storetest.Nodes{A: a, B: b, Eventually: eventually}
	})
}
