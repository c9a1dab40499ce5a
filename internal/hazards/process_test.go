package hazards

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kong-openid-connect/internal/kong/hosttest"
	"kong-openid-connect/internal/sandbox/provider"
)

var (
	program string           // the built plugin server
	idp     *provider.Server // the provider of every configuration
	spoken  secrets          // what may not stand in any log
)

// patience bounds what has to happen soon. Whatever needs it has failed.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hazards:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "hazards")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "openid-connect")
	build := exec.Command("go", "build", "-o", program, "kong-openid-connect/cmd/openid-connect")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the plugin server: %w\n%s", err, out)
	}
	if idp, err = provider.Start("127.0.0.1:0", provider.Options{}); err != nil {
		return 1, err
	}
	defer idp.Close()
	spoken.add(clientSecret, sessionSecret)
	return m.Run(), nil
}

// transcript is what a process has written, and tells when it writes a text.
type transcript struct {
	mu   sync.Mutex
	b    bytes.Buffer
	wait map[string]chan struct{}
}

func (l *transcript) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	for text, c := range l.wait {
		if bytes.Contains(l.b.Bytes(), []byte(text)) {
			close(c)
			delete(l.wait, text)
		}
	}
	return len(p), nil
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// says returns a channel that is closed when text has been written.
func (l *transcript) says(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if bytes.Contains(l.b.Bytes(), []byte(text)) {
		close(c)
		return c
	}
	if l.wait == nil {
		l.wait = map[string]chan struct{}{}
	}
	l.wait[text] = c
	return c
}

// process is a running plugin server.
type process struct {
	t    testing.TB
	path string
	cmd  *exec.Cmd
	log  *transcript
	done chan struct{} // closed when it has ended
	err  error         // how
}

// socketDir returns a directory whose name is short enough for a socket's path.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hz")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run starts a plugin server of its own directory; launch one on a path.
func run(t testing.TB, args ...string) *process {
	t.Helper()
	return launch(t, filepath.Join(socketDir(t), "openid-connect.socket"), args...)
}

func launch(t testing.TB, path string, args ...string) *process {
	t.Helper()
	// What Kong writes into its prefix.
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".kong_env"), []byte("database = off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, path: path, log: &transcript{}, done: make(chan struct{})}
	p.cmd = exec.Command(program, append([]string{"-kong-prefix", filepath.Dir(path), "-socket", path, "-log-level", "debug"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"PWD=/", "GODEBUG="} // Kong's children have little more
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if leak := spoken.in(p.log.String()); leak != "" {
			t.Errorf("case 62: the log holds %s", leak)
		}
		if t.Failed() {
			log := p.log.String()
			t.Logf("end of the plugin server's log:\n%s", log[max(0, len(log)-3000):])
		}
	})
	select {
	case <-p.log.says("openid-connect: serving"):
	case <-p.done:
		t.Fatalf("the plugin server ended: %v\n%s", p.err, p.log)
	case <-time.After(patience):
		t.Fatalf("the plugin server does not serve\n%s", p.log)
	}
	return p
}

// heard fails unless the process writes text soon.
func (p *process) heard(text string) {
	p.t.Helper()
	select {
	case <-p.log.says(text):
	case <-time.After(patience):
		p.t.Fatalf("the log does not say %q", text)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	p.t.Helper()
	p.cmd.Process.Kill()
	p.wait()
}

// terminate asks the process to end. It is an error if it has to cut a request off.
func (p *process) terminate() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.wait()
	if p.err != nil {
		p.t.Errorf("after SIGTERM: %v", p.err)
	}
}

func (p *process) wait() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the plugin server does not end")
	}
}

// alive fails if the process has ended or panicked.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.done:
		p.t.Fatalf("the plugin server has ended: %v", p.err)
	default:
	}
	if strings.Contains(p.log.String(), "panic") {
		p.t.Error("something panicked")
	}
}

func (p *process) worker(config []byte) *hosttest.Worker {
	w := &hosttest.Worker{Path: p.path, Config: config}
	p.t.Cleanup(w.Close)
	return w
}

func (p *process) dial() *hosttest.Host {
	p.t.Helper()
	h, err := hosttest.Dial(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { h.Close() })
	return h
}

// do delivers a request as a worker of Kong's does, again and again if the
// connection is closed; a loop is a failure.
func do(t testing.TB, w *hosttest.Worker, a *hosttest.Answers) *hosttest.Outcome {
	t.Helper()
	out, err := w.Do(a)
	if errors.Is(err, hosttest.ErrLoop) {
		t.Fatalf("a loop: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// wantExit fails unless the plugin answered the request itself, so that Kong
// neither delivers it again nor lets it through.
func wantExit(t testing.TB, out *hosttest.Outcome, status int) {
	t.Helper()
	if out.Passed || out.Exit == nil || out.Exit.Status != status {
		t.Fatalf("passed %v, closed %v, exit %+v; want an exit with %d", out.Passed, out.Closed, out.Exit, status)
	}
}

func wantPassed(t testing.TB, out *hosttest.Outcome) {
	t.Helper()
	if !out.Passed {
		t.Fatalf("closed %v, refused %q, exit %+v; want the request let through", out.Closed, out.Refused, out.Exit)
	}
}
