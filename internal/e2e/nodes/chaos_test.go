package nodes

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kong-openid-connect/internal/e2e/harness"
)

// Each cycle of the chaos is a fault at one edge, time to settle, and quiet.
const (
	faultTime  = 1500 * time.Millisecond
	settleTime = 5500 * time.Millisecond // a failed discovery pauses for 5 s
	settleMost = 30 * time.Second        // until every operation was right again on both nodes
	quietTime  = 2 * time.Second
	quietLong  = 5 * time.Second // where CHAOS_TIME is set
	// With caches this small, in MiB, and tokens of so few seconds, what is kept
	// has come to its size when the first round is over.
	chaosCaches = 8
	chaosTokens = 30
)

// mistake is an answer that was not what its operation asks for.
type mistake struct {
	op         string
	begin, end time.Time
	text       string
	passed     bool // a request that has to be denied reached the service
}

// TestChaos runs mixed traffic of all methods over two nodes while faults are
// injected at every edge, one after another: the provider, Redis, memcached,
// Postgres, the plugin process, the gateway's configuration. No unauthorized
// request passes at any time, and every authorized one passes in the quiet that
// follows each fault. The node whose process lives on is no larger in the end.
//
// CHAOS_TIME is how long it goes on (`make chaos`: 10m); one round of all faults
// where it is not set.
func TestChaos(t *testing.T) {
	limit, calm := time.Duration(0), quietTime
	if v := os.Getenv("CHAOS_TIME"); v != "" {
		var err error
		if limit, err = time.ParseDuration(v); err != nil {
			t.Fatalf("CHAOS_TIME: %v", err)
		}
		calm = quietLong
	}
	c := startWith(t, postgres(t), config+chaosRoutes, chaosCaches)
	c.lifetime(t, 4*3600)
	ops := c.operations(t)
	c.lifetimes(t, chaosTokens, chaosTokens)
	l := &traffic{stop: make(chan struct{}), sent: map[string]int{}, right: map[string]time.Time{}}
	for n := range 4 {
		l.wg.Go(func() { l.run(n, n%2, []*harness.Gateway{c.a, c.b}[n%2], ops) })
	}
	stopped := false
	defer func() {
		if !stopped {
			close(l.stop)
			l.wg.Wait()
		}
	}()
	var quiet []window
	var steps []footprint
	began := time.Now()
	faults := c.edges(t)
	for {
		for _, f := range faults {
			mend := f.inject()
			time.Sleep(faultTime)
			mend()
			mended := time.Now()
			time.Sleep(settleTime)
			for !l.rightSince(mended, ops) {
				if time.Since(mended) > settleMost {
					t.Errorf("after %q not every operation was right again within %v", f.name, settleMost)
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			from := time.Now()
			time.Sleep(calm)
			quiet = append(quiet, window{f.name, from, time.Now()})
			if limit > 0 && time.Since(began) > limit {
				break
			}
		}
		steps = append(steps, c.footprint(t))
		t.Logf("%v after the beginning: %v", time.Since(began).Round(time.Second), steps[len(steps)-1])
		if time.Since(began) >= limit {
			break
		}
	}
	close(l.stop)
	l.wg.Wait()
	stopped = true

	l.mu.Lock()
	defer l.mu.Unlock()
	excused := 0
	for _, m := range l.wrong {
		in := ""
		for _, w := range quiet {
			if m.begin.After(w.from) && m.end.Before(w.to) {
				in = w.after
			}
		}
		switch {
		case m.passed:
			t.Errorf("%s reached the service %v after the beginning: %s", m.op, m.begin.Sub(began), m.text)
		case in != "":
			t.Errorf("%s, in the quiet after %q, %v after the beginning: %s", m.op, in, m.begin.Sub(began), m.text)
		default:
			excused++
		}
	}
	for _, o := range ops {
		if l.sent[o.name] == 0 {
			t.Errorf("%s was never sent", o.name)
		}
	}
	// The first round fills the caches: with more than one, growth counts from the second on.
	first, last := steps[min(1, len(steps)-1)], steps[len(steps)-1]
	if last.goroutines > first.goroutines+50 {
		t.Errorf("%v goroutines at first, %v in the end", first.goroutines, last.goroutines)
	}
	if most := 1.2*first.live + 4<<20; last.live > most {
		t.Errorf("a live heap of %.0f bytes at first, of %.0f in the end", first.live, last.live)
	}
	t.Logf("%v: %d faults, %d requests, of which %d were not served while a fault lasted; %v at first, %v in the end",
		time.Since(began).Round(time.Second), len(quiet), l.total(), excused, first, last)
}

type window struct {
	after    string
	from, to time.Time
}

// traffic sends operations until it is stopped, and keeps what went wrong.
type traffic struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	sent  map[string]int
	right map[string]time.Time // when an operation was last begun that was right, by node
	wrong []mistake
}

func at(node int, op string) string { return fmt.Sprint(node, op) }

// rightSince reports whether every operation was right on both nodes since then.
func (l *traffic) rightSince(when time.Time, ops []operation) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range ops {
		if l.right[at(0, o.name)].Before(when) || l.right[at(1, o.name)].Before(when) {
			return false
		}
	}
	return true
}

func (l *traffic) total() (n int) {
	for _, k := range l.sent {
		n += k
	}
	return n
}

func (l *traffic) run(seed, node int, g *harness.Gateway, ops []operation) {
	order := rand.New(rand.NewPCG(uint64(seed), 1))
	for {
		for _, i := range order.Perm(len(ops)) {
			select {
			case <-l.stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			l.one(node, g, &ops[i])
		}
	}
}

func (l *traffic) one(node int, g *harness.Gateway, o *operation) {
	m := mistake{op: o.name, begin: time.Now()}
	r, err := o.do(g)
	right := false
	if err != nil {
		m.text = err.Error()
	} else {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		r.Body.Close()
		reached := r.StatusCode == 200 && bytes.Contains(body, []byte(`"headers"`))
		m.text = fmt.Sprintf("%s %.200s", r.Status, body)
		m.passed = reached && !o.passes
		right = reached == o.passes && (o.passes || r.StatusCode < 500)
	}
	m.end = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[o.name]++
	if !right {
		l.wrong = append(l.wrong, m)
		return
	}
	l.right[at(node, o.name)] = m.begin
}

// footprint is what the plugin server of node B, which lives through it all, takes.
// live is what the garbage collector found in use when it last ran.
type footprint struct{ goroutines, live, resident float64 }

func (f footprint) String() string {
	return fmt.Sprintf("%v goroutines, %.1f MiB live, %.1f MiB resident", f.goroutines, f.live/(1<<20), f.resident/(1<<20))
}

func (c *cluster) footprint(t *testing.T) (f footprint) {
	t.Helper()
	r, err := chaosClient.Get(c.b.Admin + "/openid-connect/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_goroutines":
			f.goroutines = v
		case "go_gc_heap_live_bytes":
			f.live = v
		case "process_resident_memory_bytes":
			f.resident = v
		}
	}
	if f.goroutines == 0 || f.live == 0 {
		t.Fatalf("the metrics do not tell: %s", r.Status)
	}
	return f
}
