package testproviders

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child in a process group of its own that does not outlive the
// test binary.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *tail
	done  chan struct{}
	err   error // valid when done is closed
}

// start runs cmd; its output is kept, bounded, and given to lines as it comes.
func start(cmd *exec.Cmd, lines func([]byte)) (*process, error) {
	p := &process{cmd: cmd, out: &tail{lines: lines}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	cmd.SysProcAttr = childAttributes()
	cmd.WaitDelay = 5 * time.Second
	started := make(chan error)
	go func() {
		// The kernel's parent-death signal is tied to the thread that forked:
		// this one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stop ends the group, at first kindly, and waits for it.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// nicely runs a program with low priority where nice is at hand.
func nicely(name string, args ...string) *exec.Cmd {
	if nice, err := exec.LookPath("nice"); err == nil {
		return exec.Command(nice, append([]string{"-n", "5", name}, args...)...)
	}
	return exec.Command(name, args...)
}

// run waits for a command and returns its last output in the error. It is
// ended when it takes longer than limit.
func run(cmd *exec.Cmd, limit time.Duration) error {
	p, err := start(cmd, nil)
	if err != nil {
		return err
	}
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.stop()
		return fmt.Errorf("%s took longer than %s: %s", cmd.Args[0], limit, p.out)
	}
	if p.err != nil {
		return fmt.Errorf("%w: %s", p.err, p.out)
	}
	return nil
}

// tail keeps the end of an output and hands out its lines.
type tail struct {
	mu    sync.Mutex
	buf   []byte
	part  []byte
	lines func([]byte)
}

const tailBytes = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf); n > tailBytes {
		t.buf = bytes.Clone(t.buf[n-tailBytes:])
	}
	if t.lines == nil {
		return len(b), nil
	}
	t.part = append(t.part, b...)
	for {
		line, rest, found := bytes.Cut(t.part, []byte("\n"))
		if !found {
			break
		}
		t.lines(line)
		t.part = rest
	}
	if len(t.part) > tailBytes {
		t.part = nil
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

// environment is the machine's without what could change a provider, and with
// vars.
func environment(vars ...string) []string {
	env := []string{}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "KC_") && !strings.HasPrefix(kv, "NODE_OPTIONS=") {
			env = append(env, kv)
		}
	}
	return append(env, vars...)
}
