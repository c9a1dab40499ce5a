package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process keeps the plugin server running: one that dies is started again, at
// most once a second.
type process struct {
	g    *Gateway
	done chan struct{} // closed when nothing runs any more

	mu      sync.Mutex
	cmd     *exec.Cmd
	stopped bool
	exited  chan struct{} // of the current cmd
}

// startProcess starts the plugin server as Kong does: with the prefix as its
// only argument and an environment of PWD and the names that were configured.
func startProcess(g *Gateway) (*process, error) {
	p := &process{g: g, done: make(chan struct{})}
	if err := p.spawn(); err != nil {
		return nil, err
	}
	go p.watch()
	return p, nil
}

func (p *process) spawn() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errors.New("stopped")
	}
	args := append([]string{"-kong-prefix", p.g.opts.Prefix}, p.g.opts.PluginArgs...)
	cmd := exec.Command(p.g.opts.Plugin, args...)
	wd, _ := os.Getwd()
	cmd.Env = append([]string{"PWD=" + wd}, p.g.opts.PluginEnv...)
	out := &lineWriter{emit: func(line string) { p.g.logf("info", "[openid-connect:%d] %s", cmd.Process.Pid, line) }}
	cmd.Stdout, cmd.Stderr = out, out
	// A terminal's Ctrl-C goes to the group; Kong's plugin servers see only the SIGTERM of their parent.
	cmd.SysProcAttr = childAttr()
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the plugin server %s: %w", p.g.opts.Plugin, err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	p.g.counters.Spawns.Add(1)
	return nil
}

func (p *process) watch() {
	defer close(p.done)
	for {
		started := time.Now()
		err := p.cmd.Wait()
		close(p.exited)
		p.mu.Lock()
		stopped := p.stopped
		p.mu.Unlock()
		if stopped {
			return
		}
		p.g.logf("notice", "external pluginserver 'openid-connect' terminated: %v", err)
		wait := time.NewTimer(max(0, p.g.opts.Timing.Respawn-time.Since(started)))
		select {
		case <-wait.C:
		case <-p.g.stop:
			wait.Stop()
			return
		}
		for p.spawn() != nil {
			select {
			case <-time.After(p.g.opts.Timing.Respawn):
			case <-p.g.stop:
				return
			}
			p.mu.Lock()
			stopped := p.stopped
			p.mu.Unlock()
			if stopped {
				return
			}
		}
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

func (p *process) signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Signal(s)
}

// terminate ends the process for good: SIGTERM, and SIGKILL when it has not
// ended after grace, or five seconds after the gateway began to stop.
func (p *process) terminate(grace time.Duration) {
	p.mu.Lock()
	p.stopped = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	exited := p.exited
	p.mu.Unlock()
	t := time.NewTimer(grace)
	defer t.Stop()
	stop := p.g.stop
	for waiting := true; waiting; {
		select {
		case <-exited:
			waiting = false
		case <-stop:
			stop = nil
			t.Reset(min(grace, 5*time.Second))
		case <-t.C:
			_ = p.signal(os.Kill)
			waiting = false
		}
	}
	<-p.done
}

// waitReady waits until the process with that pid answers on the socket.
func (g *Gateway) waitReady(p *process) error {
	deadline := time.Now().Add(g.opts.Timing.Start)
	for {
		c, err := net.DialTimeout("unix", g.opts.Socket, time.Second)
		if err == nil {
			pid := peerPID(c)
			c.Close()
			if p == nil || pid == 0 || pid == p.pid() {
				return nil
			}
			err = fmt.Errorf("process %d answers there", pid)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the plugin server does not answer on %s after %v: %w\n%s", g.opts.Socket, g.opts.Timing.Start, err, strings.Join(g.LogTail(10), "\n"))
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-g.stop:
			return errors.New("stopped")
		}
	}
}

// dump is what the query command prints.
type dump struct {
	Protocol   string
	SocketPath string
	Plugins    []struct {
		Name     string
		Phases   []string
		Version  string
		Priority int
		Schema   json.RawMessage
	}
}

// query runs "<binary> -dump" with the full environment.
func query(ctx context.Context, opts *Options) (*dump, error) {
	raw := opts.Dump
	if raw == nil {
		ctx, cancel := context.WithTimeout(ctx, opts.Timing.Start)
		defer cancel()
		cmd := exec.CommandContext(ctx, opts.Plugin, append([]string{"-dump"}, opts.PluginArgs...)...)
		cmd.Env = append(os.Environ(), opts.PluginEnv...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		var err error
		if raw, err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("query command %s -dump: %w\n%s", opts.Plugin, err, stderr.String())
		}
	}
	var d dump
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&d); err != nil {
		return nil, fmt.Errorf("the query command printed no JSON: %w", err)
	}
	if d.Protocol != "ProtoBuf:1" {
		return nil, fmt.Errorf("the query command names the protocol %q; Kong 3.9 speaks ProtoBuf:1 with Go plugins", d.Protocol)
	}
	if len(d.Plugins) == 0 {
		return nil, errors.New("the query command names no plugin")
	}
	return &d, nil
}

// lineWriter cuts what is written into lines.
type lineWriter struct {
	mu   sync.Mutex
	buf  []byte
	emit func(string)
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) < 64<<10 {
			return len(p), nil
		}
		if i < 0 {
			i = len(l.buf) - 1
		}
		l.emit(strings.TrimRight(string(l.buf[:i+1]), "\r\n"))
		l.buf = append(l.buf[:0], l.buf[i+1:]...)
	}
}
