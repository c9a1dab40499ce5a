package testproviders

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestChildDiesWithItsParent kills a copy of this test binary, as a timeout of
// go test does at last, and looks for the child that it had started.
func TestChildDiesWithItsParent(t *testing.T) {
	if os.Getenv("TESTPROVIDERS_PARENT") != "" {
		p, err := start(exec.Command("sleep", "120"), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("child " + strconv.Itoa(p.cmd.Process.Pid) + "\n")
		<-p.done
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death")
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestChildDiesWithItsParent$")
	parent.Env = append(os.Environ(), "TESTPROVIDERS_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if s, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			if pid, err = strconv.Atoi(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pid == 0 {
		t.Fatal("the parent started no child")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child outlives its parent")
		}
		runtime.Gosched()
	}
}

// alive tells whether a process runs; a zombie, which waits for whoever
// adopted it, does not.
func alive(pid int) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(raw), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	started := make(chan string, 1)
	p, err := start(exec.Command("sh", "-c", "sleep 120 & echo $!; wait"), func(line []byte) {
		select {
		case started <- string(line):
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(<-started)
	if err != nil {
		t.Fatal(err)
	}
	p.stop()
	for deadline := time.Now().Add(10 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatal("a grandchild lives on")
		}
		runtime.Gosched()
	}
}
