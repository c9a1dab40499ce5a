package testservers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start.
const patience = 20 * time.Second

// find returns the path of a program, or leaves the test out.
func find(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REQUIRE_SERVERS") == "1" {
		t.Fatalf("REQUIRE_SERVERS=1 and %s is not installed", name)
	}
	t.Skipf("left out: %s is not installed", name)
	return ""
}

// port returns a free port. It may be taken again before it is used: whoever starts a server tries again.
func port(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// output keeps the last of what a server prints.
type output struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	if n := len(o.b) - 8192; n > 0 {
		o.b = bytes.Clone(o.b[n:])
	}
	return len(p), nil
}

// String returns it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.b)
}

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// start runs a command. The kernel kills it when the thread that started it
// ends, so that thread is kept for as long as the command runs.
func start(path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), out: &output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		runtime.UnlockOSThread()
	}()
	return p, <-started
}

// kill ends the process as a crash would, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// await waits until ready says nil.
func (p *process) await(ready func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		pause := time.NewTimer(10 * time.Millisecond)
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %s", p.out)
		case <-pause.C:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready in %v: %w\n%s", patience, err, p.out)
		}
	}
}
